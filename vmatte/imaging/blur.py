"""A background out of focus."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.imaging.resize import resize

_LARGEST_SMALL_SIGMA = 3.0
_FAINT = 1e-6
_WIDEST = 0.2
"""Of the picture's height: so wide a blur reaches out of any subject that leaves background to be seen."""
_HARDLY_ANY = 0.1


def blur_around(planes: Tensor, alpha: Tensor, sigma: float) -> Tensor:
    """Planes (T, C, h, w), float32 in their own unit, blurred as if the subject were not there.

    A normalised convolution (Knutsson & Westin 1993) with the weight 1 − alpha: the subject's colours do not bleed into
    the background round it. `alpha` (T, 1, H, W) is in [0, 1]; `sigma` is in rows of `alpha`. Computed at the size at
    which the blur is about three pixels wide; more detail than that it does not leave.
    """
    height, width = alpha.shape[-2:]
    shrink = max(1.0, sigma / _LARGEST_SMALL_SIGMA)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    kernel = _gaussian(sigma / shrink, planes.device)
    plane_size = (int(planes.shape[-2]), int(planes.shape[-1]))
    # Never zero: behind the subject's middle there is only the plain blur.
    weight = 1 + _FAINT - (alpha if plane_size == (height, width) else resize(alpha, plane_size))
    # Weighted before it is scaled down, or the pixels at the subject's edge would carry its colour along.
    weighted = _convolve(resize(planes.to(torch.float32) * weight, size), kernel)
    blurred = weighted / _convolve(resize(weight, size), kernel)
    return resize(blurred, plane_size)


def blur_behind(planes: Tensor, alpha: Tensor, sigma: float) -> Tensor:
    """The same for a subject that no longer stands in front of where it was: its place is filled from round it.

    Where a blur finds hardly any background, one that is four times as wide is seen.
    """
    size = (int(planes.shape[-2]), int(planes.shape[-1]))
    background = 1 - (alpha if tuple(alpha.shape[-2:]) == size else resize(alpha, size))
    sigmas = [sigma]
    while sigmas[-1] < _WIDEST * alpha.shape[-2]:
        sigmas.append(4 * sigmas[-1])
    filled = blur_around(planes, alpha, sigmas[-1])
    for each in reversed(sigmas[:-1]):
        found = blur_around(background, torch.zeros_like(alpha), each)
        filled = filled.lerp(blur_around(planes, alpha, each), (found / _HARDLY_ANY).clamp_(max=1))
    return filled


def gaussian_blur(planes: Tensor, sigma: float) -> Tensor:
    """Planes (T, C, h, w) float32 blurred by a Gaussian of `sigma` pixels; the border goes on.

    A wide one is computed at the size at which it is about three pixels wide: more detail than that it does not leave.
    """
    height, width = planes.shape[-2:]
    shrink = max(1.0, sigma / _LARGEST_SMALL_SIGMA)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    return resize(_convolve(resize(planes, size), _gaussian(sigma / shrink, planes.device)), (height, width))


@lru_cache  # a copy to a GPU waits until it is idle
def _gaussian(sigma: float, device: torch.device) -> Tensor:
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    return (kernel / kernel.sum()).to(device)


def blur_unevenly(planes: Tensor, across: float, down: float) -> Tensor:
    """Planes (T, C, H, W) float32, blurred with two standard deviations in pixels; the border goes on."""
    return _convolve(planes, _gaussian(across, planes.device), _gaussian(down, planes.device))


def _convolve(planes: Tensor, across: Tensor, down: Tensor | None = None) -> Tensor:
    channels, down = planes.shape[1], across if down is None else down
    reach = len(across) // 2
    rows = F.pad(planes, (reach, reach, 0, 0), mode="replicate")
    planes = F.conv2d(rows, across.expand(channels, 1, -1)[:, :, None, :], groups=channels)
    reach = len(down) // 2
    columns = F.pad(planes, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(columns, down.expand(channels, 1, -1)[:, :, :, None], groups=channels)


def box_mean(planes: Tensor, side: int) -> Tensor:
    """The mean of the `side` × `side` pixels (odd) round each of planes (1, C, h, w) float32; the border goes on."""
    if planes.device.type != "cpu":
        padded = F.pad(planes, (side // 2,) * 4, mode="replicate")
        return F.avg_pool2d(padded, side, stride=1)
    means = torch.empty_like(planes, memory_format=torch.contiguous_format)
    for plane, mean in zip(planes[0].numpy(), means[0].numpy(), strict=True):
        cv2.blur(plane, (side, side), dst=mean, borderType=cv2.BORDER_REPLICATE)
    return means
