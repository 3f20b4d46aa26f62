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


def rgb_change_to_ycbcr(change: Tensor, coding: Coding) -> Tensor:
    """By how many codes Y'CbCr (T, 3, H, W) changes where R'G'B' (T, 3, H, W) changes by so much, in parts of 1."""
    matrix, _ = _rgb_to_codes(coding, change.device)
    return (matrix @ change.flatten(2)).view(change.shape)


def gamut_change(luma: Tensor, chroma: Tensor, coding: Coding) -> Tensor:
    """By how many codes Y'CbCr (T, 3, H, W) changes where a decoder shows R'G'B' that ends at 0 and 1; 0 for colours
    that lie within. Luma (T, 1, H, W) and chroma (T, 2, h, w) are codes."""
    planes = luma.new_empty((len(luma), 3, *luma.shape[-2:]), dtype=torch.float32)
    planes[:, :1], planes[:, 1:] = luma, upsample_chroma(chroma.to(torch.float32), luma.shape[-2:])
    rgb = _affine(planes, *codes_to_rgb(coding, planes.device))
    return rgb_change_to_ycbcr(rgb.clamp(0, 1).sub_(rgb), coding)


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


@dataclass(frozen=True, slots=True, eq=False)
class ChromaTaps:
    """`upsample_chroma` and `downsample_chroma` for single pixels on the CPU: for each of N, the four samples that are
    round it, and its weight in those whose filter reaches it."""

    near: tuple[Tensor, Tensor]
    """Flat places (N,) of the samples of its own row of chroma, left and right (the same where it lies on one)."""
    far: tuple[Tensor, Tensor]
    """Those of the next row of chroma."""
    far_weight: float
    weights: tuple[Tensor, Tensor]
    """Of the pixel in the two samples of its own row."""

    def upsampled(self, chroma: Tensor) -> Tensor:
        """Chroma (1, C, h, w) at the pixels: (1, C, 1, N) float32."""
        own = _sum_of(chroma, self.near)
        if self.far_weight:
            own = torch.lerp(own, _sum_of(chroma, self.far), self.far_weight)
        return own.mul_(0.5)

    def add_downsampled(self, values: Tensor, chroma: Tensor) -> None:
        """Add to chroma (1, C, h, w) what pixels of such values (1, C, 1, N), 0 everywhere else, are at its size."""
        for plane, value in zip(chroma[0], values[0, :, 0], strict=True):
            for places, weight in zip(self.near, self.weights, strict=True):
                plane.view(-1).index_add_(0, places, value * weight)


def _sum_of(planes: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    left, right = (taken(planes, places) for places in pair)
    return left.add_(right)


def taken(planes: Tensor, places: Tensor) -> Tensor:
    """(1, C, 1, N) float32 of the codes or numbers of planes (1, C, H, W), at flat places (N,) int32."""
    values = torch.empty((1, planes.shape[1], 1, len(places)))
    for plane, value in zip(
        planes[0], values[0, :, 0], strict=True
    ):  # one by one: torch is slow along other dimensions
        flat = plane.reshape(-1)
        if plane.dtype == torch.uint16:  # torch selects no uint16
            value.copy_(flat.view(torch.int16).index_select(0, places).to(torch.int32).bitwise_and_(0xFFFF))
        else:
            value.copy_(flat.index_select(0, places))
    return values


def chroma_taps(x: Tensor, y: Tensor, size: tuple[int, int], chroma_size: tuple[int, int]) -> ChromaTaps:
    """The taps of the pixels in columns `x` and rows `y` (N,), of pictures of (height, width) `size`."""
    (height, width), (rows, columns) = size, chroma_size
    weight = torch.ones(len(x))
    row, other, far_weight = y, y, 0.0
    if rows != height:
        row, far_weight = y >> 1, 0.25  # torch divides integers slowly
        other = (row + ((y & 1) << 1) - 1).clamp_(0, rows - 1)
        weight *= torch.where(y == height - 1, 1.0, 0.5) if height % 2 else 0.5
    left, right = x, x
    if columns != width:
        left, right = x >> 1, (x + 1) >> 1
        across = torch.where(x == 0, 0.75, 0.5)
        if width % 2:
            across += torch.where(x == width - 1, 0.25, 0.0)
        weight *= across
    weight *= 0.5
    beyond = right >= columns  # it would lie in a sample that is not there
    right = right.clamp(max=columns - 1)
    return ChromaTaps(
        near=(row * columns + left, row * columns + right),
        far=(other * columns + left, other * columns + right),
        far_weight=far_weight,
        weights=(weight, weight.masked_fill(beyond, 0)),
    )
