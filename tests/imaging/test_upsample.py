"""A matte gets the frame's size and the picture's edges."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vmatte.imaging import resize as resizing
from vmatte.imaging import upsample as upsampling
from vmatte.imaging.resize import resize
from vmatte.imaging.upsample import upsample
from vmatte.measure.metrics import edge_band

Plane = NDArray[np.float64]


def smooth_noise(height: int, width: int, seed: int, sigma: float = 1.5) -> Plane:
    """Between 0 and 1."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((height, width)), (0, 0), sigma)
    return (noise - noise.min()) / (noise.max() - noise.min())


def disk(height: int, width: int) -> Plane:
    y, x = np.mgrid[:height, :width] + 0.5
    return np.clip(0.35 * min(height, width) - np.hypot(x - width / 2, y - height / 2), 0, 1)


def codes(*planes: Plane, half: bool = False) -> tuple[Tensor, Tensor]:
    """Luma and chroma of three planes in 8-bit levels; left-sited where chroma is half."""
    luma, *chroma = (np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in planes)
    if half:  # every second column, the mean of two rows
        chroma = [np.rint((plane[::2, ::2].astype(float) + plane[1::2, ::2]) / 2).astype(np.uint8) for plane in chroma]
    return torch.from_numpy(luma)[None, None], torch.from_numpy(np.stack(chroma))[None]


def shrunk(alpha: Plane, step: int) -> Tensor:
    height, width = alpha.shape
    small = alpha.reshape(height // step, step, width // step, step).mean(axis=(1, 3))
    return torch.from_numpy(small.astype(np.float32))[None, None]


def errors(alpha: Plane, guide: tuple[Tensor, Tensor], step: int, reach: int = 0) -> tuple[float, float]:
    """Mean |difference| from `alpha` in its edge band, of the guided and of the bilinear one."""
    small, band = shrunk(alpha, step), edge_band(alpha.astype(np.float32)) > 0
    both = upsample(small, *guide, 8, reach), resize(small, alpha.shape)
    guided, bilinear = (float(np.abs(found[0, 0].numpy() - alpha)[band].mean()) for found in both)
    return guided, bilinear


# The formula


def test_alpha_that_is_linear_in_colour_is_found_again() -> None:
    brightness, tint = smooth_noise(96, 128, 1), smooth_noise(96, 128, 2)
    alpha = 0.1 + 0.5 * brightness + 0.3 * tint
    guide = codes(20 + 210 * brightness, 20 + 210 * tint, np.full_like(tint, 128))
    for step in (2, 4):
        guided, bilinear = errors(alpha, guide, step)
        assert guided <= 0.2 * bilinear


def brute_force(alpha: Plane, colour: Plane, radius: int) -> tuple[Plane, Plane]:
    """Each window's regression on its own: colour (h, w, 3); the worth (h, w, 3), the explained alpha (h, w)."""
    height, width = alpha.shape

    def padded(plane: Plane) -> Plane:
        return np.pad(plane, [(radius, radius)] * 2 + [(0, 0)] * (plane.ndim - 2), mode="edge")

    def window(plane: Plane, y: int, x: int) -> Plane:
        side = 2 * radius + 1
        return plane[y : y + side, x : x + side].reshape(side * side, *plane.shape[2:])

    seen, seen_colour = padded(alpha), padded(colour)
    model = np.zeros((height, width, 7))
    for y in range(height):
        for x in range(width):
            values, colours = window(seen, y, x), window(seen_colour, y, x)
            off, colours_off = values - values.mean(), colours - colours.mean(axis=0)
            spread = colours_off.T @ colours_off / len(off)
            gain = np.linalg.solve(spread + np.diag([36.0, 4, 4]), colours_off.T @ off / len(off))
            misfit = (off**2).mean() - gain @ (colours_off.T @ off) / len(off)
            model[y, x, :4] = [*gain, values.mean() - gain @ colours.mean(axis=0)]
            model[y, x, 4:] = 1 / (max(misfit, 0) + 1e-5), (off**2).mean() - misfit, (off**2).mean()
    means, trust = np.zeros((height, width, 4)), np.zeros((height, width))
    seen_model = padded(model)
    for y in range(height):
        for x in range(width):
            windows = window(seen_model, y, x)
            means[y, x] = np.average(windows[:, :4], axis=0, weights=windows[:, 4])
            trust[y, x] = windows[:, 5].mean() / (windows[:, 6].mean() + 1e-5)
    explained = np.clip((means[..., :3] * colour).sum(axis=2) + means[..., 3], 0, 1)
    return means[..., :3], alpha + np.sqrt(np.clip(trust, 0, 1)) * (explained - alpha)


@pytest.mark.parametrize("reach", [0, 2])
def test_it_is_the_regression_in_every_window_weighted_by_its_fit(reach: int) -> None:
    height, width, step = 10, 14, 2
    planes = [40 + 170 * smooth_noise(height * step, width * step, seed) for seed in range(3)]
    alpha = 0.05 + 0.9 * smooth_noise(height, width, 7)
    luma, chroma = codes(*planes)
    guide = torch.cat([luma, chroma], dim=1).double()
    colour = F.avg_pool2d(guide, step)[0].permute(1, 2, 0).numpy()
    worth, explained = brute_force(alpha.astype(np.float32).astype(float), colour, max(1, reach))

    def enlarged(plane: Plane, put_back: float = 0.0) -> Plane:
        mean = cv2.blur(plane, (3, 3), borderType=cv2.BORDER_REPLICATE)
        sharper = torch.from_numpy(plane + put_back * (plane - mean))[None, None]
        return F.interpolate(sharper, scale_factor=step, mode="bilinear")[0, 0].numpy()

    expected = enlarged(explained, 0.5) if reach else enlarged(alpha, 0.6)
    for c in range(3):
        detail = guide[0, c].numpy() - enlarged(colour[..., c].copy(), 0.6)
        expected += enlarged(worth[..., c].copy()) * detail
    found = upsample(torch.from_numpy(alpha.astype(np.float32))[None, None], luma, chroma, 8, reach)
    np.testing.assert_allclose(found[0, 0].numpy(), np.clip(expected, 0, 1), atol=1e-3)


@pytest.mark.parametrize("reach", [0, 6])
@pytest.mark.parametrize(("size", "half"), [((270, 384), True), ((151, 203), True), ((200, 300), False)])
def test_the_processors_and_the_devices_way_agree(
    monkeypatch: pytest.MonkeyPatch, reach: int, size: tuple[int, int], half: bool
) -> None:
    alpha = disk(*size)
    guide = codes(*(90 * alpha + 60 * smooth_noise(*size, seed) + 40 for seed in range(3)))
    if half:
        sides = -(-size[0] // 2), -(-size[1] // 2)
        guide = guide[0], resize(guide[1], sides)
    small = resize(torch.from_numpy(alpha.astype(np.float32))[None, None], (128, 182))
    on_cpu = upsample(small, *guide, 8, reach)
    everywhere = torch.ones(128, 182, dtype=torch.bool)
    monkeypatch.setattr(upsampling, "resize", resizing._resize_on_device)
    monkeypatch.setattr(upsampling, "box_mean", lambda planes, side: pooled(planes, side))
    monkeypatch.setattr(upsampling, "_edges", lambda _: everywhere)
    monkeypatch.setattr(upsampling, "_ROWS_PER_STRIP", 1000)
    difference = (upsample(small, *guide, 8, reach) - on_cpu).abs()
    assert float(difference.max()) <= 2e-3
    assert float(difference.mean()) <= 1e-5


def pooled(planes: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(F.pad(planes, (side // 2,) * 4, mode="replicate"), side, stride=1)


# What it is for


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("step", [2, 4, 8])
def test_an_edge_of_the_picture_is_the_mattes(step: int, half: bool) -> None:
    alpha = disk(192, 256)
    guided, bilinear = errors(alpha, codes(*(60 + 120 * alpha, 100 + 50 * alpha, 140 - 30 * alpha), half=half), step)
    assert guided <= (0.5 if half else 0.3) * bilinear


def test_chroma_of_half_width_does_not_move_the_edge() -> None:
    alpha = np.zeros((64, 128))
    alpha[:, 61:] = 1
    planes = [np.full_like(alpha, 128), 80 + 100 * alpha, 180 - 100 * alpha]
    both = [upsample(shrunk(alpha, 4), *codes(*planes, half=half), 8, 0)[0, 0, 32].sum() for half in (False, True)]
    # A sample of half-size chroma that were taken half a pixel beside its place would move it by as much.
    assert [float(total) for total in both] == pytest.approx([67, 67], abs=0.25)


@pytest.mark.parametrize("reach", [0, 6])
def test_a_soft_matte_is_gathered_to_the_pictures_edge_as_far_as_it_reaches(reach: int) -> None:
    alpha = disk(216, 320)
    soft = cv2.GaussianBlur(alpha, (0, 0), 6)
    guide = codes(*(60 + 120 * alpha, 100 + 50 * alpha, 140 - 30 * alpha))
    found = upsample(shrunk(soft, 2), *guide, 8, reach)[0, 0].numpy()
    error, before = np.abs(found - alpha).sum(), np.abs(soft - alpha).sum()
    assert error <= 0.6 * before if reach else error >= 0.9 * before


@pytest.mark.parametrize("reach", [0, 6])
@pytest.mark.parametrize("noise", [0.0, 4.0, 8.0])
@pytest.mark.parametrize("step", [2, 4])
def test_the_backgrounds_texture_is_not_written_into_the_matte(step: int, noise: float, reach: int) -> None:
    """The subject is of the plate's own colours: there is nothing to be guided by."""
    rng = np.random.default_rng(5)
    alpha = cv2.GaussianBlur(disk(192, 256), (0, 0), 3 * step)
    texture = 60 if noise == 0 else 0
    planes = [90 + texture * smooth_noise(192, 256, seed, 1.0) + rng.normal(0, noise, alpha.shape) for seed in range(3)]
    guided, bilinear = errors(alpha, codes(*planes, half=True), step, reach)
    assert guided <= bilinear + 0.01


@pytest.mark.parametrize("reach", [0, 6])
@pytest.mark.parametrize("step", [2, 3])
def test_what_is_solid_stays_exactly_so(step: int, reach: int) -> None:
    rng = np.random.default_rng(3)
    alpha = np.kron(disk(96, 128) > 0.5, np.ones((step, step))).astype(float)
    guide = codes(*(rng.integers(16, 235, alpha.shape).astype(float) for _ in range(3)))
    found = upsample(shrunk(alpha, step), *guide, 8, reach)[0, 0].numpy()
    side = 2 * step * (2 * max(1, reach) + 3) + 1
    square = np.ones((side, side), np.uint8)
    outside, inside = cv2.dilate(alpha, square) == 0, cv2.erode(alpha, square) == 1
    assert outside.sum() > 1000
    assert inside.sum() > 100
    assert (found[outside] == 0).all()
    assert (found[inside] == 1).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_matte_without_an_edge_has_none_after(value: float) -> None:
    guide = codes(*(255 * smooth_noise(90, 120, seed) for seed in range(3)))
    assert torch.equal(upsample(torch.full((1, 1, 45, 60), value), *guide, 8, 6), torch.full((1, 1, 90, 120), value))


# Frames of every kind


def test_frames_do_not_know_each_other() -> None:
    alphas = [disk(96, 128), 1 - disk(96, 128)]
    guides = [codes(*(60 + 120 * alpha * smooth_noise(96, 128, 3),) * 3, half=True) for alpha in alphas]
    small = [shrunk(alpha, 2) for alpha in alphas]
    together = upsample(torch.cat(small), *(torch.cat(planes) for planes in zip(*guides, strict=True)), 8, 3)
    for t in range(2):
        assert torch.equal(together[t : t + 1], upsample(small[t], *guides[t], 8, 3))


def test_codes_of_ten_bits_guide_as_those_of_eight() -> None:
    alpha = disk(96, 128)
    luma, chroma = codes(*(60 + 120 * alpha + 20 * smooth_noise(96, 128, seed) for seed in range(3)), half=True)
    ten = upsample(shrunk(alpha, 2), luma.to(torch.uint16) * 4, chroma.to(torch.uint16) * 4, 10, 0)
    # The guide is scaled down in whole codes, of which ten bits have finer ones.
    assert float((ten - upsample(shrunk(alpha, 2), luma, chroma, 8, 0)).abs().max()) <= 0.02


@pytest.mark.parametrize("size", [(45, 60), (44, 90), (20, 31)])
def test_a_frame_that_is_no_larger_guides_nothing(size: tuple[int, int]) -> None:
    small = torch.from_numpy(disk(45, 60).astype(np.float32))[None, None]
    guide = codes(*(255 * smooth_noise(*size, seed) for seed in range(3)))
    assert torch.equal(upsample(small, *guide, 8, 6), resize(small, size))


@pytest.mark.parametrize("size", [(3, 3), (101, 67), (2, 301), (47, 500)])
def test_frames_may_be_of_any_size(size: tuple[int, int]) -> None:
    """The matte of half a picture, of which the other half is of another colour."""
    alpha = np.zeros(size)
    alpha[:, size[1] // 2 :] = 1
    luma, chroma = codes(40 + 170 * alpha, *(np.full(size, 128.0),) * 2)
    sides = -(-size[0] // 2), -(-size[1] // 2)
    small = resize(torch.from_numpy(alpha.astype(np.float32))[None, None], (max(1, size[0] // 2), size[1] // 2))
    found = upsample(small, luma, resize(chroma, sides), 8, 0)
    assert found.shape == (1, 1, *size)
    guided, bilinear = (float(np.abs(one[0, 0].numpy() - alpha).mean()) for one in (found, resize(small, size)))
    assert guided <= bilinear
