"""Clips of known colour go through the whole render; another program decodes what comes out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from footage import BT709_TAGS, Array, Planes, ffprobe, frames_by_ffmpeg, gray, plane_shapes, write_clip
from PIL import Image

from vmatte.job import Runtime, make_job
from vmatte.render import render_job, run

WIDTH, HEIGHT, PATCH = 320, 192, 64
COLORS = np.array(
    [
        [(255, 255, 255), (0, 0, 0), (128, 128, 128), (235, 200, 180), (190, 130, 100)],
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)],
        [(255, 0, 255), (40, 60, 90), (200, 210, 60), (90, 30, 120), (250, 180, 20)],
    ],
    float,
)
PLATE = np.array([0, 177, 64]) / 255
LUMA_KEY: dict[str, Any] = {"model": "luma-key", "foreground": "source"}
FLAT = slice(16, PATCH - 16)  # in here neither scaled chroma nor a codec's ringing brings in the neighbours

# Kr and Kb by the matrix's code point in ITU-T H.273.
KR_KB = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def codes_of(rgb: Array, matrix: int, bits: int, *, full: bool) -> Array:
    """Y'CbCr codes, unrounded, of R'G'B' (..., 3) in [0, 1], as H.273 equations 20 to 40 have them."""
    kr, kb = KR_KB[matrix]
    red, green, blue = np.moveaxis(rgb, -1, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    if full:
        top = 2**bits - 1
        return np.stack([luma * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)], -1)
    scale = 2 ** (bits - 8)
    return np.stack([(219 * luma + 16) * scale, (224 * cb + 128) * scale, (224 * cr + 128) * scale], -1)


def rgb_of(codes: Array, matrix: int, bits: int, *, full: bool) -> Array:
    """R'G'B' (..., 3) of Y'CbCr codes (..., 3), the inverse of `codes_of`, cut to [0, 1]."""
    kr, kb = KR_KB[matrix]
    luma, cb, cr = np.moveaxis(codes.astype(float), -1, 0)
    if full:
        top = 2**bits - 1
        luma, cb, cr = luma / top, (cb - 2 ** (bits - 1)) / top, (cr - 2 ** (bits - 1)) / top
    else:
        scale = 2 ** (bits - 8)
        luma, cb, cr = (luma / scale - 16) / 219, (cb / scale - 128) / 224, (cr / scale - 128) / 224
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    return np.stack([red, (luma - kr * red - kb * blue) / (1 - kr - kb), blue], -1).clip(0, 1)


def alpha_of(rgb: Array) -> Array:
    """What luma-key is defined to be."""
    return rgb @ np.array([0.2126, 0.7152, 0.0722])


def assert_alpha(codes: Array, rgb: Array, bits: int, source: str) -> None:
    """Codes (3, 5, n) are the rounded matte of the patches: exactly so where the clip kept its own codes."""
    ideal = (alpha_of(rgb) * (2**bits - 1))[..., None]
    matrix, _, full_range, *_ = SOURCES[source]
    if matrix == 6 or full_range:  # recoded to BT.709 with 10 bits: luma moved by up to half a code of 876
        assert np.abs(codes - ideal).max() <= 0.5 + 0.51 / 876 * (2**bits - 1)
    else:
        np.testing.assert_array_equal(codes, np.broadcast_to(np.floor(ideal + 0.5), codes.shape))


def patches(matrix: int, bits: int, pix_fmt: str, *, full: bool) -> tuple[list[Planes], Array]:
    """Three frames of flat patches, and the R'G'B' (3, 5, 3) that their rounded codes stand for."""
    codes = codes_of(COLORS / 255, matrix, bits, full=full).round().clip(0, 2**bits - 1)
    shapes = plane_shapes(pix_fmt, WIDTH, HEIGHT)
    dtype = np.dtype("u1" if bits == 8 else "<u2")
    planes = []
    for component, (rows, columns) in enumerate(shapes):
        plane = codes[..., component].astype(dtype)
        planes.append(plane.repeat(rows // 3, axis=0).repeat(columns // 5, axis=1))
    return [planes] * 3, rgb_of(codes, matrix, bits, full=full)


def flat_parts(plane: Array) -> Array:
    """The inner part of every patch, (3, 5, n) samples, of a plane of full or half size."""
    rows, columns = HEIGHT // plane.shape[0], WIDTH // plane.shape[1]
    size = (PATCH // rows, PATCH // columns)
    blocks = plane.reshape(3, size[0], 5, size[1]).transpose(0, 2, 1, 3)
    inner = blocks[:, :, FLAT.start // rows : FLAT.stop // rows, FLAT.start // columns : FLAT.stop // columns]
    return inner.reshape(3, 5, -1)


def patch_rgb(planes: Planes, matrix: int, bits: int) -> Array:
    """R'G'B' (3, 5, n, 3) of limited-range planes inside the patches."""
    luma, cb, cr = (flat_parts(plane) for plane in planes[:3])
    if cb.shape != luma.shape:
        # The n samples of half-size chroma stand for the pixels they cover; any order will do in a flat patch.
        cb, cr = cb.repeat(4, axis=-1), cr.repeat(4, axis=-1)
    return rgb_of(np.stack([luma, cb, cr], -1), matrix, bits, full=False)


# matrix, bits, full range, pixel format, codec, codec options, file name, tags (matrix, primaries, transfer, range)
SOURCES: dict[str, tuple[Any, ...]] = {
    "709 420": (1, 8, False, "yuv420p", "libx264", None, "clip.mp4", BT709_TAGS),
    "709 444": (1, 8, False, "yuv444p", "libx264", None, "clip.mp4", BT709_TAGS),
    "709 full range": (1, 8, True, "yuv420p", "libx264", None, "clip.mp4", (1, 1, 1, 2)),
    "601": (6, 8, False, "yuv420p", "libx264", None, "clip.mp4", (6, 6, 6, 1)),
    "601 untagged": (6, 8, False, "yuv420p", "libx264", None, "clip.mp4", None),
    "601 full range": (6, 8, True, "yuv422p", "libx264", None, "clip.mp4", (6, 6, 6, 2)),
    "709 10 bit": (1, 10, False, "yuv420p10le", "libx264", None, "clip.mp4", BT709_TAGS),
    "2020 10 bit": (9, 10, False, "yuv422p10le", "ffv1", {}, "clip.mkv", (9, 9, 14, 1)),
}


def make_source(name: str, folder: Path) -> tuple[Path, Array, int]:
    """A lossless clip, the R'G'B' of its patches, and the matrix its outputs are to have."""
    matrix, bits, full, pix_fmt, codec, options, file_name, tags = SOURCES[name]
    frames, rgb = patches(matrix, bits, pix_fmt, full=full)
    path = write_clip(folder / file_name, frames, pix_fmt, codec=codec, options=options, tags=tags)
    return path, rgb, 9 if matrix == 9 else 1


def light_of(rgb: Array) -> Array:
    """What a camera saw, as ITU-R BT.709 has it."""
    return np.where(rgb < 0.081, rgb / 4.5, ((rgb + 0.099) / 1.099) ** (1 / 0.45))


def rgb_of_light(light: Array) -> Array:
    return np.where(light < 0.018, light * 4.5, 1.099 * light**0.45 - 0.099)


@pytest.mark.parametrize("blend", ["display", "linear"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_composite_in_mp4_has_the_colours_of_the_formula(source: str, blend: str, tmp_path: Path) -> None:
    clip, rgb, matrix = make_source(source, tmp_path)
    run(clip, background="#00b140", output=tmp_path / "out.mp4", blend=blend, **LUMA_KEY)
    alpha = alpha_of(rgb)[..., None]
    expected = alpha * rgb + (1 - alpha) * PLATE
    if blend == "linear":
        expected = rgb_of_light(alpha * light_of(rgb) + (1 - alpha) * light_of(PLATE))
    frames = frames_by_ffmpeg(tmp_path / "out.mp4", "yuv420p", WIDTH, HEIGHT)
    assert len(frames) == 3
    for planes in frames:
        error = np.abs(patch_rgb(planes, matrix, 8) - expected[:, :, None]) * 255
        assert error.max() <= 2.0, error.max(axis=(2, 3))


@pytest.mark.parametrize("source", SOURCES)
def test_a_composite_in_prores_has_the_colours_of_the_formula(source: str, tmp_path: Path) -> None:
    clip, rgb, matrix = make_source(source, tmp_path)
    run(clip, background="#00b140", output=tmp_path / "out.mov", blend="display", **LUMA_KEY)
    alpha = alpha_of(rgb)[..., None]
    expected = alpha * rgb + (1 - alpha) * PLATE
    # Without alpha FFmpeg decodes ProRes 4444 to yuv444p12.
    for planes in frames_by_ffmpeg(tmp_path / "out.mov", "yuv444p12le", WIDTH, HEIGHT):
        assert np.abs(patch_rgb(planes, matrix, 12) - expected[:, :, None]).max() <= 2 / 255


@pytest.mark.parametrize("source", SOURCES)
def test_a_prores_cutout_has_the_clips_colours_and_its_exact_matte(source: str, tmp_path: Path) -> None:
    clip, rgb, matrix = make_source(source, tmp_path)
    run(clip, output=tmp_path / "out.mov", **LUMA_KEY)
    for planes in frames_by_ffmpeg(tmp_path / "out.mov", "yuva444p12le", WIDTH, HEIGHT):
        assert_alpha(flat_parts(planes[3]) >> 2, rgb, 10, source)
        shown = patch_rgb(planes, matrix, 12) - rgb[:, :, None]
        assert np.abs(shown[alpha_of(rgb) > 0.001]).max() <= 2 / 255


@pytest.mark.parametrize("source", SOURCES)
def test_a_webm_cutout_has_the_clips_colours_and_its_matte(source: str, tmp_path: Path) -> None:
    clip, rgb, matrix = make_source(source, tmp_path)
    run(clip, output=tmp_path / "out.webm", **LUMA_KEY)
    alpha = alpha_of(rgb) * 255
    frames = frames_by_ffmpeg(tmp_path / "out.webm", "yuva420p", WIDTH, HEIGHT, decoder="libvpx-vp9")
    assert len(frames) == 3
    for planes in frames:
        assert np.abs(flat_parts(planes[3]) - alpha[..., None]).max() <= 1
        shown = np.abs(patch_rgb(planes, matrix, 8) - rgb[:, :, None])
        assert shown[alpha > 0.5].max() <= 2 / 255


@pytest.mark.parametrize("source", SOURCES)
def test_a_picture_sequence_has_the_clips_colours_and_its_exact_matte(source: str, tmp_path: Path) -> None:
    clip, rgb, _ = make_source(source, tmp_path)
    run(clip, output=tmp_path / "pictures", encoding="png", **LUMA_KEY)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [picture.name for picture in pictures] == ["000000.png", "000001.png", "000002.png"]
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.mode == "RGBA"
            codes = np.asarray(picture)
        assert_alpha(flat_parts(codes[..., 3]), rgb, 8, source)
        shown = np.stack([flat_parts(codes[..., channel]) for channel in range(3)], -1) - rgb[:, :, None] * 255
        assert np.abs(shown[alpha_of(rgb) > 0.001]).max() <= 2


def all_lumas(bits: int) -> list[Array]:
    """Frames of noise that hold every luma code, also those below black and above white."""
    rng = np.random.default_rng(bits)
    top = 2**bits
    dtype = np.dtype("u1" if bits == 8 else "<u2")
    return [rng.permutation(np.arange(96 * 64) % top).reshape(64, 96).astype(dtype) for _ in range(4)]


def ideal_matte(luma: Array, bits: int) -> Array:
    """The matte of a colourless frame."""
    scale = 2 ** (bits - 8)
    return ((luma.astype(float) - 16 * scale) / (219 * scale)).clip(0, 1)


def test_prores_keeps_every_value_of_a_noisy_8_bit_matte(tmp_path: Path) -> None:
    lumas = all_lumas(8)
    clip = write_clip(tmp_path / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS)
    run(clip, output=tmp_path / "out.mov", **LUMA_KEY)
    frames = frames_by_ffmpeg(tmp_path / "out.mov", "yuva444p12le", 96, 64)
    assert len(frames) == 4
    for planes, luma in zip(frames, lumas, strict=True):
        # ProRes stores 16 bits and FFmpeg shows 12 of them: the upper ten are the code that was written.
        np.testing.assert_array_equal(planes[3] >> 2, np.floor(ideal_matte(luma, 8) * 1023 + 0.5))


def test_prores_keeps_every_value_of_a_noisy_10_bit_matte(tmp_path: Path) -> None:
    lumas = all_lumas(10)
    clip = write_clip(tmp_path / "clip.mkv", gray(lumas, "yuv444p10le"), "yuv444p10le", codec="ffv1", tags=BT709_TAGS)
    run(clip, output=tmp_path / "out.mov", **LUMA_KEY)
    for planes, luma in zip(frames_by_ffmpeg(tmp_path / "out.mov", "yuva444p12le", 96, 64), lumas, strict=True):
        exact = ideal_matte(luma, 10) * 1023
        # 64 + 146 and 64 + 730 make exact halves (1023 / 876 = 341 / 292), which may go either way.
        tie = np.isclose(exact % 1, 0.5)
        seen = planes[3] >> 2
        np.testing.assert_array_equal(seen[~tie], exact[~tie].round())
        assert np.abs(seen[tie] - exact[tie]).max() <= 0.5 + 1e-9


def test_pictures_keep_every_value_of_a_noisy_matte(tmp_path: Path) -> None:
    lumas = all_lumas(8)
    clip = write_clip(tmp_path / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS)
    run(clip, output=tmp_path / "pictures", encoding="png", **LUMA_KEY)
    for number, luma in enumerate(lumas):
        with Image.open(tmp_path / "pictures" / f"{number:06d}.png") as picture:
            alpha = np.asarray(picture)[..., 3]
        np.testing.assert_array_equal(alpha, np.floor(ideal_matte(luma, 8) * 255 + 0.5))


def hair(frames: int, width: int = 320, height: int = 192) -> list[Array]:
    """Lumas of a subject whose right edge is strands of hair that sway, over black: soft, fine, and moving."""
    rng = np.random.default_rng(3)
    slope, phase = rng.uniform(-0.4, 0.4, 60), rng.uniform(0, height, 60)
    rows, columns = np.mgrid[0:height, 0:width].astype(float)
    lumas = []
    for t in range(frames):
        alpha = np.clip((width * 0.4 + 6 * np.sin(t / 5) - columns) / 8, 0, 1)
        for strand in range(60):
            middle = phase[strand] + slope[strand] * (columns - width * 0.4) + 3 * np.sin(t / 4 + strand)
            fade = np.clip((width * 0.65 - columns) / (width * 0.25), 0, 1)
            alpha = np.maximum(alpha, fade * np.exp(-((rows - middle) ** 2) / 1.5))
        lumas.append((16 + 219 * alpha).round().astype("u1"))
    return lumas


def test_a_moving_hairy_matte_in_webm_is_exact_where_it_is_flat(tmp_path: Path) -> None:
    lumas = hair(20)
    clip = write_clip(tmp_path / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS)
    run(clip, output=tmp_path / "out.webm", **LUMA_KEY)
    frames = frames_by_ffmpeg(tmp_path / "out.webm", "yuva420p", 320, 192, decoder="libvpx-vp9")
    for planes, luma in zip(frames, lumas, strict=True):
        ideal = ideal_matte(luma, 8) * 255
        error = np.abs(planes[3] - ideal)
        assert error[:, :96].max() <= 1  # solid
        assert error[:, 240:].max() <= 1  # empty
        assert error.mean() <= 1


def stream_facts(path: Path) -> dict[str, Any]:
    """ffprobe's words for the picture's stream."""
    return dict(ffprobe(path, "-select_streams", "v:0", "-show_streams")["streams"][0])


@pytest.fixture(scope="module")
def gray_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lumas = [np.full((64, 96), 16 + 20 * number, "u1") for number in range(10)]
    return write_clip(tmp_path_factory.mktemp("gray") / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS)


@pytest.mark.parametrize(
    ("name", "background", "facts"),
    [
        ("out.mp4", "navy", {"codec_name": "h264", "codec_tag_string": "avc1", "pix_fmt": "yuv420p"}),
        ("out.mov", None, {"codec_name": "prores", "codec_tag_string": "ap4h", "pix_fmt": "yuva444p12le"}),
        ("out.mov", "navy", {"codec_name": "prores", "codec_tag_string": "ap4h", "pix_fmt": "yuv444p12le"}),
        ("out.webm", None, {"codec_name": "vp9", "pix_fmt": "yuv420p"}),
        ("out.webm", "navy", {"codec_name": "vp9", "pix_fmt": "yuv420p"}),
    ],
)
def test_outputs_are_tagged_as_what_they_are(
    name: str, background: str | None, facts: dict[str, str], gray_clip: Path, tmp_path: Path
) -> None:
    run(gray_clip, background=background, output=tmp_path / name, **LUMA_KEY)
    seen = stream_facts(tmp_path / name)
    colour = {"color_space": "bt709", "color_primaries": "bt709", "color_transfer": "bt709", "color_range": "tv"}
    if name == "out.mov":
        del colour["color_range"]  # QuickTime's colr has no range: ProRes is limited by definition
    assert {key: seen.get(key) for key in facts | colour} == facts | colour
    if name == "out.webm":
        alpha_mode = {key.lower(): value for key, value in seen.get("tags", {}).items()}.get("alpha_mode")
        assert alpha_mode == (None if background else "1")


def test_an_mp4_begins_with_its_index_so_that_it_plays_while_it_loads(gray_clip: Path, tmp_path: Path) -> None:
    run(gray_clip, background="navy", output=tmp_path / "out.mp4", **LUMA_KEY)
    content = (tmp_path / "out.mp4").read_bytes()
    boxes, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        boxes.append(content[at + 4 : at + 8].decode())
        at += size if size != 1 else int.from_bytes(content[at + 8 : at + 16])
    assert boxes.index("moov") < boxes.index("mdat")


def test_wide_gamut_clips_stay_wide_gamut(tmp_path: Path) -> None:
    clip, _, _ = make_source("2020 10 bit", tmp_path)
    for name in ("out.mp4", "out.webm", "out.mov"):
        run(clip, background="navy", output=tmp_path / name, **LUMA_KEY)
        seen = stream_facts(tmp_path / name)
        tags = (seen["color_space"], seen["color_primaries"], seen["color_transfer"])
        assert tags == ("bt2020nc", "bt2020", "bt2020-10")


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.webm"])
def test_odd_sizes_come_out_whole(name: str, tmp_path: Path) -> None:
    luma = np.full((37, 53), 126, "u1")
    clip = write_clip(tmp_path / "clip.mkv", gray([luma] * 3, "yuv444p"), "yuv444p", tags=BT709_TAGS)
    run(clip, background="#ffffff", output=tmp_path / name, blend="display", **LUMA_KEY)
    seen = stream_facts(tmp_path / name)
    # H.264 in 4:2:0 has whole pairs of rows and columns only.
    assert (seen["width"], seen["height"]) == ((54, 38) if name == "out.mp4" else (53, 37))
    pix_fmt, size = ("yuv444p12le", (53, 37)) if name == "out.mov" else ("yuv420p", (seen["width"], seen["height"]))
    alpha = 110 / 219
    expected = 16 + 219 * (alpha * alpha + (1 - alpha))
    for planes in frames_by_ffmpeg(tmp_path / name, pix_fmt, *size):
        assert np.abs(planes[0] / (16 if name == "out.mov" else 1) - expected).max() <= 1.5


@pytest.mark.parametrize(("angle", "mirrored"), [(90, False), (180, False), (270, False), (0, True), (90, True)])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_turned_clip_comes_out_upright(angle: int, mirrored: bool, batch: int, tmp_path: Path) -> None:
    lumas = all_lumas(8)
    clip = write_clip(
        tmp_path / "clip.mp4",
        gray(lumas),
        "yuv420p",
        tags=BT709_TAGS,
        prepare=lambda stream: stream.set_display_rotation(angle, hflip=mirrored),
    )
    render_job(make_job(clip, output=tmp_path / "out.mov", **LUMA_KEY), Runtime(batch=batch))
    size = (64, 96) if angle in (90, 270) else (96, 64)
    upright = frames_by_ffmpeg(clip, "yuv420p", *size)
    assert len(upright) == 4
    frames = frames_by_ffmpeg(tmp_path / "out.mov", "yuva444p12le", *size)
    for planes, (luma, _, _) in zip(frames, upright, strict=True):
        np.testing.assert_array_equal(planes[3] >> 2, np.floor(ideal_matte(luma, 8) * 1023 + 0.5))


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25)])
def test_a_one_frame_clip_renders(rate: Fraction, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", gray([np.full((64, 96), 180, "u1")]), "yuv420p", rate=rate)
    assert run(clip, output=tmp_path / "out.mov", **LUMA_KEY).frames == 1
    assert len(frames_by_ffmpeg(tmp_path / "out.mov", "yuva444p12le", 96, 64)) == 1


def test_a_cutout_cannot_go_into_mp4() -> None:
    with pytest.raises(Exception, match="mp4 has no alpha"):
        make_job("clip.mp4", output="out.mp4")
