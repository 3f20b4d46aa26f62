"""The subject gets colours of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vmatte.frames import MatteBatch, SubjectBatch
from vmatte.imaging.compositing import recolored


def foreground(mattes: Iterable[MatteBatch]) -> Iterator[SubjectBatch]:
    """The subject of each frame in straight colour: the frame's own, and at soft edges those of a known foreground."""
    for matte in mattes:
        frames = matte.frames
        luma, chroma = frames.luma, frames.chroma
        if matte.foreground is not None:
            luma, chroma = recolored(luma, chroma, matte.foreground, matte.alpha, frames.coding)
        yield SubjectBatch(luma, chroma, matte.alpha, matte)
