"""Where a render lives until it is whole: a hidden folder beside the output, which outlives a crash.

.NAME.vmatte/lock                   held by the one render that works here
.NAME.vmatte/job.json               what the finished parts are parts of: the job's fingerprint
.NAME.vmatte/segments/000007.mov    written as 000007.part.mov, then renamed
.NAME.vmatte/segments/000007.json   written last: from here on the segment exists
.NAME.vmatte/published.json         the report, written before the output gets its name
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmatte.errors import JobError
from vmatte.segment_folder import SegmentFolder, remove, take_lock, write_whole

logger = logging.getLogger(__name__)


def check_output(output: Path, inputs: list[Path], *, overwrite: bool, folder: bool) -> None:
    """JobError where `output` may not be written: it is an input, it is there already, or it is of the wrong kind."""
    try:
        _check_place(output, inputs, overwrite=overwrite, folder=folder)
    except OSError as error:
        raise JobError(f"{output} cannot be written: {error.strerror}; give another name") from error


def _check_place(output: Path, inputs: list[Path], *, overwrite: bool, folder: bool) -> None:
    for path in inputs:
        if path.exists() and output.exists() and output.samefile(path):
            raise JobError(f"output {output} is the input itself; give another name")
        if folder and output.resolve() in path.resolve().parents:
            raise JobError(f"folder {output} holds the input {path.name}; give another name")
    if output.parent.exists() and not output.parent.is_dir():
        raise JobError(f"{output.parent} is a file, not a folder; give another name")
    if not output.parent.is_dir():
        raise JobError(f"folder {output.parent} does not exist; make it first")
    if folder:
        _check_folder(output, overwrite=overwrite)
    elif output.is_dir():
        raise JobError(f"output {output} is a folder; give a file name")
    elif output.exists() and not overwrite:
        raise JobError(f"{output} exists; give -y to overwrite it, or another name")


def _check_folder(output: Path, *, overwrite: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise JobError(f"output {output} is a file; a picture sequence needs a folder")
    entries = list(output.iterdir())
    if entries and not overwrite:
        raise JobError(f"folder {output} is not empty; give -y to replace its pictures, or another name")
    strangers = [entry.name for entry in entries if entry.suffix != ".png" or not entry.is_file()]
    if strangers:
        raise JobError(f"folder {output} holds other things than pictures ({strangers[0]}); give another name")


def was_published(output: Path, suffix: str) -> bool:
    """Whether a render gave the output its name, and was killed before it could clean up."""
    return _folder_of(output).published(output, suffix) is not None


class WorkFolder:
    """The folder of one job; open it with `open_work_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments = SegmentFolder(path / "segments")

    @property
    def whole(self) -> Path:
        """Where the output lies before it gets its name, without its suffix."""
        return self.path / "whole"

    def note_report(self, report: dict[str, object]) -> None:
        """Keep what a second run will say if this one is killed between giving the output its name and cleaning up."""
        write_whole(self.path / "published.json", json.dumps(report))

    def published(self, output: Path, suffix: str) -> dict[str, object] | None:
        """The report of a run that gave the output its name, and was killed before it could clean up."""
        try:
            report = json.loads((self.path / "published.json").read_bytes())
        except (OSError, ValueError):
            return None
        whole = self.whole.with_suffix(suffix)
        done = output.exists() and (not whole.exists() or whole.samefile(output))
        return report if done and isinstance(report, dict) else None


@contextmanager
def open_work_folder(output: Path, fingerprint: str) -> Iterator[WorkFolder]:
    """The job's folder, with what an earlier run of the same job finished; of another job nothing is kept.

    It is gone when the context ends well, and where nothing in it is finished. Raises JobError where the place cannot
    be written, and where another vmatte is at work in it.
    """
    work = _folder_of(output)
    try:
        work.segments.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"folder {output.parent} cannot be written: {error.strerror}") from error
    with _locked(work, output):
        work.segments.folder.mkdir(parents=True, exist_ok=True)  # who had it before may have removed it
        _take_over(work, output, fingerprint)
        try:
            yield work
        except BaseException:
            _leave(work, output)
            raise
        shutil.rmtree(work.path, ignore_errors=True)


@contextmanager
def _locked(work: WorkFolder, output: Path) -> Iterator[None]:
    try:
        lock = take_lock(work.path)
    except OSError as error:
        raise JobError(f"folder {output.parent} cannot be written: {error.strerror or error}") from error
    if lock is None:
        raise JobError(f"{output} is being rendered by another vmatte; wait for it, or give another name")
    with lock:
        yield


def _take_over(work: WorkFolder, output: Path, fingerprint: str) -> None:
    record = work.path / "job.json"
    try:
        known = json.loads(record.read_bytes()).get("fingerprint")
    except (OSError, ValueError, AttributeError):
        known = None
    _give_back_replaced(work, output)
    if known == fingerprint:
        work.segments.clean()
        return
    if known is not None:
        logger.warning(
            "%s: an unfinished render is of another clip, version or choice of options; it begins anew", output
        )
    for entry in work.path.iterdir():
        if entry.name != "lock":
            remove(entry)
    work.segments.folder.mkdir()
    write_whole(record, json.dumps({"fingerprint": fingerprint}))


def _leave(work: WorkFolder, output: Path) -> None:
    _give_back_replaced(work, output)
    if any(work.segments.folder.glob("*.json")):
        logger.info("%s: what is finished stays in %s; the same command goes on from there", output, work.path)
        work.segments.clean()
        for entry in work.path.glob("whole*"):
            remove(entry)
    else:
        shutil.rmtree(work.path, ignore_errors=True)


def _give_back_replaced(work: WorkFolder, output: Path) -> None:
    """Pictures that were to be replaced return under their name where the new ones did not come."""
    replaced = work.path / "replaced"
    if replaced.exists() and not output.exists():
        replaced.rename(output)


def _folder_of(output: Path) -> WorkFolder:
    beside = (output.resolve() if output.is_dir() else output.absolute()).parent
    name = output.name
    if len(name) > 40:
        name = f"{name[:30]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return WorkFolder(beside / f".{name}.vmatte")


def publish(whole: Path, output: Path, *, overwrite: bool) -> None:
    """Give a finished, verified output its name, in one step. JobError where another file took it in the meantime."""
    try:
        if whole.is_dir():
            output = output.resolve()  # a link to a folder stays one
            replaced = whole.parent / "replaced"
            try:
                if output.exists():
                    _check_folder(output, overwrite=overwrite)
                    output.rename(replaced)
                whole.rename(output)
            except BaseException:
                if replaced.exists() and not output.exists():
                    replaced.rename(output)
                raise
            return
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(whole, output)
        else:
            _take_free_name(whole, output)
    except FileExistsError as error:
        raise JobError(f"{output} turned up during the render; give -y to overwrite it, or another name") from error
    except OSError as error:
        raise JobError(f"{output} cannot be written: {error.strerror}") from error


def _take_free_name(whole: Path, output: Path) -> None:
    try:
        os.link(whole, output)  # unlike a rename it fails where the name is taken
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if output.exists():
            raise FileExistsError(output) from None
        os.replace(whole, output)
