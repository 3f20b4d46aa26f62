"""Which part of the picture the network gets to see, so that the subject is not a few of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vmatte.analysis import Box, CropTrack
from vmatte.models.contract import InputSize

LEAST_GAIN = 1.3
"""How much finer the subject must come before the network for a crop to be worth its risk; and, again, how much finer
than in one that stands, for one that moves."""
_PAD = 0.12
"""Room round the subject on each side, as a part of its longer one: for hair, and for what an arm does between two
samples."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a subject was seen in a clip: masks (N, h, w) bool, in small, of the numbered frames; and the number
    of each shot's first frame."""

    numbers: tuple[int, ...]
    masks: NDArray[np.bool_]
    shots: tuple[int, ...]


def can_gain(frame: tuple[int, int], input_size: InputSize) -> bool:
    """Whether frames (height, width) have more to show to the network than it sees in the whole."""
    return input_size.scale(*frame) * LEAST_GAIN <= 1


def find_crop(seen: Seen, frame: tuple[int, int], input_size: InputSize, *, may_move: bool) -> CropTrack | None:
    """The crop for a clip of frames (height, width); None where it would not gain enough.

    One box that stands, where that holds the subject all through; else one of the same size in all frames which, where
    it `may_move`, goes along.
    """
    boxes = {number: _padded(mask, frame) for number, mask in zip(seen.numbers, seen.masks, strict=True) if mask.any()}
    if not boxes:
        return None
    whole = _union(list(boxes.values()))
    size = _fitting((whole.height, whole.width), frame, input_size)
    gain = gain_of(size, frame, input_size)
    if may_move:
        windows = _windows(boxes, seen.shots)
        needed = max(box.height for box in windows.values()), max(box.width for box in windows.values())
        smaller = _fitting(needed, frame, input_size)
        if gain_of(smaller, frame, input_size) >= LEAST_GAIN * max(gain, 1):
            return _following(windows, seen.shots, smaller, frame)
    if gain < LEAST_GAIN:
        return None
    return _following({0: whole}, (0,), size, frame)


def gain_of(part: tuple[int, int], frame: tuple[int, int], input_size: InputSize) -> float:
    """How many times finer, along a line, the network sees a part (height, width) of a frame than in the whole."""
    return input_size.scale(*part) / input_size.scale(*frame)


def _padded(mask: NDArray[np.bool_], frame: tuple[int, int]) -> Box:
    """The box round a mask in the frame's pixels, with room to spare, as far as the frame has it."""
    sides = []
    for axis, side in enumerate(frame):
        there = np.flatnonzero(mask.any(axis=1 - axis))
        scale = side / mask.shape[axis]
        sides.append((there[0] * scale, (there[-1] + 1) * scale))
    pad = _PAD * max(stop - start for start, stop in sides)
    (top, bottom), (left, right) = (
        (int(max(start - pad, 0)), int(np.ceil(min(stop + pad, side))))
        for (start, stop), side in zip(sides, frame, strict=True)
    )
    return Box(top, left, bottom - top, right - left)


def _union(boxes: list[Box]) -> Box:
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    return Box(top, left, max(box.bottom for box in boxes) - top, max(box.right for box in boxes) - left)


def _windows(boxes: dict[int, Box], shots: tuple[int, ...]) -> dict[int, Box]:
    """For each sample what holds the subject in it and in those before and behind it of the same shot.

    Between two samples, each mean of their two windows then holds the subject of both.
    """
    numbers = list(boxes)
    shot_of = np.searchsorted(shots, numbers, side="right")
    windows = {}
    for place, number in enumerate(numbers):
        near = range(max(place - 1, 0), min(place + 2, len(numbers)))
        windows[number] = _union([boxes[numbers[n]] for n in near if shot_of[n] == shot_of[place]])
    return windows


def _fitting(needed: tuple[int, int], frame: tuple[int, int], input_size: InputSize) -> tuple[int, int]:
    """The smallest (height, width) of a crop that holds what is needed, is no finer for the network than the frame
    itself, and is not more work for it than the frame: no longer in shape."""
    longest = max(frame) / min(frame)
    height, width = (side + 2.0 for side in needed)  # for places, which are rounded to even ones
    for _ in range(2):  # the shape of one that grew asks for another size
        height, width = max(height, width / longest), max(width, height / longest)
        lines, columns = input_size.of(round(height), round(width))
        if input_size.rule != "full":
            height, width = max(height, lines), max(width, columns)
    # What is left beside it is even, so that it can begin at even rows and columns and still end with the frame.
    height, width = (
        whole - 2 * int(max(whole - side, 0) / 2) for whole, side in zip(frame, (height, width), strict=True)
    )
    return int(height), int(width)


def _following(
    windows: dict[int, Box], shots: tuple[int, ...], size: tuple[int, int], frame: tuple[int, int]
) -> CropTrack:
    """A track of boxes of `size` that hold the windows; at the first frame of a shot it jumps."""
    places = {number: _place(box, size, frame) for number, box in windows.items()}
    shot_of = dict(zip(places, np.searchsorted(shots, list(places), side="right") - 1, strict=True))
    for before, behind in pairwise(list(places)):
        if shot_of[before] != shot_of[behind]:
            start = shots[shot_of[behind]]
            places.setdefault(start - 1, places[before])
            places.setdefault(start, places[behind])
    frames = tuple(sorted(places))
    return CropTrack(*size, frames, tuple(places[n][0] for n in frames), tuple(places[n][1] for n in frames))


def _place(box: Box, size: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    """(top, left), even, of a box of `size` with this one in its middle, as far as the frame lets it."""
    middles = box.top + box.height / 2, box.left + box.width / 2
    top, left = (
        2 * int(min(max(middle - side / 2, 0), whole - side) / 2)
        for middle, side, whole in zip(middles, size, frame, strict=True)
    )
    return top, left
