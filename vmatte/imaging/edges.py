"""The shape of a matte's edge. Every function takes alpha (T, 1, H, W) float32 in [0, 1] and gives the same.

Each pixel follows from its surroundings and from constants, never from the frame's own darkest or brightest: a matte
that is stretched by its own figures pumps.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

VISIBLE = 0.05
"""Alpha from which a pixel belongs to an island, and below 1 less it to a hole."""
_FRINGE_PX = 5
"""How far round an island its faint surroundings go with it."""
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_SQUARE = np.ones((3, 3), np.uint8)


def leveled(alpha: Tensor, black: float, white: float, gamma: float) -> Tensor:
    """Alpha stretched so that `black` becomes 0 and `white` 1, to the power of 1 / `gamma`."""
    stretched = ((alpha - black) / (white - black)).clamp_(0, 1)
    return stretched if gamma == 1 else stretched.pow_(1 / gamma)


def choked(alpha: Tensor, pixels: float) -> Tensor:
    """Alpha with its edge moved inwards by so many pixels, parts of one too, its softness kept; below 0 outwards.

    Grey-scale erosion (Serra 1982) by an octagon, between two whole sizes in proportion: exact for a straight edge.
    """
    if pixels < 0:
        return 1 - choked(1 - alpha, -pixels)
    whole, part = divmod(pixels, 1.0)
    for step in range(int(whole)):
        alpha = _eroded(alpha, step)
    return torch.lerp(alpha, _eroded(alpha, int(whole)), part) if part else alpha


def _eroded(alpha: Tensor, step: int) -> Tensor:
    """The least of each pixel's neighbours: twice of four and once of eight by turns, an octagon that is nearly a
    circle."""
    crosswise = step % 3 != 1
    if alpha.device.type != "cpu":
        least = -F.max_pool2d(-alpha, (3, 1), 1, (1, 0)), -F.max_pool2d(-alpha, (1, 3), 1, (0, 1))
        return torch.minimum(*least) if crosswise else -F.max_pool2d(-least[0], (1, 3), 1, (0, 1))
    kernel = _CROSS if crosswise else _SQUARE
    return _on_planes(alpha, lambda plane: np.asarray(cv2.erode(plane, kernel), np.float32))


def without_specks(alpha: Tensor, width: float) -> Tensor:
    """Alpha without the islands that are nowhere wider than `width` pixels, nor the haze round them."""

    def cleaned(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        narrow, wide = _parted(plane >= VISIBLE, width, at_the_border=True)
        if not narrow.any():
            return plane
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _FRINGE_PX + 1,) * 2)
        near, kept = (cv2.dilate(part.astype(np.uint8), kernel) > 0 for part in (narrow, wide))
        return np.where(narrow | (near & ~kept), np.float32(0), plane)

    return _on_planes(alpha, cleaned)


def without_holes(alpha: Tensor, width: float) -> Tensor:
    """Alpha with the holes filled that are nowhere wider than `width` pixels; one at the frame's border is none."""

    def filled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        narrow, _ = _parted(plane < 1 - VISIBLE, width, at_the_border=False)
        return np.where(narrow, np.float32(1), plane)

    return _on_planes(alpha, filled)


def _parted(
    region: NDArray[np.bool_], width: float, *, at_the_border: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pieces of a region that are nowhere wider than `width`, and the others."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    height, wide = region.shape
    # A piece in a box so narrow is narrow; of the others only the distance to the outside tells.
    narrow = np.minimum(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT]) <= width
    if not narrow[1:].all():
        depth = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        deepest = np.zeros(count, np.float32)
        np.maximum.at(deepest, np.asarray(labels[region], np.intp), depth[region])
        narrow |= 2 * deepest - 1 <= width
    if not at_the_border:
        left, top = boxes[:, cv2.CC_STAT_LEFT], boxes[:, cv2.CC_STAT_TOP]
        right, bottom = left + boxes[:, cv2.CC_STAT_WIDTH], top + boxes[:, cv2.CC_STAT_HEIGHT]
        narrow &= (left > 0) & (top > 0) & (right < wide) & (bottom < height)
    narrow[0] = False
    found = narrow[labels]
    return found, region & ~found


def _on_planes(alpha: Tensor, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Tensor:
    """Each plane changed by OpenCV, which has it in the host's memory."""
    planes = alpha.cpu().numpy()
    return torch.from_numpy(np.stack([change(plane[0])[None] for plane in planes])).to(alpha.device)
