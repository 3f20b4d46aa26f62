"""Ramps of ten bits go through the whole render; another program decodes what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from footage import Array, Planes, ffprobe, frames_by_ffmpeg, plane_shapes, write_clip
from PIL import Image

from vmatte.options import PolygonMask
from vmatte.render import run

NAMES = {14: "bt2020-10", 16: "smpte2084", 18: "arib-std-b67"}
"""Of the transfers that are kept, in ffprobe."""
WIDTH, HEIGHT = 352, 96
EVERYWHERE = PolygonMask(polygons=(((-1, -1), (2, -1), (2, 2), (-1, 2)),))
INNER = (slice(4, -4), slice(4, -4))  # where no filter meets the border

KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # ITU-T H.273

# pixel format, tags (matrix, primaries, transfer, range: 1 limited, 2 full)
SOURCES: dict[str, tuple[str, tuple[int, int, int, int]]] = {
    "709 420": ("yuv420p10le", (1, 1, 1, 1)),
    "709 422": ("yuv422p10le", (1, 1, 1, 1)),
    "709 full 420": ("yuv420p10le", (1, 1, 1, 2)),
    "601 422": ("yuv422p10le", (6, 6, 6, 1)),
    "601 full 420": ("yuv420p10le", (6, 6, 6, 2)),
    "2020 422": ("yuv422p10le", (9, 9, 14, 1)),
    "2020 full 420": ("yuv420p10le", (9, 9, 14, 2)),
    "PQ 420": ("yuv420p10le", (9, 9, 16, 1)),
    "HLG 422": ("yuv422p10le", (9, 9, 18, 1)),
}


def ramp(rows: Array, columns: Array) -> Array:
    """R'G'B' (h, w, 3) in [0, 1], linear in the place: half-size chroma of it, enlarged, is exact."""
    y, x = np.meshgrid(rows / (HEIGHT - 1), columns / (WIDTH - 1), indexing="ij")
    return np.stack([x, 0.15 + 0.7 * y, 1 - 0.5 * x - 0.5 * y], -1).clip(0, 1)


def codes_of(rgb: Array, matrix: int, *, full: bool) -> Array:
    """Unrounded codes of ten bits, Y', Cb, Cr (..., 3); H.273, equations 20 to 40."""
    kr, kb = KR_KB[matrix]
    luma = rgb @ [kr, 1 - kr - kb, kb]
    cb, cr = (rgb[..., 2] - luma) / (2 * (1 - kb)), (rgb[..., 0] - luma) / (2 * (1 - kr))
    if full:
        return np.stack([luma * 1023, cb * 1023 + 512, cr * 1023 + 512], -1)
    return np.stack([876 * luma + 64, 896 * cb + 512, 896 * cr + 512], -1)


def rgb_of(planes: Planes, matrix: int, bits: int) -> Array:
    """R'G'B' (h, w, 3) of full-size planes of limited range."""
    kr, kb = KR_KB[matrix]
    unit = 2 ** (bits - 8)
    luma = (planes[0] / unit - 16) / 219
    cb, cr = ((plane / unit - 128) / 224 for plane in planes[1:3])
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    return np.stack([red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue], -1)


def ramp_clip(name: str, folder: Path) -> Path:
    pix_fmt, tags = SOURCES[name]
    planes = []
    for component, (height, width) in enumerate(plane_shapes(pix_fmt, WIDTH, HEIGHT)):
        rows = np.arange(HEIGHT) if height == HEIGHT else 2 * np.arange(height) + 0.5
        columns = np.arange(WIDTH) if width == WIDTH else 2.0 * np.arange(width)
        codes = codes_of(ramp(rows, columns), tags[0], full=tags[3] == 2)[..., component]
        planes.append(codes.round().clip(0, 1023).astype("<u2"))
    return write_clip(folder / "clip.mkv", [planes] * 2, pix_fmt, codec="ffv1", options={}, tags=tags)


def rendered(name: str, folder: Path, output: str, **words: Any) -> Path:
    run(ramp_clip(name, folder), model="luma-key", hold_out=EVERYWHERE, output=folder / output, **words)
    return folder / output


def error(found: Array) -> Array:
    """Of R'G'B' (h, w, 3), in codes of ten bits."""
    return np.asarray(np.abs(found - ramp(np.arange(HEIGHT), np.arange(WIDTH)))[INNER] * 1023)


@pytest.mark.parametrize("name", SOURCES)
def test_a_cutout_in_prores_has_the_colours_of_ten_bits(name: str, tmp_path: Path) -> None:
    matrix = 9 if SOURCES[name][1][0] == 9 else 1
    made = rendered(name, tmp_path, "out.mov")
    (planes, _) = frames_by_ffmpeg(made, "yuva444p12le", WIDTH, HEIGHT)
    off = error(rgb_of(planes, matrix, 12))
    # 4 are one of eight bits. Half a code of the source's luma and chroma is 1.7 of R'G'B', the rest ProRes; chroma
    # that lay half a pixel beside its place would be 1.1 in the mean.
    assert off.max() <= 4
    assert np.sqrt((off**2).mean()) <= 0.8
    assert np.all(planes[3] == 4095)
    (stream,) = ffprobe(made, "-select_streams", "v", "-show_streams")["streams"]
    assert stream["color_transfer"] == NAMES.get(SOURCES[name][1][2], "bt709")


@pytest.mark.parametrize("name", ["709 420", "601 full 420", "2020 422"])
def test_a_composite_in_pictures_has_the_colours_of_ten_bits(name: str, tmp_path: Path) -> None:
    made = rendered(name, tmp_path, "pictures", background="black", encoding="png")
    with Image.open(made / "000001.png") as picture:
        off = error(np.asarray(picture) / 255) * 255 / 1023
    assert off.max() <= 1.25  # half by rounding to eight bits


@pytest.mark.parametrize("name", SOURCES)
def test_a_composite_of_eight_bits_has_the_lumas_of_ten(name: str, tmp_path: Path) -> None:
    matrix = 9 if SOURCES[name][1][0] == 9 else 1
    made = rendered(name, tmp_path, "out.mp4", background="black", tone_map="off")
    (planes, _) = frames_by_ffmpeg(made, "yuv420p", WIDTH, HEIGHT)
    off = planes[0] - codes_of(ramp(np.arange(HEIGHT), np.arange(WIDTH)), matrix, full=False)[..., 0] / 4
    assert np.abs(off[INNER]).max() <= 2  # 0.5 by rounding, the rest is x264's
    assert np.sqrt((off[INNER] ** 2).mean()) <= 0.6
