"""Where each pixel came from."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.float32]


def flow(previous: NDArray[np.uint8], luma: NDArray[np.uint8]) -> Flow:
    """(h, w, 2) in pixels, x then y: pixel p of `luma` lay at p + flow[p] in `previous`; both (h, w), 8-bit codes.

    Dense inverse search (Kroeger et al. 2016), OpenCV's fast preset.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(search.calc(luma, previous, np.zeros((*luma.shape, 2), np.float32)), np.float32)


Values = TypeVar("Values", NDArray[np.float32], NDArray[np.uint8])


def warp(plane: Values, came_from: Flow, interpolation: int = cv2.INTER_CUBIC) -> Values:
    """`plane` (h, w) as it looks after the motion `came_from` (h, w, 2); the border is repeated outwards."""
    height, width = plane.shape
    across = came_from[..., 0] + np.arange(width, dtype=np.float32)
    down = came_from[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    warped: Values = cv2.remap(plane, across, down, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return warped
