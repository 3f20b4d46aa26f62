"""Planes on another grid of samples, to any part of a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Kernel:
    """How much a sample counts by its distance, which is below `reach`."""

    weight: Callable[[Tensor], Tensor]
    reach: int


def _cubic(distance: Tensor) -> Tensor:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, far)


TENT = Kernel(lambda distance: 1 - distance, 1)
"""Bilinear. It has no negative weights: a mean stays between what it is of."""
CUBIC = Kernel(_cubic, 2)
"""Keys 1981, with a = -1/2: sharper, and overshoots."""


@dataclass(frozen=True, slots=True)
class Taps:
    """What each sample of a line is made of: `numbers` (n, k) int64 of samples in a `part` of another line, and their
    `weights` (n, k) float32, whose sum is 1."""

    part: slice
    numbers: Tensor
    weights: Tensor


def taps(kernel: Kernel, count: int, source: int, first: float, step: float, device: torch.device) -> Taps:
    """Sample q of `count` lies at `first + q * step` of `source` samples; at their ends the kernel is cut off.

    Where it steps over samples it grows with the step, so that all of them count and nothing aliases.
    """
    reach = kernel.reach * max(1.0, step)
    centres = (first + step * torch.arange(count, dtype=torch.float64)).clamp_(-0.5, source - 0.5)
    numbers = torch.floor(centres - reach).to(torch.int64)[:, None] + torch.arange(1, ceil(2 * reach) + 2)
    distance = (numbers - centres[:, None]).abs() / reach * kernel.reach
    counts = (distance < kernel.reach) & (numbers >= 0) & (numbers < source)
    weights = torch.where(counts, kernel.weight(distance), 0)
    weights /= weights.sum(dim=1, keepdim=True)
    numbers.clamp_(0, source - 1)
    part = slice(int(numbers.min()), int(numbers.max()) + 1)
    return Taps(part, (numbers - part.start).to(device), weights.to(torch.float32).to(device))


def resample(planes: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Planes (C, H, W) float32 on other rows and columns."""
    planes = planes[:, rows.part, columns.part]
    channels, height, width = planes.shape
    lines = _mixed(planes.transpose(0, 1).reshape(height, channels * width), rows)
    lines = _mixed(lines.view(-1, channels, width).permute(2, 1, 0).reshape(width, -1), columns)
    return lines.view(len(lines), channels, -1).permute(1, 2, 0)


def _mixed(lines: Tensor, taps: Taps) -> Tensor:
    """Lines (n, L), each the weighted sum of some of `lines` (N, L)."""
    # At a third of what it costs to gather the lines and to add them up.
    return F.embedding_bag(taps.numbers, lines, mode="sum", per_sample_weights=taps.weights)
