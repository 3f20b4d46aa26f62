"""How steady a matte is where the picture gives it no reason to change.

Each frame is compared with the one before. Dense flow at `WORKING_LINES` lines tells where each pixel came from;
motion under half a pixel counts as none, and where the picture is the same in place it has not moved. A pixel is
*unchanged* where its surroundings (`_SURROUNDINGS` pixels each way), smoothed by a Gaussian of one pixel, differ by less
than `_SAME_LEVELS` levels of 255 from where they came from, and, if they moved, moved as one: no motion boundary within
the edge band's reach. It is *still* when it was unchanged for three frames in a row. So a camera that pans is
compensated for, while whatever moves against its surroundings, and what such motion has just left (a filter's trail),
does not count. Flicker is measured on still pixels in the edge band of this frame's or the last one's matte.
A shot change has no frame before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import repeat
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vmatte.measure.metrics import Plane, Region, band_radius, edge_band, mean, total
from vmatte.measure.motion import Flow, flow, warp

WORKING_LINES = 480
STILL_FRAMES = 3
_SAME_LEVELS = 2.0
_SURROUNDINGS = 2
_NO_MOTION_PX = 0.5
_TRUTH_LEVELS = 1.0
_CUT_LEVELS = 20.0
"""A picture that motion explains no better than this, in levels on average, shows another shot."""


@dataclass(frozen=True, slots=True)
class FrameSteadiness:
    """How one frame's matte differs from the last one's. None: nothing to compare with, or nothing still.

    `flicker`: mean |change of alpha| over the still pixels of the edge band, in levels of 255.
    `edge_jitter`: how far the matte's outline (alpha one half) moved on still pixels: the area that changed sides over
    the outline's length, in pixels.
    `coverage_jump`: what alpha gained or lost beyond what the picture's motion explains, in percent of the picture.
    `coverage`: mean alpha, in percent of the picture. `still_px` of the `band_px` pixels in the edge band were still;
    the outline is `outline_px` long there. `cut`: the frame begins another shot.
    """

    flicker: float | None
    edge_jitter: float | None
    coverage_jump: float | None
    coverage: float
    still_px: int
    band_px: int
    outline_px: float
    cut: bool


@dataclass(frozen=True, slots=True)
class Steadiness:
    """A clip's: `flicker` is the mean over all still edge pixels, `edge_jitter` over all of their outline,
    `coverage_jump` the largest; `still` is how much of the edge was still, in percent; `cuts` counts shot changes."""

    flicker: float | None
    edge_jitter: float | None
    coverage_jump: float | None
    still: float
    cuts: int
    frames: int


METRICS = ("flicker", "edge_jitter", "coverage_jump")


def flicker(alphas: Iterable[Plane], lumas: Iterable[Plane], truths: Iterable[Plane] | None = None) -> Steadiness:
    """Measure a stream of alphas (H, W) float32 in [0, 1] against the source's luma, the same size, in [0, 1].

    With the true alphas, the edge band is the truth's, and only pixels where the truth did not change either are still.
    Raises ValueError where sizes or lengths differ, or there is no frame.
    """
    return mean_steadiness(frame_steadiness(alphas, lumas, truths))


def frame_steadiness(
    alphas: Iterable[Plane], lumas: Iterable[Plane], truths: Iterable[Plane] | None = None
) -> Iterator[FrameSteadiness]:
    """The steadiness of each frame, holding two frames of each stream."""
    follower = Follower()
    for alpha, luma, truth in zip(alphas, lumas, repeat(None) if truths is None else truths, strict=truths is not None):
        yield follower.follow(alpha, luma, truth)


def mean_steadiness(frames: Iterable[FrameSteadiness]) -> Steadiness:
    """A clip's steadiness from its frames'; ValueError where there are none."""
    raise NotImplementedError


class Follower:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        raise NotImplementedError

    def follow(self, alpha: Plane, luma: Plane, truth: Plane | None = None) -> FrameSteadiness:
        raise NotImplementedError
