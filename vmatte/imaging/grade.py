"""A subject's colours are brought nearer to those of its plate, by one transform for a whole shot."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vmatte.analysis import Grade
from vmatte.clip import Coding
from vmatte.imaging.color import downsample_chroma, rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.imaging.compositing import shown_part
from vmatte.imaging.light import SRGB_CURVE

_MOST_GAIN = 1.15
"""Spread grows and shrinks by no more: a flat plate must not flatten the subject."""
_MOST_LIGHTNESS = 0.06
"""How far the mean lightness goes: less than half a stop at middle grey."""
_MOST_BLACK = 0.04
"""How far black goes: it must not turn to haze, nor shadows to black."""
_MOST_TINT = 0.025
"""How far the mean colour goes: skin of chroma 0.08 stays skin."""
_SOLID = 0.5
"""Alpha from which a pixel begins to count: what is softer has the old background in it."""
_LEAST = 1e-3
_NODES = 33
"""Of the table in each direction: eight 8-bit codes apart."""
_ROWS = 128
"""At once, so that they stay in the processor's cache."""

# Björn Ottosson, "A perceptual color space for image processing", 2020: linear sRGB to cone responses, and their cube
# roots to Oklab.
_TO_CONES = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=torch.float64,
)
_TO_LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=torch.float64,
)


def oklab_of(rgb: Tensor) -> Tensor:
    """Oklab (T, 3, H, W), lightness in [0, 1], of R'G'B' (T, 3, H, W) in [0, 1], as sRGB encodes it; float32 or
    float64. Other primaries count as sRGB's: what is compared is of one clip's coding."""
    light = SRGB_CURVE.exact_light(rgb)
    cones = _times(_TO_CONES, light).clamp_(min=0).pow_(1 / 3)
    return _times(_TO_LAB, cones)


def rgb_of_oklab(lab: Tensor) -> Tensor:
    """The inverse, cut to [0, 1]."""
    cones = _times(torch.linalg.inv(_TO_LAB), lab)
    light = _times(torch.linalg.inv(_TO_CONES), cones.pow(3)).clamp_(0, 1)
    return SRGB_CURVE.exact_encoded(light)


def _times(matrix: Tensor, planes: Tensor) -> Tensor:
    return torch.matmul(matrix.to(planes), planes.flatten(2)).view(planes.shape)


def match_of(rgb: Tensor, alpha: Tensor, plate: Tensor, strength: float) -> Grade:
    """The grade that brings a shot's subject nearer to its plate: mean and spread of each (Reinhard et al. 2001), in
    Oklab, within bounds, `strength` in [0, 1] of the way.

    Of samples of the shot: R'G'B' `rgb` (N, 3, h, w), alpha (N, 1, h, w), and R'G'B' of the plate (M, 3, h, w), all in
    [0, 1]. Without a solid pixel it changes nothing.
    """
    weight = ((alpha.to(torch.float64) - _SOLID) / (1 - _SOLID)).clamp_(min=0)
    if float(weight.sum()) < 1:
        return Grade((1.0, 1.0, 1.0), 0.0, (0.0, 0.0))
    mean, spread = _mean_and_spread(oklab_of(rgb.to(torch.float64)), weight)
    behind = oklab_of(plate.to(torch.float64))
    target, target_spread = _mean_and_spread(behind, torch.ones_like(behind[:, :1]))
    ratio = (target_spread + _LEAST) / (spread + _LEAST)
    gain = ratio.clamp(1 / _MOST_GAIN, _MOST_GAIN) ** strength
    way = target - mean
    lightness = _bounded(way[:1], _MOST_LIGHTNESS) * strength
    color = _bounded(way[1:], _MOST_TINT) * strength
    bright, reach = mean[0] + lightness[0], _MOST_BLACK * strength
    gain[0] = gain[0].clamp((bright - reach) / mean[0].clamp(min=_LEAST), (bright + reach) / mean[0].clamp(min=_LEAST))
    lift = bright - gain[0] * mean[0]
    tint = (mean[1:] + color - gain[1:] * mean[1:]) / mean[0].clamp(min=_LEAST)
    return Grade((float(gain[0]), float(gain[1]), float(gain[2])), float(lift), (float(tint[0]), float(tint[1])))


def _mean_and_spread(lab: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation (3,) of Oklab (N, 3, h, w)."""
    total = weight.sum()
    mean = (lab * weight).sum(dim=(0, 2, 3)) / total
    spread = ((lab - mean.view(1, 3, 1, 1)).square() * weight).sum(dim=(0, 2, 3)) / total
    return mean, spread.sqrt()


def _bounded(way: Tensor, most: float) -> Tensor:
    """A way of any length, softly kept below `most`; a short one is left as it is."""
    length = way.norm().clamp(min=1e-9)
    bounded: Tensor = most * torch.tanh(length / most) * (way / length)
    return bounded


def graded_rgb(rgb: Tensor, grade: Grade) -> Tensor:
    """R'G'B' (T, 3, H, W) in [0, 1], graded."""
    lab = oklab_of(rgb)
    lightness = lab[:, :1]
    gain = torch.tensor(grade.gain, dtype=lab.dtype, device=lab.device).view(1, 3, 1, 1)
    tint = torch.tensor((0.0, *grade.tint), dtype=lab.dtype, device=lab.device).view(1, 3, 1, 1)
    graded = lab * gain + lightness * tint
    graded[:, :1] += grade.lift
    return rgb_of_oklab(graded)


@lru_cache(maxsize=8)
def _table(grade: Grade, coding: Coding, device: torch.device) -> Tensor:
    """By how many codes a grade changes Y', Cb and Cr: (Y' nodes · Cb nodes, Cr nodes, 3)."""
    top = 2.0**coding.bits - 1
    steps = torch.linspace(0, top, _NODES, dtype=torch.float64)
    luma, cb, cr = torch.meshgrid(steps, steps, steps, indexing="ij")
    # What no R'G'B' has as its codes is changed as the nearest that has.
    rgb = ycbcr_to_rgb(luma.reshape(1, 1, 1, -1), torch.stack([cb, cr]).reshape(1, 2, 1, -1), coding)
    before = torch.cat(rgb_to_ycbcr(rgb, coding, (1, rgb.shape[-1])), dim=1)
    after = torch.cat(rgb_to_ycbcr(graded_rgb(rgb, grade), coding, (1, rgb.shape[-1])), dim=1)
    return (after - before)[0, :, 0].T.to(torch.float32).reshape(_NODES * _NODES, _NODES, 3).to(device)


def graded(
    luma: Tensor, chroma: Tensor, alpha: Tensor, grades: Sequence[Grade | None], coding: Coding
) -> tuple[Tensor, Tensor]:
    """Integer codes of a subject, luma (T, 1, H, W) and chroma (T, 2, h, w), graded where alpha (T, 1, H, W) shows it,
    each frame by its own grade.

    By a table, for each chroma sample: what Cb and Cr become there, and along which line Y' does. Luma's own pixels go
    along that line, so that no detail of theirs is lost.
    """
    made_luma, made_chroma = (planes.clone(memory_format=torch.contiguous_format) for planes in (luma, chroma))
    tall, wide = (-(-luma.shape[side] // chroma.shape[side]) for side in (-2, -1))
    for t, grade in enumerate(grades):
        if grade is None:
            continue
        table = _table(grade, coding, luma.device)
        top, bottom, left, right = shown_part(alpha[t, 0])
        for first in range(top, bottom, _ROWS):
            rows, columns = slice(first, min(first + _ROWS, bottom)), slice(left, right)
            small = (
                slice(rows.start // tall, -(-rows.stop // tall)),
                slice(columns.start // wide, -(-columns.stop // wide)),
            )
            fine, coarse = (t, slice(None), rows, columns), (t, slice(None), *small)
            own, color = luma[fine][None].to(torch.float32), chroma[coarse][None].to(torch.float32)
            size = (int(color.shape[-2]), int(color.shape[-1]))
            changed, offset, slope = _changes(downsample_chroma(own, size), color, table, coding)
            lines = [_spread(part, tall, wide)[..., : own.shape[-2], : own.shape[-1]] for part in (offset, slope)]
            highest = 2**coding.bits - 1
            made_luma[fine] = rounded(torch.addcmul(lines[0], own, lines[1]).add_(own).clamp_(0, highest), coding.bits)[
                0
            ]
            made_chroma[coarse] = rounded(changed.clamp_(0, highest), coding.bits)[0]
    return made_luma, made_chroma


def _changes(luma: Tensor, chroma: Tensor, table: Tensor, coding: Coding) -> tuple[Tensor, Tensor, Tensor]:
    """Graded chroma (1, 2, h, w) of float codes, and luma's change along Y': offset and slope (1, 1, h, w)."""
    scale = (_NODES - 1) / (2.0**coding.bits - 1)
    dark = (luma * scale).floor_().clamp_(0, _NODES - 2)
    cb, cr = (chroma[:, plane : plane + 1] * scale for plane in (0, 1))
    row = torch.add(cb, dark, alpha=_NODES)
    low, high = (_looked_up(table, cr, at) for at in (row, row + _NODES))
    change = torch.lerp(low[:, 1:3], high[:, 1:3], luma * scale - dark)
    slope = (high[:, :1] - low[:, :1]) * scale
    return chroma + change, torch.addcmul(low[:, :1], slope, dark, value=-1 / scale), slope


def _looked_up(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The table (H, W, 3), linear between its nodes, at columns x and rows y (1, 1, h, w): (1, 3, h, w)."""
    if table.device.type == "cpu":
        ends = x[0, 0].numpy(), y[0, 0].numpy()
        found = cv2.remap(table.numpy(), *ends, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(np.stack(cv2.split(found)))[None]
    height, width = table.shape[:2]
    places = torch.cat([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=1)
    return F.grid_sample(
        table.permute(2, 0, 1)[None], places.permute(0, 2, 3, 1), padding_mode="border", align_corners=True
    )


def _spread(plane: Tensor, tall: int, wide: int) -> Tensor:
    """Each sample for all the pixels of its block."""
    height, width = plane.shape[-2:]
    return (
        plane[..., :, None, :, None].expand(1, 1, height, tall, width, wide).reshape(1, 1, height * tall, width * wide)
    )
