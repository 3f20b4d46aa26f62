"""The subject gets colours of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vmatte.frames import MatteBatch, SubjectBatch
from vmatte.imaging.foreground import estimate_foreground
from vmatte.options import Colors


def foreground(mattes: Iterable[MatteBatch], colors: Colors) -> Iterator[SubjectBatch]:
    """The subject of each frame in straight colour: the frame's own where alpha is full, and elsewhere an estimate or
    the frame's own too."""
    for matte in mattes:
        frames = matte.frames
        luma, chroma = frames.luma, frames.chroma
        if colors == "estimate":
            luma, chroma = estimate_foreground(luma, chroma, matte.alpha, frames.coding)
        yield SubjectBatch(luma, chroma, matte.alpha, matte)
