"""Every encoding with every layer that it can hold, as decoders see it that are not vmatte's."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import make_formats
import numpy as np
import pytest
import torch
from footage import BT709_TAGS, ffprobe, gray, need, write_clip
from make_formats import HEIGHT, WIDTH, Sent, decoded, errors, layers_of, light, sent, source_clip, written
from PIL import Image

from vmatte.clip import BT709, LINEAR, RGB_MATRIX, ClipInfo, Coding, ColorTags
from vmatte.encodings import ENCODINGS, encoding_for_suffix
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.outputs import LayerName
from vmatte.render import run
from vmatte.stages.recode import recode
from vmatte.video.layer_coding import coding_for
from vmatte.video.write import check_encoder, encode, picture_name

HERE = {name: row for name, row in make_formats.MEASURED.items() if not row.codec.endswith("_nvenc")}
"""Animations have tests of their own."""
ROUNDED_8, ROUNDED_10, ROUNDED_16, HALF, EXACT = 0.502, 0.13, 0.003, 0.063, 0.001
"""Half a code, in parts of 255; a half float's step below 1 is 1/2048."""
COLOR = {
    "mp4": 4.0,
    "h264-10bit": 3.0,
    "hevc": 4.5,
    "hevc-10bit": 4.0,
    "av1": 7.0,
    "av1-10bit": 5.0,
    "prores4444": 1.5,
    "prores4444xq": 1.0,
    "prores422hq": 0.8,
    "webm": 7.0,
    "stacked": 6.0,
    "stacked-hevc": 4.0,
    "ffv1": EXACT,
    "png": ROUNDED_8,
    "png16": ROUNDED_16,
    "qtrle": ROUNDED_8,
    "tiff": ROUNDED_8,
    "tiff16": ROUNDED_16,
    "exr": HALF,
    "exr-float": EXACT,
    "exr-display": HALF,
}
"""The largest error of colour, in parts of 255: what a codec loses, or rounding alone."""
ALPHA = {
    "prores4444": ROUNDED_10 + 255 / 4095,  # decoded with 12 bits, cut off
    "prores4444xq": ROUNDED_10 + 255 / 4095,
    "webm": ROUNDED_8,
    "ffv1": ROUNDED_10,
} | {name: COLOR[name] for name, row in HERE.items() if row.colour != "ycbcr"}
MATTE = {
    "prores4444": 1.5,
    "prores4444xq": 1.5,
    "prores422hq": 1.5,
    "webm": 0.6,
    "ffv1": EXACT * 2,
} | {name: COLOR[name] for name, row in HERE.items() if row.colour != "ycbcr"}
"""Of mattes alone. Codecs that look for motion find none in hair that is another one in every frame, and lose more of
it than they would of a clip's: of these the mean is held."""
MEANS = {"mp4": 1.0, "h264-10bit": 1.0, "hevc": 1.0, "hevc-10bit": 1.0, "av1": 1.0, "av1-10bit": 1.0} | {
    "stacked": 2.0,
    "stacked-hevc": 2.0,
}

CASES = [(name, layer) for name, row in HERE.items() for layer in layers_of(row)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipInfo:
    return source_clip(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def frames() -> dict[int, Sent]:
    return {bits: sent(bits) for bits in (8, 10)}


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("name", "layer"), CASES)
def test_other_decoders_see_what_was_sent(
    name: str, layer: LayerName, bits: int, clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path
) -> None:
    need("ffmpeg")
    row = ENCODINGS[name]
    path = written(frames[bits], clip, row, layer, "straight", tmp_path)
    found = errors(frames[bits], path, row, layer, "straight")
    assert found.color is None or found.color[0] <= COLOR[name]
    for seen, bounds in ((found.alpha, ALPHA), (found.matte, MATTE)):
        if seen is not None:
            assert seen[0] <= bounds[name] if name in bounds else seen[1] <= MEANS[name]


@pytest.mark.parametrize("name", HERE)
def test_a_render_of_all_layers_holds_what_the_clip_shows(name: str, tmp_path: Path) -> None:
    """The luma key's alpha is luma; over black nothing is left of what lies behind. Every output is verified too."""
    row = ENCODINGS[name]
    columns = np.linspace(0, 1, WIDTH)
    luma = np.tile(np.round(16 + 219 * columns), (HEIGHT, 1)).astype("u1")
    path = write_clip(tmp_path / "clip.mp4", gray([luma] * 3), "yuv420p", tags=BT709_TAGS)
    layers = [layer for layer in ("cutout", "composite", "alpha", "foreground") if row.carries(layer)]
    outputs = {layer: tmp_path / f"{layer}{row.suffix}" for layer in layers}
    words = [f"{outputs[layer]},{layer},{name}" for layer in layers]
    run(path, output=words, background="black", model="luma-key", foreground="source", blend="display", verify="full")
    worst = {"webm": 6 / 255, "mp4": 6 / 255}.get(name, 6 / 255 if row.container == "mp4" else 1.6 / 255)
    ramp = np.tile((luma[0] - 16.0) / 219, (HEIGHT, 1))
    shown = light(ramp) if row.colour == "linear" else ramp
    composite = ramp**2  # the subject over black, as codes
    wanted = {"alpha": ramp, "composite": light(composite) if row.colour == "linear" else composite}
    if "cutout" in outputs:
        color, alpha = decoded(outputs["cutout"], row, frames=3)
        assert alpha is not None
        assert abs(alpha - ramp).max() <= worst
        straight = shown * (ramp if row.premultiplied else 1)
        assert abs(color[..., 1] - straight)[:, :, 40:].max() <= worst
    for layer in [layer for layer in wanted if layer in outputs]:
        color, _ = decoded(outputs[layer], row, frames=3)
        assert abs(color[..., min(1, color.shape[-1] - 1)] - wanted[layer]).max() <= worst


@pytest.mark.parametrize("name", ["prores4444", "qtrle", "png16", "tiff16", "exr"])
def test_premultiplied_colour_is_colour_times_alpha(
    name: str, clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path
) -> None:
    """In hair too. Not asked of 4:2:0, whose chroma is multiplied at half size and cannot show it."""
    row = ENCODINGS[name]
    path = written(frames[8], clip, row, "cutout", "premultiplied", tmp_path)
    found = errors(frames[8], path, row, "cutout", "premultiplied")
    assert found.color is not None
    assert found.alpha is not None
    # Alpha's own rounding comes to the colour's; and hair to what ProRes has to code, which straight colour has not.
    more = {"prores4444": 5.0}.get(name, ROUNDED_8 if row.alpha_bits == 8 else ROUNDED_16)
    assert found.color[0] <= COLOR[name] + more
    assert found.alpha[0] <= ALPHA[name]


@pytest.mark.parametrize("name", ["webm", "ffv1"])
def test_premultiplied_gray_is_gray_times_alpha(
    name: str, clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path
) -> None:
    """The ramp from black to white, under a ramp of alpha."""
    row = ENCODINGS[name]
    color, _ = decoded(written(frames[8], clip, row, "cutout", "premultiplied", tmp_path), row)
    top = (0, slice(0, HEIGHT // 2 - 8))
    wanted = frames[8].rgb[top] * frames[8].alpha[0, 0, top[1]].numpy()[..., None]
    assert 255 * abs(color[top] - wanted).max() <= COLOR[name] + ROUNDED_8


def test_a_tiff_says_whether_its_colours_are_multiplied(
    clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path
) -> None:
    """ExtraSamples 2 is unassociated alpha, 1 associated (TIFF 6.0); compression 8 is what libtiff calls Adobe's."""
    for form, number in (("straight", 2), ("premultiplied", 1)):
        (tmp_path / form).mkdir()
        path = written(frames[8], clip, ENCODINGS["tiff16"], "cutout", form, tmp_path / form)
        with make_formats.tifffile.TiffFile(path / "000000.tif") as file:
            tags = file.pages[0].tags
            assert (tags["ExtraSamples"].value, tags["Compression"].value) == ((number,), 8)
        # libtiff reads it too.
        assert cv2.imread(str(path / "000000.tif"), cv2.IMREAD_UNCHANGED).shape == (HEIGHT, WIDTH, 4)


WIDE = Coding(ColorTags(matrix=9, primaries=9, transfer=14, full_range=False), 10)


def wide_layer(alpha: bool = True) -> LayerBatch:
    luma = torch.full((1, 1, 8, 16), 500, dtype=torch.uint16)
    chroma = torch.full((1, 2, 4, 8), 512, dtype=torch.uint16)
    return LayerBatch(range(1), luma, chroma, torch.ones((1, 1, 8, 16)) if alpha else None)


def encoded_picture(name: str, folder: Path) -> Path:
    row = ENCODINGS[name]
    coding = coding_for(row, "cutout", WIDE)
    encode(recode([wide_layer()], WIDE, coding, row), folder / name, row, coding, Fraction(25))
    return folder / name / picture_name(0, row)


def test_an_exr_of_wide_colour_says_which(tmp_path: Path) -> None:
    """Without chromaticities readers take BT.709's for granted; its offsets must have moved with its header."""
    with make_formats.OpenEXR.File(str(encoded_picture("exr", tmp_path))) as file:
        said = file.header()["chromaticities"]
        assert np.allclose(np.ravel(said), [0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290], atol=1e-6)
        (pixels,) = (channel.pixels for channel in file.channels().values())
    # BT.2020's curve is BT.709's for 10 bits: gray 500 is (500 - 64) / 876.
    assert np.allclose(pixels[..., :3], light(np.array((500 - 64) / 876)), atol=3e-4)
    assert (pixels[..., 3] == 1).all()


def test_a_png_of_wide_colour_says_which(tmp_path: Path) -> None:
    """cICP (PNG, third edition): primaries, transfer, matrix 0 and full range; BT.709 is left unsaid."""
    content = encoded_picture("png16", tmp_path).read_bytes()
    assert content[content.index(b"cICP") + 4 :][:4] == bytes([9, 14, 0, 1])


def test_plain_colour_is_not_named_in_a_png(clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path) -> None:
    path = written(frames[8], clip, ENCODINGS["png"], "composite", "straight", tmp_path)
    with Image.open(path / "000000.png") as picture:
        assert {"gamma", "srgb", "chromaticity"}.isdisjoint(picture.info)
    assert b"cICP" not in (path / "000000.png").read_bytes()


@pytest.mark.parametrize("name", [name for name, row in HERE.items() if not row.is_sequence])
def test_stream_and_container_carry_the_same_tags(
    name: str, clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path
) -> None:
    path = written(frames[8], clip, ENCODINGS[name], "composite", "straight", tmp_path)
    stream = ffprobe(path, "-show_streams", "-select_streams", "v")["streams"][0]
    frame = ffprobe(path, "-show_frames", "-read_intervals", "%+#1", "-select_streams", "v")["frames"][0]
    for said in (stream, frame):
        assert (said["color_primaries"], said["color_transfer"]) == ("bt709", "bt709")
        assert said["color_space"] == ("gbr" if name == "qtrle" else "bt709")
    assert stream["codec_tag_string"] == {"hevc": "hvc1", "hevc-10bit": "hvc1"}.get(name, stream["codec_tag_string"])


@pytest.mark.parametrize("name", ["hevc-10bit", "av1", "ffv1", "qtrle", "exr", "tiff16", "prores422hq"])
def test_the_same_frames_give_the_same_bytes(
    name: str, clip: ClipInfo, frames: dict[int, Sent], tmp_path: Path
) -> None:
    row = ENCODINGS[name]
    contents = []
    for threads in (1, 3):
        folder = tmp_path / str(threads)
        folder.mkdir()
        path = written(frames[10], clip, replace(row, thread_count=threads), "composite", "straight", folder)
        files = sorted(path.iterdir()) if row.is_sequence else [path]
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["hevc", "av1", "ffv1", "prores422hq", "qtrle", "png16", "exr", "tiff"])
def test_odd_sizes_are_written(name: str, tmp_path: Path) -> None:
    row = ENCODINGS[name]
    delivery = Coding(BT709, 8)
    coding = coding_for(row, "composite", delivery)
    luma = torch.full((1, 1, 67, 69), 100, dtype=torch.uint8)
    layer = LayerBatch(range(1), luma, torch.full((1, 2, 34, 35), 128, dtype=torch.uint8), None)
    path = tmp_path / f"odd{row.suffix}"
    encode(recode([layer], delivery, coding, row), path, row, coding, Fraction(25))
    with av.open(str(path / picture_name(0, row) if row.is_sequence else path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == ((70, 68) if row.even_size else (69, 67))


def test_a_card_that_is_not_there_is_said_in_one_line() -> None:
    row = ENCODINGS["hevc-nvenc"]
    try:
        with av.open("/dev/null", "w", format="mp4") as container:
            stream: Any = container.add_stream(row.codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
            stream.codec_context.open()
    except (OSError, av.error.FFmpegError):
        with pytest.raises(EncodeError, match=r"^hevc-nvenc needs an NVIDIA graphics card that encodes HEVC") as raised:
            check_encoder(row)
        assert "\n" not in str(raised.value)
    else:
        check_encoder(row)


def test_an_extension_alone_asks_for_its_first_encoding() -> None:
    asked = {suffix: encoding_for_suffix(suffix) for suffix in (".mp4", ".mov", ".webm", ".mkv", ".m4v")}
    assert {suffix: row and row.name for suffix, row in asked.items()} == {
        ".mp4": "mp4",
        ".m4v": "mp4",
        ".mov": "prores4444",
        ".webm": "webm",
        ".mkv": "ffv1",
    }


def test_float_pictures_hold_the_light_of_the_scene() -> None:
    """An EXR's coding is linear, but for a matte, which is no light."""
    row = ENCODINGS["exr"]
    delivery = Coding(BT709, 8)
    assert coding_for(row, "cutout", delivery).color == ColorTags(RGB_MATRIX, 1, LINEAR, full_range=True)
    assert coding_for(row, "alpha", delivery).color.transfer == BT709.transfer


def test_every_encoding_is_in_the_documentation() -> None:
    """docs/formats.md is made by scripts/make_formats.py: what can be known without measuring must be as it says."""
    lines = make_formats.lines_of(make_formats.PAGE.read_text())
    assert set(lines) == set(make_formats.MEASURED), "run scripts/make_formats.py --format NAME for each that differs"
    for name, row in make_formats.MEASURED.items():
        cells = [cell.strip() for cell in lines[name].strip("|").split("|")]
        known = make_formats.known_of(row)
        assert (cells[: len(known)], cells[-1]) == (list(known), row.plays)
