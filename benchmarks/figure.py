"""Draw what a tool costs per event, and how fast it is: from a bench's results.json, or from the table in README.md.

    python benchmarks/figure.py --out docs/pictures/speed.png                        # the Ds selection of README.md
    python benchmarks/figure.py out/bench/results.json --variant zstd --out speed.png

With a results.json, the second panel is the throughput; the table has the cold start instead.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.registry import PEERS  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

README = ROOT / "benchmarks" / "README.md"
HEADING = "The Ds selection, measured once"
TITLES = {
    "zlib": "Dimuon spectrum, ZLIB",
    "zstd": "Dimuon spectrum, ZSTD",
    "rntuple": "Dimuon spectrum, RNTuple",
    "wide": "VBF selection of 22 out of 190 branches",
    "hmumu": "H → μμ selection",
}
KIT, OTHER = "#2f6fb5", "#9aa3ad"
CPU, RATE, START = "CPU-seconds per million events", "million events per second", "seconds to the first histogram"


@dataclass(frozen=True)
class Bars:
    """The figures of one workload: what was measured, and for each tool one value per panel."""

    title: str
    subtitle: str
    panels: Mapping[str, Mapping[str, float]]


def from_readme(text: str) -> Bars:
    """Return the figures of the table in README.md."""
    section = text.partition(f"## {HEADING}\n")[2].partition("\n## ")[0]
    described = re.search(r"The table is for (.*?) \(", " ".join(section.split()))
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    if described is None or not rows:
        raise SystemExit(f"{README.name} has no table under {HEADING!r}.")
    values = {row[0].replace("kit,", "af-kit,"): dict(zip(header, row, strict=True)) for row in rows}
    panels = {
        CPU: {tool: float(row["CPU-s per Mev"]) for tool, row in values.items()},
        START: {tool: float(row["cold start [s]"]) for tool, row in values.items()},
    }
    return Bars("Ds → φ(μμ)π, ten steps for each candidate", described[1], panels)


def from_results(document: Mapping[str, Any], variant: str) -> Bars:
    """Return the medians of one variant of a results.json, of the runs with the most workers."""
    rows = [row for row in document["rows"] if row["variant"] == variant and row["chunks"] is None]
    rows = [row for row in rows if not row["problem"] and row["peer"] != "floor"]
    if not rows:
        known = ", ".join(sorted({row["variant"] for row in document["rows"]}))
        raise SystemExit(f"There are no figures of {variant!r}. There is: {known}.")
    workers, machine = max(row["workers"] for row in rows), document["machine"]
    labels = {peer.name: peer.label for peer in PEERS}
    chosen = {labels[row["peer"]]: row for row in rows if row["workers"] == workers}
    subtitle = f"{workers} workers, {machine['cores']} cores of {machine['cpu']}, rounds: {rows[0]['rounds']}"
    panels = {
        CPU: {tool: row["cpu_s_per_mev"] for tool, row in chosen.items()},
        RATE: {tool: row["mev_per_s"] for tool, row in chosen.items()},
    }
    million = rows[0]["work_cpu_s"] / rows[0]["cpu_s_per_mev"]
    return Bars(f"{TITLES.get(variant, variant)}: {million:.3g} million events", subtitle, panels)


def draw(bars: Bars) -> Figure:
    """Return the figure: one panel of horizontal bars for each quantity, the kit's in colour."""
    from matplotlib.figure import Figure

    tools = sorted(bars.panels[CPU], key=bars.panels[CPU].__getitem__, reverse=True)
    figure = Figure(figsize=(9, 1.5 + 0.45 * len(tools)), layout="constrained", facecolor="white")
    figure.suptitle(f"{bars.title}\n", fontsize=13, fontweight="bold", x=0.01, ha="left")
    figure.text(0.012, 0.9, bars.subtitle, fontsize=9, color="0.35", va="top")
    panels = figure.subplots(1, len(bars.panels), sharey=True)
    for axes, (quantity, values) in zip(panels, bars.panels.items(), strict=True):
        _panel(axes, tools, [values[tool] for tool in tools])
        better = "higher" if quantity == RATE else "lower"
        axes.set_xlabel(f"{quantity}\n({better} is better)", fontsize=10)
    return figure


def _panel(axes: Axes, tools: Sequence[str], values: Sequence[float]) -> None:
    colours = [KIT if tool.startswith("af-kit") else OTHER for tool in tools]
    drawn = axes.barh(range(len(tools)), values, color=colours, height=0.7)
    axes.bar_label(drawn, fmt="%.3g", padding=4, fontsize=10)
    axes.set_yticks(range(len(tools)), tools, fontsize=10)
    axes.set_xlim(0, 1.15 * max(values))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, labelsize=10)
    axes.locator_params(axis="x", nbins=4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, metavar="results.json", help="default: the table in README.md")
    parser.add_argument("--variant", default="zstd", help="of results.json (default: zstd)")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    options = parser.parse_args()
    if options.results is None:
        bars = from_readme(README.read_text(encoding="utf-8"))
    else:
        bars = from_results(json.loads(options.results.read_text(encoding="utf-8")), options.variant)
    draw(bars).savefig(options.out, dpi=110)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
