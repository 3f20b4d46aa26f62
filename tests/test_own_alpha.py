"""Alpha that a clip has already is kept: what it shows through stays so, whatever the matte says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import Codes
from PIL import Image

import vmatte
from vmatte.errors import SourceError
from vmatte.job import Runtime, make_job
from vmatte.planning import plan_job
from vmatte.render import run

WIDTH, HEIGHT, FRAMES = 64, 48, 5
RAMP = "clip(4*X+8*N,0,255)"
"""Its own alpha: from the left to the right, and more in every frame."""
LEVEL = 160
"""Of the gray in the lower half; the upper half is white."""

CODECS = {
    "prores.mov": ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le", "-q:v", "1"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-lossless", "1", "-auto-alt-ref", "0"),
    "png.mov": ("-c:v", "png", "-pix_fmt", "rgba"),
    "animation.mov": ("-c:v", "qtrle", "-pix_fmt", "argb"),
    "ffv1.mkv": ("-c:v", "ffv1", "-pix_fmt", "gbrap16le"),
}


@pytest.fixture
def make(tmp_path: Path, run_ffmpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """Makes a clip with the ramp as its alpha."""

    def make(name: str, *filters: str) -> Path:
        level = f"if(lt(Y,H/2),255,{LEVEL})"
        drawn = f"color=size={WIDTH}x{HEIGHT}:rate=25,format=gbrap,geq=r='{level}':g='{level}':b='{level}':a='{RAMP}'"
        tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
        chain = ",".join([drawn, *filters])
        codec = CODECS[name]
        if "yuva" in str(codec):  # swscale's own conversion would take BT.601, and put alpha a code off
            chain += ",scale=out_color_matrix=bt709:out_range=tv"
        run_ffmpeg("-f", "lavfi", "-i", chain, "-frames:v", FRAMES, *codec, *tags, tmp_path / name)
        return tmp_path / name

    return make


def cutout(clip: Path, folder: Path, **words: object) -> list[Codes]:
    """R'G'B'A of each frame of its cutout by luma-key."""
    run(clip, output=folder, encoding="png", **{"model": "luma-key"} | words)  # type: ignore[arg-type]
    return [np.asarray(Image.open(path)).astype(np.int32) for path in sorted(folder.iterdir())]


def alphas_by_ffmpeg(run_ffmpeg: Callable[..., bytes], clip: Path, width: int, height: int) -> Codes:
    """The clip's own alpha in [0, 255] (T, H, W), as ffmpeg decodes and turns it."""
    decoder = ["-c:v", "libvpx-vp9"] if clip.suffix == ".webm" else []
    raw = run_ffmpeg(*decoder, "-i", clip, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(raw, "u1").reshape(FRAMES, height, width).astype(np.int32)


@pytest.mark.parametrize("name", CODECS)
def test_the_matte_is_multiplied_by_it(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    clip = make(name)
    frames = cutout(clip, tmp_path / "out", segment_frames=2)
    ramp = np.array([np.clip(4 * np.arange(WIDTH) + 8 * number, 0, 255) for number in range(FRAMES)])
    own = ramp[:, None].repeat(HEIGHT, axis=1)
    assert len(frames) == FRAMES
    for number, frame in enumerate(frames):
        alpha = frame[..., 3]
        # White: luma-key keeps all of it. The 16-bit clip is up to 2 off when it is made, for swscale shifts codes.
        assert np.abs(alpha[:24] - own[number, :24]).max() <= (2 if name == "ffv1.mkv" else 1)
        assert np.abs(alpha[25:] - own[number, 25:] * LEVEL / 255).max() <= 2
        seen = own[number, :22] > 0
        assert frame[:22][seen, :3].min() >= 253  # straight: half transparent white is white


def test_it_can_be_ignored(make: Callable[..., Path], tmp_path: Path) -> None:
    for frame in cutout(make("png.mov"), tmp_path / "out", own_alpha="ignore"):
        assert (frame[:24, :, 3] == 255).all()
        assert np.abs(frame[24:, :, 3] - LEVEL).max() <= 1


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_it_is_turned_with_its_picture(
    angle: int, make: Callable[..., Path], tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    turned = tmp_path / "turned.mov"
    run_ffmpeg("-i", make("animation.mov"), "-c", "copy", "-metadata:s:v", f"rotate={angle}", turned)
    width, height = (WIDTH, HEIGHT) if angle == 180 else (HEIGHT, WIDTH)
    own = alphas_by_ffmpeg(run_ffmpeg, turned, width, height)
    for number, frame in enumerate(cutout(turned, tmp_path / "out", foreground="source")):
        white = frame[..., :3].min(axis=2) >= 253
        assert 1000 < white.sum() <= WIDTH * HEIGHT / 2
        assert np.abs(frame[..., 3] - own[number])[white].max() <= 1


def test_it_is_widened_with_its_picture(make: Callable[..., Path], tmp_path: Path) -> None:
    """Pixels twice as wide as high: the ramp is half as steep, and as opaque at its ends."""
    frame = cutout(make("prores.mov", "setsar=2"), tmp_path / "out")[2]
    assert frame.shape[:2] == (HEIGHT, 2 * WIDTH)
    columns = (np.arange(2 * WIDTH) + 0.5) / 2 - 0.5
    wanted = np.clip(4 * columns + 16, 16, 255)
    assert np.abs(frame[4:20, 4:-12, 3] - wanted[4:-12]).max() <= 3


def test_segments_and_smoothing_do_not_move_it(make: Callable[..., Path], tmp_path: Path) -> None:
    clip = make("vp9.webm")
    whole = cutout(clip, tmp_path / "whole", smooth="motion")
    parts = cutout(clip, tmp_path / "parts", smooth="motion", segment_frames=2)
    tail = cutout(clip, tmp_path / "tail", start="2f", segment_frames=2)
    np.testing.assert_array_equal(whole, parts)
    still = cutout(clip, tmp_path / "still")
    np.testing.assert_array_equal(still[2:], tail)


def test_it_is_behind_the_kept_matte_and_one_line_tells_of_it(
    make: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = make("png.mov")
    plans = []
    with caplog.at_level(logging.INFO, "vmatte"):
        for choice in ("multiply", "ignore"):
            job = make_job(clip, output=tmp_path / "out.mov", model="luma-key", own_alpha=choice)
            plans.append(plan_job(job, Runtime()))
        cutout(clip, tmp_path / "out")
    assert plans[0].matte_fingerprint == plans[1].matte_fingerprint
    assert plans[0].fingerprint != plans[1].fingerprint
    assert [record.message for record in caplog.records if "alpha" in record.message and "own" in record.message] == [
        f"{clip} has alpha of its own: the matte is multiplied by it (own alpha: multiply)"
    ]


@pytest.mark.parametrize("name", CODECS)
def test_it_can_be_the_matte_by_itself(name: str, make: Callable[..., Path], tmp_path: Path) -> None:
    """The gray half too is as opaque as the clip says, and keeps its colour."""
    for number, frame in enumerate(cutout(make(name), tmp_path / "out", model="own-alpha", segment_frames=2)):
        ramp = np.clip(4 * np.arange(WIDTH) + 8 * number, 0, 255)
        assert np.abs(frame[..., 3] - ramp).max() <= (2 if name == "ffv1.mkv" else 1)
        assert np.abs(frame[28:, 8:, :3] - LEVEL).max() <= 2


def test_edges_and_masks_act_on_it_where_it_is_the_matte(make: Callable[..., Path], tmp_path: Path) -> None:
    levels = {"black": 0.25, "white": 0.75}
    for number, frame in enumerate(cutout(make("png.mov"), tmp_path / "out", model="own-alpha", **levels)):
        ramp = np.clip(4 * np.arange(WIDTH) + 8 * number, 0, 255) / 255
        assert np.abs(frame[..., 3] - 255 * np.clip((ramp - 0.25) / 0.5, 0, 1)).max() <= 1


def test_the_mattes_of_the_library_are_it(make: Callable[..., Path]) -> None:
    for number, matte in enumerate(vmatte.matte(make("animation.mov"), model="own-alpha")):
        ramp = np.clip(4 * np.arange(WIDTH) + 8 * number, 0, 255) / 255
        assert np.abs(matte.alpha[0].numpy() - ramp).max() <= 0.5 / 255


def test_a_clip_without_it_cannot_be_rendered_by_it(
    make: Callable[..., Path], tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x48:duration=0.2", tmp_path / "plain.mp4")
    for clip, words in ((tmp_path / "plain.mp4", {}), (make("png.mov"), {"own_alpha": "ignore"})):
        with pytest.raises(SourceError, match="has no alpha of its own, or it is to be ignored"):
            cutout(clip, tmp_path / "out", model="own-alpha", **words)
