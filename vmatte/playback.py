"""A second video that runs beside the clip."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

import numpy as np
import torch

from vmatte.clip import ClipInfo, Coding
from vmatte.errors import SourceError
from vmatte.frames import FrameBatch
from vmatte.prefetch import prefetch
from vmatte.stages.upload import upload
from vmatte.video.read import decode

_AT_ONCE_BYTES = 256 * 2**20
"""Of the frames that are held while a video runs backwards: each such part of it is decoded from a key frame on."""


_FAR = 64
"""Frames ahead from which a key frame on the way is looked for: beginning anew takes some time too."""


class Playback:
    """The frames of a video, by number and in any order; quick in the order in which they are. It is decoded until
    `close`."""

    def __init__(self, video: ClipInfo, coding: Coding, device: torch.device) -> None:
        self.video = replace(video, alpha=False)
        self._coding, self._device = coding, device
        self._shown: FrameBatch | None = None
        self._ahead: FrameBatch | None = None
        self._coming: Generator[FrameBatch, None, None] | None = None
        self._held: tuple[range, list[FrameBatch]] = (range(0), [])

    def frame(self, number: int, backwards: bool = False) -> FrameBatch:
        """Frame `number`; where it cannot be decoded the last one before it, or the very first that can be."""
        return self._backwards(number) if backwards else self._forwards(number)

    def _forwards(self, number: int) -> FrameBatch:
        if self._shown is None or number < self._shown.index.start or self._is_nearer_from_a_key(number):
            self._start_at(number)
        while self._ahead is not None and self._ahead.index.start <= number:
            self._shown, self._ahead = self._ahead, self._next()
        assert self._shown is not None
        return self._shown

    def _is_nearer_from_a_key(self, number: int) -> bool:
        """Whether frames that are shown to nobody can be passed over on the way to this one."""
        video = self.video
        if self._ahead is None or number - self._ahead.index.start < _FAR or video.counted:
            return False
        between = video.pts[self._ahead.index.start + 1 : number + 1]
        return bool(np.isin(between, video.key_pts).any())

    def _start_at(self, number: int) -> None:
        """Begin with what is shown for frame `number`: further back, where that one is damaged."""
        first, back = number, 1
        while True:
            self.close()
            self._coming = prefetch(self._uploaded(range(first, self.video.frames)), depth=2)
            self._shown, self._ahead = self._next(), self._next()
            if first == 0 or (self._shown is not None and self._shown.index.start <= number):
                break
            first, back = max(0, first - back), 2 * back
        if self._shown is None:
            raise SourceError(f"{self.video.path}: none of its frames can be decoded")

    def _backwards(self, number: int) -> FrameBatch:
        if number not in self._held[0]:
            self.close()
            samples = 3 * self.video.width * self.video.height
            many = max(1, _AT_ONCE_BYTES // (samples if self._coding.bits == 8 else 2 * samples))
            frames = range(max(0, number + 1 - many), number + 1)
            self._held = (frames, list(self._uploaded(frames)))
        intact = [frame for frame in self._held[1] if frame.index.start <= number]
        return intact[-1] if intact else self._forwards(number)

    def _uploaded(self, frames: range) -> Iterator[FrameBatch]:
        return upload(decode(self.video, frames, batch=1), self._coding, self._device)

    def _next(self) -> FrameBatch | None:
        return None if self._coming is None else next(self._coming, None)

    def close(self) -> None:
        if self._coming is not None:
            self._coming.close()
        self._coming, self._shown, self._ahead, self._held = None, None, None, (range(0), [])
