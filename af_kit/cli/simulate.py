"""``af-kit simulate``: samples for a machine with no network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from af_kit.cli.console import say, whole_number

# Told here, and not taken from af_kit.data.simulate, so that --help need not import it.
SAMPLES = {
    "dimuon": "muons as in the CMS open data of 2012",
    "nanoaod": "the 180 branches of a NanoAOD",
}

_EPILOG = """\
example:
  af-kit simulate dimuon --events 1e6 --files 4 --out samples

The same numbers give the same events. fileset.yaml beside the files is for af-kit run.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "simulate",
        parents=[common],
        help="write simulated ROOT files",
        description="Write simulated ROOT files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sample", choices=SAMPLES, help="; ".join(": ".join(sample) for sample in SAMPLES.items()))
    parser.add_argument(
        "--events", type=whole_number(least=0), required=True, metavar="N", help="in all files together"
    )
    parser.add_argument("--files", type=whole_number(least=1), default=1, metavar="K", help="(default: 1)")
    parser.add_argument("--seed", type=whole_number(least=0), default=1, metavar="S", help="(default: 1)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write; made if needed")
    parser.add_argument("--compression", metavar="NAME-LEVEL", help="such as ZLIB-1, ZSTD-5, LZ4-4, LZMA-5, none")
    parser.add_argument(
        "--cluster-entries", type=whole_number(least=1), metavar="N", help="entries of a cluster in the file"
    )
    parser.add_argument("--kind", choices=("ttree", "rntuple"), help="(default: ttree)")
    parser.set_defaults(command=simulate)


def simulate(arguments: argparse.Namespace) -> int:
    """Write the files and a fileset that names them."""
    import yaml

    from af_kit.data.simulate import write_files

    options = {
        name: value
        for name in ("compression", "cluster_entries", "kind")
        if (value := getattr(arguments, name)) is not None
    }
    files = write_files(arguments.sample, arguments.out, arguments.events, arguments.files, arguments.seed, **options)
    dataset = {
        "treename": "Events",
        "files": [path.name for path in files],
        "metadata": {"isMC": True, "events": arguments.events, "seed": arguments.seed},
    }
    fileset = arguments.out / "fileset.yaml"
    fileset.write_text(yaml.safe_dump({f"{arguments.sample}_simulated": dataset}, sort_keys=False), encoding="utf-8")
    say(f"{arguments.events:,} events in {len(files)} file(s) in {arguments.out}")
    say(f"next: af-kit run dimuon {fileset} --out {arguments.out / 'results'}")
    return 0
