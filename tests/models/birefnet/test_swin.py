"""Swin's windows against the paper's own steps: pad, roll, cut, attend, mask, put back."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vmatte.models.birefnet import swin
from vmatte.models.birefnet.swin import Block, PatchMerging, WindowAttention

Array = NDArray[Any]

# Whole windows; less than one; odd; one row; a token; one window beside a part of one.
SIZES = [(8, 8), (3, 2), (5, 9), (1, 6), (1, 1), (4, 5), (13, 7)]


def array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    return tensor.detach().double().numpy()


def filled(module: nn.Module) -> nn.Module:
    """Every parameter drawn, as biases that are zero hide mistakes. In double precision nothing hides in rounding."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def region(place: int, padded: int, window: int, shift: int) -> int:
    """Liu et al. 2021, figure 4, along one axis of the rolled map: parts with different labels were apart before."""
    if place < padded - window:
        return 0
    return 1 if place < padded - shift else 2


def attend(tokens: Array, layer: WindowAttention) -> Array:
    """One map (h, w, d) through windowed attention, window by window and head by head."""
    window, shift, heads = layer.window, layer.shift, layer.heads
    height, width, channels = tokens.shape
    high, wide = -(-height // window) * window, -(-width // window) * window
    padded = np.zeros((high, wide, channels))
    padded[:height, :width] = tokens
    rolled = np.roll(padded, (-shift, -shift), (0, 1))
    table, mixed = array(layer.relative_position_bias_table), np.zeros_like(rolled)
    places = [(y, x) for y in range(window) for x in range(window)]
    for top in range(0, high, window):
        for left in range(0, wide, window):
            cut = np.array([rolled[top + y, left + x] for y, x in places])
            q, k, v = np.split(cut @ array(layer.qkv.weight).T + array(layer.qkv.bias), 3, axis=1)
            bias = np.zeros((heads, len(places), len(places)))
            for a, (ya, xa) in enumerate(places):
                for b, (yb, xb) in enumerate(places):
                    bias[:, a, b] = table[(ya - yb + window - 1) * (2 * window - 1) + xa - xb + window - 1]
                    ends = ((top + ya, high), (left + xa, wide)), ((top + yb, high), (left + xb, wide))
                    of_a, of_b = ([region(*end, window, shift) for end in pair] for pair in ends)
                    if shift and of_a != of_b:
                        bias[:, a, b] -= 100
            out = np.zeros_like(cut)
            for head in range(heads):
                own = slice(32 * head, 32 * head + 32)
                scores = q[:, own] @ k[:, own].T / np.sqrt(32) + bias[head]
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                out[:, own] = shares / shares.sum(axis=1, keepdims=True) @ v[:, own]
            for (y, x), token in zip(places, out @ array(layer.proj.weight).T + array(layer.proj.bias), strict=True):
                mixed[top + y, left + x] = token
    return np.roll(mixed, (shift, shift), (0, 1))[:height, :width]


@pytest.mark.parametrize("kept", [False, True], ids=["as loaded", "bias kept"])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_attention_sees_its_window_and_no_further(size: tuple[int, int], shift: int, kept: bool) -> None:
    layer = filled(WindowAttention(64, heads=2, window=4, shift=shift).double())
    assert isinstance(layer, WindowAttention)
    tokens = torch.randn(2, size[0] * size[1], 64, dtype=torch.float64)
    with torch.no_grad():
        if kept:
            layer.keep_bias()
        seen = array(layer(tokens, *size)).reshape(2, *size, 64)
    for picture, found in zip(array(tokens).reshape(2, *size, 64), seen, strict=True):
        np.testing.assert_allclose(found, attend(picture, layer), rtol=0, atol=1e-10)


def test_windows_of_an_odd_side_are_shifted_by_its_smaller_half() -> None:
    layer = filled(WindowAttention(96, heads=3, window=7, shift=3).double())
    assert isinstance(layer, WindowAttention)
    tokens = torch.randn(1, 9 * 16, 96, dtype=torch.float64)
    with torch.no_grad():
        seen = array(layer(tokens, 9, 16)).reshape(9, 16, 96)
    np.testing.assert_allclose(seen, attend(array(tokens).reshape(9, 16, 96), layer), rtol=0, atol=1e-10)


@pytest.mark.parametrize("window", [7, 12])
def test_a_pair_of_tokens_finds_its_bias_by_the_way_between_them(window: int) -> None:
    index = WindowAttention(32, heads=1, window=window, shift=0).relative_position_index
    side = 2 * window - 1
    assert index.dtype == torch.int64
    for a, b in [(0, 0), (0, 1), (1, 0), (window, 0), (0, window**2 - 1), (window**2 - 1, 0), (window + 3, 2)]:
        (ya, xa), (yb, xb) = divmod(a, window), divmod(b, window)
        assert index[a, b] == (ya - yb + window - 1) * side + (xa - xb + window - 1)


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 3), (1, 1), (7, 5)], ids=str)
def test_four_neighbours_are_merged_down_before_right(size: tuple[int, int]) -> None:
    layer = filled(PatchMerging(8).double())
    assert isinstance(layer, PatchMerging)
    height, width = size
    tokens = torch.randn(2, height * width, 8, dtype=torch.float64)
    with torch.no_grad():
        merged = array(layer(tokens, height, width))
    rows, columns = (height + 1) // 2, (width + 1) // 2
    padded = np.zeros((2, 2 * rows, 2 * columns, 8))
    padded[:, :height, :width] = array(tokens).reshape(2, height, width, 8)
    for row in range(rows):
        for column in range(columns):
            y, x = 2 * row, 2 * column
            four = np.concatenate([padded[:, y + down, x + right] for right in (0, 1) for down in (0, 1)], axis=1)
            spread = np.sqrt(four.var(axis=1, keepdims=True) + 1e-5)
            normed = (four - four.mean(axis=1, keepdims=True)) / spread * array(layer.norm.weight)
            expected = (normed + array(layer.norm.bias)) @ array(layer.reduction.weight).T
            np.testing.assert_allclose(merged[:, row * columns + column], expected, rtol=0, atol=1e-10)


def test_an_mlp_in_chunks_is_the_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    block, tokens = filled(Block(32, heads=1, window=4, shift=2).double()), torch.randn(2, 30, 32, dtype=torch.float64)
    assert isinstance(block, Block)
    with torch.no_grad():
        attended = tokens + block.attn(block.norm1(tokens), 5, 6)
        narrow = block.norm2(attended) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        # GELU in its exact form: v·Φ(v).
        wide = narrow * torch.special.ndtr(narrow)
        expected = attended + wide @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
        for chunk in (1, 7, 30, 100):
            monkeypatch.setattr(swin, "CPU_CHUNK", chunk)
            torch.testing.assert_close(block(tokens, 5, 6), expected, rtol=0, atol=1e-10)
