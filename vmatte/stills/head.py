"""Where the head is in a portrait, by its matte alone, and where an ID photo wants it.

From the crown downwards a silhouette becomes as wide as the head, narrows to the neck and widens to the shoulders. The
chin itself lies inside it; what shows is where the jaw runs into the neck, at nine tenths of the head's height (an
ellipse of 3 : 4 and a neck of two thirds of its width meet at 0.87). Where hair, a collar or a bent head hides that,
the crown tells: 0.45 of the way down, a head with its hair is 0.77 of its height wide. On seven people of all kinds of
hair the height so found was within 9 % of the one seen in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from vmatte.canvas import Placement
from vmatte.errors import SourceError
from vmatte.stills.sizes import IdPhoto

Widths = NDArray[np.float64]

_LINES = 480
"""Height at which the silhouette is looked at."""
_SOLID = 0.5
_LEAST_AREA = 0.01
"""Of the picture; less is nobody."""
_JAW = 0.9
"""Where the jaw runs into the neck, as a part of the head's height."""
_AT_THE_NECK = 0.15
"""How much of the way from the head's width to the neck's may be left where the jaw ends."""
_NARROWER = 0.93
"""The neck's width, at most, as a part of the head's."""
_TEMPLES, _WIDE = 0.45, 0.77
"""How far down a head, and how wide it is there, as parts of its height."""
_AGREED = 0.15
"""How far what the neck says of the head's height may be from what the crown says; else the neck is none."""
_SHOULDERS = 1.25
"""What is below a head is at least so many times as wide as its temples, within another 0.9 of its height."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head in a picture, in its pixels: rows of the top of the hair and of the chin, and the column of its middle."""

    top: float
    chin: float
    middle: float


def find_head(alpha: NDArray[np.float32], name: str) -> Head:
    """The head in a matte (H, W) in [0, 1]. SourceError, which names the picture, where no head with shoulders is."""
    scale = min(1.0, _LINES / alpha.shape[0])
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    body = _largest(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) >= _SOLID)
    if body is None:
        raise SourceError(f"{name}: nobody is seen in it; give a portrait, or another model")
    top, left, right = _outline(body)
    height = _head_height(_smoothed(right - left))
    if height is None:
        raise SourceError(f"{name}: no head above shoulders is seen in it; give a portrait from the front")
    rows = slice(round(0.15 * height), round(0.75 * height))
    middle = float(np.mean(left[rows] + right[rows]) / 2)
    down, across = alpha.shape[0] / size[1], alpha.shape[1] / size[0]
    return Head(top * down, (top + height) * down, middle * across)


def _largest(solid: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    area = stats[1:, cv2.CC_STAT_AREA]
    if area.max() < _LEAST_AREA * solid.size:
        return None
    body: NDArray[np.bool_] = labels == 1 + int(area.argmax())
    return body


def _outline(body: NDArray[np.bool_]) -> tuple[int, Widths, Widths]:
    """The body's first row; from there on the first and the last column but one of the part of each row that goes on
    from the row above: a raised hand beside the head is no part of it."""
    rows = np.flatnonzero(body.any(axis=1))
    top = int(rows[0])
    columns = np.flatnonzero(body[top])
    middle = int(np.median(columns))
    left, right = [], []
    for row in range(top, int(rows[-1]) + 1):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], body[row].astype(np.int8), [0]])))
        runs = edges.reshape(-1, 2)
        first, behind = min(runs, key=lambda run: max(run[0] - middle, middle - (run[1] - 1), 0))
        left.append(first)
        right.append(behind)
        middle = (first + behind) // 2 if len(left) < 4 else middle
    return top, np.array(left, float), np.array(right, float)


def _smoothed(widths: Widths) -> Widths:
    kernel = np.ones(5) / 5
    return np.convolve(np.pad(widths, 2, mode="edge"), kernel, mode="valid")


def _head_height(widths: Widths) -> float | None:
    """By the neck where that and the crown agree, else by the crown; None where it is no head above shoulders."""
    rows = np.arange(1, len(widths) + 1)
    narrow = np.flatnonzero(widths <= _WIDE / _TEMPLES * rows)
    if not len(narrow):
        return None
    by_crown = float(rows[narrow[0]]) / _TEMPLES
    below = widths[round(by_crown) : round(1.9 * by_crown)]
    if not len(below) or below.max() < _SHOULDERS * widths[narrow[0]]:
        return None
    by_neck = _height_by_neck(widths[: round(1.5 * by_crown)])
    if by_neck is not None and abs(by_neck / by_crown - 1) <= _AGREED:
        return by_neck
    return by_crown


def _height_by_neck(widths: Widths) -> float | None:
    """By the place where the jaw runs into the neck: the first narrow one between two that are wider."""
    widest = np.maximum.accumulate(widths)
    narrow = np.flatnonzero(widths < _NARROWER * widest)
    if not len(narrow):
        return None
    wide_again = np.flatnonzero(widths[narrow[0] :] >= widest[narrow[0]])
    if not len(wide_again):
        return None
    neck = int(narrow[0]) + int(np.argmin(widths[narrow[0] : narrow[0] + wide_again[0]]))
    ends = widths[neck] + _AT_THE_NECK * (widest[neck] - widths[neck])
    peak = int(np.argmax(widths[:neck]))
    jaw = peak + int(np.flatnonzero(widths[peak : neck + 1] <= ends)[0])
    return jaw / _JAW


def head_placement(head: Head, size: tuple[int, int], photo: IdPhoto, name: str) -> Placement:
    """Where a picture of (height, width) `size` comes to lie on an ID photo: its head in the middle, as high as the
    rule wants it and as far below the upper edge.

    SourceError where the picture ends beside the photo: hair that is cut off, or nothing below the chest.
    """
    width, height = photo.pixels
    least, most = (mm * photo.dots for mm in photo.head_mm)
    tall, top = head.chin - head.top, photo.top_mm * photo.dots
    if head.top < 0.5:
        raise SourceError(f"{name}: the head is cut off above; give a picture with some room over it")
    needed = (height - top) / (size[0] - head.top)
    scale = max((least + most) / 2 / tall, needed)
    if scale * tall > most + 0.5:
        short = (height - top - most / tall * (size[0] - head.top)) / photo.dots
        raise SourceError(
            f"{name}: {photo.name} shows more below the chin than the picture does, {short:.1f} mm on paper; give one "
            "that shows the chest"
        )
    exact = Fraction(scale).limit_denominator(1 << 20)
    left, up = (Fraction(round(place * 64), 64) for place in (width / 2 - scale * head.middle, top - scale * head.top))
    return Placement((height, width), exact, left, up)


def cut_sides(alpha: NDArray[np.float32], placement: Placement) -> list[str]:
    """The sides, left and right, at which a picture ends within the photo with somebody still in it."""
    scale = float(placement.scale)
    shown = slice(max(0, int(-placement.top / scale)), int((placement.size[0] - placement.top) / scale))
    ends = {"left": placement.left > 1, "right": placement.left + scale * alpha.shape[1] < placement.size[1] - 1}
    columns = {"left": alpha[shown, 0], "right": alpha[shown, -1]}
    return [side for side, inside in ends.items() if inside and bool((columns[side] >= _SOLID).any())]
