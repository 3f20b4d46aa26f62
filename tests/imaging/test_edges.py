"""Edge controls, against shapes whose edges are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.imaging.edges import choked, leveled, without_holes, without_specks


def disc(size: int, radius: float, softness: float = 0.0) -> Tensor:
    """(1, 1, size, size): a disc in the middle whose edge is a ramp of `softness` pixels, or one pixel's coverage."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    ramp = (radius - np.hypot(x, y)) / max(softness, 1.0) + 0.5
    return torch.from_numpy(ramp.clip(0, 1).astype(np.float32))[None, None]


def radius_of(alpha: Tensor) -> float:
    return float((alpha.double().sum() / np.pi).sqrt())


def test_levels_and_gamma_are_their_formula() -> None:
    alpha = torch.linspace(0, 1, 11).view(1, 1, 1, 11)
    assert leveled(alpha, 0.2, 0.7, 1).flatten().tolist() == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    assert leveled(alpha, 0, 1, 2)[0, 0, 0, 1].item() == pytest.approx(0.1**0.5)


@pytest.mark.parametrize("pixels", [-7.3, -2.0, -0.5, 0.25, 0.5, 1.0, 1.75, 4.0, 9.6])
def test_a_choke_moves_the_edge_by_that_many_pixels_and_parts_of_one(pixels: float) -> None:
    # A straight soft edge: position is where alpha crosses one half, and what it sums to.
    row = ((40.3 - torch.arange(80.0)) / 6 + 0.5).clamp(0, 1).expand(1, 1, 50, 80)
    moved = choked(row, pixels)
    assert float(row[0, 0, 25].sum() - moved[0, 0, 25].sum()) == pytest.approx(pixels, abs=0.01)
    # A disc shrinks by as much all round, to within what an octagon is from a circle.
    assert radius_of(disc(160, 50)) - radius_of(choked(disc(160, 50), pixels)) == pytest.approx(
        pixels, abs=0.25 + 0.06 * abs(pixels)
    )


def test_a_choke_keeps_softness() -> None:
    soft = disc(160, 50, softness=12)
    for alpha in (choked(soft, 5), choked(soft, -5)):
        profile = alpha[0, 0, 80, 80:]
        assert int(((profile > 0.01) & (profile < 0.99)).sum()) == pytest.approx(12, abs=1)


def test_a_choke_of_nothing_changes_nothing() -> None:
    alpha = torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(1))
    assert choked(alpha, 0) is alpha


def test_erosion_is_the_same_on_every_device() -> None:
    from vmatte.imaging.edges import _eroded

    alpha = torch.rand(1, 1, 31, 40, generator=torch.Generator().manual_seed(1))
    for step in (0, 1):
        plane = np.pad(alpha[0, 0].numpy(), 1, constant_values=1)
        near = [
            plane[1 + y : 32 + y, 1 + x : 41 + x] for y in (-1, 0, 1) for x in (-1, 0, 1) if step == 1 or x * y == 0
        ]
        assert torch.equal(_eroded(alpha, step)[0, 0], torch.from_numpy(np.min(near, axis=0)))


def scene() -> Tensor:
    """A large square with a hole of 9 pixels and one of 30, a speck 8 wide and 60 long, one 20 wide, and haze."""
    alpha = torch.zeros(1, 1, 200, 300)
    alpha[..., 20:180, 20:180] = 1
    alpha[..., 40:49, 40:49] = 0
    alpha[..., 100:130, 100:130] = 0
    alpha[..., 50:58, 200:260] = 0.8
    alpha[..., 48:60, 198:262] = alpha[..., 48:60, 198:262].clamp(min=0.03)
    alpha[..., 100:120, 220:240] = 1
    return alpha


def test_specks_go_by_their_width_and_take_their_haze_along() -> None:
    alpha = scene()
    cleaned = without_specks(alpha, 10)
    assert cleaned[..., 40:70, 190:270].max() == 0
    alpha[..., 40:70, 190:270] = 0
    assert torch.equal(cleaned, alpha)
    assert without_specks(alpha, 25)[..., 95:125, 215:245].max() == 0


def test_holes_are_filled_by_their_width() -> None:
    filled = without_holes(scene(), 12)
    assert filled[..., 40:49, 40:49].min() == 1
    wanted = scene()
    wanted[..., 40:49, 40:49] = 1
    assert torch.equal(filled, wanted)
    assert without_holes(scene(), 40)[..., 100:130, 100:130].min() == 1


def test_a_notch_at_the_frames_border_is_no_hole() -> None:
    alpha = torch.ones(1, 1, 60, 60)
    alpha[..., 50:60, 20:26] = 0
    assert torch.equal(without_holes(alpha, 20), alpha)


def test_a_frame_does_not_depend_on_the_others_of_its_batch() -> None:
    batch = torch.cat([scene(), scene().flip(-1), torch.zeros_like(scene())])
    for change in (lambda a: choked(a, 1.5), lambda a: without_specks(a, 10), lambda a: without_holes(a, 12)):
        assert torch.equal(change(batch), torch.cat([change(one[None]) for one in batch]))
