"""Build the site: ``make docs``."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from builder import check, notebooks, pages, site


def main() -> int:
    """Execute the notebooks, write the sources, run Sphinx, and check the site."""
    parser = argparse.ArgumentParser(prog="python -m builder", description="Build the documentation's site.")
    parser.add_argument(
        "--out", type=Path, default=pages.ROOT / "out" / "docs", help="folder of the site and its parts"
    )
    parser.add_argument("--events", type=int, default=20_000, help="events that the notebooks simulate")
    parser.add_argument("--no-notebooks", action="store_true", help="show the notebooks without their outputs")
    arguments = parser.parse_args()
    out: Path = arguments.out
    executed = None if arguments.no_notebooks else out / "notebooks"
    if executed is not None:
        notebooks.execute(executed, events=arguments.events)
    gc.set_threshold(200_000, 50, 50)  # documents are large trees that live to the end: searching them costs seconds
    site.write_sources(out / "source", executed=executed)
    if site.run_sphinx(out / "source", out / "html", doctrees=out / "doctrees"):
        return 1
    problems = check.problems(out / "html")
    print(*problems, sep="\n", end="\n" if problems else "")
    if not problems:
        print(f"The documentation is in {out / 'html' / 'index.html'}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
