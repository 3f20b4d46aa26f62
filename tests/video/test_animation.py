"""Animated pictures, as Pillow and Debian's ffmpeg see them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import BT709_TAGS, Array, Sound, ffmpeg, gray, write_clip
from PIL import Image

from vmatte.clip import BT709, RGB_MATRIX, ClipInfo, Coding, ColorTags
from vmatte.encodings import ENCODINGS
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.job import Runtime, make_job
from vmatte.planning import plan_job
from vmatte.render import run
from vmatte.video.animation import animation_frames, ticks_of
from vmatte.video.join import EncodedSegment, join
from vmatte.video.probe import probe
from vmatte.video.sent import SentFiles, SentSegment, keep_sent
from vmatte.video.verify import verify
from vmatte.video.write import encode

WIDTH, HEIGHT = 60, 44
RGB = Coding(ColorTags(RGB_MATRIX, BT709.primaries, BT709.transfer, full_range=True), 8)
PTS = [0, 40, 80, 130, 147, 190, 240, 300, 333, 367]
LAST = 113
"""Milliseconds."""
NAMES = ["webp", "apng", "gif"]


def rgba(number: int) -> Array:
    """A soft-edged disc that moves over a moving ramp."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    alpha = ((16 - np.hypot(down - 22, across - 15 - 3 * number)) * 40).clip(0, 255)
    colour = np.stack([across * 4, down * 5, np.full_like(across, 30 * (number % 8))], -1)
    return np.concatenate([colour, alpha[..., None]], -1).round().clip(0, 255).astype("u1")


def layers(numbers: Sequence[int], *, alpha: bool) -> Iterator[LayerBatch]:
    for number in numbers:
        red, green, blue, opacity = (
            torch.from_numpy(plane.copy())[None, None] for plane in np.moveaxis(rgba(number), -1, 0)
        )
        yield LayerBatch(range(number, number + 1), green, torch.cat([blue, red], 1), opacity if alpha else None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipInfo:
    """A clip of irregular times, with sound; its pictures are not looked at."""
    frames = gray([np.full((HEIGHT, WIDTH), 90, "u1")] * len(PTS))
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    sound = [Sound(np.zeros(24_000))]
    times = {"pts": PTS, "time_base": Fraction(1, 1000), "last_duration": LAST}
    return probe(write_clip(path, frames, "yuv420p", tags=BT709_TAGS, rate=Fraction(25), sound=sound, **times))


def made(name: str, clip: ClipInfo, folder: Path, *, alpha: bool = True) -> Path:
    """The animation of two segments, each frame compared with what was sent."""
    row, segments, sent = ENCODINGS[name], [], []
    for place, numbers in enumerate([range(6), range(6, len(PTS))]):
        part, files = folder / f"{place}{row.suffix}", SentFiles(folder / f"{place}.matte", folder / f"{place}.luma")
        kept = keep_sent(layers(numbers, alpha=alpha), files, numbers, "full", is_matte=False)
        written = tuple(encode(kept, part, row, RGB, Fraction(25)))
        segments.append(EncodedSegment(part, written))
        sent.append(SentSegment(files, numbers, written, "full"))
    path = folder / f"whole{row.suffix}"
    join(segments, clip, row, path)
    found = verify(path, clip, row, RGB, sent, alpha=alpha, how="full")
    assert found.alphas_compared == (len(PTS) if alpha else 0)
    return path


def shown(path: Path) -> tuple[list[int], list[Array]]:
    """Each frame's duration in milliseconds and its RGBA, by Pillow."""
    durations, pictures = [], []
    with Image.open(path) as picture:
        assert picture.info["loop"] == 0
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            durations.append(round(picture.info["duration"]))
            pictures.append(np.asarray(picture.convert("RGBA")))
    return durations, pictures


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_shown_for_as_long_as_in_the_clip(name: str, clip: ClipInfo, tmp_path: Path) -> None:
    durations, pictures = shown(made(name, clip, tmp_path))
    assert len(pictures) == len(PTS)
    seen, exact = np.cumsum(durations), [*PTS[1:], PTS[-1] + LAST]
    assert np.abs(seen - exact).max() <= (5 if name == "gif" else 0)


@pytest.mark.parametrize(("name", "worst"), [("webp", 30), ("apng", 0), ("gif", 60)])
def test_a_cutout_keeps_its_alpha_and_its_colours(name: str, worst: int, clip: ClipInfo, tmp_path: Path) -> None:
    _, pictures = shown(made(name, clip, tmp_path))
    for number, seen in enumerate(pictures):
        sent = rgba(number)
        alpha = (sent[..., 3] >= 128) * 255 if name == "gif" else sent[..., 3]
        np.testing.assert_array_equal(seen[..., 3], alpha)
        error = np.abs(seen[..., :3].astype(int) - sent[..., :3])[alpha == 255]
        assert error.max() <= worst
        assert error.mean() <= worst / 4


@pytest.mark.parametrize("name", NAMES)
def test_an_opaque_layer_is_opaque(name: str, clip: ClipInfo, tmp_path: Path) -> None:
    _, pictures = shown(made(name, clip, tmp_path, alpha=False))
    for number, seen in enumerate(pictures):
        assert seen[..., 3].min() == 255
        assert np.abs(seen[..., :3].astype(int) - rgba(number)[..., :3]).mean() <= 16  # in 255 colours


@pytest.mark.parametrize("name", ["apng", "gif"])
def test_ffmpeg_sees_the_same_frames(name: str, clip: ClipInfo, tmp_path: Path) -> None:
    path = made(name, clip, tmp_path)
    raw = ffmpeg("-ignore_loop", "1", "-i", path, "-vsync", "0", "-f", "rawvideo", "-pix_fmt", "rgba", "-")
    frames = np.frombuffer(raw, "u1").reshape(-1, HEIGHT, WIDTH, 4)
    _, pictures = shown(path)
    assert len(frames) == len(pictures)
    for seen, other in zip(frames, pictures, strict=True):
        np.testing.assert_array_equal(seen[..., 3], other[..., 3])
        clear = other[..., 3:] == 0
        np.testing.assert_array_equal(np.where(clear, 0, seen), np.where(clear, 0, other))


def test_rounded_times_do_not_drift() -> None:
    times = [Fraction(1001 * number, 30_000) for number in range(3001)]
    gif, webp = (ENCODINGS[name].animation for name in ("gif", "webp"))
    assert gif is not None
    assert webp is not None
    assert ticks_of(times, gif)[-1] == 10_010  # 100.1 s in hundredths
    assert ticks_of(times, webp)[-1] == 100_100
    assert set(np.diff(ticks_of(times, gif))) == {3, 4}


def test_what_is_shown_at_other_times_or_cut_short_is_found(clip: ClipInfo, tmp_path: Path) -> None:
    path, row, size = made("apng", clip, tmp_path), ENCODINGS["apng"], (WIDTH, HEIGHT)
    times = [Fraction(time, 1000) for time in [*PTS, PTS[-1] + LAST]]
    assert len(list(animation_frames(path, times, row, size, alpha=True))) == len(PTS)
    with pytest.raises(EncodeError, match="ends at 130 ms, as no frame does"):
        list(animation_frames(path, [*times[:3], Fraction(145, 1000), *times[4:]], row, size, alpha=True))
    with pytest.raises(EncodeError, match="60×44, not 61×44"):
        list(animation_frames(path, times, row, (61, 44), alpha=True))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(EncodeError, match=r"read again|ends"):
        list(animation_frames(path, times, row, size, alpha=True))


def test_the_sound_is_said_to_be_left_out(clip: ClipInfo, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made("webp", clip, tmp_path)
    assert "webp has no sound: the clip's is left out" in caplog.messages


def test_a_gif_of_too_many_frames_a_second_is_refused_before_it_is_made(tmp_path: Path) -> None:
    frames = gray([np.full((48, 64), 90, "u1")] * 3)
    path = write_clip(tmp_path / "clip.mp4", frames, "yuv420p", tags=BT709_TAGS, rate=Fraction(60))
    with pytest.raises(
        EncodeError, match="gif shows at most 50 frames a second, and this would have 60; give --rate 50"
    ):
        plan_job(make_job(path, output=tmp_path / "out.gif", model="luma-key"), Runtime())
    plan_job(make_job(path, output=tmp_path / "out.gif", model="luma-key", rate=25), Runtime())


def test_a_render_makes_a_sticker(tmp_path: Path) -> None:
    lumas = [np.full((48, 64), 16 + 20 * number, "u1") for number in range(7)]
    path = write_clip(tmp_path / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS, rate=Fraction(25))
    for suffix in ("webp", "apng", "gif"):
        run(path, output=tmp_path / f"out.{suffix}", model="luma-key", segment_frames=3, foreground="source")
    for suffix in ("webp", "apng"):
        durations, pictures = shown(tmp_path / f"out.{suffix}")
        assert durations == [40] * 7
        alphas = [int(picture[20, 20, 3]) for picture in pictures]
        assert alphas == [round(255 * 20 * number / 219) for number in range(7)]
    durations, pictures = shown(tmp_path / "out.gif")
    assert sum(durations) == 280
    assert pictures[0][20, 20, 3] == 0
    assert pictures[-1][20, 20, 3] == 255
