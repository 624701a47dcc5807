"""``af-kit lab``: Jupyter on a batch worker, and the way there."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from af_kit.cli.console import say, whole_number
from af_kit.errors import ConnectError, InputError

_SLURMS = ("partition", "account", "qos", "reservation", "constraint")
_ACTIONS = ("start", "list", "show", "stop")

_EPILOG = """\
examples:
  af-kit lab --slurm --cores 4 --memory "8 GiB" --walltime 4:00:00
  af-kit lab --slurm --partition short --account atlas --detach
  af-kit lab list                     what runs, and where
  af-kit lab show lab-1               the ssh line and the address again
  af-kit lab stop lab-1               end it

The job's Jupyter has this Python and opens in this folder. The address holds a token: who has it can do what you can.
Ctrl-C ends the lab, unless --detach; the end of the job does in any case. Notebooks are saved, kernels end.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "lab",
        parents=[common],
        help="run Jupyter on a batch worker, and say how to reach it",
        description="Run Jupyter on a batch worker, and say how to reach it: one ssh line, and an address.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=_ACTIONS, default="start", help="(default: start)")
    parser.add_argument("name", nargs="?", help="of the lab to show or to stop; of the one that is started: --name")
    kind = parser.add_argument_group("which batch system (default: the one whose commands are here)")
    kind = kind.add_mutually_exclusive_group()
    for name in ("slurm", "htcondor"):
        kind.add_argument(f"--{name}", dest="kind", action="store_const", const=name)
    job = parser.add_argument_group("the job")
    job.add_argument("--cores", type=whole_number(least=1), metavar="N", help="(default: af_kit.lab.cores)")
    job.add_argument("--memory", metavar="SIZE", help="such as '8 GiB' (default: af_kit.lab.memory)")
    job.add_argument("--walltime", metavar="TIME", help="such as 2h or 02:00:00 (default: af_kit.lab.walltime)")
    for name in _SLURMS:
        job.add_argument(f"--{name}", metavar="TEXT", help="Slurm's (default: af_kit.cluster.slurm)")
    job.add_argument("--container-image", metavar="IMAGE", help="HTCondor's (default: af_kit.cluster.htcondor)")
    job.add_argument(
        "--directive",
        action="append",
        metavar="LINE",
        help="a further line of the job: --directive=--gres=gpu:1 for Slurm, --directive='+Group = \"x\"' for HTCondor",
    )
    job.add_argument(
        "--name", dest="new", metavar="NAME", help="of the lab and of its job (default: lab-1, lab-2, ...)"
    )
    job.add_argument("--folder", type=Path, metavar="DIR", help="the folder that JupyterLab opens (default: this one)")
    way = parser.add_argument_group("the way there")
    way.add_argument("--login", metavar="HOST", help="[user@]host[:port] of your ssh (default: af_kit.lab.login)")
    way.add_argument(
        "--listen", choices=("network", "loopback"), help="where ssh ends: on the login node, or on the worker itself"
    )
    way.add_argument("--local-port", type=whole_number(least=1), metavar="PORT", help="on your machine")
    parser.add_argument("--timeout", type=whole_number(least=1), metavar="S", help="(default: af_kit.lab.timeout_s)")
    parser.add_argument("--detach", action="store_true", help="leave it running, and come back; it ends with its time")
    parser.add_argument("--all", action="store_true", help="list or stop: also those that have ended; all of them")
    parser.set_defaults(command=lab)


def lab(arguments: argparse.Namespace) -> int:
    """Start, list, show or stop."""
    return {"start": _start, "list": _list, "show": _show, "stop": _stop}[arguments.action](arguments)


def _start(arguments: argparse.Namespace) -> int:
    if arguments.name is not None:
        raise InputError(f"What is {arguments.name!r}? To name the new lab: --name {arguments.name}.")
    from af_kit import config
    from af_kit.lab import start

    kind = _kind(arguments)
    options = _options(kind, arguments)
    timeout_s = arguments.timeout or config.get("lab.timeout_s")
    with _signals_as_interrupt() as signals:
        with signals.held():  # a job that was just submitted must be known before it can be cancelled
            lab = start.submit(
                kind,
                root=arguments.folder or Path.cwd(),
                cores=arguments.cores,
                memory=arguments.memory,
                walltime=arguments.walltime,
                options=options,
                name=arguments.new,
                login=arguments.login,
                listen=arguments.listen,
                local_port=arguments.local_port,
            )
            guard = None if arguments.detach else start.own(lab)
        try:
            where = start.wait(lab, timeout_s=timeout_s, say=_tell)
            _print_way(lab, where)
            if arguments.detach:
                say(f"It goes on without this command. {_later(lab)}")
                return 0
            say("The lab ends with this command (Ctrl-C).")
            _tell(f"{lab.name} has ended: {start.watch(lab)}. Its log: {lab.log}")
        except BaseException as error:
            if arguments.detach and isinstance(error, (ConnectError, KeyboardInterrupt)):
                _tell(f"{lab.name} is left as it is. {_later(lab)}")
                raise
            with signals.held():
                start.stop(lab)
            _tell(f"{lab.name} is cancelled. Its log: {lab.log}")
            raise
        del guard  # kept until here; it sees that we have gone, and that nothing is left to do
    return 0


def _options(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of the batch system's own words."""
    from af_kit.lab import queue

    given = {name: getattr(arguments, name) for name in (*_SLURMS, "container_image") if getattr(arguments, name)}
    for name in given:
        if name not in queue.of(kind).OPTIONS:
            raise InputError(f"--{name.replace('_', '-')} means nothing to {kind}: leave it out.")
    return {**given, "submit" if kind == "htcondor" else "directives": arguments.directive or []}


def _kind(arguments: argparse.Namespace) -> str:
    if arguments.kind:
        return str(arguments.kind)
    there = [kind for kind, command in (("slurm", "sbatch"), ("htcondor", "condor_submit")) if shutil.which(command)]
    if len(there) == 1:
        return there[0]
    raise InputError(
        "Which batch system? --slurm or --htcondor. " + ("Both are here." if there else "Neither is here.")
    )


def _list(arguments: argparse.Namespace) -> int:
    from af_kit.lab import labs, queue, start

    rows = [("name", "job", "state", "log")]
    for lab in labs.everyone():
        job = start.look(lab)
        if job.state != "ended" or arguments.all:
            rows.append((lab.name, f"{lab.kind} {lab.job}", queue.words(job), str(lab.log)))
    if len(rows) == 1:
        say("No lab runs or waits." + ("" if arguments.all else " Those that have ended: --all."))
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        say("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from af_kit.lab import queue, start

    lab = _named(arguments.name)
    job = start.look(lab)
    where = lab.where()
    if job.state == "running" and where is not None:
        _print_way(lab, where)
        return 0
    words = "starting" if job.state == "running" else queue.words(job)
    raise ConnectError(f"{lab.name} cannot be reached: its job {lab.job} is {words}. Its log: {lab.log}")


def _stop(arguments: argparse.Namespace) -> int:
    from af_kit.lab import labs, start

    chosen = labs.everyone() if arguments.all else [_named(arguments.name)]
    for lab in chosen:
        if start.look(lab).state != "ended":
            start.stop(lab)
            say(f"{lab.name} is cancelled. Its log: {lab.log}")
        elif not arguments.all:
            say(f"{lab.name} has ended already. Its log: {lab.log}")
    return 0


def _named(name: str | None) -> Any:
    """The lab of that name; without one, the only one that has not ended."""
    from af_kit.lab import labs, start

    if name is not None:
        return labs.load(name)
    alive = [lab for lab in labs.everyone() if start.look(lab).state != "ended"]
    if len(alive) != 1:
        raise InputError(
            f"Which lab? There {'is none' if not alive else 'are ' + ', '.join(lab.name for lab in alive)}."
        )
    return alive[0]


def _print_way(lab: Any, where: Any) -> None:
    from af_kit.lab import tunnel

    say(f"{lab.name} runs on {where.host}. On your own machine, and leave it running:\n")
    say(f"  {tunnel.ssh_line(lab, where)}\n")
    say("Then in its browser, for JupyterLab and Dask's dashboards (the token in it is a password):\n")
    say(f"  {tunnel.url(lab, where)}\n")


def _later(lab: Any) -> str:
    return f"Back to it: af-kit lab show {lab.name}. To end it: af-kit lab stop {lab.name}."


def _tell(line: str) -> None:
    """What goes on is no part of the output."""
    print(line, file=sys.stderr, flush=True)


class _Signals:
    """SIGTERM and the end of the terminal taken like Ctrl-C; each of them later, while `held`."""

    def __init__(self) -> None:
        self._held = False
        self._came = False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        self._came = True
        if not self._held:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no signal interrupt the block; one that came ends it afterwards."""
        self._held, self._came = True, False
        try:
            yield
        finally:
            self._held = False
        if self._came:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _signals_as_interrupt() -> Iterator[_Signals]:
    signals = _Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signals) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
