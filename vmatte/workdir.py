"""Where a render lives until it is whole: a hidden folder beside its first output, which outlives a crash.

.NAME.vmatte/lock                   held by the one render that works here
.NAME.vmatte/job.json               what the finished parts are parts of: the job's fingerprint
.NAME.vmatte/analysis.json          what the whole clip had to tell, where the job asks for it
.NAME.vmatte/segments/000007.mov    written as 000007.part.mov, then renamed
.NAME.vmatte/segments/000007.1.mov  the same of the second output
.NAME.vmatte/segments/000007.json   written last: from here on the segment exists
.NAME.vmatte/whole.mov              the joined output, before it gets its name
.NAME.vmatte/published.json         the report, written before the outputs get their names

Beside every other output lies such a folder too, with a lock and what is joined: a name is given in one step only where
the file already lies on the same disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from vmatte.encodings import PICTURE_SUFFIXES
from vmatte.errors import JobError
from vmatte.fingerprint import sha256_of_output
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
    check_parent(output)
    if folder:
        _check_folder(output, overwrite=overwrite)
    elif output.is_dir():
        raise JobError(f"output {output} is a folder; give a file name")
    elif (output.exists() or output.is_symlink()) and not overwrite:
        raise JobError(f"{output} exists; give -y to overwrite it, or another name")


def check_parent(output: Path) -> None:
    """JobError where the folder in which an output is to lie is not there."""
    if output.parent.exists() and not output.parent.is_dir():
        raise JobError(f"{output.parent} is a file, not a folder; give another name")
    if not output.parent.is_dir():
        raise JobError(f"folder {output.parent} does not exist; make it first")


def _check_folder(output: Path, *, overwrite: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise JobError(f"output {output} is a file; a picture sequence needs a folder")
    entries = list(output.iterdir())
    if entries and not overwrite:
        raise JobError(f"folder {output} is not empty; give -y to replace its pictures, or another name")
    strangers = [entry.name for entry in entries if entry.suffix not in PICTURE_SUFFIXES or not entry.is_file()]
    if strangers:
        raise JobError(f"folder {output} holds other things than pictures ({strangers[0]}); give another name")


def make_folders(outputs: Sequence[Path]) -> None:
    """Make the folders that the outputs lie in. Raises JobError."""
    for output in outputs:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JobError(f"the folder {output.parent} cannot be made: {error.strerror}") from error


def already_there(outputs: Sequence[Path]) -> set[Path]:
    """Those that a render of these outputs gave their names before it was killed: they are its own.

    Where it was killed in the very last step of cleaning up, what is left of its folder goes.
    """
    work = _folder_of(outputs[0])
    own = work.own(outputs)
    if own:
        return own
    with suppress(OSError):
        if _is_bare(work) and (lock := take_lock(work.path)) is not None:
            try:
                if _is_bare(work):
                    _clear(work)
            finally:
                lock.release()
    return set()


def _is_bare(work: WorkFolder) -> bool:
    return {entry.name for entry in work.path.iterdir()} <= {"lock"}


class WorkFolder:
    """The folder of one job; open it with `open_work_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments = SegmentFolder(path / "segments")

    @property
    def analysis(self) -> Path:
        """Where lies what was found of the whole clip."""
        return self.path / "analysis.json"

    def note_report(self, report: dict[str, object], sha256: dict[Path, str]) -> None:
        """Keep what a second run will say if this one is killed between giving the outputs their names and cleaning up,
        and by what it will know them."""
        known = {str(path): each for path, each in sha256.items()}
        write_whole(self.path / "published.json", json.dumps({"report": report, "sha256": known}))

    def published(self, outputs: Sequence[Path]) -> dict[str, Any] | None:
        """The report of a run that gave all outputs their names, and was killed before it could clean up."""
        if self.own(outputs) != set(outputs):
            return None
        report: dict[str, Any] = self._noted()["report"]
        return report

    def own(self, outputs: Sequence[Path]) -> set[Path]:
        """Those of the outputs that lie under their names and are of this render.

        Their bytes say so: what lies under a name may also be an older output, or another's.
        """
        found = set()
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            known = self._noted()["sha256"]
            for path in outputs:
                with suppress(OSError, LookupError):
                    if sha256_of_output(path) == known[str(path)]:
                        found.add(path)
        return found

    def _noted(self) -> dict[str, Any]:
        noted: dict[str, Any] = json.loads((self.path / "published.json").read_bytes())
        return noted


@contextmanager
def open_work_folder(outputs: Sequence[Path], fingerprint: str) -> Iterator[WorkFolder]:
    """The job's folder, with what an earlier run of the same job finished; of another job nothing is kept.

    It is gone when the context ends well, and where nothing in it is finished. Raises JobError where a place cannot
    be written, and where another vmatte is at work in it.
    """
    output, *others = outputs
    work = _folder_of(output)
    with ExitStack() as stack:
        stack.enter_context(_locked(work, output))
        for other in others:
            stack.enter_context(_place_beside(other))
        try:
            _take_over(work, output, fingerprint)
        except OSError as error:
            raise _unwritable(output, error) from error
        try:
            yield work
        except BaseException:
            _leave(work, output)
            raise
        _clear(work)


@contextmanager
def _place_beside(output: Path) -> Iterator[None]:
    """The folder in which an output that is not the first is put together; gone when the context ends."""
    work = _folder_of(output)
    with _locked(work, output):
        _give_back_replaced(work, output)
        try:
            yield
        finally:
            _give_back_replaced(work, output)
            _clear(work)


def whole_of(output: Path, suffix: str) -> Path:
    """Where an output lies before it gets its name; what lay there is gone."""
    whole = (_folder_of(output).path / "whole").with_suffix(suffix)
    remove(whole)
    return whole


@contextmanager
def _locked(work: WorkFolder, output: Path) -> Iterator[None]:
    try:
        lock = _take_lock_of(work)
    except OSError as error:
        raise _unwritable(output, error) from error
    if lock is None:
        raise JobError(f"{output} is being rendered by another vmatte; wait for it, or give another name")
    try:
        yield
    finally:
        with suppress(OSError):
            if _is_bare(work):  # nothing came of it
                _clear(work)
        lock.release()  # not by `with lock`, which would take it once more


def _take_lock_of(work: WorkFolder) -> BaseFileLock | None:
    while True:
        work.path.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # who had the folder before has just removed it
            return take_lock(work.path)


def _unwritable(output: Path, error: OSError) -> JobError:
    return JobError(f"folder {_place_of(output).parent} cannot be written: {error.strerror or error}")


def _take_over(work: WorkFolder, output: Path, fingerprint: str) -> None:
    record = work.path / "job.json"
    try:
        known = json.loads(record.read_bytes()).get("fingerprint")
    except (OSError, ValueError, AttributeError):
        known = None
    _give_back_replaced(work, output)
    if known == fingerprint:
        work.segments.folder.mkdir(exist_ok=True)
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
        _clear(work)


_CLEARED_LAST = ("job.json", "published.json", "lock")
"""A kill among these must not leave a folder that nothing clears: with `published.json` the next run still does."""


def _clear(work: WorkFolder) -> None:
    with suppress(OSError):
        entries = {entry.name: entry for entry in work.path.iterdir()}
        last = [entries.pop(name) for name in _CLEARED_LAST if name in entries]
        for entry in (*entries.values(), *last):
            remove(entry)
        work.path.rmdir()


def _give_back_replaced(work: WorkFolder, output: Path) -> None:
    """Pictures that were to be replaced return under their name where the new ones did not come."""
    replaced, place = work.path / "replaced", _place_of(output)
    if replaced.exists() and not place.exists():
        replaced.rename(place)


def _place_of(output: Path) -> Path:
    """Where an output lies: a link to a folder stays one, also while the folder is away; one to a file is replaced."""
    target = Path(os.path.realpath(output))
    return target if target.is_dir() or (_beside(target) / "replaced").is_dir() else output.absolute()


def _folder_of(output: Path) -> WorkFolder:
    return WorkFolder(_beside(_place_of(output)))


def _beside(place: Path) -> Path:
    name = place.name
    if len(name) > 40:
        name = f"{name[:30]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    return place.with_name(f".{name}.vmatte")


def publish(whole: Path, output: Path, *, overwrite: bool) -> None:
    """Give a finished, verified output its name, in one step. JobError where another file took it in the meantime."""
    try:
        if whole.is_dir():
            output = _place_of(output)
            replaced = whole.parent / "replaced"
            try:
                if output.exists():
                    _check_folder(output, overwrite=overwrite)
                    remove(replaced)  # of a run that was killed before it could clean up
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
