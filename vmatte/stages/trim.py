"""The halo, which the stages before needed to see, is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vmatte.frames import FrameBatch, MatteBatch


def trim(mattes: Iterable[MatteBatch], frames: range) -> Iterator[MatteBatch]:
    """Those of the frames that are in `frames`; a batch that is partly outside becomes shorter."""
    for matte in mattes:
        index = matte.frames.index
        kept = range(max(index.start, frames.start), min(index.stop, frames.stop))
        if kept == index:
            yield matte
        elif kept:
            part = slice(kept.start - index.start, kept.stop - index.start)
            batch = matte.frames
            yield MatteBatch(
                FrameBatch(kept, batch.luma[part], batch.chroma[part], batch.coding),
                matte.alpha[part],
                None if matte.foreground is None else matte.foreground[part],
            )
