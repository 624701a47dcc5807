"""The grid of ``af-kit bench facility`` from its command line: shapes of the cluster, workloads, and their files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.cli.cluster_options import cluster_options
from af_kit.cli.console import note, say
from af_kit.cli.delivery import named_files
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    from af_kit.facility.bench import Job, Shape
    from af_kit.facility.workloads import Workload

__all__ = ["EVENTS", "checked_grid", "jobs_of"]

EVENTS = 1_000_000
"""Simulated events, if no size is given."""


def checked_grid(arguments: argparse.Namespace) -> tuple[list[Shape], list[Workload]]:
    """Return shapes and workloads, or refuse what cannot be measured, before anything starts."""
    from af_kit.facility.bench import Shape, powers_of_two
    from af_kit.facility.workloads import WORKLOADS as known

    for name in arguments.workloads:
        if name not in known:
            raise InputError(f"--workloads: there is no workload {name!r}.{nearest(name, known)}")
    if len(set(arguments.workloads)) < len(arguments.workloads):
        raise InputError("--workloads: a name occurs twice.")
    named_files(arguments.send)
    options = cluster_options(arguments)
    given = arguments.workers or arguments.processes_by_threads or arguments.cluster or options
    if arguments.scheduler and given:
        raise InputError(
            "--scheduler measures a running cluster as it is: do not combine it with --cluster, --workers, "
            "--processes-by-threads or options of a new cluster."
        )
    if arguments.processes_by_threads and (arguments.workers or arguments.cores):
        raise InputError("--processes-by-threads gives the workers and their threads: leave out --workers and --cores.")
    _check_files(arguments)
    if arguments.scheduler:
        shapes = [Shape()]
    elif arguments.processes_by_threads:
        shapes = [Shape(*shape) for shape in arguments.processes_by_threads]
    elif arguments.workers:
        shapes = [Shape(number, arguments.cores) for number in arguments.workers]
    elif arguments.cluster in (None, "local"):
        from af_kit.cluster.local import usual_workers

        shapes = [Shape(number, arguments.cores) for number in powers_of_two(usual_workers(arguments.cores))]
    else:
        raise InputError(f"--cluster {arguments.cluster}: say how many workers, such as --workers 1,10,100.")
    if arguments.cluster is not None:
        from af_kit.cluster import backends

        if arguments.cluster not in backends.available():
            hint = nearest(arguments.cluster, backends.available())
            raise InputError(f"--cluster: there is no backend {arguments.cluster!r}.{hint}")
    return shapes, [known[name] for name in arguments.workloads]


def _check_files(arguments: argparse.Namespace) -> None:
    simulated = arguments.fileset is None
    if simulated and arguments.calibrations is not None:
        raise InputError("--calibrations belongs to --fileset; simulated samples have their own calibration files.")
    if not simulated and arguments.data is not None:
        raise InputError("--data is the folder of simulated samples: leave it out, or leave out --fileset.")
    if arguments.network is not None and not (arguments.network / "network.json").is_file():
        raise InputError(f"--network {arguments.network}: it has no network.json. Make one: af-kit train hmumu RESULTS")
    if "hmumu-dnn" in arguments.workloads and arguments.network is None:
        if not simulated:
            raise InputError("hmumu-dnn with --fileset needs a network: --network DIR.")
        from af_kit.analysis.hmumu.keras_model import keras_module

        if not (_data(arguments) / "network").exists():
            keras_module()  # it trains the network, and may be missing


def jobs_of(arguments: argparse.Namespace, workloads: Sequence[Workload]) -> list[Job]:
    """Return the workloads with their files; simulated ones are made now."""
    if arguments.fileset is not None:
        return [_own_job(arguments, workload) for workload in workloads]
    from af_kit.facility import samples
    from af_kit.facility.bench import Job

    folder = _data(arguments)
    sizes = arguments.events or [EVENTS]
    jobs = []
    for workload in workloads:
        filesets = {}
        for events in sizes:
            say(f"sample: {workload.sample}, {events:,} events, in {folder}")
            filesets[events] = samples.sample(workload.sample, events, folder)
        largest = filesets[max(filesets)]
        network = arguments.network
        if "network" in workload.options and network is None:
            say("network: trained on the simulated sample")
            network = samples.network(largest, folder)
        calibrations = largest.parent / "calibrations"
        given = workload.given(calibrations=calibrations if calibrations.exists() else None, network=network)
        jobs.append(Job(given, dict(filesets)))
    return jobs


def _data(arguments: argparse.Namespace) -> Path:
    """Return the folder of the simulated samples."""
    folder: Path = arguments.data or arguments.out / "samples"
    return folder.absolute()


def _own_job(arguments: argparse.Namespace, workload: Workload) -> Job:
    from af_kit.data.fileset.load import load_fileset
    from af_kit.facility import samples
    from af_kit.facility.bench import Job

    fileset = load_fileset(arguments.fileset, default_treename=workload.treename)
    given = workload.given(calibrations=arguments.calibrations, network=arguments.network)
    entries = samples.entries_of(fileset)
    whole = sum(entries.values())
    if whole == 0:
        raise InputError("--fileset: its files have no entries.")
    filesets: dict[int, Any] = {}
    for events in arguments.events or [whole]:
        own = samples.part(fileset, entries, events)
        actual = sum(entries[file.path] for dataset in own.values() for file in dataset.files)
        if events > whole:
            note(f"note: --events {events:,}: the fileset has {whole:,}, which are all measured.")
        filesets[actual] = own
    return Job(given, filesets)
