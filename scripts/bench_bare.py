"""What OpenCV and numpy alone take for the costly steps of an edge, on 8-bit R'G'B' (H, W, 3) that is already there."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]

_EPSILON = 1e-5
_LARGE, _SMALL = 91, 7
"""Windows of blur fusion, at 1080 lines as its author has them."""


def guided(small: Plane, picture: Picture) -> Plane:
    """Alpha (h, w) at the picture's size by the fast guided filter in colour, radius 1 (He & Sun 2015)."""
    size, low = picture.shape[1::-1], small.shape[::-1]
    guide = cv2.resize(picture, low, interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def mean(plane: Plane) -> Plane:
        return cv2.blur(plane, (3, 3))

    means, alpha = mean(guide), mean(small)
    apart = [mean(guide[..., c] * small) - means[..., c] * alpha for c in range(3)]
    spread = np.empty((*small.shape, 3, 3), np.float32)
    for i in range(3):
        for j in range(i, 3):
            covariance = mean(guide[..., i] * guide[..., j]) - means[..., i] * means[..., j]
            spread[..., i, j] = spread[..., j, i] = covariance + (_EPSILON if i == j else 0)
    gain = np.linalg.solve(spread, np.stack(apart, axis=-1)[..., None])[..., 0]
    offset = alpha - (gain * means).sum(axis=-1)
    gain, offset = cv2.resize(mean(gain), size), cv2.resize(mean(offset), size)
    return np.clip((gain * (picture.astype(np.float32) / 255)).sum(axis=-1) + offset, 0, 1)


def blur_fusion(picture: Picture, alpha: Plane) -> Plane:
    """Straight colours (H, W, 3) in two steps (Forte 2021)."""
    seen, part = picture.astype(np.float32) / 255, alpha[..., None]
    fore = back = seen
    for side in (_LARGE, _SMALL):
        weight = cv2.blur(alpha, (side, side))[..., None]
        near = cv2.blur(fore * part, (side, side)) / (weight + _EPSILON)
        back = cv2.blur(back * (1 - part), (side, side)) / (1 - weight + _EPSILON)
        fore = np.clip(near + part * (seen - part * near - (1 - part) * back), 0, 1)
    return fore


def mixed_as_light(picture: Picture, plate: Picture, alpha: Plane) -> Picture:
    """A composite of light: by table there, by table of 12 bits back."""
    to_light, to_codes = _tables()
    part = alpha[..., None]
    light = cv2.LUT(picture, to_light) * part + cv2.LUT(plate, to_light) * (1 - part)
    return to_codes[(light * 4095 + 0.5).astype(np.uint16)]


@cache
def _tables() -> tuple[Plane, Picture]:
    """BT.709's curve."""
    codes, light = np.arange(256) / 255, np.arange(4096) / 4095
    to_light = np.where(codes < 0.081, codes / 4.5, ((codes + 0.099) / 1.099) ** (1 / 0.45))
    to_codes = np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)
    return to_light.astype(np.float32), np.rint(255 * to_codes).astype(np.uint8)
