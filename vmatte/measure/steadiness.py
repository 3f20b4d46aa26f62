"""How steady a matte is where the picture gives it no reason to change.

Each frame is compared with the one before. Dense flow at `WORKING_LINES` lines tells where each pixel came from;
motion under half a pixel counts as none, and where the picture is the same in place it has not moved. A pixel is
*unchanged* where its surroundings (`_SURROUNDINGS` pixels each way), smoothed by a Gaussian of one pixel, differ by
less than `_SAME_LEVELS` levels of 255 from where they came from, and, if they moved, moved as one: no motion boundary
within the edge band's reach. It is *still* when it was unchanged for three frames in a row. So a camera that pans is
compensated for, while whatever moves against its surroundings, and what such motion has just left (a filter's trail),
does not count. Flicker is measured on still pixels in the edge band of this frame's or the last one's matte, where they
are at least `_LEAST_STILL` of it. A frame that begins another shot has nothing to be compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import cv2
import numpy as np
from numpy.typing import NDArray

from vmatte.measure.metrics import Plane, Region, band_radius, edge_band, mean, total
from vmatte.measure.motion import Flow, flow, resize_flow, warp

WORKING_LINES = 480
STILL_FRAMES = 3
_SAME_LEVELS = 2.0
_SURROUNDINGS = 2
_NO_MOTION_PX = 0.5
_TRUTH_LEVELS = 1.0
_SAME_SHOT = 0.9
"""Least agreement of a picture with the last one of its shot, carried along: on talking and dancing clips it stays
above 0.96, across cuts it was 0.88 at most."""
_LEAST_STILL = 0.02
"""Part of the edge band that must be still; in less than that, mistaken motion outweighs flicker."""


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
    shown = zip(alphas, lumas, strict=True)
    for (alpha, luma), truth in zip(shown, repeat(None)) if truths is None else zip(shown, truths, strict=True):
        yield follower.follow(alpha, luma, truth)


def mean_steadiness(frames: Iterable[FrameSteadiness]) -> Steadiness:
    """A clip's steadiness from its frames'; ValueError where there are none."""
    change = displaced = outline = 0.0
    number = still = measured = band = cuts = 0
    largest: float | None = None
    for frame in frames:
        number, cuts = number + 1, cuts + frame.cut
        still, band = still + frame.still_px, band + frame.band_px
        if frame.flicker is not None:
            change, measured = change + frame.flicker * frame.still_px, measured + frame.still_px
        if frame.edge_jitter is not None:
            displaced, outline = displaced + frame.edge_jitter * frame.outline_px, outline + frame.outline_px
        if frame.coverage_jump is not None:
            largest = max(largest or 0, abs(frame.coverage_jump))
    if not number:
        raise ValueError("there is no frame to measure")
    return Steadiness(
        frames=number,
        flicker=change / measured if measured else None,
        edge_jitter=displaced / outline if outline else None,
        coverage_jump=largest,
        still=100 * still / band if band else 0.0,
        cuts=cuts,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What is kept of a frame until the next one."""

    small: NDArray[np.uint8]
    alpha: Plane
    band: Region
    truth: Plane | None
    unchanged_frames: NDArray[np.uint8]
    """For how many frames in a row each pixel (h, w) of the working size has been unchanged, counted up to three."""


class Follower:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._before: _Seen | None = None

    def follow(self, alpha: Plane, luma: Plane, truth: Plane | None = None) -> FrameSteadiness:
        """The next frame's steadiness; alpha, luma and truth (H, W) float32 in [0, 1]."""
        shapes = {plane.shape for plane in (alpha, luma, truth) if plane is not None}
        if len(shapes) > 1 or (self._before is not None and self._before.alpha.shape != alpha.shape):
            raise ValueError(f"matte, picture and truth must keep one size; a frame has {sorted(shapes)}")
        height, width = alpha.shape
        small = _working_picture(luma)
        before, band = self._before, edge_band(alpha if truth is None else truth)
        motion = None if before is None else _follow_picture(before.small, small)
        unchanged_frames = np.zeros_like(small)
        steadiness = FrameSteadiness(
            flicker=None,
            edge_jitter=None,
            coverage_jump=None,
            coverage=100 * mean(alpha),
            still_px=0,
            band_px=cv2.countNonZero(band),
            outline_px=0.0,
            cut=motion is not None and motion.agreement < _SAME_SHOT,
        )
        if before is not None and motion is not None and not steadiness.cut:
            lasted = before.unchanged_frames
            if motion.came_from is not None:
                # By whole pixels: counts are not mixed.
                lasted = warp(lasted.astype(np.float32), np.rint(motion.came_from)).astype(np.uint8)
            came_from = None if motion.came_from is None else resize_flow(motion.came_from, (height, width))
            unchanged = motion.unchanged
            if truth is not None and before.truth is not None:
                unchanged = unchanged & _same_truth(_carried(before.truth, came_from), truth, small.shape)
            unchanged_frames = np.minimum(lasted + 1, STILL_FRAMES) * unchanged
            still = cv2.resize(
                (unchanged_frames == STILL_FRAMES).view(np.uint8), alpha.shape[::-1], interpolation=cv2.INTER_NEAREST
            )
            steadiness = _compare(_carried(before.alpha, came_from), alpha, still, band | before.band, steadiness)
        self._before = _Seen(small, alpha, band, truth, unchanged_frames)
        return steadiness


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """`came_from` (2, h, w), None where nothing moved; `unchanged` (h, w) is 1 or 0; `agreement`, at most 1, tells how
    much of the picture motion explains."""

    came_from: Flow | None
    unchanged: NDArray[np.uint8]
    agreement: float


def _working_picture(luma: Plane) -> NDArray[np.uint8]:
    """The luma (H, W) in [0, 1] as 8-bit codes with at most `WORKING_LINES` lines."""
    height, width = luma.shape
    if height > WORKING_LINES:
        size = (max(1, round(width * WORKING_LINES / height)), WORKING_LINES)
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(cv2.convertScaleAbs(luma, alpha=255), np.uint8)


def _follow_picture(previous: NDArray[np.uint8], small: NDArray[np.uint8]) -> _Motion:
    smooth, smooth_previous = _smooth(small), _smooth(previous)
    unchanged = _same(smooth, smooth_previous)
    if unchanged.all():
        return _Motion(None, unchanged, 1.0)
    came_from = flow(previous, small)
    as_one = _moves_as_one(came_from)
    slow = abs(came_from).max(axis=0) < _NO_MOTION_PX
    # Where the picture is the same in place, any motion that was found there is the neighbours'.
    came_from[:, slow | (unchanged > 0)] = 0
    if not came_from.any():
        return _Motion(None, unchanged, _agreement(smooth, smooth_previous))
    carried = warp(smooth_previous, came_from)
    return _Motion(came_from, unchanged | (_same(smooth, carried) & as_one), _agreement(smooth, carried))


def _agreement(picture: Plane, carried: Plane) -> float:
    """Covariance over mean variance: 1 for the same picture, also a brighter one; near 0 for another. One level of
    noise keeps pictures without any contrast at 1."""
    noise = 1.0
    (mean_picture, deviation), (mean_carried, deviation_carried) = (
        (float(means[0, 0]), float(deviations[0, 0]))
        for means, deviations in (cv2.meanStdDev(picture), cv2.meanStdDev(carried))
    )
    covariance = mean(picture * carried) - mean_picture * mean_carried
    return (covariance + noise) / ((deviation**2 + deviation_carried**2) / 2 + noise)


def _smooth(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1), np.float32)


def _same(picture: Plane, other: Plane) -> NDArray[np.uint8]:
    """1 where two pictures, in levels, stay close all around, else 0."""
    window = np.ones((2 * _SURROUNDINGS + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(cv2.absdiff(picture, other), window) < _SAME_LEVELS).view(np.uint8)


def _moves_as_one(came_from: Flow) -> NDArray[np.uint8]:
    """1 where the flow is the same to half a pixel within the edge band's reach, else 0."""
    side = 2 * band_radius(came_from.shape[1]) + 1
    window = np.ones((side, side), np.uint8)
    across, down = (cv2.dilate(part, window) - cv2.erode(part, window) for part in came_from)
    return np.asarray(np.maximum(across, down) < _NO_MOTION_PX).view(np.uint8)


def _same_truth(carried: Plane, truth: Plane, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """(height, width) `size`: 1 where no pixel of the truth changed, else 0."""
    changed = (cv2.absdiff(truth, carried) > _TRUTH_LEVELS / 255).astype(np.float32)
    return np.asarray(cv2.resize(changed, size[::-1], interpolation=cv2.INTER_AREA) == 0).view(np.uint8)


def _carried(plane: Plane, came_from: Flow | None) -> Plane:
    return plane if came_from is None else warp(plane, came_from).clip(0, 1)


def _compare(carried: Plane, alpha: Plane, still: Region, edge: Region, steadiness: FrameSteadiness) -> FrameSteadiness:
    """The steadiness, filled in with how alpha differs from the last frame's, carried along with the picture."""
    still_edge = still & edge
    inside, inside_before = alpha >= 0.5, carried >= 0.5
    outline_px = _outline_length(inside, still_edge)
    still_px, band_px = cv2.countNonZero(still_edge), cv2.countNonZero(edge)
    enough = still_px > 0 and still_px >= _LEAST_STILL * band_px
    displaced = total((inside != inside_before).view(np.uint8), still_edge)
    return replace(
        steadiness,
        flicker=255 * mean(cv2.absdiff(alpha, carried), still_edge) if enough else None,
        edge_jitter=displaced / outline_px if enough and outline_px >= 1 else None,
        coverage_jump=steadiness.coverage - 100 * mean(carried),
        still_px=still_px,
        band_px=band_px,
        outline_px=outline_px,
    )


def _outline_length(inside: NDArray[np.bool_], region: Region) -> float:
    """Length in pixels of a shape's outline within the region: the total variation of the shape, a little smoothed, so
    that a slanting line is as long as it is and not as its steps are."""
    smooth = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1)
    slope = cv2.magnitude(cv2.Scharr(smooth, -1, 1, 0, scale=1 / 32), cv2.Scharr(smooth, -1, 0, 1, scale=1 / 32))
    return total(slope, region)
