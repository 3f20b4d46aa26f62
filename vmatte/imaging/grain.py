"""A clip's grain: how strong it is at each brightness, and more of the same for a plate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import Coding
from vmatte.imaging.color import strips

LEVELS = 9
"""Brightnesses at which grain is known, from black to white in even steps."""
_BLOCK = 16
"""Side of the blocks, in pixels of the halved picture, of which some are flat."""
_FLAT_PART = 0.25
_FEWEST = 12
"""Blocks of a brightness that tell something of it."""
_TEXTURE = 2.0
"""Where the other two details of the wavelet are stronger than this, against the diagonal, there is more than grain:
white noise has one, film's about 1.4."""
_STEP = 1 / 512
"""Half an 8-bit level, which rounding alone may make of nothing."""
_MAD = 0.6745
"""Median absolute deviation of a normal distribution of variance 1."""
_CLIPPED = 0.02
"""Nearer to black or white than this, grain is cut off."""
_FIELD = 1024
"""Side of the noise that all frames' grain is cut from."""
_SEED = 0x766D61747465


@dataclass(frozen=True, slots=True)
class Grain:
    """Standard deviation of luma's grain at black, at white and evenly between, as parts of the range between them."""

    deviations: tuple[float, ...]

    def scaled(self, factor: float) -> Grain:
        return Grain(tuple(deviation * factor for deviation in self.deviations))

    def beyond(self, other: Grain) -> Grain:
        """What has to be added to grain like `other` to make it this: variances add up."""
        pairs = zip(self.deviations, other.deviations, strict=True)
        return Grain(tuple(max(own**2 - its**2, 0.0) ** 0.5 for own, its in pairs))


def grain_of(lumas: Tensor, coding: Coding) -> Grain:
    """The grain of sampled pictures, of luma codes (N, 1, H, W) at full size.

    From the finest diagonal wavelet (Haar), whose median absolute value tells noise whatever a few edges do (Donoho &
    Johnstone 1994), of the flattest quarter of all blocks at each brightness. In the picture at half size: a codec
    takes most of the grain of single pixels away, and what is left at half size is what is seen. A brightness of which
    there is too little has the grain of those beside it.
    """
    darkest, brightest = coding.luma_ends
    level = (lumas.to(torch.float32) - darkest) / (brightest - darkest)
    half = F.avg_pool2d(level, 2)
    height, width = (side // (2 * _BLOCK) * 2 * _BLOCK for side in half.shape[-2:])
    if not len(lumas) or not height or not width:
        return Grain((0.0,) * LEVELS)
    corners = [half[..., y:height:2, x:width:2] for y in (0, 1) for x in (0, 1)]
    diagonal, across, down = (
        _blocks((corners[0] + a * corners[1] + b * corners[2] + a * b * corners[3]) / 2)
        for a, b in ((-1, -1), (-1, 1), (1, -1))
    )
    brightness = _blocks(sum(corners[1:], corners[0]) / 4).mean(dim=-1)
    roughness = torch.maximum(across.std(dim=-1), down.std(dim=-1))
    noise = diagonal.abs().median(dim=-1).values / _MAD
    return Grain(tuple(_by_level(*(part.numpy(force=True) for part in (brightness, roughness, noise)))))


def _blocks(planes: Tensor) -> Tensor:
    """(blocks, pixels of each) of planes (N, 1, H, W), whose sides are multiples of the block's."""
    frames, _, height, width = planes.shape
    parts = planes.reshape(frames, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return parts.transpose(2, 3).reshape(-1, _BLOCK * _BLOCK)


def _by_level(
    brightness: NDArray[np.float32], roughness: NDArray[np.float32], noise: NDArray[np.float32]
) -> list[float]:
    usable = (brightness > _CLIPPED) & (brightness < 1 - _CLIPPED) & (roughness < _TEXTURE * noise + _STEP)
    nearest = np.round(brightness * (LEVELS - 1))
    known: dict[int, float] = {}
    for level in range(LEVELS):
        those = np.flatnonzero(usable & (nearest == level))
        if len(those) < _FEWEST:
            continue
        flattest = those[np.argsort(roughness[those], kind="stable")[: max(_FEWEST, int(len(those) * _FLAT_PART))]]
        known[level] = float(np.median(noise[flattest]))
    if not known:
        return [0.0] * LEVELS
    return [float(value) for value in np.interp(range(LEVELS), list(known), list(known.values()))]


def grain_field(number: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Grain (1, 1, H, W) float32 of frame `number`, of mean 0; its standard deviation, as `grain_of` measures it, is 1.

    Each frame is cut from one field of noise, at a place of its own, mirrored and turned by its number: frames have
    nothing in common that an eye would find. The same for a number on every machine, whoever asks.
    """
    drawn = np.random.Philox(key=_SEED, counter=[0, 0, 1, number]).random_raw(2)
    rows, columns, turns = int(drawn[0] % _FIELD), int(drawn[0] // _FIELD % _FIELD), int(drawn[1] % 8)
    field = _field(device)
    for turn, dims in ((1, (0,)), (2, (1,))):
        if turns & turn:
            field = field.flip(dims)
    if turns & 4:
        field = field.T
    height, width = size
    times = -(-height // _FIELD), -(-width // _FIELD)
    return field.roll((rows, columns), (0, 1)).repeat(times)[None, None, :height, :width]


@lru_cache
def _field(device: torch.device) -> Tensor:
    """Noise (1024, 1024) float32 that goes on from each border to the opposite one.

    Sums of eight random bytes, nearly normal, softened by 1-2-1 each way as film's grain is: integers to the end, drawn
    by a counter-based generator (Philox, Salmon et al. 2011) whose raw numbers numpy promises never to change.
    """
    raw = np.random.Philox(key=_SEED, counter=[0, 0, 0, 0]).random_raw(_FIELD * _FIELD)
    octets = raw.astype("<u8").view(np.uint8).reshape(_FIELD, _FIELD, 8)
    noise = 2 * octets.sum(axis=-1, dtype=np.int64) - 8 * 255
    for axis in (0, 1):
        noise = np.roll(noise, 1, axis) + 2 * noise + np.roll(noise, -1, axis)
    return torch.from_numpy((noise * _UNIT).astype(np.float32)).to(device)


_UNIT = 1 / (2 * (8 * (256**2 - 1) / 12) ** 0.5 * 16 * (7 / 32))
"""Twice the deviation of eight bytes' sum, the kernel's sum, and what the kernel leaves of white noise's deviation in a
difference between neighbouring pairs of pixels, each way: √(7/16)² / 2."""


def grained(luma: Tensor, grain: Grain, numbers: range, coding: Coding) -> Tensor:
    """A plate's float luma codes (T or 1, 1, H, W) with the grain of the frames of these numbers: (T, 1, H, W)."""
    size = (int(luma.shape[-2]), int(luma.shape[-1]))
    darkest, brightest = coding.luma_ends
    deviations = _deviations(grain, luma.device) * (brightest - darkest)
    scale = (len(deviations) - 1) / (brightest - darkest)
    made = luma.new_empty((len(numbers), 1, *size))
    for t, number in enumerate(numbers):
        own, field = luma[min(t, len(luma) - 1)], grain_field(number, size, luma.device)[0]
        for rows in strips(made):
            level = ((own[rows] - darkest) * scale).clamp_(0, len(deviations) - 1).to(torch.int32)
            deviation = deviations.index_select(0, level.flatten()).view(level.shape)
            made[t][rows] = torch.addcmul(own[rows], field[rows], deviation).clamp_(0, 2**coding.bits - 1)
    return made


@lru_cache
def _deviations(grain: Grain, device: torch.device) -> Tensor:
    """Linear between the levels, in 256 steps from black to white."""
    steps = np.linspace(0, LEVELS - 1, 256)
    return torch.from_numpy(np.interp(steps, range(LEVELS), grain.deviations).astype(np.float32)).to(device)
