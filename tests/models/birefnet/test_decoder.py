"""The decoder's parts that are rewritten, against the plain way to say the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vmatte.models.birefnet.decoder import Lateral, resize, stack_patches
from vmatte.models.contract import PatchOrder


@pytest.mark.parametrize("order", ["wghgc", "chgwg"])
@pytest.mark.parametrize("grid", [1, 2, 4])
def test_patches_of_the_image_become_channels(grid: int, order: PatchOrder) -> None:
    height, width = 2, 3
    image = torch.randn(2, 3, grid * height, grid * width)
    stacked = stack_patches(image, grid, order)
    assert stacked.shape == (2, 3 * grid**2, height, width)
    for row in range(grid):
        for column in range(grid):
            for colour in range(3):
                old = (column * grid + row) * 3 + colour
                new = (colour * grid + row) * grid + column
                patch = image[:, colour, row * height : (row + 1) * height, column * width : (column + 1) * width]
                assert torch.equal(stacked[:, old if order == "wghgc" else new], patch)


@pytest.mark.parametrize(
    ("before", "after"), [((3, 5), (6, 4)), ((6, 4), (3, 5)), ((1, 4), (3, 1)), ((1, 1), (2, 3)), ((4, 4), (4, 4))]
)
def test_a_resize_maps_corners_to_corners(before: tuple[int, int], after: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).standard_normal(before)
    rows = np.array([np.interp(np.linspace(0, before[1] - 1, after[1]), np.arange(before[1]), row) for row in maps])
    columns = [np.interp(np.linspace(0, before[0] - 1, after[0]), np.arange(before[0]), column) for column in rows.T]
    resized = resize(torch.from_numpy(maps)[None, None], after)[0, 0].numpy()
    np.testing.assert_allclose(resized, np.array(columns).T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("half", [(4, 3), (2, 2)], ids=["even", "odd"])
def test_a_lateral_reads_both_passes_side_by_side(half: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, of_full, of_half = Lateral(10), torch.randn(2, 5, 7, 6), torch.randn(2, 5, *half)
    with torch.no_grad():
        beside = torch.cat([of_full, F.interpolate(of_half, (7, 6), mode="bilinear", align_corners=True)], dim=1)
        expected = torch.einsum("oi,bihw->bohw", layer.conv.weight[:, :, 0, 0], beside)
        expected = expected + layer.conv.bias[:, None, None]
        torch.testing.assert_close(layer(of_full, of_half), expected, rtol=0, atol=1e-5)
