"""``af-kit simulate``: write simulated samples, for machines without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from af_kit.cli.console import say, whole_number

# Repeated here so that --help does not import af_kit.simulate.
SAMPLES = {
    "dimuon": "muons as in the CMS open data of 2012",
    "nanoaod": "the 180 branches of a NanoAOD",
    "dsphipi": "candidates of Ds -> phi(mu mu) pi in the eras of 2017",
}

_EPILOG = """\
examples:
  af-kit simulate dimuon --events 1e6 --files 4 --out samples
  af-kit simulate dsphipi --events 1e6 --eras 2017B,2017C --out samples

The same options write the same events. af-kit run reads the files through fileset.yaml, which is written next to them.
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
        "--events", type=whole_number(least=0), required=True, metavar="N", help="events in all files together"
    )
    parser.add_argument(
        "--files", type=whole_number(least=1), metavar="K", help="number of files (default: 1; dsphipi: one per era)"
    )
    parser.add_argument("--seed", type=whole_number(least=0), default=1, metavar="S", help="random seed (default: 1)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; created if needed")
    parser.add_argument(
        "--compression", metavar="NAME-LEVEL", help="compression: ZLIB-1, ZSTD-5, LZ4-4, LZMA-5, none, ..."
    )
    parser.add_argument(
        "--cluster-entries", type=whole_number(least=1), metavar="N", help="entries per cluster of the file"
    )
    parser.add_argument(
        "--kind",
        choices=("ttree", "rntuple", "data", "mc"),
        help="dimuon, nanoaod: ttree (default) or rntuple; dsphipi: data (default) or mc",
    )
    parser.add_argument(
        "--eras",
        type=lambda text: text.split(","),
        metavar="ERA,...",
        help="dsphipi: only these eras of 2017B to 2017F",
    )
    parser.set_defaults(command=simulate)


def simulate(arguments: argparse.Namespace) -> int:
    """Write the files, and a fileset that lists them."""
    import yaml

    options = {
        name: value
        for name in ("compression", "cluster_entries", "kind", "eras")
        if (value := getattr(arguments, name)) is not None
    }
    fileset = (_write_eras if arguments.sample == "dsphipi" else _write_one)(arguments, options)
    path = arguments.out / "fileset.yaml"
    path.write_text(yaml.safe_dump(fileset, sort_keys=False), encoding="utf-8")
    files = sum(len(dataset["files"]) for dataset in fileset.values())
    analysis = "dsphipi" if arguments.sample == "dsphipi" else "dimuon"
    say(f"{arguments.events:,} events in {files} file(s) in {arguments.out}")
    more = ""
    if arguments.sample == "dsphipi" and arguments.kind == "mc":
        from af_kit.simulate import muon_scale_factors

        more = f" --muon-sf {muon_scale_factors(arguments.out / 'muon_Run2017_ID.json')}"
    say(f"next: af-kit run {analysis} {path} --out {arguments.out / 'results'}{more}")
    return 0


def _write_one(arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    from af_kit.simulate import write_files

    number = arguments.files or 1
    files = write_files(arguments.sample, arguments.out, arguments.events, number, arguments.seed, **options)
    dataset = {
        "treename": "Events",
        "files": [path.name for path in files],
        "metadata": {"isMC": True, "events": arguments.events, "seed": arguments.seed},
    }
    return {f"{arguments.sample}_simulated": dataset}


def _write_eras(arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Write one dataset per era, with the metadata that the analysis needs."""
    from af_kit.simulate import write_eras
    from af_kit.simulate.dsphipi import LUMI_IFB, TREENAME

    files = write_eras(arguments.out, arguments.events, arguments.files, arguments.seed, **options)
    kind = options.get("kind", "data")
    return {
        f"DsPhiPi_{kind}_{era}": {
            "treename": TREENAME,
            "files": [path.name for path in of_era],
            "metadata": {
                "isMC": kind == "mc",
                "era": era,
                "year": int(era[:4]),
                "lumi_ifb": LUMI_IFB[era],
                "sqrt_s_TeV": 13,
                "label": "Simulation" if kind == "mc" else "Toy data",  # so that nobody takes them for collision data
            },
        }
        for era, of_era in files.items()
    }
