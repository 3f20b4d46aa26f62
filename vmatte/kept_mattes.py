"""Mattes that were made once, by content: another plate or format of a clip does not run the network again.

<cache>/mattes/<fingerprint>/about.json          whose matte it is; its time is when it was last used
<cache>/mattes/<fingerprint>/000007.alpha.mkv    a segment, as `segment_folder` has it
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vmatte.errors import JobError
from vmatte.frames import KeptMatte, LayerBatch
from vmatte.models.weights import cache_folder
from vmatte.segment_folder import SegmentFolder, take_lock, write_whole
from vmatte.segments import Segment
from vmatte.video.matte_files import MatteWriter, read_mattes

logger = logging.getLogger(__name__)

_ALPHA, _FOREGROUND = ".alpha.mkv", ".foreground.mkv"


class KeptMattes:
    """What is kept of one clip's mattes. Two renders of one clip may read it, one at a time adds to it."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path, self.writable = path, writable
        self._segments = SegmentFolder(path)

    def has(self, segment: Segment) -> bool:
        """Whether the segment's mattes are all there."""
        return self._segments.written(segment.number) is not None

    def read(self, segments: Sequence[Segment]) -> Iterator[KeptMatte]:
        """The mattes of all the segments' frames, in order. Raises SourceError where a file is damaged."""
        for segment in segments:
            number = segment.number
            foreground = self._segments.file(number, _FOREGROUND)
            written = self._segments.written(number) or ()
            if written:
                alpha = self._segments.file(number, _ALPHA)
                yield from read_mattes(alpha, foreground if foreground.exists() else None, written)

    def keep(self, segment: Segment, bits: int, layers: Iterable[LayerBatch]) -> Iterator[LayerBatch]:
        """The same layers, all of the segment's; their mattes, of foregrounds of `bits` bits, are written as they pass.

        Where the disk has no room for them the render goes on without.
        """
        alpha, foreground = (self._segments.unfinished(segment.number, suffix) for suffix in (_ALPHA, _FOREGROUND))
        writer = MatteWriter(alpha, foreground, bits)
        written: list[int] = []
        try:
            for layer in layers:
                layer.wait()
                if layer.matte is not None:
                    self._attempt(writer.write, layer.matte)
                written.extend(layer.index)
                yield layer
            self._attempt(writer.finish)
            self._attempt(self._segments.finish, segment.number, (_ALPHA, _FOREGROUND), written)
        finally:
            writer.close()

    def _attempt(self, step: Callable[..., None], *arguments: object) -> None:
        if not self.writable:
            return
        try:
            step(*arguments)
        except (OSError, av.error.FFmpegError) as error:
            self.writable = False
            logger.warning("the matte is not kept for later renders: %s: %s", self.path, error)


@contextmanager
def open_kept_mattes(fingerprint: str, about: dict[str, object]) -> Iterator[KeptMattes | None]:
    """The mattes kept under a fingerprint, with what they are `about`; None where the cache cannot be used."""
    path = _home() / fingerprint
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path)
        if lock is not None:
            SegmentFolder(path).clean()
            write_whole(path / "about.json", json.dumps(about))
        os.utime(path / "about.json")
    except OSError as error:
        logger.warning(
            "mattes are neither kept nor used again: %s cannot be written: %s", path, error.strerror or error
        )
        yield None
        return
    try:
        yield KeptMattes(path, writable=lock is not None)
    finally:
        if lock is not None:
            lock.release()


def alphas_of(fingerprint: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Number and alpha (H, W) in [0, 1] of every frame that is kept under a fingerprint; none where nothing is.

    Raises SourceError where a file is damaged.
    """
    folder = SegmentFolder(_home() / fingerprint)
    numbers = sorted(int(record.stem) for record in folder.folder.glob("[0-9]*.json"))
    for number in numbers:
        for matte in read_mattes(folder.file(number, _ALPHA), None, folder.written(number) or ()):
            yield matte.number, matte.alpha.astype(np.float32) / np.float32(65535)


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """One clip's kept mattes. `used` is when a render last did, in seconds since 1970."""

    path: Path
    about: dict[str, object]
    bytes: int
    used: float


def list_kept() -> list[KeptEntry]:
    """Everything that is kept, the longest unused first."""
    home = _home()
    entries = []
    for path in home.iterdir() if home.is_dir() else ():
        try:
            about = json.loads((path / "about.json").read_bytes())
            used = (path / "about.json").stat().st_mtime
            size = sum(file.stat().st_size for file in path.iterdir())
        except (OSError, ValueError):  # begun this moment, or going
            continue
        entries.append(KeptEntry(path, about, size, used))
    return sorted(entries, key=lambda entry: entry.used)


def prune(most_bytes: int) -> list[KeptEntry]:
    """Remove the longest unused until no more than `most_bytes` are left; what a render is using stays."""
    entries = list_kept()
    total = sum(entry.bytes for entry in entries)
    removed = []
    for entry in entries:
        if total <= most_bytes:
            break
        try:
            lock = take_lock(entry.path)
            if lock is None:
                continue
            with lock:
                # First what says that it is there.
                for record in sorted(entry.path.glob("*.json")):
                    record.unlink()
                shutil.rmtree(entry.path)
        except OSError as error:
            raise JobError(f"{entry.path} cannot be removed: {error.strerror or error}") from error
        total -= entry.bytes
        removed.append(entry)
    return removed


def _home() -> Path:
    return cache_folder() / "mattes"
