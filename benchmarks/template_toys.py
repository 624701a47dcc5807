"""Check strengths and errors of the template fit with pseudo-data: `python benchmarks/template_toys.py`.

The model is a smaller likeness of H -> mu mu in the VBF channel with 137/fb: two regions with 13 bins of a score, seven
processes, a free Drell-Yan yield, and sources that move yields and shapes (as after pruning). Signals of strength 0, 1
and 5 are injected. Each toy is fitted from the nominal starting values, like data. The result is in
docs/hmumu-statistics.md.
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

# Events in the signal region and in the sidebands, and how much of them is at high scores (the slope of an exponential)
YIELDS = {
    "DY01": (900.0, 1300.0, 3.2),
    "DY2": (1500.0, 2200.0, 2.4),
    "EWK": (340.0, 330.0, 0.3),
    "Top": (120.0, 190.0, 2.2),
    "VV": (25.0, 35.0, 2.0),
    "ggH_hmm": (9.0, 0.3, 0.8),
    "qqH_hmm": (36.0, 0.3, -1.6),
}
BINS = 13
SOURCES = 12


def build() -> Any:
    """Return the model."""
    from af_kit.analysis.templates import Channel, FreeNorm, Norm, Process, Shape, TemplateModel

    x = np.linspace(0, 1, BINS)
    channels = []
    for place, region in enumerate(("signal", "sidebands")):
        processes = []
        for number, (name, values) in enumerate(YIELDS.items()):
            shape = np.exp(-values[2] * x)
            expected = values[place] * shape / shape.sum()
            shapes = {}
            for source in range(SOURCES):
                # Each source moves the yield by up to 4 % and tilts the shape by up to 6 %, differently by process.
                rate = 0.04 * np.sin(1 + source + 0.3 * number)
                tilt = 0.06 * np.cos(2 * source + 0.5 * number) * (2 * x - 1)
                shapes[f"source_{source}"] = Shape(expected * (1 + rate + tilt), expected * (1 - rate - tilt))
            signal, free = name.endswith("_hmm"), name == "DY01"
            norms = (
                {} if free else {"lumi": Norm.of(1.016), f"norm_{name}": Norm.of(1.38 if name == "ggH_hmm" else 1.12)}
            )
            if name == "qqH_hmm":
                norms[f"norm_{name}"] = Norm.of(1.03)
            factors = ("mu",) if signal else ("rate_DY01",) if free else ()
            processes.append(Process(name, expected, (0.03 * expected) ** 2, shapes, norms, factors))
        channels.append(Channel(region, np.linspace(0, 2.8, BINS + 1), tuple(processes), variable="arctanh(score)"))
    # Wide, so that no fit ends at a limit: leaving out such toys would favour strengths below the true one. DY01 and
    # DY2 look alike in this model, so that the yield of one is badly known.
    return TemplateModel(tuple(channels), {"mu": FreeNorm(1, -20, 20), "rate_DY01": FreeNorm(1, -3, 8)})


def main() -> int:
    """Run the toys and print a table; the exit code is 1 if a pull is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=100, help="toys for each strength (default 100)")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 1.0, 5.0], help="(default 0 1 5)")
    parser.add_argument("--seed", type=int, default=2018, help="(default 2018)")
    parser.add_argument("--n-workers", type=int, default=0, help="worker processes (default 0: this one)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench" / "template_toys.json")
    options = parser.parse_args()

    model = build()
    document: dict[str, Any] = {"seed": options.seed, "strengths": {}}
    print(
        "| strength | valid | pull mean | pull width | with Minos | 68 % interval covers | mean error | time per fit |"
    )
    print("|---|---|---|---|---|---|---|---|")
    if options.n_workers:
        import af_kit as af

        with af.connect("local", n_workers=options.n_workers) as client:
            wrong = _run(model, options, document, client.get_executor())
    else:
        wrong = _run(model, options, document, None)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1, default=float))
    print(f"\n{options.out}")
    return int(wrong)


def _run(model: Any, options: argparse.Namespace, document: dict[str, Any], executor: Any) -> bool:
    from af_kit.analysis.templates import likelihood, toys

    wrong = False
    if executor is None:
        likelihood(model)  # compiled before the clock starts
    for strength in options.strengths:
        started = time.monotonic()
        found = toys(model, options.number, seed=options.seed, truth={"mu": strength}, minos=True, executor=executor)
        seconds = (time.monotonic() - started) / options.number
        pull, minos = found.pull("mu"), found.pull("mu", minos=True)
        covered = float(np.mean(np.abs(found.pulls("mu", minos=True)) < 1))
        error = float(np.nanmean(found.errors[:, found.names.index("mu")]))
        spread = np.sqrt(covered * (1 - covered) / options.number)
        document["strengths"][strength] = {**found.to_dict(), "coverage": covered, "seconds_per_toy": seconds}
        cells = [
            f"{strength:g}",
            f"{100 * found.valid_fraction:.0f} %",
            f"{pull.mean:+.2f} ± {pull.mean_error:.2f}",
            f"{pull.width:.2f} ± {pull.width_error:.2f}",
            f"{minos.mean:+.2f}, {minos.width:.2f}",
            f"{100 * covered:.0f} ± {100 * spread:.0f} %",
            f"{error:.2f}",
            f"{seconds:.2f} s",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        for reason, number in found.failures.items():
            print(f"{number} not valid: {reason}", file=sys.stderr)
        # Beyond three standard deviations of the toys, in addition to what the analysis allows
        wrong |= abs(pull.mean) > 0.15 + 3 * pull.mean_error or abs(pull.width - 1) > 0.1 + 3 * pull.width_error
    return wrong


if __name__ == "__main__":
    sys.exit(main())
