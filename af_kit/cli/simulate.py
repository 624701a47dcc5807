"""``af-kit simulate``: write simulated samples, for machines without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from af_kit.cli.console import emit_json, say, whole_number
from af_kit.cli.exit_codes import epilog

# Repeated here so that --help does not import af_kit.simulate.
SAMPLES = {
    "dimuon": "muons as in the CMS open data of 2012",
    "nanoaod": "the 180 branches of a NanoAOD; with --kind and --year, one process or data, and calibration files",
    "dsphipi": "candidates of Ds -> phi(mu mu) pi in the eras of 2017",
    "hmumu": "NanoAOD of data, backgrounds and signal of H -> mu mu, and calibration files",
}
PROCESSES = (
    *("data", "data-doublemuon", "dy", "dy-m105-160", "dy-m105-160-vbf", "ewkzjj", "ttbar", "diboson"),
    *("ggh-hmumu", "vbf-hmumu"),
)

_EPILOG = """\
examples:
  af-kit simulate dimuon --events 1e6 --files 4 --out samples
  af-kit simulate dsphipi --events 1e6 --eras 2017B,2017C --out samples
  af-kit simulate nanoaod --kind dy --year 2018 --events 1e5 --out samples
  af-kit simulate hmumu --year 2018 --events 2e5 --out hmumu

The same options write the same events. af-kit run reads the files through fileset.yaml, which is written next to them.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "simulate",
        parents=[common],
        help="write simulated ROOT files",
        description="Write simulated ROOT files.",
        epilog=_EPILOG + epilog("simulate"),
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
        choices=("ttree", "rntuple", "mc", *PROCESSES),
        metavar="KIND",
        help="dimuon: ttree (default) or rntuple; dsphipi: data (default) or mc; nanoaod: ttree (default) or rntuple "
        f"for a mixture, or {', '.join(PROCESSES)}",
    )
    parser.add_argument(
        "--year", type=int, metavar="YEAR", help="hmumu, and nanoaod of one process: 2016, 2017, 2018 (default) or 2022"
    )
    parser.add_argument(
        "--format", choices=("ttree", "rntuple"), help="nanoaod of one process: ttree (default) or rntuple"
    )
    parser.add_argument(
        "--eras",
        type=lambda text: text.split(","),
        metavar="ERA,...",
        help="dsphipi: only these eras of 2017B to 2017F",
    )
    parser.set_defaults(command=simulate, has_json=True)


def simulate(arguments: argparse.Namespace) -> int:
    """Write the files, and a fileset that lists them."""
    options = {
        name: value
        for name in ("compression", "cluster_entries", "kind", "eras", "year", "format")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.sample == "hmumu":
        return _write_hmumu(arguments, options)
    fileset = (_write_eras if arguments.sample == "dsphipi" else _write_one)(arguments, options)
    path = _write_fileset(arguments.out, fileset)
    files = sum(len(dataset["files"]) for dataset in fileset.values())
    is_hmumu = arguments.sample == "nanoaod" and arguments.kind in PROCESSES
    analysis = "dsphipi" if arguments.sample == "dsphipi" else "hmumu" if is_hmumu else "dimuon"
    say(f"{arguments.events:,} events in {files} file(s) in {arguments.out}")
    more = f" --calibrations {arguments.out / 'calibrations'}" if is_hmumu else ""
    if arguments.sample == "dsphipi" and arguments.kind == "mc":
        from af_kit.simulate import muon_scale_factors

        more = f" --muon-sf {muon_scale_factors(arguments.out / 'muon_Run2017_ID.json')}"
    _finish(arguments, path, fileset, f"af-kit run {analysis} {path} --out {arguments.out / 'results'}{more}")
    return 0


def _finish(arguments: argparse.Namespace, path: Path, fileset: dict[str, Any], following: str) -> None:
    """Say which command comes next, or give all names as JSON."""
    say(f"next: {following}")
    emit_json(
        {
            "sample": arguments.sample,
            "events": arguments.events,
            "fileset": path,
            "files": [arguments.out / name for dataset in fileset.values() for name in dataset["files"]],
            "next": following,
        }
    )


def _write_fileset(folder: Path, fileset: dict[str, Any]) -> Path:
    import yaml

    path = folder / "fileset.yaml"
    path.write_text(yaml.safe_dump(fileset, sort_keys=False), encoding="utf-8")
    return path


def _write_hmumu(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    """Write data, simulation, calibration files and fileset."""
    import yaml

    from af_kit.errors import InputError
    from af_kit.simulate import write_hmumu

    for option in ("kind", "cluster_entries", "eras", "format"):
        if option in options:
            raise InputError(f"--{option.replace('_', '-')} does not apply to hmumu.")
    number = arguments.files or 1
    year = options.pop("year", 2018)
    path = write_hmumu(arguments.out, year, events=arguments.events, files=number, seed=arguments.seed, **options)
    say(f"{arguments.events:,} events of data and simulation of {year}, and calibrations, in {arguments.out}")
    results = arguments.out / "results"
    following = f"af-kit run hmumu {path} --calibrations {arguments.out / 'calibrations'} --out {results}"
    _finish(arguments, path, yaml.safe_load(path.read_text(encoding="utf-8")), following)
    return 0


def _write_one(arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    from af_kit.simulate import calibrations, write_files

    number = arguments.files or 1
    files = write_files(arguments.sample, arguments.out, arguments.events, number, arguments.seed, **options)
    name, metadata = f"{arguments.sample}_simulated", {"isMC": True}
    if arguments.sample == "nanoaod" and arguments.kind in PROCESSES:
        year = options.get("year", 2018)
        calibrations(arguments.out / "calibrations", year)
        name, metadata = _described(arguments.kind, year)
    dataset = {
        "treename": "Events",
        "files": [path.name for path in files],
        "metadata": {**metadata, "events": arguments.events, "seed": arguments.seed},
    }
    return {name: dataset}


def _described(kind: str, year: int) -> tuple[str, dict[str, Any]]:
    """Return the name and the metadata of the dataset of a process, for the luminosity of the year."""
    from af_kit.simulate.nano.campaigns import campaign
    from af_kit.simulate.nano.datasets import dataset_of

    of_year = campaign(year)
    dataset = dataset_of(kind, of_year)
    if dataset is None:
        return kind, {"isMC": False, "year": year, "primary_dataset": "DoubleMuon"}
    return dataset.name, dataset.metadata(of_year, of_year.lumi_ipb / 1000)


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
