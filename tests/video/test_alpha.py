"""Alpha as it was written, from every kind of clip and picture that can hold a matte."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from footage import write_clip
from numpy.typing import NDArray
from PIL import Image

from vmatte.errors import SourceError
from vmatte.render import run
from vmatte.video.alpha import decode_alpha, read_alpha
from vmatte.video.probe import probe

Codes = NDArray[np.uint8]


def ramp(frames: int = 4) -> list[Codes]:
    """Gray frames (48, 64) with every code from 0 to 255 in them, another arrangement each."""
    codes = np.arange(48 * 64, dtype=np.uint32).reshape(48, 64)
    return [((codes * 5 + 40 * k) % 256).astype(np.uint8) for k in range(frames)]


def decoded(path: Path) -> list[NDArray[np.float32]]:
    return list(decode_alpha(probe(path)))


# Half a code of what is written; ProRes is written with 10 bits and read with 12, cut off.
@pytest.mark.parametrize(
    ("name", "error"), [("out.mov", 0.5 / 1023 + 1 / 4095), ("out.webm", 0.5 / 255), ("frames", 0.5 / 255)]
)
def test_the_alpha_of_a_cutout_is_what_the_model_gave(name: str, error: float, tmp_path: Path) -> None:
    # luma-key: alpha is luma, (code - 16) / 219 of a limited-range clip.
    lumas = [codes // 2 + 16 for codes in ramp()]
    clip = clips.write_clip(tmp_path / "clip.mp4", [clips.gray(luma) for luma in lumas])
    output = tmp_path / name
    run(clip, output=output, encoding="png" if name == "frames" else None, model="luma-key")
    alphas = list(map(read_alpha, sorted(output.iterdir()))) if name == "frames" else decoded(output)
    assert len(alphas) == len(lumas)
    for alpha, luma in zip(alphas, lumas, strict=True):
        assert alpha.dtype == np.float32
        assert abs(alpha - (luma.astype(np.float32) - 16) / 219).max() <= error + 1e-6


def test_lossless_gray_is_full_range_and_read_exactly(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "alpha.mkv", [[codes] for codes in ramp()], "gray", codec="ffv1", options={})
    for alpha, codes in zip(decoded(path), ramp(), strict=True):
        np.testing.assert_allclose(alpha, codes / np.float32(255), atol=1e-7)


def test_sixteen_bits_of_gray_are_kept(tmp_path: Path) -> None:
    deep = [codes.astype("<u2") * 257 - codes for codes in ramp()]
    path = write_clip(tmp_path / "alpha.mkv", [[codes] for codes in deep], "gray16le", codec="ffv1", options={})
    for alpha, codes in zip(decoded(path), deep, strict=True):
        np.testing.assert_allclose(alpha, codes / np.float32(65535), atol=1e-7)


@pytest.mark.parametrize(("coding", "black", "white"), [(clips.BT709_LIMITED, 16, 235), (clips.BT601_FULL, 0, 255)])
def test_a_gray_clip_in_colour_format_follows_its_range(
    coding: tuple[int, int], black: int, white: int, tmp_path: Path
) -> None:
    path = clips.write_clip(tmp_path / "gray.mp4", [clips.gray(codes) for codes in ramp()], coding=coding)
    for alpha, codes in zip(decoded(path), ramp(), strict=True):
        expected = ((codes.astype(np.float32) - black) / (white - black)).clip(0, 1)
        np.testing.assert_allclose(alpha, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "RGB", "P", "1", "I;16"])
def test_pictures_of_every_mode_give_their_matte(mode: str, tmp_path: Path) -> None:
    codes = ramp(1)[0] if mode != "1" else (ramp(1)[0] > 100).astype(np.uint8) * 255
    path = tmp_path / "matte.png"
    if mode in ("LA", "RGBA"):
        color = np.random.default_rng(0).integers(0, 256, (*codes.shape, len(mode) - 1), np.uint8)
        picture = Image.fromarray(np.dstack([color, codes]).astype(np.uint8), mode)
    elif mode == "I;16":
        picture = Image.fromarray(codes.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(codes).convert(mode)
    picture.save(path)
    np.testing.assert_allclose(read_alpha(path), codes / np.float32(255), atol=1e-6)


def test_a_clip_in_colour_is_no_matte(tmp_path: Path) -> None:
    path = clips.write_clip(tmp_path / "red.mp4", [clips.flat(clips.codes_of((200, 40, 40)), 64, 48)])
    with pytest.raises(SourceError, match=r"frame 0 has no alpha and is in colour; give a clip with alpha"):
        decoded(path)
    Image.new("RGB", (8, 8), (200, 40, 40)).save(tmp_path / "red.png")
    with pytest.raises(SourceError, match=r"red\.png has no alpha and is in colour"):
        read_alpha(tmp_path / "red.png")


def test_alpha_of_a_foreign_webm_is_seen(tmp_path: Path, run_ffmpeg: Callable[..., bytes]) -> None:
    raw = b"".join(np.dstack([codes, codes, codes, codes]).tobytes() for codes in ramp())
    (tmp_path / "raw").write_bytes(raw)
    made = ("-f", "rawvideo", "-pix_fmt", "rgba", "-s", "64x48", "-r", 25, "-i", tmp_path / "raw")
    how = ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", 0, "-b:v", "8M", "-crf", 4)
    run_ffmpeg(*made, *how, tmp_path / "vp8.webm")
    alphas = decoded(tmp_path / "vp8.webm")
    assert len(alphas) == 4
    for alpha, codes in zip(alphas, ramp(), strict=True):
        assert abs(alpha - codes / 255).mean() < 0.05


def test_what_is_no_picture_or_lost_its_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(SourceError, match=r"broken\.png cannot be read as a picture"):
        read_alpha(tmp_path / "broken.png")
    path = write_clip(tmp_path / "alpha.mkv", [[codes] for codes in ramp(6)], "gray", codec="ffv1", options={})
    clip = probe(path)
    with av.open(str(path)) as container:
        size = sum(packet.size for packet in container.demux(video=0))
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) - size // 3 : len(whole) - size // 6] = bytes(size // 3 - size // 6)
    path.write_bytes(broken)
    with pytest.raises(SourceError, match=r"decoded"):
        list(decode_alpha(clip))
    assert clip.rate == Fraction(25)
