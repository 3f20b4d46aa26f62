"""Scaling planes."""

from __future__ import annotations

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

SHAPE_TOLERANCE = 0.01
"""The part by which the aspect of what goes with a clip may differ from the clip's: 1088 coded lines are 1080."""


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes (T, C, H, W), uint8, uint16 or float32, at another (height, width), bilinear with half-pixel centres.

    On the way down each side is first halved (mean of pairs) until it is less than twice the target, so that every
    source pixel counts and a moving edge does not alias. The range is kept; integers are rounded.
    """
    if tuple(planes.shape[-2:]) == size:
        return planes
    return _resize_on_cpu(planes, size) if planes.device.type == "cpu" else _resize_on_device(planes, size)


def _halved(side: int, target: int) -> int:
    while side >= 2 * target and side % 2 == 0:
        side //= 2
    return side


def _resize_on_cpu(planes: Tensor, size: tuple[int, int]) -> Tensor:
    # OpenCV's kernels do here in 1 ms what interpolate() takes 4 to 6 ms for (1080p to 512 lines and back).
    frames, channels, height, width = planes.shape
    halved = (_halved(height, size[0]), _halved(width, size[1]))
    scaled = torch.empty((frames, channels, *size), dtype=planes.dtype)
    source, target = planes.numpy(), scaled.numpy()
    for t in range(frames):
        for c in range(channels):
            plane = source[t, c]
            if halved != (height, width):
                plane = cv2.resize(plane, halved[::-1], interpolation=cv2.INTER_AREA)
            cv2.resize(plane, size[::-1], dst=target[t, c], interpolation=cv2.INTER_LINEAR)
    return scaled


def _resize_on_device(planes: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = planes.shape[-2:]
    halved = (_halved(height, size[0]), _halved(width, size[1]))
    scaled = planes.to(torch.float32)
    if halved != (height, width):
        scaled = F.avg_pool2d(scaled, (height // halved[0], width // halved[1]))
    scaled = F.interpolate(scaled, size=size, mode="bilinear", align_corners=False)
    return scaled if planes.dtype == torch.float32 else scaled.round_().to(planes.dtype)


def resize_like_pillow(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """R'G'B' (T, 3, H, W) float32 at another (height, width) as Pillow's BILINEAR does it, but not rounded to 8 bits:
    by a triangle filter that on the way down grows with the step."""
    return F.interpolate(rgb, size=size, mode="bilinear", antialias=True)


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether pictures of these (height, width) have one aspect, as far as whole pixels allow."""
    return abs(one[1] * other[0] / (one[0] * other[1]) - 1) <= SHAPE_TOLERANCE


def covered_part(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float]:
    """The part (of the height, of the width) that is left of a picture of `size` once it covers `target`."""
    height, width = size
    scale = max(target[0] / height, target[1] / width)
    return target[0] / scale / height, target[1] / scale / width


def cover(planes: Tensor, size: tuple[int, int], part: tuple[float, float]) -> Tensor:
    """The middle `part` of planes (T, C, H, W), scaled to (height, width).

    One part, that of the picture, for all its planes: chroma's own sides do not tell the picture's aspect.
    """
    height, width = planes.shape[-2:]
    rows, columns = max(1, round(height * part[0])), max(1, round(width * part[1]))
    top, left = (height - rows) // 2, (width - columns) // 2
    return resize(planes[..., top : top + rows, left : left + columns], size)


def contained(size: tuple[int, int], target: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of a picture of (height, width) `target` that one of `size` takes which is contained in it.

    They begin on even pixels, and end there or with the picture, so that samples of chroma lie alike.
    """
    scale = min(target[0] / size[0], target[1] / size[1])
    rows, columns = (_middle(side * scale, whole) for side, whole in zip(size, target, strict=True))
    return rows, columns


def _middle(length: float, whole: int) -> slice:
    if round(length) >= whole:
        return slice(0, whole)
    pairs = max(1, round(length / 2))
    start = (whole // 2 - pairs) // 2 * 2
    return slice(start, start + 2 * pairs)
