"""A clip is rendered in segments: runs of frames that can be rendered alone, in any order, and joined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """The `number`-th run of a clip: `frames` are those it writes, `read` those and the halo that they depend on."""

    number: int
    frames: range
    read: range


def plan_segments(frames: int, length: int | None, lead: int, tail: int) -> list[Segment]:
    """Cut `frames` frames into segments of `length`; the last may be shorter. None means one segment.

    Each reads `lead` frames before its own and `tail` behind them, as far as the clip has them.
    """
    if length is not None and length < 1:
        raise ValueError(f"a segment needs at least one frame, not {length}")
    step = length or max(frames, 1)
    segments = []
    for number, start in enumerate(range(0, frames, step)):
        stop = min(start + step, frames)
        read = range(max(start - lead, 0), min(stop + tail, frames))
        segments.append(Segment(number, range(start, stop), read))
    return segments
