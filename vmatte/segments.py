"""A clip is rendered in segments: runs of frames that can be rendered alone, in any order, and joined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """The `number`-th run of a clip; `frames` are those it writes."""

    number: int
    frames: range


def plan_segments(frames: int, length: int | None) -> list[Segment]:
    """Cut `frames` frames into segments of `length`; the last may be shorter. None means one segment."""
    if length is not None and length < 1:
        raise ValueError(f"a segment needs at least one frame, not {length}")
    step = length or max(frames, 1)
    return [
        Segment(number, range(start, min(start + step, frames))) for number, start in enumerate(range(0, frames, step))
    ]
