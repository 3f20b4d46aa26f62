"""The deformable convolution against its formula, sample by sample, and against torchvision's stored answers."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vmatte.models.birefnet import deformable
from vmatte.models.birefnet.deformable import DeformableConv, deform_conv2d, sampled_deform_conv2d

Array = NDArray[Any]


def sample(features: Array, y: float, x: float) -> Array:
    """All channels of a map (C, h, w) at a point: bilinear, and zero outside."""
    _, height, width = features.shape
    found = np.zeros(len(features))
    for row, column in product((int(np.floor(y)), int(np.floor(y)) + 1), (int(np.floor(x)), int(np.floor(x)) + 1)):
        if 0 <= row < height and 0 <= column < width:
            found += (1 - abs(y - row)) * (1 - abs(x - column)) * features[:, row, column]
    return found


def by_the_formula(features: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """Zhu et al. 2019, equation 1, with loops, in double precision."""
    u, moves, weights, w = (tensor.double().numpy() for tensor in (features, offsets, modulation, weight))
    filters, _, k, _ = w.shape
    batch, _, height, width = u.shape
    convolved = np.zeros((batch, filters, height, width))
    for b, r, c, i, j in product(range(batch), range(height), range(width), range(k), range(k)):
        tap = i * k + j
        y = r - k // 2 + i + moves[b, 2 * tap, r, c]
        x = c - k // 2 + j + moves[b, 2 * tap + 1, r, c]
        convolved[b, :, r, c] += weights[b, tap, r, c] * (w[:, :, i, j] @ sample(u[b], y, x))
    return torch.from_numpy(convolved)


def random_case(
    kernel: int, size: tuple[int, int], *, reach: float = 3.0, batch: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, offsets up to `reach` pixels, modulation and weight."""
    torch.manual_seed(kernel)
    features = torch.randn(batch, 4, *size)
    offsets = (2 * torch.rand(batch, 2 * kernel**2, *size) - 1) * reach
    return features, offsets, 2 * torch.rand(batch, kernel**2, *size), torch.randn(3, 4, kernel, kernel) / kernel


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("size", [(5, 6), (1, 7), (6, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("reach", [0.0, 3.0, 1e6], ids=["no offsets", "near", "far outside"])
def test_each_tap_samples_where_its_offset_says(kernel: int, size: tuple[int, int], reach: float) -> None:
    case = random_case(kernel, size, reach=reach)
    torch.testing.assert_close(deform_conv2d(*case, None).double(), by_the_formula(*case), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_half_pixels_and_whole_pixels_are_met_exactly_at_the_border(kernel: int) -> None:
    features, offsets, modulation, weight = random_case(kernel, (4, 5), reach=8)
    case = features, (2 * offsets).round() / 2, modulation, weight
    torch.testing.assert_close(deform_conv2d(*case, None).double(), by_the_formula(*case), rtol=0, atol=1e-5)


# A map of ones, 3 × 3: what is left of a sample is the share of it that lies on the map.
@pytest.mark.parametrize(
    ("down", "right", "expected"),
    [
        (0, 0, [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        (-0.25, 0, [[0.75, 0.75, 0.75], [1, 1, 1], [1, 1, 1]]),
        (0.5, 0.5, [[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 0.25]]),
        (-1, 2, [[0, 0, 0], [1, 0, 0], [1, 0, 0]]),
        (3, 0, [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        (float("-inf"), float("inf"), [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_the_map_ends_in_zeros(down: float, right: float, expected: list[list[float]]) -> None:
    offsets = torch.tensor([down, right]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    ones = torch.ones(1, 1, 3, 3)
    assert deform_conv2d(ones, offsets, ones, torch.ones(1, 1, 1, 1), None)[0, 0].tolist() == expected


@pytest.mark.parametrize("samples_at_once", [1, 60, 100_000])
def test_bands_and_batches_leave_no_seam(samples_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "SAMPLES_AT_ONCE", samples_at_once)
    case = random_case(3, (7, 5), batch=2)
    torch.testing.assert_close(deform_conv2d(*case, None).double(), by_the_formula(*case), rtol=0, atol=1e-5)


def test_features_may_lie_in_memory_in_any_order() -> None:
    features, offsets, modulation, weight = random_case(3, (6, 5), batch=2)
    last, *others = (part.contiguous(memory_format=torch.channels_last) for part in (features, offsets, modulation))
    convolved = deform_conv2d(last, others[0], others[1], weight, None)
    expected = by_the_formula(features, offsets, modulation, weight)
    torch.testing.assert_close(convolved.double(), expected, rtol=0, atol=1e-5)


def test_a_bias_is_added_to_each_filter() -> None:
    case, bias = random_case(3, (5, 6)), torch.tensor([1.0, -2.0, 3.0])
    expected = by_the_formula(*case) + bias.view(3, 1, 1)
    torch.testing.assert_close(deform_conv2d(*case, bias).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_half_precision_keeps_the_places_of_its_samples(kernel: int) -> None:
    features, offsets, modulation, weight = (part.half() for part in random_case(kernel, (6, 40)))
    convolved = sampled_deform_conv2d(features, offsets, modulation, weight, None)
    assert convolved.dtype == torch.float16
    # Places are reckoned in single precision: half of it has steps of 1/32 pixel at column 40, and errors of 0.1 here.
    expected = by_the_formula(features, offsets, modulation, weight)
    torch.testing.assert_close(convolved.double(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_a_layer_reads_offsets_and_modulation_from_its_own_features(kernel: int) -> None:
    torch.manual_seed(0)
    layer, features = DeformableConv(4, 3, kernel), torch.randn(1, 4, 5, 6)
    offset, modulator = layer.offset_conv, layer.modulator_conv
    with torch.no_grad():
        offsets = F.conv2d(features, offset.weight, offset.bias, padding=kernel // 2)
        modulation = 2 / (1 + torch.exp(-F.conv2d(features, modulator.weight, modulator.bias, padding=kernel // 2)))
        expected = by_the_formula(features, offsets, modulation, layer.regular_conv.weight)
        torch.testing.assert_close(layer(features).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["k1", "k3", "k7", "k3_integer_offsets"])
def test_torchvision_says_the_same(case: str, birefnet_vectors: Path) -> None:
    with np.load(birefnet_vectors / "deform_conv2d_unit.npz") as unit:
        x, offset, mask, w, y = (torch.from_numpy(unit[f"{case}_{part}"]) for part in ("x", "offset", "mask", "w", "y"))
    torch.testing.assert_close(deform_conv2d(x, offset, mask, w, None), y, rtol=0, atol=1e-5)
