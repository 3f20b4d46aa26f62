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
_SHARPENING_GATHERED = 0.5
"""The same of alpha that was gathered to edges, and is no mean over pixels any more."""
_SOLID = 1 / 510
"""What is no farther from 0 or 1, with all its neighbours, is no edge."""
_ROWS_PER_STRIP = 96
_GREY = 128.0

Part = tuple[slice, slice]
"""Rows and columns."""
Planes = Sequence[Tensor]
"""(1, 1, h, w) each."""


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
        frame = slice(t, t + 1)
        edges = _edges(alpha[frame])
        parts = _around(edges, 2 * max(1, reach) + 1, sizes)
        if parts:
            small, fine, coarse = ((frame, slice(None), *part) for part in parts)
            guide = _levels(luma[fine], chroma[coarse], bits)
            enlarged[fine] = _guided(alpha[small], edges[parts[0]], guide, reach)
    return enlarged


def _size(planes: Tensor) -> tuple[int, int]:
    return int(planes.shape[-2]), int(planes.shape[-1])


def _edges(alpha: Tensor) -> Tensor:
    """Where (h, w) alpha (1, 1, h, w) has an edge: bools of the host.

    On a device that is everywhere: to know where there is one would make the host wait.
    """
    if alpha.device.type != "cpu":
        return torch.ones(_size(alpha), dtype=torch.bool)
    plane, square = alpha[0, 0].numpy(), np.ones((3, 3), np.uint8)
    return torch.from_numpy((cv2.dilate(plane, square) > _SOLID) & (cv2.erode(plane, square) < 1 - _SOLID))


def _around(edges: Tensor, margin: int, sizes: Sequence[tuple[int, int]]) -> list[Part]:
    """The part of planes of these sizes, the first that of `edges`, outside which there is no edge within `margin`
    pixels; it begins and ends between pixels in all of them. Empty where there is no edge at all."""
    spans = []
    for axis, sides in enumerate(zip(*sizes, strict=True)):
        span = _span(edges.any(dim=1 - axis), margin)
        if span is None:
            return []
        cells = math.gcd(*sides)
        step = sides[0] // cells
        first, last = span.start // step, -(-span.stop // step)
        spans.append([slice(first * side // cells, last * side // cells) for side in sides])
    return list(zip(*spans, strict=True))


def _span(there: Tensor, margin: int) -> slice | None:
    """From the first True of a row to the last, and `margin` more on both sides where it goes so far."""
    places = np.flatnonzero(there.numpy())
    if not len(places):
        return None
    return slice(max(0, int(places[0]) - margin), min(len(there), int(places[-1]) + 1 + margin))


def _levels(luma: Tensor, chroma: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Both as float32, in 8-bit levels from grey; left-sited chroma in the middle of the two pixels it is of."""
    unit = 2.0 ** (8 - bits)
    fine, coarse = (planes.to(torch.float32).sub_(_GREY / unit).mul_(unit) for planes in (luma, chroma))
    if chroma.shape[-1] != luma.shape[-1]:
        coarse[..., :-1] = torch.lerp(coarse[..., :-1], coarse[..., 1:], 0.25)
    return fine, coarse


def _guided(alpha: Tensor, edges: Tensor, guide: tuple[Tensor, Tensor], reach: int) -> Tensor:
    """Alpha (1, 1, h, w) at the size of the guide's luma (1, 1, H, W), whose chroma (1, 2, h', w') may be smaller. What
    is in the guide is written over."""
    luma, chroma = guide
    colour = torch.cat([resize(planes, _size(alpha)) for planes in guide], dim=1)
    worth, fitted = _colour_model(alpha, colour, edges, max(1, reach))
    base = _sharpened(fitted, _SHARPENING_GATHERED) if reach else _sharpened(alpha, _SHARPENING)
    enlarged, colour = resize(base, _size(luma)), _sharpened(colour, _SHARPENING)
    detail = chroma.sub_(resize(colour[:, 1:], _size(chroma))).mul_(resize(worth[:, 1:], _size(chroma)))
    enlarged.add_(resize(detail.sum(dim=1, keepdim=True), _size(luma)))
    detail = luma.sub_(resize(colour[:, :1], _size(luma)))
    return enlarged.addcmul_(detail, resize(worth[:, :1], _size(luma))).clamp_(0, 1)


def _sharpened(planes: Tensor, put_back: float) -> Tensor:
    return torch.lerp(box_mean(planes, 3), planes, 1 + put_back)


def _colour_model(alpha: Tensor, colour: Tensor, edges: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """What a level of each colour (1, 3, h, w) is worth of alpha (1, 1, h, w), and alpha as the three explain it.

    Both are means over the windows, 2 `radius` + 1 pixels wide, that a pixel lies in, weighted by how well they fit;
    as much of alpha stays as colour cannot explain.
    Where there is no edge within 2 `radius` pixels colour is worth nothing, and alpha stays.
    """
    worth, fitted = torch.zeros_like(colour), alpha.clone()
    height, reach = alpha.shape[-2], 2 * radius
    # On a processor strip by strip: what lies between two steps then stays in its cache.
    rows = _ROWS_PER_STRIP if alpha.device.type == "cpu" else height
    for top in range(0, height, rows):
        first, last = max(0, top - reach), min(height, top + rows + reach)
        span = _span(edges[first:last].any(dim=0), reach)
        if span is None:
            continue
        left = max(0, span.start - reach)
        seen = (..., slice(first, last), slice(left, span.stop + reach))
        written = (..., slice(top, top + rows), span)
        kept = (..., slice(top - first, top - first + rows), slice(span.start - left, span.stop - left))
        values = _window_model(alpha[seen], colour[seen], 2 * radius + 1)
        worth[written], fitted[written] = (planes[kept] for planes in values)
    return worth, fitted


def _window_model(alpha: Tensor, colour: Tensor, side: int) -> tuple[Tensor, Tensor]:
    def mean(planes: Tensor) -> Tensor:
        return box_mean(planes, side)

    mean_colour, mean_alpha = mean(colour), mean(alpha)
    covariance = _planes(mean(colour * alpha).sub_(mean_colour * mean_alpha))
    gain = _solved(_spread(colour, mean_colour, side), covariance)
    variance, explained = mean(alpha * alpha).sub_(mean_alpha * mean_alpha), _dot(gain, covariance)
    weight = (variance - explained).clamp_(min=0).add_(_MISFIT).reciprocal_()
    # Where colour tells nothing a mean of well-fitting windows would still harden a soft edge.
    trust = mean(explained).div_(mean(variance).add_(_MISFIT)).clamp_(0, 1).sqrt_()
    offset = mean_alpha.sub_(_dot(gain, _planes(mean_colour)))
    model = mean(torch.cat([*gain, offset], dim=1).mul_(weight)).div_(mean(weight))
    worth = model[:, :3]
    fitted = _dot(_planes(worth), _planes(colour)).add_(model[:, 3:]).clamp_(0, 1)
    return worth, torch.lerp(alpha, fitted, trust)


def _spread(colour: Tensor, mean: Tensor, side: int) -> Planes:
    """The upper triangle, row by row, of the covariance matrix of colour in each window, with the noise's added."""
    spread: list[Tensor] = []
    for i, noise in enumerate(_NOISE):
        row = box_mean(colour[:, i : i + 1] * colour[:, i:], side).sub_(mean[:, i : i + 1] * mean[:, i:])
        row[:, 0] += noise
        spread += _planes(row)
    return spread


def _solved(matrix: Planes, right: Planes) -> Planes:
    """The three x with matrix x = right, by Cramer's rule; the matrix is symmetric, and its upper triangle is given."""
    a, b, c, d, e, f = matrix
    row = [_cross(d, f, e, e), _cross(c, e, b, f), _cross(b, e, c, d)]
    adjugate = [row, [row[1], _cross(a, f, c, c), _cross(b, c, a, e)]]
    adjugate.append([row[2], adjugate[1][2], _cross(a, d, b, b)])
    scale = _dot(row, (a, b, c)).reciprocal_()
    return [_dot(row, right).mul_(scale) for row in adjugate]


def _cross(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return (a * b).addcmul_(c, d, value=-1)


def _planes(colour: Tensor) -> Planes:
    return [colour[:, c : c + 1] for c in range(colour.shape[1])]


def _dot(left: Planes, right: Planes) -> Tensor:
    total = left[0] * right[0]
    for one, other in zip(left[1:], right[1:], strict=True):
        total.addcmul_(one, other)
    return total
