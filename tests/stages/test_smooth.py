"""Mattes become steady, and nothing else: no lag, no ghost, no leak over a cut, no seam between segments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vmatte.clip import BT709, Coding
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.options import GaussianSmoothing, MotionSmoothing
from vmatte.segments import plan_segments
from vmatte.stages.smooth import WORKING_LINES, smooth
from vmatte.stages.trim import trim

MOTION = MotionSmoothing()
STRENGTHS = pytest.mark.parametrize(
    "options", [MotionSmoothing(strength=s) for s in ("low", "medium", "high")], ids=str
)
EVERY = pytest.mark.parametrize(
    "options", [MOTION, MotionSmoothing(strength="low"), GaussianSmoothing(radius=3)], ids=str
)

Planes = NDArray[np.float32]
"""(3, h, w): luma and both chromas, in 8-bit codes."""


@lru_cache
def texture(height: int, width: int, seed: int) -> Planes:
    noise = np.random.default_rng(seed).normal(size=(3, height, width))
    grain = [sum(s * cv2.GaussianBlur(plane, (0, 0), s) for s in (1.5, 4, 12)) for plane in noise]
    scaled = [128 + spread * plane / plane.std() for plane, spread in zip(grain, (40, 15, 15), strict=True)]
    return np.stack(scaled).clip(16, 235).astype(np.float32)


def shot(
    pictures: Sequence[Planes], alphas: Sequence[Tensor], *, first: int = 0, bits: int = 8, numbers: Sequence[int] = ()
) -> list[MatteBatch]:
    """One frame each, 4:4:4, numbered from `first` on unless `numbers` are given."""
    frames = []
    for t, (picture, alpha) in enumerate(zip(pictures, alphas, strict=True)):
        codes = torch.from_numpy((picture * 2 ** (bits - 8)).round().astype(np.uint8 if bits == 8 else np.uint16))
        number = numbers[t] if numbers else first + t
        batch = FrameBatch(range(number, number + 1), codes[None, :1], codes[None, 1:], Coding(BT709, bits))
        frames.append(MatteBatch(batch, alpha[None, None]))
    return frames


def noisy(picture: Planes, seed: int, sigma: float = 2) -> Planes:
    return (picture + np.random.default_rng(seed).normal(0, sigma, picture.shape)).clip(0, 255).astype(np.float32)


def random_alphas(frames: int, height: int, width: int) -> list[Tensor]:
    return list(torch.rand(frames, height, width, generator=torch.Generator().manual_seed(frames)).unbind())


def moving_scene(frames: int, height: int = 72, width: int = 96) -> list[MatteBatch]:
    """A pan by 3 px a frame under noise; mattes that are noise themselves, so that any frame's share shows."""
    ground = texture(height, width + 3 * frames, 5)
    pictures = [noisy(ground[:, :, 3 * t : 3 * t + width], t) for t in range(frames)]
    return shot(pictures, random_alphas(frames, height, width))


def batched(frames: Sequence[MatteBatch], size: int) -> Iterator[MatteBatch]:
    """The frames `size` at a time; where a number is lost a batch ends."""
    runs: list[list[MatteBatch]] = []
    for frame in frames:
        if runs and len(runs[-1]) < size and runs[-1][-1].frames.index.stop == frame.frames.index.start:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    for run in runs:
        index = range(run[0].frames.index.start, run[-1].frames.index.stop)
        luma, chroma = (torch.cat([getattr(frame.frames, name) for frame in run]) for name in ("luma", "chroma"))
        yield MatteBatch(
            FrameBatch(index, luma, chroma, run[0].frames.coding), torch.cat([frame.alpha for frame in run])
        )


def smoothed(
    frames: Sequence[MatteBatch], options: GaussianSmoothing | MotionSmoothing = MOTION, batch: int = 1
) -> list[MatteBatch]:
    made = list(smooth(batched(frames, batch), options))
    assert [m.frames.index.start for m in made] == [m.frames.index.start for m in frames]
    return made


def alphas_of(mattes: Sequence[MatteBatch]) -> Tensor:
    return torch.cat([matte.alpha for matte in mattes])


def by_segments(
    frames: Sequence[MatteBatch], length: int, options: GaussianSmoothing | MotionSmoothing, halo: int, batch: int = 1
) -> list[MatteBatch]:
    made = []
    for segment in plan_segments(frames[-1].frames.index.stop, length, lead=halo, tail=halo):
        read = [frame for frame in frames if frame.frames.index.start in segment.read]
        made += list(trim(smooth(batched(read, batch), options), [segment]))
    return made


# What is not there to be mended stays


def disc_at(x: float, y: float, radius: float, height: int, width: int) -> Tensor:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return torch.from_numpy((radius + 0.5 - np.hypot(columns - x, rows - y)).clip(0, 1))


def flying_disc(frames: int) -> tuple[list[Planes], list[Tensor]]:
    """A textured disc that goes 20 px a frame over a textured ground, which stands."""
    height, width, radius = 360, 640, 90
    ground, skin = texture(height, width, 1), texture(2 * height, 2 * height, 2)
    pictures, truths = [], []
    for t in range(frames):
        x = radius + 20 + 20 * t
        alpha = disc_at(x, height / 2, radius, height, width)
        subject = ground.copy()
        left, side = x - radius - 4, 2 * radius + 8
        subject[:, :, left : left + side] = skin[:, :height, :side]
        pictures.append((subject * alpha.numpy() + ground * (1 - alpha.numpy())).astype(np.float32))
        truths.append(alpha)
    return pictures, truths


def errors(mattes: Sequence[MatteBatch], truths: Sequence[Tensor]) -> list[float]:
    return [float((matte.alpha[0, 0] - truth).abs().mean()) for matte, truth in zip(mattes, truths, strict=True)]


@STRENGTHS
def test_a_disc_that_flies_keeps_its_true_edge(options: MotionSmoothing) -> None:
    pictures, truths = flying_disc(11)
    assert max(errors(smoothed(shot(pictures, truths), options), truths)) <= 1e-3


@STRENGTHS
def test_a_flickering_matte_of_a_disc_that_flies_is_nearer_to_the_truth_on_every_frame(
    options: MotionSmoothing,
) -> None:
    """The disc's matte is now too large, now too small."""
    pictures, truths = flying_disc(11)
    breath = itertools.cycle((2.0, -1.5, -2.0, 1.5))
    flickering = [
        disc_at(110 + 20 * t, 180, 90 + grown, 360, 640) for t, grown in zip(range(len(truths)), breath, strict=False)
    ]
    frames = shot([noisy(picture, t) for t, picture in enumerate(pictures)], flickering)
    before, after = errors(frames, truths), errors(smoothed(frames, options), truths)
    assert all(now < then for now, then in zip(after, before, strict=True)), list(zip(before, after, strict=True))


@EVERY
def test_where_all_frames_agree_a_matte_keeps_its_bits(options: GaussianSmoothing | MotionSmoothing) -> None:
    alpha = disc_at(40, 30, 20, 72, 96)
    frames = shot([texture(72, 96, 1)] * 7, [alpha] * 7)
    for made in smoothed(frames, options):
        if isinstance(options, MotionSmoothing):
            assert torch.equal(made.alpha[0, 0], alpha)
        torch.testing.assert_close(made.alpha[0, 0], alpha, atol=1e-6, rtol=0)


def test_frames_pass_as_they_are() -> None:
    frames = moving_scene(4)
    for one, other in zip(frames, smooth(frames, MOTION), strict=True):
        assert torch.equal(one.frames.luma, other.frames.luma)
        assert torch.equal(one.frames.chroma, other.frames.chroma)


def test_noise_on_a_flat_picture_is_no_motion_that_takes_the_edge_along() -> None:
    """The matte's edge breathes by a pixel where nothing moves: the middle of nine frames moves a third as much."""
    flat, breath = np.full((3, 72, 96), 110, np.float32), np.random.default_rng(5)
    edges = [disc_at(48, 36, 20 + breath.normal(), 72, 96) for _ in range(24)]
    frames = shot([noisy(flat, t) for t in range(24)], edges)
    flicker = [float(alphas_of(mattes).diff(dim=0)[4:-4].abs().mean()) for mattes in (frames, smoothed(frames))]
    assert flicker[1] < flicker[0] / 3, flicker


# Holes and blobs


def blinking(blinks: range, usual: float, size: int = 24) -> list[MatteBatch]:
    """A still scene, noisy; where a matte is all `usual`, a square is not for some frames."""
    alphas = []
    for t in range(15):
        alpha = torch.full((72, 96), usual)
        if t in blinks:
            alpha[24 : 24 + size, 36 : 36 + size] = 1 - usual
        alphas.append(alpha)
    return shot([noisy(texture(72, 96, 1), t) for t in range(15)], alphas)


@pytest.mark.parametrize("blinks", [range(7, 8), range(7, 9), range(1), range(14, 15)], ids=str)
@pytest.mark.parametrize("usual", [1.0, 0.0], ids=["hole", "blob"])
def test_what_lasts_a_frame_or_two_is_mended(blinks: range, usual: float) -> None:
    frames = blinking(blinks, usual)
    made = alphas_of(smoothed(frames))
    assert float((alphas_of(frames) - usual).abs().max()) == 1
    assert float((made - usual).abs().max()) <= 0.05


@STRENGTHS
@pytest.mark.parametrize("usual", [1.0, 0.0], ids=["hole", "blob"])
def test_what_lasts_one_frame_is_mended_at_any_strength(options: MotionSmoothing, usual: float) -> None:
    made = alphas_of(smoothed(blinking(range(7, 8), usual), options))
    assert float((made - usual).abs().max()) <= 0.05


@pytest.mark.parametrize("strength", ["low", "medium"])
@pytest.mark.parametrize("enters", [True, False], ids=["enters", "leaves"])
def test_a_person_comes_and_goes_on_the_very_frame(strength: str, enters: bool) -> None:
    ground, person = texture(120, 160, 1), texture(120, 160, 2)
    there = torch.zeros(120, 160)
    there[30:120, 50:100] = 1
    with_person = (person * there.numpy() + ground * (1 - there.numpy())).astype(np.float32)
    order = [(ground, torch.zeros(120, 160)), (with_person, there)]
    before, behind = order if enters else order[::-1]
    scenes = [before] * 7 + [behind] * 7
    frames = shot([noisy(picture, t) for t, (picture, _) in enumerate(scenes)], [alpha for _, alpha in scenes])
    made = alphas_of(smoothed(frames, MotionSmoothing.model_validate({"strength": strength})))
    changed = (made - alphas_of(frames)).abs()
    assert float(changed.max()) <= 0.05  # at the corners of the outline
    assert int((changed > 0.02).sum()) <= 10


# Shots


def cut_scene(frames: int, every: int) -> list[MatteBatch]:
    """Another picture and other mattes every so many frames."""
    pictures, alphas = [], []
    noise = torch.Generator().manual_seed(9)
    for t in range(frames):
        pictures.append(noisy(texture(72, 96, 20 + t // every), t))
        alphas.append((t // every % 2) * 0.8 + 0.2 * torch.rand(72, 96, generator=noise))
    return shot(pictures, alphas)


@EVERY
@pytest.mark.parametrize("every", [1, 2, 3, 10])
def test_shots_are_smoothed_as_if_each_were_alone(options: GaussianSmoothing | MotionSmoothing, every: int) -> None:
    frames = cut_scene(30, every)
    together = alphas_of(smoothed(frames, options))
    alone = [smoothed(frames[start : start + every], options) for start in range(0, 30, every)]
    assert torch.equal(together, alphas_of(list(itertools.chain(*alone))))
    if every > 1:
        assert not torch.equal(together, alphas_of(frames))


def test_a_flash_does_not_part_a_shot() -> None:
    """Frame 6 is white all over; the hole in frame 5 is mended as without the flash, from both sides."""
    frames = blinking(range(5, 6), 1.0)
    white = replace(frames[6].frames, luma=torch.full_like(frames[6].frames.luma, 235))
    frames[6] = replace(frames[6], frames=replace(white, chroma=torch.full_like(white.chroma, 128)))
    assert float(alphas_of(smoothed(frames))[5].min()) >= 0.95
    # In the mean in place frame 7 counts for frame 5; had the flash been a cut, it would not.
    mean = GaussianSmoothing(radius=2)
    shares = np.exp(-((np.arange(-2, 3) / 1.0) ** 2) / 2)
    found = alphas_of(smoothed(frames, mean))[5, 0, 30, 45]
    assert float(found) == pytest.approx(1 - shares[2] / shares.sum(), abs=1e-5)


def test_between_two_cuts_one_frame_apart_the_frame_keeps_its_own() -> None:
    still, between, other = (texture(72, 96, seed) for seed in (31, 32, 33))
    frames = shot([still] * 5 + [between] + [other] * 5, random_alphas(11, 72, 96))
    for options in (MOTION, GaussianSmoothing()):
        made = alphas_of(smoothed(frames, options))
        assert torch.equal(made[5], frames[5].alpha[0])
        assert torch.equal(made[:5], alphas_of(smoothed(frames[:5], options)))
        assert torch.equal(made[6:], alphas_of(smoothed(frames[6:], options)))


# The mean in place


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_the_mean_in_place_is_a_bell_over_the_shot(radius: int) -> None:
    frames = shot([noisy(texture(72, 96, 1), t) for t in range(12)], random_alphas(12, 72, 96))
    alphas = alphas_of(frames).numpy()
    numbers = np.arange(12)
    expected = []
    for t in numbers:
        bell = np.exp(-(((numbers - t) / (radius / 2)) ** 2) / 2) * (abs(numbers - t) <= radius)
        expected.append(np.average(alphas, axis=0, weights=bell))
    found = alphas_of(smoothed(frames, GaussianSmoothing(radius=radius)))
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-6)


# Segments and batches


@EVERY
@pytest.mark.parametrize("length", [1, 7, 48])
def test_segments_join_without_a_seam(length: int, options: GaussianSmoothing | MotionSmoothing) -> None:
    frames = moving_scene({1: 14, 7: 20, 48: 50}[length], 40, 56)
    assert torch.equal(
        alphas_of(by_segments(frames, length, options, options.reach)), alphas_of(smoothed(frames, options))
    )


@EVERY
def test_segments_of_many_shots_join_without_a_seam(options: GaussianSmoothing | MotionSmoothing) -> None:
    for every in (1, 2, 4):
        frames = cut_scene(14, every)
        whole = alphas_of(smoothed(frames, options))
        for length in (1, 3):
            assert torch.equal(alphas_of(by_segments(frames, length, options, options.reach)), whole)


def half_a_flash(frames: int, flash: int) -> list[MatteBatch]:
    """A still scene of which one frame's upper half is another picture: all in all another one, below the same."""
    scene = texture(72, 96, 1)
    odd = scene.copy()
    odd[:, :54] = texture(72, 96, 2)[:, :54]
    return shot([odd if t == flash else scene for t in range(frames)], random_alphas(frames, 72, 96))


@EVERY
def test_one_frame_less_of_halo_would_show_a_seam(options: GaussianSmoothing | MotionSmoothing) -> None:
    """Frame 10 is a flash, which only 11 tells from a cut; `radius` frames before it counts for the last time."""
    frames = half_a_flash(20, flash=10)
    length = 10 - options.reach + 2
    whole = alphas_of(smoothed(frames, options))
    assert torch.equal(alphas_of(by_segments(frames, length, options, options.reach)), whole)
    differs = (alphas_of(by_segments(frames, length, options, options.reach - 1)) != whole).flatten(1).any(1)
    assert bool(differs[length - 1])


@EVERY
@pytest.mark.parametrize("batch", [3, 8])
def test_the_batch_size_does_not_matter(options: GaussianSmoothing | MotionSmoothing, batch: int) -> None:
    frames = moving_scene(12)
    assert torch.equal(alphas_of(smoothed(frames, options, batch)), alphas_of(smoothed(frames, options)))


@EVERY
def test_segments_of_a_clip_with_lost_frames_join_without_a_seam(options: GaussianSmoothing | MotionSmoothing) -> None:
    lost = {4, 5, 9, 16, 17, 18, 19, 20, 21, 22}
    frames = [frame for frame in moving_scene(30) if frame.frames.index.start not in lost]
    whole = alphas_of(smoothed(frames, options))
    for length, batch in ((1, 1), (3, 2), (7, 8)):
        assert torch.equal(alphas_of(by_segments(frames, length, options, options.reach, batch)), whole)


def test_a_frame_that_is_too_far_behind_a_gap_does_not_count() -> None:
    numbers = [0, 1, 2, 3 + MOTION.frames, 4 + MOTION.frames]
    frames = shot([texture(72, 96, 1)] * 5, random_alphas(5, 72, 96), numbers=numbers)
    made = alphas_of(smoothed(frames))
    assert torch.equal(made[:3], alphas_of(smoothed(frames[:3])))
    assert torch.equal(made[3:], alphas_of(smoothed(frames[3:])))
    near = shot([texture(72, 96, 1)] * 5, random_alphas(5, 72, 96), numbers=[0, 1, 2, 6, 7])
    assert not torch.equal(alphas_of(smoothed(near))[2], made[2])


@EVERY
@pytest.mark.parametrize("batch", [1, 4])
def test_no_more_is_read_ahead_than_a_frame_depends_on(
    options: GaussianSmoothing | MotionSmoothing, batch: int
) -> None:
    read = 0

    def counted() -> Iterator[MatteBatch]:
        nonlocal read
        for item in batched(moving_scene(24, 24, 32), batch):
            read = item.frames.index.stop
            yield item

    for number, _ in enumerate(smooth(counted(), options)):
        assert read <= number + options.reach + batch


def test_leaving_early_reads_no_more() -> None:
    frames = iter(moving_scene(24, 24, 32))
    made = smooth(frames, MOTION)
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert next(frames).frames.index.start == MOTION.reach + 1


# Frames of every kind


@EVERY
@pytest.mark.parametrize("frames", [0, 1, 2])
def test_a_clip_may_be_short(options: GaussianSmoothing | MotionSmoothing, frames: int) -> None:
    clip = moving_scene(frames) if frames else []
    made = smoothed(clip, options)
    assert len(made) == frames
    if frames == 1:
        assert torch.equal(made[0].alpha, clip[0].alpha)
    if frames == 2:
        low, high = (function(alphas_of(clip)[:, :, :, 9:-9], 0) for function in (torch.amin, torch.amax))
        if isinstance(options, GaussianSmoothing):
            assert all(bool(((m.alpha[0, :, :, 9:-9] >= low) & (m.alpha[0, :, :, 9:-9] <= high)).all()) for m in made)


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 11), (31, 45), (2, 270), (600, 3)])
def test_frames_may_be_of_any_size(options: GaussianSmoothing | MotionSmoothing, size: tuple[int, int]) -> None:
    """Flat pictures that stand: a matte that blinks once is mended, whatever the size."""
    pictures = [np.full((3, *size), 120, np.float32)] * 9
    alphas = [torch.full(size, 0.0 if t == 4 else 1.0) for t in range(9)]
    made = alphas_of(smoothed(shot(pictures, alphas), options))
    assert made.shape == (9, 1, *size)
    if isinstance(options, MotionSmoothing):
        assert float(made.min()) >= 0.95
    else:
        bell = np.exp(-(((np.arange(-3, 4)) / 1.5) ** 2) / 2)
        np.testing.assert_allclose(made[4].numpy(), 1 - bell[3] / bell.sum(), atol=1e-5)


@EVERY
def test_codes_of_ten_bits_are_smoothed_as_those_of_eight(options: GaussianSmoothing | MotionSmoothing) -> None:
    pictures = [noisy(texture(72, 96, 1), t).round() for t in range(8)]
    eight, ten = (shot(pictures, random_alphas(8, 72, 96), bits=bits) for bits in (8, 10))
    assert torch.equal(alphas_of(smoothed(ten, options)), alphas_of(smoothed(eight, options)))


def test_chroma_of_half_size_will_do() -> None:
    frames = [
        replace(frame, frames=replace(frame.frames, chroma=frame.frames.chroma[..., ::2, ::2].contiguous()))
        for frame in blinking(range(7, 8), 1.0)
    ]
    assert float(alphas_of(smoothed(frames)).min()) >= 0.95


def test_a_large_matte_keeps_its_detail_and_loses_its_flicker() -> None:
    height, width = 600, 800
    assert min(height, width) > WORKING_LINES
    hair = torch.zeros(height, width)
    hair[:, ::2] = 1  # finer than the working grid can show
    alphas = []
    for t in range(7):
        alpha = hair.clone()
        if t == 3:
            alpha[200:400, 300:500] = 0
        alphas.append(alpha)
    frames = shot([texture(height, width, 1)] * 7, alphas)
    made = alphas_of(smoothed(frames))
    assert torch.equal(made[1, 0, :100], hair[:100])
    hole = made[3, 0, 220:380, 320:480]
    assert float(hole.mean()) == pytest.approx(0.5, abs=0.03)
    kept = [t for t in range(7) if t != 3]
    assert float((made[kept, 0] - hair).abs().max()) <= 0.02
