"""Check the shape fit of H -> mu mu with pseudo-data on a cluster: `python benchmarks/shape_toys.py`.

The truth has the events that 60/fb of 2018 leave in the four channels of the simulated selection, a double-sided
Crystal Ball of 1.1 GeV, and the published BWZ function. Families are chosen in the sidebands as for data. For each
true strength, the table has the mean and width of the pulls of the fitted strength, and the coverage of its 68 %
interval. The results are in docs/hmumu-shape-fit.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

WINDOW, BLIND = (110.0, 150.0), (120.0, 130.0)
SIGNAL = {"ggh_0jet": 256.0, "ggh_1jet": 106.0, "ggh_2jets": 102.0, "vbf": 20.0}
BACKGROUND = {"ggh_0jet": 208_000.0, "ggh_1jet": 80_000.0, "ggh_2jets": 61_000.0, "vbf": 5_100.0}
SHAPE = {
    "alpha_low": 1.5, "n_low": 2.5, "width_low": 1.1, "alpha_high": 2.0, "n_high": 5.0, "width_high": 1.2,
    "mean": 124.85,
}  # fmt: skip
TRUTH = "bwz_redux"


def categories(bins: int) -> dict[str, Any]:
    """Return the channels with expected data, and the families that their sidebands choose."""
    from dataclasses import replace

    from af_kit.analysis.fit import Binned, Category, Component, asimov, choose, family
    from af_kit.analysis.hmumu.shape_fit import FAMILIES

    found = {}
    for name, events in SIGNAL.items():
        shape = {f"{one}_{name}": value for one, value in SHAPE.items()}
        signal = Component(f"signal_{name}", "double_crystal_ball", tuple(shape), strength="strength", expected=events)
        empty = Binned(np.linspace(*WINDOW, bins + 1), np.zeros(bins))
        category = Category(name, empty, WINDOW, signal, shape, (TRUTH,))
        values = {**shape, **family(TRUTH).start(name), "strength": 1.0, f"n_background_{name}": BACKGROUND[name]}
        category = asimov({name: category}, {name: TRUTH}, values)[name]
        chosen = choose(name, category.data, FAMILIES, window=WINDOW, exclude=BLIND)
        found[name] = replace(category, families=tuple(chosen.fits))
    return found


def main() -> int:
    """Run the toys and print a table; the exit code is 1 if a mean pull is above 0.15 or a width 0.1 from 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=500, help="toys for each strength and fit (default 500)")
    parser.add_argument("--strengths", default="0,1,5", help="true strengths (default 0,1,5)")
    parser.add_argument("--generate", default="bwz_redux", help="kinds of families to draw from (default bwz_redux)")
    parser.add_argument("--fit", default="bwz_redux", help="kinds to fit with; envelope: all (default bwz_redux)")
    parser.add_argument("--seed", type=int, default=2018, help="(default 2018)")
    parser.add_argument("--bins", type=int, default=160, help="(default 160, of 0.25 GeV)")
    parser.add_argument("--n-workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench" / "shape_toys.json")
    options = parser.parse_args()

    import af_kit as af
    from af_kit.analysis.fit import kinds, strength_pull, strength_toys

    channels = categories(options.bins)
    for kind, families in kinds(channels).items():
        print(f"{kind}: {', '.join(f'{name} {one}' for name, one in families.items())}")
    rows = []
    print("\n| strength | drawn from | fitted with | valid | pull mean | pull width | coverage | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    with af.connect("local", n_workers=options.n_workers) as client:
        for generate in options.generate.split(","):
            for fit in options.fit.split(","):
                for strength in map(float, options.strengths.split(",")):
                    started = time.monotonic()
                    found = strength_toys(
                        channels,
                        options.number,
                        seed=options.seed,
                        strength=strength,
                        generate=generate,
                        fit=fit,
                        bins=options.bins,
                        executor=client.get_executor(),
                        progress=sys.stderr.isatty(),
                    )
                    row = {"strength": strength, "generate": generate, "fit": fit, "valid": found.valid_fraction}
                    row |= strength_pull(found) | {"failures": found.failures, "wall_s": time.monotonic() - started}
                    rows.append(row)
                    print(_line(row), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"seed": options.seed, "number": options.number, "rows": rows}
    options.out.write_text(json.dumps(document, indent=1, default=float))
    print(f"\n{options.out}")
    same = [row for row in rows if row["fit"] in (row["generate"], "envelope")]
    return int(any(abs(row["pull_mean"]) > 0.15 or abs(row["pull_width"] - 1) > 0.1 for row in same))


def _line(row: dict[str, Any]) -> str:
    cells = [
        f"{row['strength']:g}",
        row["generate"],
        row["fit"],
        f"{100 * row['valid']:.1f} %",
        f"{row['pull_mean']:+.2f} ± {row['pull_mean_error']:.2f}",
        f"{row['pull_width']:.2f} ± {row['pull_width_error']:.2f}",
        f"{100 * row['coverage']:.1f} ± {100 * row['coverage_error']:.1f} %",
        f"{row['wall_s']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
