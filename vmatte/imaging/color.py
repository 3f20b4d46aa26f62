"""Y'CbCr and R'G'B' (ITU-T H.273, ITU-R BT.601, BT.709, BT.2020), and chroma at half size.

Half-size chroma is sited as H.264 and MPEG-2 do by default ("left"): a sample lies on every second column, half-way
between two rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import EllipsisType

import torch
from torch import Tensor

from vmatte.clip import RGB_MATRIX, Coding, ColorTags

Rows = tuple[EllipsisType, slice, slice]

_KR_KB = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_ROWS_PER_STRIP = 64


def strips(planes: Tensor) -> Iterator[Rows]:
    """Index of 64 rows of (T, C, H, W) after the other, for full-size maths: what lies between two steps of it then
    stays in the processor's cache, at half the cost. On a device, which has more to lose by small steps, all rows."""
    rows = _ROWS_PER_STRIP if planes.device.type == "cpu" else planes.shape[-2]
    for top in range(0, planes.shape[-2], rows):
        yield (..., slice(top, top + rows), slice(None))


def luma_weights(color: ColorTags) -> tuple[float, float, float]:
    """Weights of R', G' and B' in luma."""
    kr, kb = _KR_KB[color.matrix]
    return kr, 1 - kr - kb, kb


def black(coding: Coding) -> tuple[int, int]:
    """The codes of luma and chroma for black."""
    return coding.luma_ends[0], 1 << (coding.bits - 1)


def code_spans(coding: Coding) -> tuple[float, float]:
    """Codes between black and white, and between the extremes of chroma."""
    darkest, brightest = coding.luma_ends
    chroma = 2.0**coding.bits - 1 if coding.color.full_range else 224.0 * 2 ** (coding.bits - 8)
    return float(brightest - darkest), chroma


def legal_codes(coding: Coding) -> tuple[tuple[int, int], tuple[int, int]]:
    """The lowest and the highest code of luma, and of chroma."""
    unit = 1 << (coding.bits - 8)
    return coding.luma_ends, coding.luma_ends if coding.color.full_range else (16 * unit, 240 * unit)


def _to_codes(coding: Coding) -> tuple[Tensor, Tensor]:
    """Matrix (3, 3) and offset (3, 1) that take R'G'B' in [0, 1] to codes of Y', Cb, Cr (unrounded)."""
    if coding.color.matrix == RGB_MATRIX:
        return (2.0**coding.bits - 1) * torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]), torch.zeros(3, 1)
    red, green, blue = luma_weights(coding.color)
    y_span, c_span = code_spans(coding)
    luma = torch.tensor([red, green, blue], dtype=torch.float64)
    cb = (torch.tensor([0.0, 0, 1]) - luma) / (2 * (1 - blue))
    cr = (torch.tensor([1.0, 0, 0]) - luma) / (2 * (1 - red))
    zero_y, zero_c = black(coding)
    matrix = torch.stack([luma * y_span, cb * c_span, cr * c_span])
    return matrix.to(torch.float32), torch.tensor([[zero_y], [zero_c], [zero_c]], dtype=torch.float32)


@lru_cache  # this one and the next two: a copy to a GPU waits until it is idle
def _rgb_to_codes(coding: Coding, device: torch.device) -> tuple[Tensor, Tensor]:
    matrix, offset = _to_codes(coding)
    return matrix.to(device), offset.to(device)


@lru_cache
def codes_to_rgb(coding: Coding, device: torch.device) -> tuple[Tensor, Tensor]:
    """Matrix (3, 3) and offset (3, 1) that take codes of Y', Cb, Cr to R'G'B' in [0, 1]."""
    matrix, offset = _to_codes(coding)
    inverse = torch.linalg.inv(matrix.to(torch.float64))
    shift = -(inverse @ offset.to(torch.float64))
    return inverse.to(torch.float32).to(device), shift.to(torch.float32).to(device)


@lru_cache
def _codes_to_codes(source: Coding, target: Coding, device: torch.device) -> tuple[Tensor, Tensor]:
    from_source, source_zero = _to_codes(source)
    to_target, target_zero = _to_codes(target)
    matrix = to_target.to(torch.float64) @ torch.linalg.inv(from_source.to(torch.float64))
    offset = target_zero.to(torch.float64) - matrix @ source_zero.to(torch.float64)
    return matrix.to(torch.float32).to(device), offset.to(torch.float32).to(device)


def _affine(planes: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """`matrix @ planes + offset` over the channels of (T, 3, H, W)."""
    flat = planes.to(torch.float32).flatten(2)
    return torch.baddbmm(offset.expand(len(flat), 3, 1), matrix.expand(len(flat), 3, 3), flat).view(planes.shape)


def ycbcr_to_rgb(luma: Tensor, chroma: Tensor, coding: Coding) -> Tensor:
    """R'G'B' (T, 3, H, W) float32 in [0, 1] of codes: luma (T, 1, H, W), chroma (T, 2, h, w) full or half size."""
    if chroma.shape[-2:] != luma.shape[-2:]:
        chroma = upsample_chroma(chroma.to(torch.float32), luma.shape[-2:])
    # Converted on the way: quicker than cat(), which for uint16 is not there on every device.
    planes = luma.new_empty((len(luma), 3, *luma.shape[-2:]), dtype=torch.float32)
    planes[:, :1], planes[:, 1:] = luma, chroma
    return _affine(planes, *codes_to_rgb(coding, planes.device)).clamp_(0, 1)


def rgb_to_ycbcr(rgb: Tensor, coding: Coding, chroma_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Codes, unrounded float32, of R'G'B' (T, 3, H, W) in [0, 1]: luma (T, 1, H, W), chroma (T, 2, *chroma_size)."""
    planes = _affine(rgb, *_rgb_to_codes(coding, rgb.device))
    return planes[:, :1], downsample_chroma(planes[:, 1:], chroma_size)


def recode(luma: Tensor, chroma: Tensor, source: Coding, target: Coding) -> tuple[Tensor, Tensor]:
    """The same picture in another coding: rounded codes, chroma at the size it has.

    Luma is computed at its own size, chroma at its own: going through full-size RGB would soften chroma for nothing.
    """
    matrix, offset = _codes_to_codes(source, target, luma.device)
    luma, chroma = luma.to(torch.float32), chroma.to(torch.float32)
    chroma_size = (int(chroma.shape[2]), int(chroma.shape[3]))
    fine = torch.cat([luma, upsample_chroma(chroma, luma.shape[-2:])], dim=1)
    coarse = torch.cat([downsample_chroma(luma, chroma_size), chroma], dim=1)
    highest = 2**target.bits - 1
    luma = _affine(fine, matrix, offset)[:, :1].clamp_(0, highest)
    chroma = _affine(coarse, matrix, offset)[:, 1:].clamp_(0, highest)
    return rounded(luma, target.bits), rounded(chroma, target.bits)


def rounded(values: Tensor, bits: int) -> Tensor:
    """Values in code units, rounded in place, as integer codes: uint8, or uint16 above 8 bits."""
    # By way of int16: torch has no fast conversion from float32 to uint8, and it costs as much as a whole composite.
    return values.round_().to(torch.int16).to(torch.uint8) if bits == 8 else values.round_().to(torch.uint16)


@dataclass(frozen=True, slots=True)
class Sites:
    """Where the samples of a plane lie along rows or columns: sample i at pixel `first + i * step` of luma."""

    step: int
    first: float


LUMA_SITES = Sites(1, 0.0)


def chroma_sites(size: tuple[int, int], chroma_size: tuple[int, int]) -> tuple[Sites, Sites]:
    """Where chroma lies in pictures of (height, width) `size`: its rows, its columns."""
    rows = LUMA_SITES if chroma_size[0] == size[0] else Sites(2, 0.5)
    columns = LUMA_SITES if chroma_size[1] == size[1] else Sites(2, 0.0)
    return rows, columns


def upsample_chroma(chroma: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Left-sited chroma (T, C, h, w) float at full (height, width), bilinear; a side that is full already stays."""
    height, width = size
    # Across first, which is half the work: a filter on rows and one on columns may change places.
    if chroma.shape[-1] != width:
        half = chroma * 0.5
        wide = chroma.new_empty((*chroma.shape[:-1], 2 * chroma.shape[-1]))
        wide[..., 0::2], wide[..., -1] = chroma, chroma[..., -1]
        torch.add(half[..., :-1], half[..., 1:], out=wide[..., 1:-1:2])
        chroma = wide[..., :width]
    if chroma.shape[-2] != height:
        near, far = chroma * 0.75, chroma * 0.25
        tall = chroma.new_empty((*chroma.shape[:-2], 2 * chroma.shape[-2], chroma.shape[-1]))
        tall[..., 0, :], tall[..., -1, :] = chroma[..., 0, :], chroma[..., -1, :]
        torch.add(near[..., 1:, :], far[..., :-1, :], out=tall[..., 2::2, :])
        torch.add(near[..., :-1, :], far[..., 1:, :], out=tall[..., 1:-1:2, :])
        chroma = tall[..., :height, :]
    return chroma


def downsample_chroma(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Full-size planes (T, C, H, W) float at the left-sited places of (h, w): filter 1-2-1 across, 1-1 down.

    The counterpart of `upsample_chroma`; also takes alpha to where the chroma samples are.
    """
    height, width = planes.shape[-2:]
    if size[0] != height:
        if height % 2:
            planes = torch.cat([planes, planes[..., -1:, :]], dim=-2)
        planes = (planes[..., 0::2, :] + planes[..., 1::2, :]) * 0.5
    if size[1] != width:
        if width % 2:
            planes = torch.cat([planes, planes[..., -1:]], dim=-1)
        even, odd = planes[..., 0::2], planes[..., 1::2]
        planes = even * 0.5
        planes.add_(odd, alpha=0.25)
        planes[..., 1:].add_(odd[..., :-1], alpha=0.25)
        planes[..., :1].add_(even[..., :1], alpha=0.25)
    return planes
