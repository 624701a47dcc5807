"""Check the errors of the mass fit with thousands of fits to pseudo-data: `python benchmarks/toys.py`.

The default truth is what the selection selects from a million simulated events (data). Each toy is fitted from its own
starting values, like data. Three fits use the same pseudo-data: tails fixed, alpha free, and both tail parameters free;
the last two have Minos errors in addition to parabolic ones. The result is in docs/dsphipi.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# The rounded result of the fit to a million simulated events of the sample "data".
TRUTH = {
    "n_ds": 14_000.0,
    "n_dplus": 7_300.0,
    "n_background": 14_000.0,
    "mean_ds": 1.96835,
    "width_ds": 0.0095,
    "mean_dplus": 1.86966,
    "width_dplus": 0.0090,
    "alpha": 1.6,
    "n": 3.0,
    "slope": -1.1,
}
YIELDS = ("n_ds", "n_dplus", "n_background")


def tails_fixed(data: Any) -> Any:
    """Fit as for data."""
    from af_kit.analysis.dsphipi.fit import fit

    return fit(data, minos=False)


def alpha_free(data: Any) -> Any:
    """Fit with one free tail parameter."""
    return _free(data, {"n": TRUTH["n"]})


def tails_free(data: Any) -> Any:
    """Fit with both tail parameters free."""
    return _free(data, {})


def _free(data: Any, fixed: dict[str, float]) -> Any:
    from af_kit.analysis.dsphipi.fit import fit

    return fit(data, free_tails=True, fixed=fixed, minos=["n_ds", "n_dplus"])


FITS = {"tails fixed": tails_fixed, "alpha free": alpha_free, "alpha and n free": tails_free}


def main() -> int:
    """Run the toys and print a table; the exit code is 1 if the pulls of the fit for data are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1000, help="toys for each fit (default 1000)")
    parser.add_argument("--seed", type=int, default=2017, help="(default 2017)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the yields (default 1)")
    parser.add_argument("--bins", type=int, default=62, help="0: unbinned (default 62)")
    parser.add_argument("--n-workers", type=int, default=None, help="worker processes (default: one per core)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench" / "toys.json")
    options = parser.parse_args()

    import af_kit as af
    from af_kit.analysis.dsphipi.fit import MODEL
    from af_kit.analysis.fit import toys

    truth = {name: value * options.scale if name in YIELDS else value for name, value in TRUTH.items()}
    document: dict[str, Any] = {"truth": truth, "seed": options.seed, "fits": {}}
    print("| fit | valid | Ds pull mean | Ds pull width | with Minos | D+ pull width | reasons of invalid fits |")
    print("|---|---|---|---|---|---|---|")
    with af.connect("local", n_workers=options.n_workers) as client:
        for name, fit in FITS.items():
            started = time.monotonic()
            run = partial(toys, MODEL, truth, options.number, seed=options.seed, fit=fit, bins=options.bins or None)
            found = run(executor=client.get_executor())
            document["fits"][name] = {**found.to_dict(), "wall_s": time.monotonic() - started}
            print(_row(name, found), flush=True)
            print(found.summary.to_string(), f"\n{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=float))
    print(f"\n{options.out}")
    pulls = document["fits"]["tails fixed"]["pulls"]
    return int(any(abs(pulls[name]["mean"]) > 0.1 or abs(pulls[name]["width"] - 1) > 0.1 for name in YIELDS))


def _row(name: str, found: Any) -> str:
    ds, dplus = found.pull("n_ds"), found.pull("n_dplus")
    has_minos = name != "tails fixed"
    minos = found.pull("n_ds", minos=True) if has_minos else None
    cells = [
        name,
        f"{100 * found.valid_fraction:.1f} %",
        f"{ds.mean:+.2f} ± {ds.mean_error:.2f}",
        f"{ds.width:.2f} ± {ds.width_error:.2f}",
        f"{minos.width:.2f} ± {minos.width_error:.2f}" if minos else "",
        f"{dplus.width:.2f} ± {dplus.width_error:.2f}",
        "; ".join(f"{number} {reason}" for reason, number in found.failures.items()),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
