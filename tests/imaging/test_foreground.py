from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.clip import BT709, Coding
from vmatte.imaging import color, foreground, resize
from vmatte.imaging.color import downsample_chroma, rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.imaging.foreground import estimate_foreground

Planes = tuple[Tensor, Tensor]
Size = tuple[int, int]
Matte = Callable[[Size], Tensor]
EIGHT, TEN = Coding(BT709, 8), Coding(BT709, 10)
CODINGS = pytest.mark.parametrize("coding", [EIGHT, TEN], ids=["8 bit", "10 bit"])
HALF = pytest.mark.parametrize("half", [True, False], ids=["half", "full"])
SIZES = pytest.mark.parametrize("size", [(160, 200), (131, 167)])


def noise(size: tuple[int, int], sigma: float, seed: int) -> Tensor:
    """(1, 1, H, W) of unit deviation, smooth over `sigma` pixels."""
    grain = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    smooth = cv2.GaussianBlur(grain, (0, 0), sigma) if sigma else grain
    return torch.from_numpy(smooth / smooth.std())[None, None]


def blob(size: tuple[int, int]) -> Tensor:
    """A matte with soft edges of all widths, and pixels without any."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) / height - 0.5, torch.arange(width) / width - 0.5, indexing="ij")
    distance = (y.square() + x.square()).sqrt() - 0.25 - 0.03 * torch.sin(9 * torch.atan2(y, x))
    return (0.5 - distance / (0.01 + 0.06 * (x + 0.5))).clamp(0, 1)[None, None]


def hair(size: tuple[int, int]) -> Tensor:
    """A matte of a round head with strands about a pixel wide."""
    height, width = size
    drawn = np.zeros((4 * height, 4 * width), np.uint8)
    middle = np.array([2 * width, 2 * height])
    cv2.circle(drawn, middle.tolist(), height, 255, -1)
    rng = np.random.default_rng(7)
    for angle in rng.uniform(0, 2 * np.pi, 300):
        reach = np.linspace(0.9, rng.uniform(1.2, 1.7), 12)[:, None] * height
        bent = angle + rng.uniform(-0.5, 0.5) * (reach / height - 0.9)
        strand = middle + reach * np.concatenate([np.cos(bent), np.sin(bent)], 1)
        cv2.polylines(drawn, [strand.astype(np.int32)], False, 255, int(rng.integers(2, 7)))
    small = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small.astype(np.float32) / 255)[None, None]


def codes(rgb: Tensor, coding: Coding, half: bool) -> Planes:
    height, width = rgb.shape[-2:]
    size = ((height + 1) // 2, (width + 1) // 2) if half else (height, width)
    luma, chroma = (planes.clamp(0, 2**coding.bits - 1) for planes in rgb_to_ycbcr(rgb, coding, size))
    return rounded(luma, coding.bits), rounded(chroma, coding.bits)


def flat(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1)


def textured(mean: Tensor, contrast: float, sigma: float, size: tuple[int, int], seed: int) -> Tensor:
    return (mean + contrast * noise(size, sigma, seed)).clamp(0, 1)


def at_size(alpha: Tensor, planes: Tensor) -> Tensor:
    return downsample_chroma(alpha, (int(planes.shape[-2]), int(planes.shape[-1])))


@CODINGS
@HALF
@SIZES
@pytest.mark.parametrize("matte", [blob, hair])
def test_one_colour_over_another_is_found_again_everywhere(
    matte: Matte, size: Size, half: bool, coding: Coding
) -> None:
    alpha = matte(size)
    subject, plate = flat(0.6, 0.35, 0.2).expand(1, 3, *size), flat(0.1, 0.8, 0.3)
    luma, chroma = codes(alpha * subject + (1 - alpha) * plate, coding, half)
    for made, expected in zip(
        estimate_foreground(luma, chroma, alpha, coding), codes(subject, coding, half), strict=True
    ):
        assert made.dtype == expected.dtype
        assert (made.int() - expected.int()).abs().max() <= 1


@CODINGS
@HALF
@SIZES
def test_full_alpha_keeps_the_frames_own_codes(size: Size, half: bool, coding: Coding) -> None:
    alpha = blob(size)
    own = codes(textured(flat(0.5, 0.5, 0.5), 0.3, 0, size, 1), coding, half)
    for made, codes_, part in zip(
        estimate_foreground(*own, alpha, coding), own, (alpha, at_size(alpha, own[1])), strict=True
    ):
        solid = (part == 1).expand(codes_.shape)
        assert solid.sum() > 1000
        assert torch.equal(made.int()[solid], codes_.int()[solid])


def test_a_frame_that_is_all_subject_is_left_as_it_is() -> None:
    own = codes(textured(flat(0.5, 0.5, 0.5), 0.3, 0, (50, 70), 1), EIGHT, half=True)
    for made, codes_ in zip(estimate_foreground(*own, torch.ones(1, 1, 50, 70), EIGHT), own, strict=True):
        assert torch.equal(made, codes_)


def test_outside_the_matte_there_is_nothing_of_the_background() -> None:
    size = (160, 200)
    alpha = blob(size)
    subject = textured(flat(0.6, 0.2, 0.2), 0.05, 3, size, 2)
    plate = textured(flat(0.2, 0.8, 0.3), 0.1, 1, size, 3)
    luma, chroma = codes(alpha * subject + (1 - alpha) * plate, EIGHT, half=True)
    made = estimate_foreground(luma, chroma, alpha, EIGHT)
    for planes, true in zip(made, codes(subject, EIGHT, half=True), strict=True):
        for plane, known in zip(planes[0].int(), true[0].int(), strict=True):
            assert known.min() - 4 <= plane.min()
            assert plane.max() <= known.max() + 4


@HALF
@pytest.mark.parametrize("grain", [0, 4])
def test_the_old_background_is_taken_out_of_hair(grain: float, half: bool) -> None:
    size = (240, 320)
    alpha = hair(size)
    subject = textured(flat(0.45, 0.25, 0.15), 0.06, 2, size, 4)
    plate = textured(flat(0.5, 0.6, 0.7), 0.12, 6, size, 5)
    seen = (alpha * subject + (1 - alpha) * plate + grain / 255 * noise(size, 0, 6)).clamp(0, 1)
    luma, chroma = codes(seen, EIGHT, half)
    weight = alpha * (1 - alpha)

    def error(planes: Planes) -> float:
        return float(((ycbcr_to_rgb(*planes, EIGHT) - subject).abs().mean(1, keepdim=True) * weight).sum())

    assert error(estimate_foreground(luma, chroma, alpha, EIGHT)) < 0.25 * error((luma, chroma))


def test_the_foreground_flickers_no_more_than_the_sources_noise() -> None:
    size = (240, 320)
    alpha = hair(size)
    subject, plate = textured(flat(0.6, 0.4, 0.3), 0.05, 2, size, 4), textured(flat(0.4, 0.5, 0.6), 0.1, 4, size, 5)
    luma, chroma = (planes.float() for planes in codes(alpha * subject + (1 - alpha) * plate, EIGHT, half=True))
    takes = []
    for seed in (8, 9):
        grain = noise(size, 0, seed), torch.cat([noise((120, 160), 0, seed + 10 * plane) for plane in (1, 2)], 1)
        takes.append([rounded(planes + 4 * shake, 8) for planes, shake in zip((luma, chroma), grain, strict=True)])
    made = [estimate_foreground(*take, alpha, EIGHT) for take in takes]
    for plane, part in ((0, alpha), (1, at_size(alpha, chroma))):
        for least, most in ((0.01, 0.3), (0.3, 0.7), (0.7, 0.99)):
            band = ((part > least) & (part < most)).expand(takes[0][plane].shape)
            own, left = (
                (first[plane].float() - second[plane].float())[band].abs().mean() for first, second in (takes, made)
            )
            assert left <= own


@HALF
@SIZES
def test_each_frame_is_done_by_itself_and_in_strips_of_any_height(
    size: Size, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mattes = [blob(size), hair(size)]
    frames = [codes(textured(flat(0.5, 0.4, 0.3), 0.2, 1, size, seed), EIGHT, half) for seed in (1, 2)]
    alone = [estimate_foreground(*own, alpha, EIGHT) for own, alpha in zip(frames, mattes, strict=True)]
    monkeypatch.setattr(color, "_ROWS_PER_STRIP", 1000)
    luma, chroma = (torch.cat(planes) for planes in zip(*frames, strict=True))
    together = estimate_foreground(luma, chroma, torch.cat(mattes), EIGHT)
    for number, made in enumerate(alone):
        for planes, others in zip(made, together, strict=True):
            assert torch.equal(planes[0], others[number])


@CODINGS
@pytest.mark.parametrize("part", [0.0, 0.1, 0.43, 0.9])
def test_where_nothing_tells_subject_from_background_the_frames_colour_stays(part: float, coding: Coding) -> None:
    own = codes(flat(0.78, 0.35, 0.16).expand(1, 3, 48, 64), coding, half=False)
    made = estimate_foreground(*own, torch.full((1, 1, 48, 64), part), coding)
    for planes, codes_ in zip(made, own, strict=True):
        assert (planes.int() - codes_.int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 9), (65, 3)])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_the_smallest_frames_have_a_foreground_too(part: float, size: Size) -> None:
    own = codes(flat(0.6, 0.3, 0.2).expand(1, 3, *size), EIGHT, half=True)
    made = estimate_foreground(*own, torch.full((1, 1, *size), part), EIGHT)
    for planes, codes_ in zip(made, own, strict=True):
        assert (planes.int() - codes_.int()).abs().max() <= 1


@CODINGS
@SIZES
def test_the_processors_and_the_devices_way_agree(size: Size, coding: Coding, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = hair(size)
    own = codes(textured(flat(0.5, 0.4, 0.3), 0.2, 1, size, 1), coding, half=True)
    on_cpu = estimate_foreground(*own, alpha, coding)
    monkeypatch.setattr(resize, "_resize_on_cpu", resize._resize_on_device)
    monkeypatch.setattr(foreground, "_blurred_on_cpu", foreground._blurred_on_device)
    for planes, others in zip(on_cpu, estimate_foreground(*own, alpha, coding), strict=True):
        assert (planes.int() - others.int()).abs().max() <= 1
