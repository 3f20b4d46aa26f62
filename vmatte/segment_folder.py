"""Parts of a clip on disk, each there whole or not at all, whatever happens to the one who writes it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout


class SegmentFolder:
    """Finished parts of a clip, by their number: each is one or several files, and a record that is written last."""

    def __init__(self, folder: Path, *, summed: bool = False) -> None:
        self.folder = folder
        self.summed = summed
        """Whether a checksum is noted of each file, by which `intact` knows it: for what lies there for long."""

    def file(self, number: int, suffix: str) -> Path:
        """Where a finished file of the segment lies."""
        return self.folder / f"{number:06d}{suffix}"

    def unfinished(self, number: int, suffix: str) -> Path:
        """Where the same is written; what lay there is gone. Two renders never write the same."""
        path = self._part(number, suffix)
        remove(path)
        return path

    def finish(self, number: int, suffixes: Iterable[str], written: Sequence[int]) -> None:
        """From here on the segment exists, with the frames numbered `written`; files that were not written are none."""
        files: dict[str, dict[str, int | None]] = {}
        for suffix in suffixes:
            part, path = self._part(number, suffix), self.file(number, suffix)
            if not part.exists():
                continue
            _to_disk(part)
            if path.is_dir():
                remove(path)
            os.replace(part, path)
            files[suffix] = {"bytes": _size(path), "crc32": _crc32(path) if self.summed else None}
        write_whole(self.file(number, ".json"), json.dumps({"written": list(written), "files": files}))

    def written(self, number: int) -> tuple[int, ...] | None:
        """The numbers of the frames in a finished segment; None for one that is not, or no longer, whole."""
        try:
            record = json.loads(self.file(number, ".json").read_bytes())
            files = record["files"].items()
            if any(_size(self.file(number, suffix)) != noted["bytes"] for suffix, noted in files):
                return None
            return tuple(record["written"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def intact(self, number: int) -> bool:
        """Whether a finished segment's files, of which checksums were noted, have the bytes they were finished with."""
        try:
            files = json.loads(self.file(number, ".json").read_bytes())["files"].items()
            return all(_crc32(self.file(number, suffix)) == noted["crc32"] for suffix, noted in files)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False

    def drop(self, number: int) -> None:
        """The segment is no longer finished."""
        self.file(number, ".json").unlink(missing_ok=True)

    def discard(self, number: int, suffixes: Iterable[str]) -> None:
        """Remove what was begun of a segment."""
        for suffix in suffixes:
            self.unfinished(number, suffix)

    def clean(self) -> None:
        """Remove what was begun and never finished."""
        for entry in list(self.folder.iterdir()):
            if ".part" in entry.suffixes:
                remove(entry)

    def _part(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}.{_writer()}.part{suffix}"


def take_lock(folder: Path) -> BaseFileLock | None:
    """The folder's lock, held until it is released or its process ends; None where another has it. Raises OSError."""
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    except NotImplementedError as error:
        raise OSError(f"{folder}: its file system has no locks") from error
    return lock


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file so that it is there whole or not at all, whatever happens."""
    part = path.with_name(f"{path.name}.{_writer()}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _writer() -> str:
    """This process among those of all machines that share a folder: containers give theirs the same numbers."""
    return f"{platform.node().replace('.', '-')}-{os.getpid()}"


def _to_disk(path: Path) -> None:
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def _crc32(path: Path) -> int:
    """Of a file's bytes."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def remove(path: Path) -> None:
    """A file, or a folder and all in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
