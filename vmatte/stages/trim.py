"""The halo, which the stages before needed to see, is dropped, and no batch goes from one segment into the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vmatte.frames import MatteBatch
from vmatte.segments import Segment


def trim(mattes: Iterable[MatteBatch], segments: Sequence[Segment]) -> Iterator[MatteBatch]:
    """Those of the frames that the segments write; a batch that is partly outside becomes shorter. Both are in
    order."""
    current = 0
    for matte in mattes:
        index = matte.frames.index
        while current < len(segments) and segments[current].frames.stop <= index.start:
            current += 1
        for segment in segments[current:][: len(index)]:
            kept = range(max(index.start, segment.frames.start), min(index.stop, segment.frames.stop))
            if kept == index:
                yield matte
            elif kept:
                yield matte.part(kept)
