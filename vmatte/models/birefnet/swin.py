"""Swin Transformer (Liu et al. 2021), the backbone. Maps come out as (B, C, h, w); tokens are (B, h·w, d).

Windows are never cut out of a padded, rolled copy of the map. One gather takes the tokens into windows and one takes
them back, so the roll is free, linear layers only see tokens that exist, and windows can be ordered by the part of the
shift mask that applies to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 32
MASKED = -100.0
PATTERNS = 4
"""Kinds of windows under the shift mask: inside, last column, last row, corner."""
CPU_CHUNK = 2048
"""Tokens that go through an MLP at once on a CPU: what lies between its two layers stays in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowOrder:
    """Where the tokens of B maps of h × w go when they are cut into windows of N tokens."""

    token: Tensor
    """(B·windows·N,) the token that each place in a window takes; any for a place outside the map."""
    outside: Tensor
    """Places that lie outside the map, in its padding at the bottom and on the right."""
    place: Tensor
    """(B·h·w,) the place where each token went."""
    windows: tuple[int, ...]
    """Windows of each pattern, in order; one pattern where nothing is shifted."""


def window_order(batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> WindowOrder:
    """Windows of `window`² tokens over maps that are padded to whole windows and rolled by −`shift` on both axes."""
    return _window_order(batch, height, width, window, shift, device)


# What torch.compiler.assume_constant_result sets; to call that would import the compiler, which takes over a second.
window_order._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # an order made in inference mode also serves outside of it
def _window_order(batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> WindowOrder:
    rows, columns = -(-height // window), -(-width // window)
    y = (torch.arange(rows * window) + shift) % (rows * window)
    x = (torch.arange(columns * window) + shift) % (columns * window)
    token = torch.where((y < height)[:, None] & (x < width), y[:, None] * width + x, -1)
    token = token.view(rows, window, columns, window).transpose(1, 2).reshape(rows * columns, window * window)
    # The last window row and column of the rolled map hold tokens from both of its ends, which must not see each other.
    last_row = (torch.arange(rows) == rows - 1).long()
    last_column = (torch.arange(columns) == columns - 1).long()
    pattern = (2 * last_row[:, None] + last_column).flatten()
    parts = [token[pattern == number] for number in range(PATTERNS)] if shift else [token]
    first = torch.arange(batch).view(-1, 1, 1) * (height * width)
    token = torch.cat([torch.where(part < 0, -1, part + first).flatten() for part in parts])
    inside = (token >= 0).nonzero().flatten()
    place = torch.empty(batch * height * width, dtype=torch.long)
    place[token[inside]] = inside
    outside = (token < 0).nonzero().flatten()
    windows = tuple(batch * len(part) for part in parts)
    return WindowOrder(token.clamp_(min=0).to(device), outside.to(device), place.to(device), windows)


class WindowAttention(nn.Module):
    """Attention inside windows, with a learnt bias for each relative position and, where shifted, a mask."""

    relative_position_index: Tensor
    kept_bias: Tensor | None

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", _relative_positions(window))
        self.register_buffer("kept_bias", None, persistent=False)

    def bias(self) -> Tensor:
        """What is added to the scores (patterns, heads, N, N): relative position bias and shift mask in one."""
        if self.kept_bias is not None:
            return self.kept_bias
        relative = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        return relative[None] + shift_mask(self.window, self.shift).to(relative)[:, None]

    def keep_bias(self) -> None:
        """Compute the bias once and for all: for weights that no longer change, move or change their precision."""
        self.kept_bias = self.bias().contiguous()

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, _, channels = tokens.shape
        order = window_order(batch, height, width, self.window, self.shift, tokens.device)
        windows = self.qkv(tokens).flatten(0, 1).index_select(0, order.token)
        if len(order.outside):
            # Padding is zero before this layer, so its bias is what comes out there.
            windows[order.outside] = self.qkv.bias.to(windows.dtype)
        bias = self.bias().to(windows.dtype)
        q, k, v = windows.view(-1, self.window**2, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        attended, first = [], 0
        for pattern, count in enumerate(order.windows):
            if not count:
                continue
            here = slice(first, first + count)
            # A bias of four dimensions: with three, PyTorch leaves its fused kernel for one three times as slow.
            seen = F.scaled_dot_product_attention(q[here], k[here], v[here], attn_mask=bias[pattern, None])
            attended.append(seen.transpose(1, 2).reshape(-1, channels))
            first += count
        mixed: Tensor = self.proj(torch.cat(attended).index_select(0, order.place))
        return mixed.view(batch, -1, channels)


def _relative_positions(window: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1


def shift_mask(window: int, shift: int) -> Tensor:
    """(patterns, N, N): 0 where two tokens of a window may see each other, −100 where the roll made them meet."""
    if not shift:
        return torch.zeros(1, window**2, window**2)
    wrapped = torch.arange(window) >= window - shift
    row, column = (part.flatten() for part in torch.meshgrid(wrapped, wrapped, indexing="ij"))
    rows_differ, columns_differ = row[:, None] != row, column[:, None] != column
    inside = torch.zeros_like(rows_differ)
    return torch.stack([inside, columns_differ, rows_differ, rows_differ | columns_differ]) * MASKED


class Mlp(nn.Module):
    """Two linear layers with a GELU (its exact, erf form) between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        widened: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return widened


class Block(nn.Module):
    """Attention and MLP, each behind a norm and beside a residual."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        if tokens.device.type != "cpu":
            widened: Tensor = tokens + self.mlp(self.norm2(tokens))
            return widened
        parts = torch.split(tokens, CPU_CHUNK, dim=1)
        return torch.cat([part + self.mlp(self.norm2(part)) for part in parts], dim=1)


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, _, channels = tokens.shape
        padded = F.pad(tokens.view(batch, height, width, channels), (0, 0, 0, width % 2, 0, height % 2))
        rows, columns = padded.shape[1] // 2, padded.shape[2] // 2
        # Down before right: the order of the four is (0, 0), (1, 0), (0, 1), (1, 1).
        four = padded.view(batch, rows, 2, columns, 2, channels).permute(0, 1, 3, 4, 2, 5)
        merged: Tensor = self.reduction(self.norm(four.reshape(batch, rows * columns, 4 * channels)))
        return merged


class Stage(nn.Module):
    """Blocks at one width, every second one shifted, then the way to the next stage."""

    def __init__(self, width: int, depth: int, heads: int, window: int, *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, window, (j % 2) * (window // 2)) for j in range(depth))
        self.downsample = None if last else PatchMerging(width)

    def forward(self, tokens: Tensor, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        """The stage's tokens, and those that the next stage starts from."""
        for block in self.blocks:
            tokens = block(tokens, height, width)
        return tokens, None if self.downsample is None else self.downsample(tokens, height, width)


class PatchEmbedding(nn.Module):
    """4 × 4 pixels become a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, stride=4)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> tuple[Tensor, int, int]:
        patches = self.proj(F.pad(image, (0, -image.shape[3] % 4, 0, -image.shape[2] % 4)))
        return self.norm(patches.flatten(2).transpose(1, 2)), patches.shape[2], patches.shape[3]


class SwinTransformer(nn.Module):
    """Four feature maps of an image, at 1/4, 1/8, 1/16 and 1/32 of its size and 1, 2, 4 and 8 times the width."""

    def __init__(self, width: int, depths: Sequence[int], heads: Sequence[int], window: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(width)
        widths = [width * 2**i for i in range(len(depths))]
        self.layers = nn.ModuleList(
            Stage(stage_width, depth, stage_heads, window, last=stage_width == widths[-1])
            for stage_width, depth, stage_heads in zip(widths, depths, heads, strict=True)
        )
        for i, stage_width in enumerate(widths):
            self.add_module(f"norm{i}", nn.LayerNorm(stage_width))

    def forward(self, image: Tensor) -> list[Tensor]:
        tokens, height, width = self.patch_embed(image)
        maps = []
        for i, stage in enumerate(self.layers):
            fine, tokens = stage(tokens, height, width)
            normed = getattr(self, f"norm{i}")(fine).view(len(fine), height, width, -1)
            maps.append(normed.permute(0, 3, 1, 2))
            height, width = -(-height // 2), -(-width // 2)
        return maps
