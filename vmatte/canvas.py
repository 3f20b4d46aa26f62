"""The pictures that a render makes: their size, where the clip lies on them, and which of its frames is shown when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm

import numpy as np
from numpy.typing import NDArray

from vmatte.clip import BT709, ClipInfo, Coding
from vmatte.errors import JobError
from vmatte.job import SIDES, RenderJob
from vmatte.options import Subject
from vmatte.outputs import Output
from vmatte.timecode import timecode_at

_FINEST = 100_000
"""Denominator of a rate, at most: 23.976024 is 24000/1001."""
_MOST_TICKS = 2**31 - 1
"""A second that FFmpeg can count in."""


@dataclass(frozen=True, slots=True)
class PlateShape:
    """Size of a file that lies behind the subject, upright, and its frames a second: None for a picture."""

    width: int
    height: int
    rate: Fraction | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a clip comes to lie on a canvas of (height, width) `size`: its picture is scaled by `scale`, and its upper
    left corner comes to (`left`, `top`), in pixels of the canvas."""

    size: tuple[int, int]
    scale: Fraction
    left: Fraction
    top: Fraction


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """What a clip is rendered on."""

    clip: ClipInfo
    output: ClipInfo
    """The clip as the output has it: of its size, with its times."""
    shows: NDArray[np.int64]
    """(N,): for each frame of the output the number of the clip's frame that it shows; never falling."""
    placement: Placement | None
    """None: the clip's picture lies on it as it is."""
    tone_mapped: bool = False
    """Whether composites of it, and what has eight bits, are SDR though the clip is HDR."""

    def is_mapped(self, output: Output) -> bool:
        """Whether an output of an HDR clip is SDR: a composite, and what has eight bits, in which HDR shows its steps
        and which players take for SDR."""
        return self.tone_mapped and (output.layer == "composite" or output.row.bits == 8)

    def clip_of(self, output: Output) -> ClipInfo:
        """The clip as an output has it."""
        return self.composite if self.is_mapped(output) else self.output

    @property
    def composite(self) -> ClipInfo:
        """The clip as composites have it."""
        return (
            replace(self.output, coding=Coding(BT709, self.output.delivery.bits)) if self.tone_mapped else self.output
        )

    @property
    def retimed(self) -> bool:
        """Whether frames of the clip are left out or repeated."""
        return not np.array_equal(self.shows, np.arange(self.clip.frames))

    def shown(self, frames: range) -> range:
        """The frames of the output that show these frames of the clip."""
        first, stop = np.searchsorted(self.shows, [frames.start, frames.stop])
        return range(int(first), int(stop))

    def clip_frames_before(self, number: int) -> int:
        """How many frames of the clip are done with before frame `number` of the output."""
        return int(self.shows[number]) if number < len(self.shows) else self.clip.frames

    def hidden(self, written: list[int]) -> int:
        """How many frames of the clip should be seen and are not, where the output has only the frames `written`."""
        return len(np.unique(self.shows)) - len(np.unique(self.shows[written]))


def plan_canvas(job: RenderJob, clip: ClipInfo, plate: PlateShape | None) -> Canvas:
    """The canvas that a job asks for; `plate` is its background, where that is a file. Raises JobError."""
    width, height = canvas_size(job, (clip.width, clip.height), plate)
    placement = place_on(job.subject, (clip.width, clip.height), (width, height))
    output = replace(clip, width=width, height=height)
    shows = np.arange(clip.frames)
    rate = frame_rate(job, plate)
    if rate is not None:
        output, shows = _at_rate(output, rate)
    return Canvas(clip, output, shows, placement, job.tone_map == "auto" and clip.delivery.is_hdr)


def canvas_size(job: RenderJob, clip: tuple[int, int], plate: PlateShape | None) -> tuple[int, int]:
    """(width, height) of the output. Raises JobError."""
    if job.size == "clip":
        return clip
    if job.size != "plate":
        return job.size
    if plate is None:
        raise JobError("size is that of the plate, and there is none; give a picture or a video, or WIDTHxHEIGHT")
    if plate.width not in SIDES or plate.height not in SIDES:
        raise JobError(f"the plate is {plate.width}×{plate.height}, which is no size of an output; give WIDTHxHEIGHT")
    return plate.width, plate.height


def frame_rate(job: RenderJob, plate: PlateShape | None) -> Fraction | None:
    """Frames a second of the output; None for the clip's own times. Raises JobError."""
    if job.rate == "clip":
        return None
    if job.rate != "plate":
        return Fraction(job.rate).limit_denominator(_FINEST)
    if plate is None or plate.rate is None:
        raise JobError("rate is that of the plate, and that does not move; give a video, or a number such as 25")
    return plate.rate


def place_on(subject: Subject, clip: tuple[int, int], canvas: tuple[int, int]) -> Placement | None:
    """Where a clip's picture comes to lie, both (width, height); None where nothing is to be done. Raises JobError."""
    width, height = canvas
    scale = Fraction(str(subject.scale)) * height / clip[1]
    left, top = (
        _edge(anchor, whole, scale * side)
        for anchor, whole, side in zip((subject.x, subject.y), canvas, clip, strict=True)
    )
    if left >= width or top >= height or left + scale * clip[0] <= 0 or top + scale * clip[1] <= 0:
        raise JobError(f"subject at x {subject.x}, y {subject.y} lies outside the picture of {width}×{height}")
    if clip == canvas and scale == 1 and left == top == 0:
        return None
    return Placement((height, width), scale, left, top)


def _edge(anchor: str, whole: int, part: Fraction) -> Fraction:
    """Where the left or upper edge of a side of length `part` comes to lie on one of length `whole`."""
    if anchor in ("left", "top"):
        return Fraction(0)
    if anchor in ("right", "bottom"):
        return whole - part
    middle = Fraction(1, 2) if anchor == "center" else Fraction(anchor.removesuffix("%")) / 100
    return whole * middle - part / 2


def _at_rate(clip: ClipInfo, rate: Fraction) -> tuple[ClipInfo, NDArray[np.int64]]:
    """The clip with frame k at k / rate seconds from its first one's time, and the frame that is on screen then."""
    start = int(clip.pts[0]) * clip.time_base
    tick = Fraction(1, lcm(rate.numerator, start.denominator, clip.clock_start.denominator))
    if tick.denominator > _MOST_TICKS:
        raise JobError(f"{clip.path} cannot be shown at {rate} frames a second to the tick; give a rounder rate")
    frames = ceil(clip.duration * rate)
    moments = [int(k / (rate * clip.time_base)) for k in range(frames)]
    shows = np.searchsorted(clip.pts - clip.pts[0], moments, side="right") - 1
    step = int(1 / (rate * tick))
    output = replace(
        clip,
        time_base=tick,
        pts=int(start / tick) + step * np.arange(frames),
        last_duration=step,
        rate=rate,
        timecode=None if clip.timecode is None else timecode_at(clip.timecode, clip.rate, rate),
    )
    return output, shows
