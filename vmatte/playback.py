"""A second video that runs beside the clip."""

from __future__ import annotations

from collections.abc import Generator

import torch

from vmatte.clip import ClipInfo, Coding
from vmatte.errors import SourceError
from vmatte.frames import FrameBatch
from vmatte.prefetch import prefetch
from vmatte.stages.upload import upload
from vmatte.video.read import decode


class Playback:
    """The frames of a video, asked for by number; cheap where the numbers rise. It is decoded until `close`."""

    def __init__(self, video: ClipInfo, coding: Coding, device: torch.device) -> None:
        self.video = video
        self._coding, self._device = coding, device
        self._asked = 0
        self._shown: FrameBatch | None = None
        self._ahead: FrameBatch | None = None
        self._coming: Generator[FrameBatch, None, None] | None = None

    def frame(self, number: int) -> FrameBatch:
        """Frame `number`; where it cannot be decoded, one beside it. SourceError where there is none."""
        if self._shown is None or number < self._asked:
            self._start_at(number)
        self._asked = number
        while self._ahead is not None and self._ahead.index.start <= number:
            self._shown, self._ahead = self._ahead, self._next()
        assert self._shown is not None
        return self._shown

    def _start_at(self, number: int) -> None:
        self.close()
        decoded = decode(self.video, range(number, self.video.frames), batch=1)
        self._coming = prefetch(upload(decoded, self._coding, self._device), depth=2)
        self._shown, self._ahead = self._next(), self._next()
        if self._shown is None:
            raise SourceError(f"{self.video.path}: frame {number} cannot be decoded")

    def _next(self) -> FrameBatch | None:
        return None if self._coming is None else next(self._coming, None)

    def close(self) -> None:
        """Stop decoding."""
        if self._coming is not None:
            self._coming.close()
