"""``af-kit lab``: run Jupyter in a batch job, and show how to reach it."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from af_kit.cli.console import answer, say, whole_number
from af_kit.cli.exit_codes import epilog
from af_kit.errors import ConnectError, InputError

_SUBMIT_COMMANDS = {"slurm": "sbatch", "htcondor": "condor_submit"}
_OPTIONS = {
    "slurm": ("partition", "account", "qos", "reservation", "constraint"),
    "htcondor": ("container_image",),
}
_ACTIONS = ("start", "list", "show", "stop")

_EPILOG = """\
examples:
  af-kit lab --slurm --cores 4 --memory "8 GiB" --walltime 4:00:00
  af-kit lab --slurm --partition short --account atlas --detach
  af-kit lab list                     list your labs
  af-kit lab show lab-1               print the ssh command and the address again
  af-kit lab stop lab-1               stop a lab

Jupyter runs with this Python and opens this folder. The address contains a token: anyone who has it can act as you.
Without --detach, Ctrl-C stops the lab. It also ends with its job. Notebooks are saved, kernels end.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "lab",
        parents=[common],
        help="run Jupyter in a batch job, and show how to reach it",
        description="Run Jupyter in a batch job, and show how to reach it: an ssh command and an address.",
        epilog=_EPILOG + epilog("lab"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=_ACTIONS, default="start", help="(default: start)")
    parser.add_argument("name", nargs="?", help="the lab to show or stop (to name a new lab: --name)")
    batch = parser.add_argument_group("batch system (default: the one whose commands this machine has)")
    batch = batch.add_mutually_exclusive_group()
    for name, program in _SUBMIT_COMMANDS.items():
        help_text = f"submit the job with {program}"
        batch.add_argument(f"--{name}", dest="backend", action="store_const", const=name, help=help_text)
    job = parser.add_argument_group("the job")
    job.add_argument("--cores", type=whole_number(least=1), metavar="N", help="(default: af_kit.lab.cores)")
    job.add_argument("--memory", metavar="SIZE", help="such as '8 GiB' (default: af_kit.lab.memory)")
    job.add_argument("--walltime", metavar="TIME", help="such as 2h or 02:00:00 (default: af_kit.lab.walltime)")
    for backend, names in _OPTIONS.items():
        for name in names:
            flag, default = f"--{name.replace('_', '-')}", f"af_kit.cluster.{backend}.{name}"
            job.add_argument(flag, metavar="TEXT", help=f"for {backend} (default: {default})")
    job.add_argument(
        "--directive",
        action="append",
        metavar="LINE",
        help="an additional line: --directive=--gres=gpu:1 for Slurm, --directive='+Group = \"x\"' for HTCondor",
    )
    job.add_argument(
        "--name", dest="new", metavar="NAME", help="name of the lab and its job (default: lab-1, lab-2, ...)"
    )
    job.add_argument("--folder", type=Path, metavar="DIR", help="the folder that JupyterLab opens (default: this one)")
    way = parser.add_argument_group("the connection")
    way.add_argument("--login", metavar="HOST", help="[user@]host[:port] for ssh (default: af_kit.lab.login)")
    way.add_argument(
        "--listen", choices=("network", "loopback"), help="whether ssh ends on the login node or on the worker"
    )
    way.add_argument("--local-port", type=whole_number(least=1), metavar="PORT", help="port on your machine")
    parser.add_argument("--timeout", type=whole_number(least=1), metavar="S", help="(default: af_kit.lab.timeout_s)")
    parser.add_argument("--detach", action="store_true", help="leave it running until its time limit")
    parser.add_argument("--all", action="store_true", help="list: include labs that have ended; stop: stop all labs")
    parser.set_defaults(command=lab)


def lab(arguments: argparse.Namespace) -> int:
    """Start, list, show or stop labs, and return the exit code."""
    return {"start": _start, "list": _list, "show": _show, "stop": _stop}[arguments.action](arguments)


def _start(arguments: argparse.Namespace) -> int:
    if arguments.name is not None:
        raise InputError(f"Unexpected argument {arguments.name!r}. To name the new lab, use --name {arguments.name}.")
    from af_kit import config
    from af_kit.lab import start

    backend = _backend(arguments)
    options = _options(backend, arguments)
    timeout_s = arguments.timeout or config.get("lab.timeout_s")
    with _signals_as_interrupt() as signals:
        with signals.held():  # the id of a job must be known before the job can be cancelled
            lab = start.submit(
                backend,
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
            guard = None if arguments.detach else start.end_with_process(lab)
        try:
            _print_connection(lab, start.wait(lab, timeout_s=timeout_s, say=_progress))
            if arguments.detach:
                say(f"The lab continues without this command. {_later(lab)}")
                return 0
            say("Ctrl-C stops the lab.")
            _progress(f"{lab.name} has ended: {start.wait_for_end(lab)}. Its log: {lab.log}")
        except BaseException as error:
            if arguments.detach and isinstance(error, (ConnectError, KeyboardInterrupt)):
                _progress(f"{lab.name} stays in the queue. {_later(lab)}")
                raise
            with signals.held():
                start.stop(lab)
            _progress(f"{lab.name} was cancelled. Its log: {lab.log}")
            raise
        del guard  # it has nothing left to do
    return 0


def _options(backend: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options for the batch system itself."""
    given = {name: getattr(arguments, name) for names in _OPTIONS.values() for name in names}
    given = {name: value for name, value in given.items() if value}
    for name in given:
        if name not in _OPTIONS[backend]:
            raise InputError(f"--{name.replace('_', '-')} is not an option for {backend}.")
    return {**given, "submit" if backend == "htcondor" else "directives": arguments.directive or []}


def _backend(arguments: argparse.Namespace) -> str:
    if arguments.backend:
        return str(arguments.backend)
    found = [name for name, command in _SUBMIT_COMMANDS.items() if shutil.which(command)]
    if len(found) == 1:
        return found[0]
    raise InputError(f"Give --slurm or --htcondor: this machine has the commands of {'both' if found else 'neither'}.")


def _list(arguments: argparse.Namespace) -> int:
    from af_kit.lab import labs, queue, start

    rows = [("name", "job", "state", "log")]
    for lab in labs.load_all():
        job = start.status(lab)
        if job.state != "ended" or arguments.all:
            rows.append((lab.name, f"{lab.backend} {lab.job}", queue.state(job), str(lab.log)))
    if len(rows) == 1:
        say("No lab is running or pending." + ("" if arguments.all else " Use --all for labs that have ended."))
        return 0
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        answer("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from af_kit.lab import queue, start

    lab = _named(arguments.name)
    job = start.status(lab)
    endpoint = lab.endpoint()
    if job.state == "running" and endpoint is not None:
        _print_connection(lab, endpoint)
        return 0
    state = "starting" if job.state == "running" else queue.state(job)
    raise ConnectError(f"{lab.name} cannot be reached: its job {lab.job} is {state}. Its log: {lab.log}")


def _stop(arguments: argparse.Namespace) -> int:
    from af_kit.lab import labs, start

    chosen = labs.load_all() if arguments.all else [_named(arguments.name)]
    for lab in chosen:
        if start.status(lab).state != "ended":
            start.stop(lab)
            say(f"{lab.name} was cancelled. Its log: {lab.log}")
        elif not arguments.all:
            say(f"{lab.name} had already ended. Its log: {lab.log}")
    return 0


def _named(name: str | None) -> Any:
    """Return the lab with this name, or without a name the only one that has not ended."""
    from af_kit.lab import labs, start

    if name is not None:
        return labs.load(name)
    alive = [lab for lab in labs.load_all() if start.status(lab).state != "ended"]
    if len(alive) != 1:
        running = f"labs are running: {', '.join(lab.name for lab in alive)}" if alive else "no lab is running"
        raise InputError(f"Give the name of a lab; {running}.")
    return alive[0]


def _print_connection(lab: Any, endpoint: Any) -> None:
    from af_kit.lab import tunnel

    answer(f"{lab.name} runs on {endpoint.host}. On your own machine, run this and leave it running:\n")
    answer(f"  {tunnel.ssh_line(lab, endpoint)}\n")
    answer("Then open this in a browser there, for JupyterLab and Dask's dashboards (the token in it is a password):\n")
    answer(f"  {tunnel.url(lab, endpoint)}\n")


def _later(lab: Any) -> str:
    return f"To return to it: af-kit lab show {lab.name}. To stop it: af-kit lab stop {lab.name}."


def _progress(line: str) -> None:
    """Print to stderr, as progress is not output."""
    print(line, file=sys.stderr, flush=True)


class _Signals:
    """A handler that treats SIGTERM and the end of the terminal like Ctrl-C, and delays all three while `held`."""

    def __init__(self) -> None:
        self._held = False
        self._received = False

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        self._received = True
        if not self._held:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals until the end of the block."""
        self._held, self._received = True, False
        try:
            yield
        finally:
            self._held = False
        if self._received:
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
