"""Stacked alpha: what lies where in the file, as Debian's ffmpeg decodes it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from footage import BT709_TAGS, Array, ffprobe, frames_by_ffmpeg, gray, plane_shapes, write_clip

from vmatte.clip import BT709, Coding
from vmatte.encodings import ENCODINGS
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch
from vmatte.render import run
from vmatte.video.encoder_frames import encoder_frames
from vmatte.video.stacked import stack
from vmatte.video.write import check_encoder, encode

BITS_8 = Coding(BT709, 8)
FRAMES = 6


def test_the_matte_lies_below_the_colour_from_black_to_white() -> None:
    luma, alpha = np.full((2, 4), 50, "u1"), np.array([[0, 1, 127, 128], [129, 200, 254, 255]], "u1")
    cb, cr = np.full((1, 2), 90, "u1"), np.full((1, 2), 200, "u1")
    planes = stack([luma, cb, cr], alpha, BITS_8, 6)
    assert [plane.shape for plane in planes] == [(12, 4), (6, 2), (6, 2)]
    # 16 + 219 × alpha / 255, worked out by hand.
    first, last = [16, 17, 125, 126], [127, 188, 234, 235]
    assert planes[0].tolist() == [[50] * 4] * 4 + [first] * 3 + [last] * 3 + [[16] * 4] * 2
    assert planes[1].tolist() == [[90, 90]] * 2 + [[128, 128]] * 4
    assert planes[2].tolist() == [[200, 200]] * 2 + [[128, 128]] * 4


@pytest.mark.parametrize(
    ("size", "coded"), [((1920, 1080), (1920, 2176)), ((853, 479), (854, 992)), ((64, 24), (64, 64))]
)
def test_each_half_is_whole_blocks_with_room_below_the_picture(size: tuple[int, int], coded: tuple[int, int]) -> None:
    assert ENCODINGS["stacked"].coded_size(*size) == coded
    assert coded[1] % 32 == 0
    assert coded[1] // 2 >= size[1] + 8


def cutout(number: int, width: int, height: int) -> tuple[list[Array], Array]:
    """A frame that would show bleeding: saturated down to its last row, and a matte that is empty in its first ones."""
    shapes = plane_shapes("yuv420p", width, height)
    colour = [np.full(shape, level, "u1") for level, shape in zip((70, 180, 190), shapes, strict=True)]
    across, down = np.arange(width), np.arange(height)
    place = ((across[None] / 3 + down[:, None] - 8 - number) / 40).clip(0, 1)
    return colour, (255 * place**2 * (3 - 2 * place)).round().astype("u1")


def layers(width: int, height: int) -> Iterator[LayerBatch]:
    for number in range(FRAMES):
        (luma, cb, cr), alpha = cutout(number, width, height)
        chroma = torch.from_numpy(np.stack([cb, cr])[None])
        planes = torch.from_numpy(luma[None, None]), chroma, torch.from_numpy(alpha[None, None])
        yield LayerBatch(range(number, number + 1), *planes)


@pytest.mark.parametrize("size", [(96, 64), (85, 47)])
@pytest.mark.parametrize("name", ["stacked", "stacked-hevc"])
def test_nothing_bleeds_from_one_half_into_the_other(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    row, path = ENCODINGS[name], tmp_path / "out.mp4"
    assert encode(layers(*size), path, row, BITS_8, Fraction(25)) == list(range(FRAMES))
    coded = row.coded_size(*size)
    frames = frames_by_ffmpeg(path, "yuv420p", *coded)
    assert len(frames) == FRAMES
    for number, (luma, cb, cr) in enumerate(frames):
        colour, alpha = cutout(number, *size)
        half = coded[1] // 2
        seen = (luma[half : half + size[1], : size[0]].astype(float) - 16) * 255 / 219
        error = np.abs(seen - alpha)
        assert error[:4].max() <= 3.5  # along the seam
        assert error.max() <= 6  # elsewhere: what the codec's quality leaves
        assert error.mean() <= 1
        for plane, sent in zip((luma, cb, cr), colour, strict=True):
            assert np.abs(plane[: sent.shape[0], : sent.shape[1]].astype(int) - sent).max() <= 1
        assert np.abs(cb[half // 2 :].astype(int) - 128).max() <= 1
        assert np.abs(cr[half // 2 :].astype(int) - 128).max() <= 1


@pytest.mark.parametrize(("name", "tag", "codec"), [("stacked", "avc1", "h264"), ("stacked-hevc", "hvc1", "hevc")])
def test_a_stacked_render_is_tagged_and_keeps_its_segments_times(
    name: str, tag: str, codec: str, tmp_path: Path
) -> None:
    lumas = [np.full((48, 64), 16 + 20 * number, "u1") for number in range(FRAMES)]
    clip = write_clip(tmp_path / "clip.mp4", gray(lumas), "yuv420p", tags=BT709_TAGS)
    run(clip, output=tmp_path / "out.mp4", encoding=name, model="luma-key", segment_frames=4, foreground="source")
    stream = ffprobe(tmp_path / "out.mp4", "-show_streams", "-count_packets")["streams"][0]
    assert (stream["codec_name"], stream["codec_tag_string"], stream["nb_read_packets"]) == (codec, tag, str(FRAMES))
    assert (stream["width"], stream["height"]) == (64, 128)
    tags = [stream[key] for key in ("color_space", "color_primaries", "color_transfer", "color_range")]
    assert tags == ["bt709", "bt709", "bt709", "tv"]
    for number, planes in enumerate(frames_by_ffmpeg(tmp_path / "out.mp4", "yuv420p", 64, 128)):
        assert np.abs(planes[0][64:112].astype(int) - (16 + 20 * number)).max() <= 1


def test_hevc_with_alpha_is_refused_in_one_line_where_it_cannot_be_made() -> None:
    row = ENCODINGS["hevc-alpha"]
    if row.codec in av.codecs_available:
        pytest.skip("this is macOS, which makes it")
    with pytest.raises(EncodeError, match=r"^hevc-alpha is made by macOS alone; .* stacked, which any browser shows"):
        check_encoder(row)


def test_hevc_with_alpha_is_given_rgb_with_the_exact_alpha() -> None:
    ((_, frame, beside), *_) = encoder_frames(layers(64, 48), ENCODINGS["hevc-alpha"], BITS_8)
    codes, (_, alpha) = frame.to_ndarray(), cutout(0, 64, 48)
    assert (frame.format.name, beside) == ("bgra", None)
    np.testing.assert_array_equal(codes[..., 3], alpha)
    # Y' 70, Cb 180, Cr 190 by ITU-R BT.709.
    luma, cb, cr = (70 - 16) / 219, (180 - 128) / 224, (190 - 128) / 224
    red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
    rgb = [red, (luma - 0.2126 * red - 0.0722 * blue) / 0.7152, blue]
    assert np.abs(codes[..., 2::-1] - 255 * np.clip(rgb, 0, 1)).max() <= 1.5
