"""Clips of known light go through the whole render; ffmpeg decodes what comes out. Light is in cd/m²."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import black_clip
from conftest import find_program
from numpy.typing import NDArray
from PIL import Image

import vmatte
from vmatte.imaging.tonemap import hdr_light
from vmatte.job import Runtime, make_job
from vmatte.options import PolygonMask
from vmatte.preview import preview
from vmatte.video.probe import probe

Tool = Callable[..., bytes]
Array = NDArray[np.float64]

SIDE = 48
EVERYWHERE = PolygonMask(polygons=(((-1, -1), (2, -1), (2, 2), (-1, 2)),))
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087
BT709, BT2020 = (0.2126, 0.0722), (0.2627, 0.0593)
"""Kr and Kb."""
TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}

# In BT.2020's primaries; up to 90 cd/m² a peak of 1000 bends nothing.
LIGHTS = np.array([[0.0, 0, 0], [5, 5, 5], [20, 20, 20], [80, 80, 80], [75, 55, 45], [30, 60, 25], [20, 25, 70]])
SDR = ((LIGHTS / 203 @ TO_BT709.T).clip(0, 1)) ** (1 / 2.4)
"""R'G'B' of a display of BT.1886 whose white stands for 203 cd/m²."""


def signal_of(light: Array, transfer: int) -> Array:
    """R'G'B' of PQ (SMPTE ST 2084) or of HLG on a display of 1000 cd/m² (BT.2100)."""
    if transfer == 16:
        power = (light / 10000) ** 0.1593017578125
        return np.asarray(((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375)
    luminance = (light / 1000) @ [[0.2627], [0.6780], [0.0593]]
    scene = light / 1000 * np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def codes_of(rgb: Array, kr: float, kb: float, bits: int) -> Array:
    """Limited range, Y', Cb, Cr."""
    luma = rgb @ [kr, 1 - kr - kb, kb]
    cb, cr = (rgb[:, 2] - luma) / (2 * (1 - kb)), (rgb[:, 0] - luma) / (2 * (1 - kr))
    return np.stack([219 * luma + 16, 224 * cb + 128, 224 * cr + 128], -1) * 2 ** (bits - 8)


def patches_clip(path: Path, transfer: int, run_ffmpeg: Tool) -> Path:
    """Two frames of patches of these lights beside each other, ten bits; in SDR with a transfer of 1."""
    codes = codes_of(SDR, *BT709, 10) if transfer == 1 else codes_of(signal_of(LIGHTS, transfer), *BT2020, 10)
    codes = codes.round().astype("<u2")
    planes = [
        np.repeat(codes[:, part], SIDE // step)[None].repeat(SIDE // step, 0) for part, step in enumerate((1, 2, 2))
    ]
    raw = path.with_suffix(".raw")
    raw.write_bytes(b"".join(plane.tobytes() for plane in planes) * 2)
    size = f"{SIDE * len(LIGHTS)}x{SIDE}"
    space = 1 if transfer == 1 else 9
    tags = ("-colorspace", space, "-color_primaries", space, "-color_trc", transfer, "-color_range", 1)
    layout = ("-f", "rawvideo", "-pix_fmt", "yuv420p10le", "-s", size, "-r", 25)
    run_ffmpeg(*layout, *tags, "-i", raw, "-c:v", "ffv1", *tags, path)
    return path


def shown_codes(path: Path, pix_fmt: str, run_ffmpeg: Tool) -> Array:
    """(patches, 3): Y', Cb, Cr in the middle of each patch of the first frame; alpha is not looked at."""
    kind, chroma_step = ("<u2" if pix_fmt.endswith("le") else "u1"), 2 if "420" in pix_fmt else 1
    raw = np.frombuffer(run_ffmpeg("-i", path, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"), kind)
    found, at = [], 0
    for step in (1, chroma_step, chroma_step):
        shape = SIDE // step, SIDE * len(LIGHTS) // step
        plane = raw[at : at + shape[0] * shape[1]].reshape(shape)
        found.append(plane[shape[0] // 2, SIDE // 2 // step :: SIDE // step])
        at += plane.size
    return np.stack(found, -1).astype(float)


def tags_of(path: Path) -> list[str]:
    """Matrix, primaries and transfer, as ffprobe names them."""
    command = [
        find_program("ffprobe"),
        "-v",
        "error",
        "-of",
        "json",
        "-show_streams",
        "-select_streams",
        "v",
        str(path),
    ]
    (stream,) = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["streams"]
    return [stream[name] for name in ("color_space", "color_primaries", "color_transfer")]


def render(clip: Path, outputs: Sequence[Path], **words: Any) -> None:
    vmatte.run(clip, output=list(outputs), model="luma-key", **words)


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_a_composite_is_sdr_and_a_cutout_of_the_same_render_stays_hdr(
    transfer: int, tmp_path: Path, run_ffmpeg: Tool, caplog: pytest.LogCaptureFixture
) -> None:
    clip = patches_clip(tmp_path / "clip.mkv", transfer, run_ffmpeg)
    composite, cutout = tmp_path / "composite.mp4", tmp_path / "cutout.mov"
    with caplog.at_level(logging.INFO, logger="vmatte"):
        render(clip, [composite, cutout], background="navy", hold_out=EVERYWHERE)
    assert tags_of(composite) == ["bt709"] * 3
    assert tags_of(cutout) == ["bt2020nc", "bt2020", TRANSFERS[transfer]]
    lines = [record.getMessage() for record in caplog.records if "is HDR" in record.getMessage()]
    assert lines == [
        f"{clip} is HDR: composites and what has 8 bits are tone-mapped to SDR, from a peak of 1000 cd/m²; "
        "the other outputs stay HDR"
    ]
    wanted = codes_of(SDR, *BT709, 8)
    assert np.abs(shown_codes(composite, "yuv420p", run_ffmpeg) - wanted).max() <= 1.5  # one is x264's
    kept = codes_of(signal_of(LIGHTS, transfer), *BT2020, 10)
    assert np.abs(shown_codes(cutout, "yuva444p12le", run_ffmpeg) / 4 - kept).max() <= 1.5


def test_a_cutout_of_eight_bits_is_sdr(tmp_path: Path, run_ffmpeg: Tool) -> None:
    clip = patches_clip(tmp_path / "clip.mkv", 16, run_ffmpeg)
    render(clip, [tmp_path / "cutout.webm"], hold_out=EVERYWHERE)
    assert tags_of(tmp_path / "cutout.webm") == ["bt709"] * 3
    vmatte.run(clip, output=tmp_path / "pictures", encoding="png", model="luma-key", hold_out=EVERYWHERE)
    with Image.open(tmp_path / "pictures" / "000000.png") as picture:
        found = np.asarray(picture)[SIDE // 2, SIDE // 2 :: SIDE]
    assert np.abs(found[:, :3] - 255 * SDR).max() <= 1.5


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_hdr_is_light_in_openexr(transfer: int) -> None:
    """In units of reference white, of the display for PQ and of the scene for HLG."""
    rgb = torch.tensor(signal_of(np.array([[203.0] * 3, [812.0] * 3]), transfer).T.reshape(1, 3, 1, 2))
    brightest = 4.0 if transfer == 16 else 4 ** (1 / 1.2)  # the OOTF's γ
    assert hdr_light(rgb, transfer)[0, 0, 0].tolist() == pytest.approx([1, brightest], rel=2e-3)


def test_without_tone_mapping_a_composite_keeps_the_clips_codes(tmp_path: Path, run_ffmpeg: Tool) -> None:
    clip = patches_clip(tmp_path / "clip.mkv", 16, run_ffmpeg)
    render(clip, [tmp_path / "out.mp4"], background="navy", hold_out=EVERYWHERE, tone_map="off")
    assert tags_of(tmp_path / "out.mp4") == ["bt2020nc", "bt2020", "smpte2084"]
    kept = codes_of(signal_of(LIGHTS, 16), *BT2020, 8)
    assert np.abs(shown_codes(tmp_path / "out.mp4", "yuv420p", run_ffmpeg) - kept).max() <= 1.5


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_the_clips_own_background_is_tone_mapped_too(transfer: int, tmp_path: Path, run_ffmpeg: Tool) -> None:
    clip = patches_clip(tmp_path / "clip.mkv", transfer, run_ffmpeg)
    render(clip, [tmp_path / "out.mp4"], background="blur", garbage=EVERYWHERE)
    wanted = codes_of(SDR, *BT709, 8)
    assert np.abs(shown_codes(tmp_path / "out.mp4", "yuv420p", run_ffmpeg) - wanted).max() <= 1.5


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_an_hdr_plate_is_tone_mapped_behind_an_sdr_clip(transfer: int, tmp_path: Path, run_ffmpeg: Tool) -> None:
    plate = patches_clip(tmp_path / "plate.mkv", transfer, run_ffmpeg)
    clip = black_clip(tmp_path / "clip.mp4", width=SIDE * len(LIGHTS), height=SIDE)
    render(clip, [tmp_path / "out.mp4"], background=plate)
    wanted = codes_of(SDR, *BT709, 8)
    assert np.abs(shown_codes(tmp_path / "out.mp4", "yuv420p", run_ffmpeg) - wanted).max() <= 1.5


def test_a_match_of_colours_is_that_of_the_same_clip_in_sdr(tmp_path: Path, run_ffmpeg: Tool) -> None:
    found = []
    for transfer in (1, 16):
        clip = patches_clip(tmp_path / f"{transfer}.mkv", transfer, run_ffmpeg)
        made = tmp_path / f"{transfer}.mp4"
        render(clip, [made], background="#305070", hold_out=EVERYWHERE, color_match=1.0)
        found.append(shown_codes(made, "yuv420p", run_ffmpeg))
    assert np.abs(found[0] - codes_of(SDR, *BT709, 8)).max() > 10
    assert np.abs(found[0] - found[1]).max() <= 2


def test_what_a_clip_says_of_its_light_is_read(tmp_path: Path, run_ffmpeg: Tool) -> None:
    said = "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,50):max-cll=600,300"
    source = ("-f", "lavfi", "-i", "color=gray:s=64x48:d=0.08", "-pix_fmt", "yuv420p10le", "-c:v", "libx265")
    tags = ("-colorspace", 9, "-color_primaries", 9, "-color_trc", 16)
    run_ffmpeg(*source, "-x265-params", f"log-level=none:{said}", *tags, tmp_path / "clip.mp4")
    found = probe(tmp_path / "clip.mp4")
    assert (found.hdr_light.display_peak, found.hdr_light.content_peak, found.peak) == (4000, 600, 600)
    run_ffmpeg(*source, "-x265-params", "log-level=none", *tags, tmp_path / "silent.mp4")
    assert probe(tmp_path / "silent.mp4").peak == 1000


def test_a_network_sees_hdr_as_sdr(tmp_path: Path, run_ffmpeg: Tool) -> None:
    """Luma-key's matte is the luma that it sees."""
    clip = patches_clip(tmp_path / "clip.mkv", 16, run_ffmpeg)
    matted, _ = vmatte.matte(clip, model="luma-key")
    found = matted.alpha[0, SIDE // 2, SIDE // 2 :: SIDE].double().numpy()
    np.testing.assert_allclose(found, SDR @ [0.2126, 0.7152, 0.0722], atol=5e-3)


def test_a_preview_shows_the_clip_by_the_curve_of_the_render(tmp_path: Path, run_ffmpeg: Tool) -> None:
    source = ("-f", "lavfi", "-i", "color=0xC0C0C0:s=64x48:d=0.08", "-pix_fmt", "yuv420p10le", "-c:v", "libx265")
    tags = ("-colorspace", 9, "-color_primaries", 9, "-color_trc", 16)
    run_ffmpeg(*source, "-x265-params", "log-level=none:max-cll=4000,300", *tags, tmp_path / "clip.mp4")
    job = make_job(tmp_path / "clip.mp4", model="luma-key", background="navy", hold_out=EVERYWHERE)
    sheet = np.asarray(Image.open(preview(job, Runtime(), 1))).astype(int)
    shown, result = (sheet[32:80, left : left + 64].mean((0, 1)) for left in (8, 152))
    assert np.abs(shown - result).max() <= 2
    assert shown.max() < 253  # as it would not be of a clip that goes no higher than 1000 cd/m²
