"""What an encoder's speed leaves as it is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import Array, ffprobe, frames_by_ffmpeg

from vmatte.clip import BT709, Coding
from vmatte.encodings import ENCODINGS, Speed
from vmatte.frames import LayerBatch
from vmatte.video.write import encode

WIDTH, HEIGHT, FRAMES = 64, 48, 125


def alpha_of(number: int) -> Array:
    """Noise that is another one in each frame, beside what is solid and what is empty."""
    alpha = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH)).astype("u1")
    alpha[:, :16], alpha[:, 48:] = 0, 255
    return alpha


def layers() -> Iterator[LayerBatch]:
    for number in range(FRAMES):
        luma = torch.full((1, 1, HEIGHT, WIDTH), 60 + number, dtype=torch.uint8)
        chroma = torch.full((1, 2, HEIGHT // 2, WIDTH // 2), 120, dtype=torch.uint8)
        yield LayerBatch(range(number, number + 1), luma, chroma, torch.from_numpy(alpha_of(number)[None, None]))


@pytest.mark.parametrize("speed", ["fast", "good", "best"])
def test_alpha_in_webm_is_exact_at_every_speed_and_key_frames_stay(speed: Speed, tmp_path: Path) -> None:
    path, row = tmp_path / "out.webm", ENCODINGS["webm"].at(speed)
    encode(layers(), path, row, Coding(BT709, 8), Fraction(25))
    frames = frames_by_ffmpeg(path, "yuva420p", WIDTH, HEIGHT, decoder="libvpx-vp9")
    assert len(frames) == FRAMES
    for number, planes in enumerate(frames):
        np.testing.assert_array_equal(planes[3], alpha_of(number))
        assert np.abs(planes[0].astype(int) - 60 - number).max() <= 2
    packets = ffprobe(path, "-show_entries", "packet=flags")["packets"]
    assert [number for number, packet in enumerate(packets) if "K" in packet["flags"]] == [0, 120]


def test_good_is_the_row_as_it_stands() -> None:
    for row in ENCODINGS.values():
        assert row.at("good") is row


@pytest.mark.parametrize(
    ("speed", "settings"), [("fast", b" subme=0 "), ("good", b" subme=2 "), ("best", b" subme=8 ")]
)
def test_x264_in_10_bits_says_that_it_was_set_to_the_speed(speed: Speed, settings: bytes, tmp_path: Path) -> None:
    """Its note of itself; its manual has 0 for `ultrafast`, 2 for `veryfast` and 8 for `slow`."""
    path = tmp_path / "out.mp4"
    encode(opaque(2), path, ENCODINGS["h264-10bit"].at(speed), Coding(BT709, 8), Fraction(25))
    assert settings in path.read_bytes()


@pytest.mark.parametrize("name", ["prores4444", "prores422hq", "prores4444xq"])
def test_prores_spends_bytes_for_quality(name: str, tmp_path: Path) -> None:
    sizes = []
    row = ENCODINGS[name]
    for speed in ("fast", "good", *(["best"] if "best" in row.speeds else [])):
        path = tmp_path / f"{speed}.mov"
        encode(opaque(2), path, row.at(speed), Coding(BT709, 8), Fraction(25))
        sizes.append(path.stat().st_size)
    assert sizes == sorted(set(sizes))


def opaque(frames: int) -> Iterator[LayerBatch]:
    for number in range(frames):
        luma = torch.from_numpy(np.random.default_rng(number).integers(16, 236, (1, 1, HEIGHT, WIDTH)).astype("u1"))
        yield LayerBatch(
            range(number, number + 1), luma, torch.full_like(luma, 128)[..., ::2, ::2].expand(-1, 2, -1, -1), None
        )
