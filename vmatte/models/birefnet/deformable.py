"""Modulated deformable convolution (Dai et al. 2017, Zhu et al. 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):  # RuntimeError: built for another torch
    torchvision_deform_conv2d = None

SAMPLES_AT_ONCE = 1 << 16
"""Samples of a band of rows: what lies between sampling and the matrix product is small, and fits a CPU's cache."""


class DeformableConv(nn.Module):
    """A k × k convolution, stride 1, whose taps are moved and weighted by what it reads at each position."""

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.offset_conv = nn.Conv2d(channels, 2 * kernel**2, kernel, padding=kernel // 2)
        self.modulator_conv = nn.Conv2d(channels, kernel**2, kernel, padding=kernel // 2)
        self.regular_conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False)
        self.moves: nn.Conv2d | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) to (B, filters, h, w)."""
        if self.moves is None:
            offsets, modulation = self.offset_conv(features), self.modulator_conv(features)
        else:
            offsets, modulation = torch.split(self.moves(features), [2 * self.kernel**2, self.kernel**2], dim=1)
        conv = self.regular_conv
        return deform_conv2d(features, offsets, 2 * torch.sigmoid(modulation), conv.weight, conv.bias)

    def fold(self) -> None:
        """Make one convolution of the two that read offsets and modulation."""
        parts = (self.offset_conv, self.modulator_conv)
        taps, pad = self.kernel**2, self.kernel // 2
        conv = nn.Conv2d(parts[0].in_channels, 3 * taps, self.kernel, padding=pad, device="meta")
        conv.weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
        conv.bias = nn.Parameter(torch.cat([_bias(part) for part in parts]), requires_grad=False)
        self.moves = conv
        del self.offset_conv, self.modulator_conv


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def deform_conv2d(features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Deformable convolution of features (B, C, h, w) with a weight (filters, C, k, k), zero outside the map.

    Offsets (B, 2k², h, w) move the taps, row by row, by (Δy, Δx) pixels; modulation (B, k², h, w) weighs them.
    """
    # In half precision torchvision's kernel places its samples on eighths of a pixel, which alpha shows.
    exact = features.dtype == torch.float32
    if features.device.type == "cuda" and exact and torchvision_deform_conv2d is not None:
        padding = weight.shape[-1] // 2
        convolved: Tensor = torchvision_deform_conv2d(features, offsets, weight, bias, padding=padding, mask=modulation)
        return convolved
    return sampled_deform_conv2d(features, offsets, modulation, weight, bias)


def sampled_deform_conv2d(
    features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """The same as `deform_conv2d`, in PyTorch's own operators: gather the samples of all taps, then one product.

    A bilinear sample is a weighted sum of four rows of a table whose rows are the map's pixels, which is what
    `embedding_bag` computes, a row of channels at a time.
    """
    batch, channels, height, width = features.shape
    filters, _, kernel, _ = weight.shape
    taps = kernel**2
    matrix = weight.permute(2, 3, 1, 0).reshape(taps * channels, filters)
    table = F.pad(features, (1, 2, 1, 2)).permute(0, 2, 3, 1).reshape(-1, channels)
    moves = offsets.permute(0, 2, 3, 1).reshape(batch, height, width, taps, 2)
    weights = modulation.permute(0, 2, 3, 1)
    rows = height if features.device.type == "cuda" else max(1, SAMPLES_AT_ONCE // (width * taps))
    convolved = features.new_empty(batch, height, width, filters)
    for b in range(batch):
        for top in range(0, height, rows):
            band = range(top, min(top + rows, height))
            number, share = _neighbours(moves[b, top : band.stop], weights[b, top : band.stop], band, (height, width))
            first = b * (height + 3) * (width + 3)
            samples = _weighted_rows(table, number + first, share.to(table.dtype))
            product = samples.view(-1, taps * channels) @ matrix
            convolved[b, top : band.stop] = (product if bias is None else product.add_(bias)).view(-1, width, filters)
    return convolved.permute(0, 3, 1, 2)


def _weighted_rows(table: Tensor, number: Tensor, share: Tensor) -> Tensor:
    """For each sample the sum of four rows of the table (rows, C), weighted: (samples, C)."""
    if table.device.type == "mps":  # has no embedding_bag
        return (table[number] * share[..., None]).sum(dim=1)
    return F.embedding_bag(number, table, per_sample_weights=share, mode="sum")


def _neighbours(moves: Tensor, modulation: Tensor, rows: range, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four pixels round each sample of a band of rows, as rows of the table, and their weights: (samples, 4) each.

    The table has one row or column of zeros before the map and two behind it. A sample that is further out than one
    pixel is moved to where it sees nothing but them.
    """
    (height, width), taps = size, moves.shape[2]
    kernel = int(taps**0.5)
    tap = torch.arange(taps, device=moves.device)
    y = torch.arange(rows.start, rows.stop, device=moves.device)[:, None, None] + (tap // kernel - kernel // 2)
    x = torch.arange(width, device=moves.device)[:, None] + (tap % kernel - kernel // 2)
    y = (moves[..., 0].float() + y).clamp_(-1, height)
    x = (moves[..., 1].float() + x).clamp_(-1, width)
    above, left = y.floor(), x.floor()
    down, right = y.sub_(above), x.sub_(left)
    stride = width + 3
    corner = (above.int() + 1).mul_(stride).add_(left.int() + 1)
    below = down * modulation
    upper = modulation - below
    below_right, upper_right = below * right, upper * right
    number = torch.stack([corner, corner + 1, corner + stride, corner + (stride + 1)], dim=-1)
    share = torch.stack([upper - upper_right, upper_right, below - below_right, below_right], dim=-1)
    return number.view(-1, 4), share.view(-1, 4)
