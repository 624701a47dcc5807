"""What is right: the undisturbed result, or exactly a part of it, or an error that fits the fault."""

from __future__ import annotations

import shutil
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults import KINDS
from machine import Finding
from runs import CHUNK, bits, fileset, is_close, undisturbed

import af_kit as af
from af_kit.data.chunks import Chunk
from af_kit.errors import AfKitError
from af_kit.run.bookkeeping import Partial
from af_kit.run.stage_out import clean, verify, write_manifest


class Judge:
    """Compares results with those of undisturbed runs.

    Parameters
    ----------
    samples : Path
        The folder of the intact files.
    scratch : Path
        A folder for the skims of undisturbed runs.
    """

    def __init__(self, samples: Path, scratch: Path) -> None:
        self._samples, self._scratch = samples, scratch
        self._known: dict[str, Any] = {}

    def undisturbed(self, run: str) -> Any:
        """Return the undisturbed result of a run."""
        if run not in self._known:
            self._known[run] = self._threads(run, fileset(run, str(self._samples)))
            self._known[run].report.check()
        return self._known[run]

    def check_whole(self, run: str, result: Any, *, exact: bool) -> None:
        """Check a complete result: to the last bit, or with sums of weights that may be added in another order."""
        report, whole = result.report, self.undisturbed(run)
        if not report.complete:
            raise Finding("incomplete", f"although the fault was undone:\n{report}")
        report.check()
        if report.entries != whole.report.entries:
            raise Finding("wrong", f"{report.entries} instead of {whole.report.entries}")
        if not (bits(result) == bits(whole) if exact else is_close(dict(result), dict(whole))):
            differing = [str(key) for key in {*result, *whole} if bits(result.get(key)) != bits(whole.get(key))]
            raise Finding("wrong", f"{differing} differ from the undisturbed result ({exact=})")

    def check_part(self, run: str, result: Any, source: Any) -> None:
        """Check that an incomplete result holds what is not listed as failed, and nothing else.

        Parameters
        ----------
        source : fileset or list of Chunk
            What was processed, now intact.
        """
        report = result.report
        entries = report.entries
        if entries["processed"] + entries["failed"] != entries["planned"]:
            raise Finding("wrong", f"the entries do not add up:\n{report}")
        if sum(failure.entries for failure in report.failures) != entries["failed"]:
            raise Finding("wrong", f"the failures do not add up:\n{report}")
        if any(failure.kind == "function" for failure in report.failures):
            raise Finding("wrong", f"the function is blamed:\n{report}")
        chunks = source if isinstance(source, list) else af.plan(source, chunk_entries=CHUNK)
        failed = {(failure.dataset, failure.file, failure.entry_start) for failure in report.failures}
        done = [
            chunk
            for chunk in chunks
            if not {(chunk.dataset, chunk.file, start) for start in (chunk.entry_start, None)} & failed
        ]
        if sum(map(len, done)) != entries["processed"]:
            raise Finding("wrong", f"{sum(map(len, done))} entries are not listed as failed:\n{report}")
        local = [self._at_home(chunk) if "@" in chunk.file else chunk for chunk in done]
        expected = self._threads(run, local) if done else {}
        if not is_close(dict(result), dict(expected)):
            raise Finding("wrong", f"the result is not that of the chunks that are not listed:\n{report}")

    def _at_home(self, chunk: Chunk) -> Chunk:
        """Return the chunk of the intact file: this process has no proxy for the server."""
        path = str(self._samples / Path(chunk.file).name)
        return replace(chunk, file=path, replicas=(path,))

    def _threads(self, run: str, source: Any) -> Any:
        try:
            return undisturbed(run, source, self._samples, str(self._scratch))
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)


def check_error(error: AfKitError, faults: Sequence[Mapping[str, Any]]) -> None:
    """Check that an error has a message, and fits one of the faults."""
    text = "".join(traceback.format_exception(error, limit=-8))
    if not str(error).strip():
        raise Finding("unfitting", f"an error without a message: {text}")
    if not isinstance(error, tuple(fitting for fault in faults for fitting in KINDS[fault["kind"]].errors)):
        raise Finding("unfitting", f"this error does not fit the fault: {text}")


def check_skim(result: Any, output: str, folder: Path) -> None:
    """Check that the files of a skim are intact, and that nothing else is there after `clean`.

    Parameters
    ----------
    output : path or URL
        Where the skim was written.
    folder : Path
        The same as a local folder.
    """
    manifest = verify(write_manifest(result["skim"], output))
    clean(output, manifest)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {"manifest.json", *(row["file"] for row in manifest.rows if row["file"])}
    if found != expected:
        raise Finding(
            "left", f"{sorted(found ^ expected)[:5]} are in the skim's folder or in its manifest, not in both"
        )


def saved_entries(checkpoint: Path) -> int:
    """Return the number of entries that a checkpoint holds."""
    import pickle

    entries: Counter[str] = Counter()
    for path in checkpoint.rglob("*.pickle"):
        partial: Partial = pickle.loads(path.read_bytes()[32:])  # after the digest
        entries.update(partial.bookkeeping.entries)
    return entries.total()
