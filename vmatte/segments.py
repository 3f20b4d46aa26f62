"""A clip is rendered in segments: runs of frames that can be rendered alone, in any order, and joined."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """The `number`-th run of a clip: `frames` are those it writes, `read` those and the halo that they depend on."""

    number: int
    frames: range
    read: range


def plan_segments(frames: int, length: int | None, lead: int | None, tail: int) -> list[Segment]:
    """Cut `frames` frames into segments of `length`; the last may be shorter. None means one segment.

    Each reads `lead` frames before its own (None: all there are) and `tail` behind them, as far as the clip has them.
    """
    if length is not None and length < 1:
        raise ValueError(f"a segment needs at least one frame, not {length}")
    step = length or max(frames, 1)
    segments = []
    for number, start in enumerate(range(0, frames, step)):
        stop = min(start + step, frames)
        first = 0 if lead is None else max(start - lead, 0)
        segments.append(Segment(number, range(start, stop), range(first, min(stop + tail, frames))))
    return segments


def runs_of(segments: Iterable[Segment]) -> list[tuple[Segment, ...]]:
    """Segments that follow each other, together: their frames can be read once, without a halo in between."""
    runs: list[list[Segment]] = []
    for segment in segments:
        if runs and runs[-1][-1].number + 1 == segment.number:
            runs[-1].append(segment)
        else:
            runs.append([segment])
    return [tuple(run) for run in runs]
