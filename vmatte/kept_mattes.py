"""Mattes that were made once, by content: another plate or format of a clip does not run the network again.

<cache>/mattes/<fingerprint>/about.json          whose matte it is; its time is when it was last used
<cache>/mattes/<fingerprint>/survey.npz          what the network said of frames here and there, in small
<cache>/mattes/<fingerprint>/survey.close.npz    the same of more frames, by which people are told apart
<cache>/mattes/<fingerprint>/000007.alpha.mkv    a segment, as `segment_folder` has it, with checksums

Together they may take `MOST_BYTES`; what a render adds beyond that, it makes room for among the longest unused.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from filelock import BaseFileLock
from numpy.typing import NDArray

from vmatte.errors import JobError, KeptMatteError
from vmatte.frames import KeptMatte, RenderedBatch
from vmatte.models.weights import cache_folder
from vmatte.segment_folder import SegmentFolder, take_lock, write_whole
from vmatte.segments import Segment
from vmatte.video.matte_files import MatteWriter, read_mattes

logger = logging.getLogger(__name__)

MOST_BYTES = 20 * 10**9
"""MODNet's matte of `samples/avatar.mp4`, 720p, takes 4 MB a second: this is more than an hour of it."""

_ALPHA = ".alpha.mkv"


class KeptMattes:
    """What is kept of one clip's mattes. Two renders of one clip may read it, one at a time adds to it."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path, self.writable = path, writable
        self._segments = SegmentFolder(path, summed=True)
        self._damaged: set[int] = set()

    def has(self, segment: Segment) -> bool:
        """Whether the segment's mattes are all there, as far as their sizes tell."""
        return segment.number not in self._damaged and self._segments.written(segment.number) is not None

    def read(self, segments: Sequence[Segment]) -> Iterator[KeptMatte]:
        """The mattes of all the segments' frames, in order.

        Raises KeptMatteError where a segment is damaged or was removed; from then on it is not kept.
        """
        for segment in segments:
            try:
                yield from self.read_segment(segment.number)
            except KeptMatteError:
                self._damaged.add(segment.number)
                if self.writable:
                    self._segments.drop(segment.number)
                raise

    def read_segment(self, number: int) -> Iterator[KeptMatte]:
        """The mattes of one segment's frames. Raises KeptMatteError where it is damaged or was removed."""
        alpha = self._segments.file(number, _ALPHA)
        written = self._segments.written(number)
        # By a checksum of our own: FFV1's decoder only logs that a slice's is wrong, and shows what it makes of it.
        if written is None or not self._segments.intact(number):
            raise KeptMatteError(f"{alpha} is damaged or gone")
        if written:
            yield from read_mattes(alpha, written)

    def keep(self, segment: Segment, rendered: Iterable[RenderedBatch]) -> Iterator[RenderedBatch]:
        """The same batches, all of the segment's; their mattes are written as they pass.

        Where the disk has no room for them the render goes on without.
        """
        if not self.writable:
            yield from rendered
            return
        number = segment.number
        writer = MatteWriter(self._segments.unfinished(number, _ALPHA))
        written: list[int] = []

        def let_go() -> None:
            """Leaves nothing that is not finished: on a full disk, the render may need its room."""
            with suppress(OSError, av.error.FFmpegError):
                writer.close()
            with suppress(OSError):
                self._segments.discard(number, [_ALPHA])

        try:
            for batch in rendered:
                batch.wait()
                if self.writable and batch.matte is not None and not self._wrote(writer.write, batch.matte):
                    let_go()
                written.extend(batch.index)
                yield batch
            if self.writable and self._wrote(writer.finish):
                self._wrote(self._segments.finish, number, [_ALPHA], written)
        finally:
            let_go()

    def survey(self, *, closely: bool) -> bytes | None:
        """What `keep_survey` was given; None where nothing is kept."""
        with suppress(OSError):
            return self._survey_file(closely).read_bytes()
        return None

    def keep_survey(self, survey: bytes, *, closely: bool) -> None:
        """Keep it beside the mattes, so that they can be used without the network. Where the disk has no room for it
        the render goes on without."""
        if self.writable:
            self._wrote(write_whole, self._survey_file(closely), survey)

    def _survey_file(self, closely: bool) -> Path:
        return self.path / ("survey.close.npz" if closely else "survey.npz")

    def _wrote(self, step: Callable[..., None], *arguments: object) -> bool:
        try:
            step(*arguments)
        except (OSError, av.error.FFmpegError) as error:
            self.writable = False
            logger.warning("the matte is not kept for later renders: %s: %s", self.path, error.strerror or error)
            return False
        return True


@contextmanager
def open_kept_mattes(fingerprint: str, about: dict[str, object]) -> Iterator[KeptMattes]:
    """The mattes kept under a fingerprint, with what they are `about`; only to be read where another adds to them, or
    where the cache cannot be written."""
    path = _home() / fingerprint
    lock = _opened(path, about)
    try:
        yield KeptMattes(path, writable=lock is not None)
        if lock is not None:
            _make_room()
    finally:
        if lock is not None:
            lock.release()


def _opened(path: Path, about: dict[str, object]) -> BaseFileLock | None:
    """The lock of a folder that is ready to be written; None where it is not."""
    lock = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path)
        if lock is not None:
            SegmentFolder(path).clean()
            write_whole(path / "about.json", json.dumps(about))
            return lock
        with suppress(FileNotFoundError):  # who adds to it may have begun this moment
            os.utime(path / "about.json")
    except OSError as error:
        if lock is not None:
            lock.release()
        logger.warning("the matte is not kept for later renders: %s: %s", path, error.strerror or error)
    return None


def _make_room() -> None:
    try:
        removed = prune(MOST_BYTES)
    except JobError as error:
        logger.warning("%s", error)
        return
    if removed:
        freed = sum(entry.bytes for entry in removed) / 1e9
        logger.info("kept mattes make room for newer ones: %d removed, %.1f GB", len(removed), freed)


def alphas_of(fingerprint: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Number and alpha (H, W) in [0, 1] of every frame that is kept under a fingerprint; none where nothing is.

    Raises KeptMatteError where a file is damaged.
    """
    path = _home() / fingerprint
    kept = KeptMattes(path, writable=False)
    for number in sorted(int(record.stem) for record in path.glob("[0-9]*.json")):
        for matte in kept.read_segment(number):
            yield matte.number, matte.alpha.astype(np.float32) / np.float32(65535)


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """One clip's kept mattes. `about` is empty where a crash took it; `used` is the last time, in s since 1970."""

    path: Path
    about: dict[str, object]
    bytes: int
    used: float


def list_kept() -> list[KeptEntry]:
    """Everything that is kept, the longest unused first."""
    home = _home()
    entries = []
    for path in home.iterdir() if home.is_dir() else ():
        record = path / "about.json"
        try:
            size = sum(file.stat().st_size for file in path.iterdir())
            used = (record if record.exists() else path).stat().st_mtime
        except OSError:  # it is being removed, or was never ours
            continue
        entries.append(KeptEntry(path, _about(record), size, used))
    return sorted(entries, key=lambda entry: entry.used)


def _about(record: Path) -> dict[str, object]:
    try:
        about = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


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
            try:
                # First what says that they are there.
                for record in entry.path.glob("*.json"):
                    record.unlink()
                shutil.rmtree(entry.path)
            finally:
                lock.release()
        except OSError as error:
            raise JobError(f"{entry.path} cannot be removed: {error.strerror or error}") from error
        total -= entry.bytes
        removed.append(entry)
    return removed


def _home() -> Path:
    return cache_folder() / "mattes"
