"""How far a matte is from the truth, frame by frame, as the video-matting literature defines and scales it.

All alphas are (H, W) float32 in [0, 1]. A `region` (H, W) uint8, not 0 where pixels count, restricts a metric to it.
The definitions are those of Robust Video Matting's evaluation (Lin et al. 2022), which go back to Rhemann et al. 2009
(gradient, connectivity) and Erofeev et al. 2015 (dtSSD). Grad and Conn are sums over pixels: they grow with the
picture, and published figures are only comparable at the size they were published for.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Region = NDArray[np.uint8]

GRADIENT_SIGMA = 1.4
_KERNEL_RADIUS = 4
"""Where the first derivative's Gaussian, of sigma 1.4, has fallen to a hundredth."""

CONNECTIVITY_STEP = 0.1
_CONNECTIVITY_TOLERANCE = 0.15

BAND_RADIUS = 0.01
"""Reach of the edge band beyond the edge itself, as a part of the picture's height."""
_SOFT = (0.02, 0.98)
"""Alpha strictly between these is part of an edge; what is closer to 0 or 1 is a codec's or a network's dust."""


def mad(predicted: Plane, truth: Plane, region: Region | None = None) -> float:
    """Mean absolute difference × 1000."""
    return 1e3 * mean(cv2.absdiff(predicted, truth), region)


def mse(predicted: Plane, truth: Plane, region: Region | None = None) -> float:
    """Mean squared difference × 1000."""
    difference = predicted - truth
    return 1e3 * mean(difference * difference, region)


def dtssd(predicted: tuple[Plane, Plane], truth: tuple[Plane, Plane], region: Region | None = None) -> float:
    """Root mean square of how the change from the frame before differs, × 100 (Erofeev et al. 2015).

    Both pairs are (the frame before, the frame).
    """
    difference = (predicted[1] - predicted[0]) - (truth[1] - truth[0])
    return 1e2 * float(np.sqrt(mean(difference * difference, region)))


def grad(predicted: Plane, truth: Plane, regions: tuple[Region | None, ...] = (None,)) -> list[float]:
    """Sum of squared differences of the gradient's magnitude / 1000 (Rhemann et al. 2009), for each of the regions.

    As published, each frame is first stretched to [0, 1] by its own extremes. The gradient is that of a first-order
    Gaussian derivative filter with sigma 1.4 on 9×9 pixels, of unit L2 norm; the border is repeated outwards.
    """
    difference = _gradient(_stretched(predicted)) - _gradient(_stretched(truth))
    squared = difference * difference
    return [total(squared, region) / 1e3 for region in regions]


def conn(predicted: Plane, truth: Plane, regions: tuple[Region | None, ...] = (None,)) -> list[float]:
    """Connectivity error / 1000 (Rhemann et al. 2009), for each of the regions.

    For thresholds 0.1, 0.2, … 1: where both alphas reach the threshold, the largest 4-connected part is the source.
    A pixel's level is the last threshold up to which it belonged to the source; phi is one minus what alpha has beyond
    that level, if that is at least 0.15; the error is the sum of |phi − phi of the truth|.
    """
    level = _connected_level(np.minimum(predicted, truth))
    difference = cv2.absdiff(_phi(predicted, level), _phi(truth, level))
    return [total(difference, region) / 1e3 for region in regions]


def edge_band(alpha: Plane) -> Region:
    """1 in the band of the matte's edge, else 0.

    The edge is where alpha is soft (between 0.02 and 0.98) or crosses one half between neighbours (a hard edge); the
    band reaches round(height / 100), at least 1, pixels further in every direction, in rows and in columns.
    """
    soft = (alpha > _SOFT[0]) & (alpha < _SOFT[1])
    inside = (alpha >= 0.5).view(np.uint8)
    crossing = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    edge = cv2.bitwise_or(soft.view(np.uint8), crossing)
    side = 2 * band_radius(alpha.shape[0]) + 1
    return np.asarray(cv2.dilate(edge, np.ones((side, side), np.uint8)), np.uint8)


def band_radius(height: int) -> int:
    """Pixels that the edge band reaches beyond the edge, in a picture of this height."""
    return max(1, round(BAND_RADIUS * height))


def mean(values: NDArray[Any], region: Region | None = None) -> float:
    """Mean over the picture, or over the region's pixels; 0 for an empty region."""
    return float(cv2.mean(values, region)[0])


def total(values: NDArray[Any], region: Region | None = None) -> float:
    """Sum over the picture, or over the region's pixels."""
    return mean(values, region) * (values.size if region is None else cv2.countNonZero(region))


def _stretched(alpha: Plane) -> Plane:
    low, high, *_ = cv2.minMaxLoc(alpha)
    return (alpha - np.float32(low)) / np.float32(high - low) if high > low else np.zeros_like(alpha)


def _gradient(alpha: Plane) -> Plane:
    smooth, slope = _kernels()
    # cv2 correlates; the sign of the slope does not matter to the magnitude.
    across = cv2.sepFilter2D(alpha, -1, slope, smooth, borderType=cv2.BORDER_REPLICATE)
    down = cv2.sepFilter2D(alpha, -1, smooth, slope, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _kernels() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The factors, (9,) each, of the derivative filter: smoothing one way, the slope the other."""
    offsets = np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1, dtype=np.float64)
    smooth = np.exp(-(offsets**2) / (2 * GRADIENT_SIGMA**2))
    slope = -offsets * smooth
    return smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)


def _connected_level(both: Plane) -> Plane:
    """The last threshold at which each pixel belongs to the largest connected part of `both`."""
    level = np.ones_like(both)
    connected = np.ones(both.shape, np.bool_)
    for step in range(1, round(1 / CONNECTIVITY_STEP) + 1):
        source = _largest_part(both >= np.float32(step * CONNECTIVITY_STEP))
        level[connected & ~source] = (step - 1) * CONNECTIVITY_STEP
        connected &= source
    return level


def _largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.view(np.uint8), connectivity=4)
    if count == 1:
        return np.zeros_like(inside)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _phi(alpha: Plane, level: Plane) -> Plane:
    beyond = alpha - level
    return 1 - beyond * (beyond >= _CONNECTIVITY_TOLERANCE)
