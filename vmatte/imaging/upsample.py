"""A network's matte at the size of the frame, its edges where those of the picture are.

A guided filter (He, Sun & Tang 2013; at a small size, fast: He & Sun 2015), in three respects another one. Windows that
explain alpha well count for more in the mean than those that do not. What is enlarged is alpha itself, and the frame's
detail comes on top: where colour explains nothing the matte is merely enlarged, not blurred. And the guide is Y'CbCr,
where luma carries more of the noise than chroma does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from vmatte.imaging.blur import box_mean
from vmatte.imaging.resize import resize

_NOISE = (36.0, 4.0, 4.0)
"""Variance of Y', Cb and Cr, in squared 8-bit levels, that explains no alpha."""
_MISFIT = 1e-5
"""Mean squared error of alpha that is added to a window's own: below it, one fits as well as another."""
_SHARPENING = 0.6
"""How much of what a 3 × 3 mean takes away is put back before a plane is enlarged: so much the mean of a bilinear ramp
over a pixel of the small size is flatter than the pixels were."""
_SOLID = 1e-3
"""What is no farther from 0 or 1, with all its neighbours, is no edge."""
_ROWS_PER_STRIP = 32
_GREY = 128.0

Part = tuple[slice, slice]
"""Rows and columns."""


def upsample(alpha: Tensor, luma: Tensor, chroma: Tensor, bits: int, reach: int) -> Tensor:
    """Alpha (T, 1, h, w) float32 in [0, 1] at the size of luma (T, 1, H, W), guided by luma and chroma (T, 2, h', w')
    of full or half size: integer codes of `bits`.

    `reach` is how far, in pixels of the small size, edges of alpha are softer than the picture's, which they are
    gathered to; 0 trusts alpha: its mean over a pixel of the small size stays nearly what it is. Where alpha is 0 or 1
    all around it stays exactly so. A frame that is no larger than alpha guides nothing: alpha is scaled down.
    """
    size = _size(luma)
    enlarged = resize(alpha, size)
    if size[0] <= alpha.shape[-2] or size[1] <= alpha.shape[-1]:
        return enlarged
    sizes = [_size(planes) for planes in (alpha, luma, chroma)]
    for t in range(len(alpha)):
        parts = _around_edges(alpha[t, 0], 2 * max(1, reach) + 2, sizes)
        if parts is not None:
            small, fine, coarse = ((slice(t, t + 1), slice(None), *part) for part in parts)
            guide = _levels(luma[fine], chroma[coarse], bits)
            enlarged[fine] = _guided(alpha[small], guide, reach)
    return enlarged


def _size(planes: Tensor) -> tuple[int, int]:
    return int(planes.shape[-2]), int(planes.shape[-1])


def _around_edges(alpha: Tensor, margin: int, sizes: Sequence[tuple[int, int]]) -> list[Part] | None:
    """The part of planes of these sizes, the first that of alpha (h, w), outside which there is no edge within
    `margin` pixels; it begins and ends between pixels in all of them. None where there is no edge at all.

    On a device it is all there is: to know where alpha is soft would make the host wait.
    """
    if alpha.device.type != "cpu":
        return [(slice(0, height), slice(0, width)) for height, width in sizes]
    square = np.ones((3, 3), np.uint8)
    around = cv2.dilate(alpha.numpy(), square), cv2.erode(alpha.numpy(), square)
    edge = (around[0] > _SOLID) & (around[1] < 1 - _SOLID)
    if not edge.any():
        return None
    spans = []
    for axis, sides in enumerate(zip(*sizes, strict=True)):
        places = np.flatnonzero(edge.any(axis=1 - axis))
        cells = math.gcd(*sides)
        step = sides[0] // cells
        first = max(0, int(places[0]) - margin) // step
        last = min(cells, -(-(int(places[-1]) + 1 + margin) // step))
        spans.append([slice(first * side // cells, last * side // cells) for side in sides])
    return list(zip(*spans, strict=True))


def _levels(luma: Tensor, chroma: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Both as float32, in 8-bit levels from grey; left-sited chroma in the middle of the two pixels it is of."""
    unit = 2.0 ** (8 - bits)
    fine, coarse = (planes.to(torch.float32).sub_(_GREY / unit).mul_(unit) for planes in (luma, chroma))
    if chroma.shape[-1] != luma.shape[-1]:
        coarse[..., :-1] = torch.lerp(coarse[..., :-1], coarse[..., 1:], 0.25)
    return fine, coarse


def _guided(alpha: Tensor, guide: tuple[Tensor, Tensor], reach: int) -> Tensor:
    """Alpha (1, 1, h, w) at the size of the guide's luma (1, 1, H, W); its chroma (1, 2, h', w') may be smaller."""
    small, size = _size(alpha), _size(guide[0])
    colour = torch.cat([resize(planes, small) for planes in guide], dim=1)
    gain, offset = _colour_model(alpha, colour, max(1, reach))
    if reach:
        alpha = _explained(gain, colour).add_(offset).clamp_(0, 1)
    enlarged, gain, coarse = resize(_sharpened(alpha), size), resize(gain, size), _sharpened(colour)
    channel = 0
    for planes in guide:
        low = resize(coarse[:, channel : channel + planes.shape[1]], _size(planes))
        detail = resize(planes - low, size)
        for c in range(planes.shape[1]):
            enlarged.addcmul_(gain[:, channel : channel + 1], detail[:, c : c + 1])
            channel += 1
    return enlarged.clamp_(0, 1)


def _sharpened(planes: Tensor) -> Tensor:
    return torch.lerp(box_mean(planes, 3), planes, 1 + _SHARPENING)


def _explained(gain: Tensor, colour: Tensor) -> Tensor:
    return (gain * colour).sum(dim=1, keepdim=True)


def _colour_model(alpha: Tensor, colour: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """`gain` (1, 3, h, w) and `offset` (1, 1, h, w) with which alpha (1, 1, h, w) is gain · colour + offset round each
    pixel, in windows of 2 `radius` + 1 pixels: the mean of those it lies in, weighted by how well they fit.

    On a processor by strips of rows: what lies between two steps then stays in its cache.
    """
    height = alpha.shape[-2]
    rows = _ROWS_PER_STRIP if alpha.device.type == "cpu" else height
    gains, offsets = torch.empty_like(colour), torch.empty_like(alpha)
    for top in range(0, height, rows):
        first = max(0, top - 2 * radius)
        seen = slice(first, min(height, top + rows + 2 * radius))
        gain, offset = _strip_model(alpha[..., seen, :], colour[..., seen, :], 2 * radius + 1)
        kept = slice(top - first, min(height, top + rows) - first)
        gains[..., top : top + rows, :] = gain[..., kept, :]
        offsets[..., top : top + rows, :] = offset[..., kept, :]
    return gains, offsets


def _strip_model(alpha: Tensor, colour: Tensor, side: int) -> tuple[Tensor, Tensor]:
    mean, mean_alpha = box_mean(colour, side), box_mean(alpha, side)
    covariance = box_mean(colour * alpha, side) - mean * mean_alpha
    gain = _solved(_spread(colour, mean, side), covariance)
    offset = mean_alpha - _explained(gain, mean)
    misfit = box_mean(alpha * alpha, side).sub_(mean_alpha * mean_alpha).sub_(_explained(gain, covariance))
    weight = 1 / misfit.clamp_(min=0).add_(_MISFIT)
    total = box_mean(weight, side)
    return box_mean(gain.mul_(weight), side).div_(total), box_mean(offset.mul_(weight), side).div_(total)


def _spread(colour: Tensor, mean: Tensor, side: int) -> list[Tensor]:
    """The upper triangle, row by row, of the covariance matrix of colour in each window, with the noise's added."""
    spread = []
    for i, noise in enumerate(_NOISE):
        row = box_mean(colour[:, i : i + 1] * colour[:, i:], side).sub_(mean[:, i : i + 1] * mean[:, i:])
        row[:, 0] += noise
        spread += [row[:, j : j + 1] for j in range(3 - i)]
    return spread


def _solved(matrix: list[Tensor], right: Tensor) -> Tensor:
    """x (1, 3, h, w) with matrix x = right, by Cramer's rule; the matrix is symmetric, six planes (1, 1, h, w)."""
    a, b, c, d, e, f = matrix
    first = torch.cat([d * f - e * e, c * e - b * f, b * e - c * d], dim=1)
    second = torch.cat([first[:, 1:2], a * f - c * c, b * c - a * e], dim=1)
    third = torch.cat([first[:, 2:], second[:, 2:], a * d - b * b], dim=1)
    determinant = _explained(first, torch.cat([a, b, c], dim=1))
    return torch.cat([_explained(row, right) for row in (first, second, third)], dim=1).div_(determinant)
