"""Decoded codes against another decoder's, and any range of a clip against the same frames of the whole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from footage import BT709_TAGS, Array, Planes, ffprobe, frames_by_ffmpeg, gray, noise, write_clip

from vmatte.video.probe import probe
from vmatte.video.read import decode

INTER = {"preset": "veryfast", "crf": "20", "g": "12", "bf": "3"}


def decoded(path: Path, frames: range | None = None, batch: int = 1) -> dict[int, tuple[Array, Array]]:
    """Luma (1, H, W) and chroma (2, h, w) by frame number."""
    clip = probe(path)
    by_number = {}
    for part in decode(clip, range(clip.frames) if frames is None else frames, batch):
        assert 0 < len(part.index) <= batch
        for t, number in enumerate(part.index):
            assert number not in by_number
            by_number[number] = (part.luma[t], part.chroma[t])
    return by_number


def assert_same(frames: dict[int, tuple[Array, Array]], expected: list[Planes]) -> None:
    assert list(frames) == list(range(len(expected)))
    for (luma, chroma), planes in zip(frames.values(), expected, strict=True):
        np.testing.assert_array_equal(luma[0], planes[0])
        np.testing.assert_array_equal(chroma, np.stack(planes[1:3]))


# Pixel format, codec, its options, file name.
FORMATS: list[tuple[str, str, dict[str, str], str]] = [
    ("yuv420p", "libx264", INTER, "clip.mp4"),
    ("yuv422p", "libx264", INTER, "clip.mp4"),
    ("yuv444p", "libx264", INTER, "clip.mp4"),
    ("yuv420p10le", "libx264", INTER, "clip.mkv"),
    ("yuv422p10le", "libx264", INTER, "clip.mkv"),
    ("yuv420p10le", "libx265", {"x265-params": "log-level=error"}, "clip.mp4"),
    ("yuv422p10le", "prores_ks", {}, "clip.mov"),
    ("yuv444p10le", "ffv1", {}, "clip.mkv"),
    ("yuv444p12le", "ffv1", {}, "clip.mkv"),
    ("yuv420p", "libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "8"}, "clip.webm"),
    ("yuv420p", "mpeg4", {"b": "2000000"}, "clip.avi"),
    ("gbrp10le", "ffv1", {}, "clip.mkv"),
]


@pytest.mark.parametrize(("pix_fmt", "codec", "options", "name"), FORMATS)
def test_codes_are_those_that_another_decoder_finds(
    pix_fmt: str, codec: str, options: dict[str, str], name: str, tmp_path: Path
) -> None:
    frames = noise(pix_fmt, 96, 64, 14)
    path = write_clip(tmp_path / name, frames, pix_fmt, codec=codec, options=options)
    expected = frames_by_ffmpeg(path, pix_fmt, 96, 64)
    assert len(expected) == 14
    assert_same(decoded(path), expected)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_odd_sizes_are_read_to_the_last_row_and_column(pix_fmt: str, tmp_path: Path) -> None:
    frames = noise(pix_fmt, 53, 37, 5)
    path = write_clip(tmp_path / "clip.mkv", frames, pix_fmt, codec="ffv1", options={})
    clip = probe(path)
    assert (clip.width, clip.height) == (53, 37)
    assert_same(decoded(path), frames)
    assert_same(decoded(path), frames_by_ffmpeg(path, pix_fmt, 53, 37))


def test_lossless_clips_give_back_the_codes_they_were_made_of(tmp_path: Path) -> None:
    frames = noise("yuv420p", 64, 48, 6)
    assert_same(decoded(write_clip(tmp_path / "clip.mp4", frames, "yuv420p")), frames)


def test_full_range_codes_are_not_touched(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = [[rng.integers(0, 256, (32, 32)).astype("u1") for _ in range(3)] for _ in range(3)]
    path = write_clip(tmp_path / "clip.mkv", frames, "yuv444p", codec="ffv1", options={}, tags=(6, 6, 6, 2))
    assert_same(decoded(path), frames)


ORIENTATIONS = [(angle, mirrored) for angle in (0, 90, 180, 270) for mirrored in (False, True)]


@pytest.mark.parametrize(("angle", "mirrored"), ORIENTATIONS)
def test_turned_and_mirrored_clips_stand_upright(angle: int, mirrored: bool, tmp_path: Path) -> None:
    frames = noise("yuv444p", 64, 48, 3)
    path = write_clip(
        tmp_path / "clip.mp4",
        frames,
        "yuv444p",
        prepare=lambda stream: stream.set_display_rotation(angle, hflip=mirrored),
    )
    size = (48, 64) if angle in (90, 270) else (64, 48)
    clip = probe(path)
    assert (clip.width, clip.height) == size
    seen = decoded(path)
    # ffmpeg turns pictures by the display matrix too, with code of its own.
    assert_same(seen, frames_by_ffmpeg(path, "yuv444p", *size))
    if not mirrored:
        for number, planes in enumerate(frames):
            np.testing.assert_array_equal(seen[number][0][0], np.rot90(planes[0], angle // 90))


@pytest.mark.parametrize(("angle", "mirrored"), ORIENTATIONS[1:])
def test_turning_a_420_clip_moves_its_luma_exactly_and_its_colours_hardly(
    angle: int, mirrored: bool, tmp_path: Path
) -> None:
    left, right = [np.full((48, 32), code, "u1") for code in (90, 170)]
    chroma = np.hstack([left[:24, :16], right[:24, :16]])
    frames = [[planes[0], chroma, chroma] for planes in noise("yuv420p", 64, 48, 2)]
    path = write_clip(
        tmp_path / "clip.mp4",
        frames,
        "yuv420p",
        prepare=lambda stream: stream.set_display_rotation(angle, hflip=mirrored),
    )
    size = (48, 64) if angle in (90, 270) else (64, 48)
    expected = frames_by_ffmpeg(path, "yuv420p", *size)
    full = np.hstack([left, right])
    for (luma, seen), planes, theirs in zip(decoded(path).values(), frames, expected, strict=True):
        np.testing.assert_array_equal(luma[0], theirs[0])
        assert luma.shape[1:] == seen.shape[1:]  # whole chroma: half-size samples would lie in the wrong place
        turned = {(t, y, x): _oriented(full, t, y, x) for t in (0, 1) for y in (0, 1) for x in (0, 1)}
        lumas = {key: _oriented(planes[0], *key) for key in turned}
        key = next(key for key, picture in lumas.items() if np.array_equal(picture, luma[0]))
        assert (np.abs(seen[0].astype(int) - turned[key]) > 2).mean() < 0.08  # only beside the edge


def _oriented(picture: Array, transpose: int, flip_y: int, flip_x: int) -> Array:
    picture = picture.T if transpose else picture
    picture = picture[::-1] if flip_y else picture
    return picture[:, ::-1] if flip_x else picture


@pytest.mark.parametrize(
    ("aspect", "size", "edge"),
    [
        (Fraction(4, 3), (128, 48), (64, 24)),
        (Fraction(2), (192, 48), (96, 24)),
        (Fraction(8, 9), (96, 54), (48, 27)),
        (Fraction(1, 2), (96, 96), (48, 48)),
        (Fraction(1001, 1000), (96, 48), (48, 24)),  # a rounding of whoever scaled it
    ],
)
def test_pixels_are_made_square(aspect: Fraction, size: tuple[int, int], edge: tuple[int, int], tmp_path: Path) -> None:
    luma = np.full((48, 96), 40, "u1")
    luma[24:, 48:] = 200  # the lower right quarter is bright

    def set_aspect(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    path = write_clip(tmp_path / "clip.mp4", gray([luma] * 2), "yuv420p", prepare=set_aspect)
    clip = probe(path)
    assert (clip.width, clip.height) == size
    seen = decoded(path)[0][0][0].astype(int)
    assert seen.shape == size[::-1]
    x, y = edge
    assert np.abs(seen[: y - 4] - 40).max() <= 1
    assert np.abs(seen[:, : x - 4] - 40).max() <= 1
    assert np.abs(seen[y + 4 :, x + 4 :] - 200).max() <= 1
    assert seen[-1, x - 1] < 120 < seen[-1, x]
    assert seen[y - 1, -1] < 120 < seen[y, -1]


def test_a_turned_clip_has_its_pixels_made_square_before_it_is_turned(tmp_path: Path) -> None:
    luma = np.full((48, 96), 40, "u1")
    luma[:, 48:] = 200

    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)

    path = write_clip(tmp_path / "clip.mp4", gray([luma] * 2), "yuv420p", prepare=prepare)
    clip = probe(path)
    assert (clip.width, clip.height) == (48, 128)
    seen = decoded(path)[0][0][0]
    # A quarter turn to the left brings the right side to the top.
    assert seen[:60].min() >= 199
    assert seen[68:].max() <= 41


def interlaced_clip(path: Path, lumas: list[Array]) -> Path:
    options = {"x264-params": "tff=1:qp=0:keyint=6:bframes=2", "preset": "veryfast"}
    return write_clip(path, gray(lumas), "yuv420p", options=options)


def test_deinterlacing_keeps_every_frame_and_leaves_still_pictures_alone(tmp_path: Path) -> None:
    still = noise("yuv420p", 96, 64, 1)[0][0]
    path = interlaced_clip(tmp_path / "clip.mp4", [still] * 9)
    assert probe(path).interlaced
    frames = decoded(path)
    assert list(frames) == list(range(9))
    for number, (luma, _) in frames.items():
        # The first frame has none before it that would show that nothing moves: bwdif keeps one of its fields.
        rows = slice(1, None, 2) if number == 0 else slice(None)
        np.testing.assert_array_equal(luma[0, rows], still[rows])


@pytest.mark.parametrize("damaged", [13, 14, 17, 20])
def test_damage_inside_a_group_of_pictures_costs_no_frame_outside_it(damaged: int, tmp_path: Path) -> None:
    options = INTER | {"x264-params": "open-gop=0:scenecut=0:keyint=12"}
    path = write_clip(tmp_path / "clip.mp4", moving(LENGTH), "yuv420p", options=options)
    whole = decoded(path)
    _, at, size = packets_of(path)[damaged]
    with path.open("r+b") as file:
        file.seek(at + 4)  # the length stays, what it counts is noise
        file.write(np.random.default_rng(damaged).bytes(size - 4))
    seen = decoded(path)
    for number in [*range(12), *range(24, LENGTH)]:
        np.testing.assert_array_equal(seen[number][0], whole[number][0])


def test_deinterlacing_removes_the_comb_of_what_moves(tmp_path: Path) -> None:
    lumas = []
    for t in range(10):
        luma = np.full((64, 96), 40, "u1")
        for field in (0, 1):  # the bar goes on by 4 columns a field
            at = 8 + 4 * (2 * t + field)
            luma[field::2, at : at + 12] = 200
        lumas.append(luma)
    path = interlaced_clip(tmp_path / "clip.mp4", lumas)
    expected = frames_by_ffmpeg(path, "yuv420p", 96, 64, filters="bwdif=mode=send_frame:deint=interlaced")
    seen = decoded(path)
    assert len(seen) == len(expected) == 10
    for number, (luma, _) in seen.items():
        comb = np.abs(np.diff(lumas[number].astype(int), axis=0)).mean()
        assert np.abs(np.diff(luma[0].astype(int), axis=0)).mean() < comb / 4
        if number > 0:  # FFmpeg 5 and 8 differ in how they begin
            assert np.abs(luma[0].astype(int) - expected[number][0]).max() <= 1


def moving(frames: int) -> list[Planes]:
    """A noisy ground that pans, so that encoders predict, and a patch whose luma says which frame it is."""
    ground = np.random.default_rng(5).integers(60, 200, (48, 64 + 2 * frames)).astype("u1")
    lumas = []
    for number in range(frames):
        luma = ground[:, 2 * number : 2 * number + 64].copy()
        luma[:16, :16] = 16 + 4 * number
        lumas.append(luma)
    return gray(lumas)


VARIABLE = [int(time) for time in np.cumsum([0, *np.random.default_rng(2).integers(17, 90, 47)])]
LENGTH = 48
KINDS: dict[str, dict[str, Any]] = {
    "closed.mp4": {"options": INTER | {"x264-params": "open-gop=0"}},
    "open.mp4": {"options": INTER | {"x264-params": "open-gop=1"}},
    "open.mkv": {"options": INTER | {"x264-params": "open-gop=1"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=12:min-keyint=12:open-gop=1:log-level=error"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "keyint=12:open-gop=1:log-level=error"}},
    "variable.mkv": {"options": INTER, "pts": VARIABLE, "time_base": Fraction(1, 1000)},
    "variable.mp4": {"options": INTER, "pts": VARIABLE, "time_base": Fraction(1, 1000)},
    "late.mp4": {"options": INTER, "pts": [7 + number for number in range(LENGTH)]},
    "fragmented.mp4": {
        "options": INTER,
        "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
    "stream.ts": {"options": INTER},
    "open.ts": {"options": INTER | {"x264-params": "open-gop=1"}},
    "program.mpg": {"codec": "mpeg2video", "options": {"b": "4000000", "g": "12", "bf": "2"}},
    "divx.avi": {"codec": "mpeg4", "options": {"b": "2000000", "g": "12", "bf": "2"}},
    "h264.avi": {"options": {"preset": "medium", "crf": "20", "g": "12", "bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"crf": "20", "b": "0", "g": "12", "cpu-used": "5"}},
    "vp8.webm": {"codec": "libvpx", "options": {"b": "2000000", "g": "12", "auto-alt-ref": "1", "lag-in-frames": "16"}},
    "bare.h264": {"options": INTER},
    "interlaced.mp4": {"options": INTER | {"x264-params": "tff=1"}},
    "intra.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {}},
}


def clip_of_kind(name: str, folder: Path) -> Path:
    settings = dict(KINDS[name])
    pix_fmt = settings.pop("pix_fmt", "yuv420p")
    frames = moving(LENGTH)
    if pix_fmt != "yuv420p":
        frames = gray([planes[0].astype("<u2") * 4 for planes in frames], pix_fmt)
    return write_clip(folder / name, frames, pix_fmt, **settings)


@pytest.mark.parametrize("name", KINDS)
def test_any_range_holds_the_same_frames_as_the_whole_clip(name: str, tmp_path: Path) -> None:
    path = clip_of_kind(name, tmp_path)
    clip = probe(path)
    whole = decoded(path)
    assert list(whole) == list(range(LENGTH))
    if "interlaced" not in name:
        pix_fmt = clip.pixel_format
        for (luma, _), planes in zip(whole.values(), frames_by_ffmpeg(path, pix_fmt, 64, 48), strict=True):
            np.testing.assert_array_equal(luma[0], planes[0])
    shift = 2 if clip.coding.bits == 10 else 0
    for number, (luma, _) in whole.items():
        assert abs((int(np.median(luma[0, 2:14, 2:14])) >> shift) - (16 + 4 * number)) <= 2
    for start in range(LENGTH):
        frames = range(start, min(start + 2, LENGTH))
        part = {}
        for batch in decode(clip, frames, 2):
            assert list(batch.index) == list(frames)
            part = {number: (batch.luma[t], batch.chroma[t]) for t, number in enumerate(batch.index)}
        for number in frames:
            np.testing.assert_array_equal(part[number][0], whole[number][0])
            np.testing.assert_array_equal(part[number][1], whole[number][1])


@pytest.mark.parametrize("batch", [2, 5, 48, 100])
def test_batch_size_does_not_matter(batch: int, tmp_path: Path) -> None:
    path = clip_of_kind("open.mp4", tmp_path)
    one_by_one, batched = decoded(path, range(5, 41)), decoded(path, range(5, 41), batch)
    assert list(one_by_one) == list(batched) == list(range(5, 41))
    for number in one_by_one:
        np.testing.assert_array_equal(one_by_one[number][0], batched[number][0])
        np.testing.assert_array_equal(one_by_one[number][1], batched[number][1])


def test_an_empty_range_is_empty(tmp_path: Path) -> None:
    assert decoded(clip_of_kind("closed.mp4", tmp_path), range(4, 4)) == {}


@pytest.mark.parametrize("name", ["whole.mp4", "whole.mkv", "whole.ts"])
@pytest.mark.parametrize("part", [0.3, 0.62, 0.9])
def test_a_truncated_clip_gives_its_intact_frames(name: str, part: float, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_clip(tmp_path / name, moving(LENGTH), "yuv420p", options=INTER, container_options=options)
    whole, packets = decoded(path), packets_of(path)
    content = path.read_bytes()
    header = content.find(b"mdat") if name.endswith("mp4") else 0
    path.write_bytes(content[: header + int((len(content) - header) * part)])
    seen = decoded(path)
    complete = complete_frames(packets, path.stat().st_size)
    assert list(seen) == list(range(len(seen)))  # a clip's frames are those that are there
    # One more may be whole: a cluster's head lies before the next packet, and MPEG-TS does not say where one ends.
    assert len(seen) - len(complete) in ((0,) if name.endswith("mp4") else (0, 1))
    if not name.endswith("ts"):
        assert probe(path).promised_frames == LENGTH
    pictures = iter(seen.values())
    for number in complete:  # each of them, in this order
        assert any(all(map(np.array_equal, whole[number], planes)) for planes in pictures), number


def packets_of(path: Path) -> list[tuple[int, int, int]]:
    """(time, place, size) of each packet, by ffprobe."""
    listed = ffprobe(path, "-select_streams", "v:0", "-show_entries", "packet=pts,pos,size")["packets"]
    return [(packet["pts"], int(packet["pos"]), int(packet["size"])) for packet in listed]


def complete_frames(packets: list[tuple[int, int, int]], file_size: int) -> list[int]:
    """Numbers of the frames whose packets lie in the first `file_size` bytes, up to where the next one begins."""
    times = sorted(time for time, _, _ in packets)
    ends = [place for _, place, _ in packets[1:]] + [packets[-1][1] + packets[-1][2]]
    return sorted(times.index(time) for (time, _, _), end in zip(packets, ends, strict=True) if end <= file_size)


@pytest.mark.parametrize("batch", [1, 7])
def test_a_damaged_frame_is_left_out_and_those_after_it_keep_their_numbers(batch: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", moving(20), "yuv420p", options={"preset": "ultrafast", "g": "1"})
    whole = decoded(path)
    _, at, size = packets_of(path)[8]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(size))
    seen = decoded(path, batch=batch)
    assert list(seen) == [number for number in range(20) if number != 8]
    for number, (luma, _) in seen.items():
        np.testing.assert_array_equal(luma, whole[number][0])


def test_a_clip_closed_early_lets_go_of_its_file(tmp_path: Path) -> None:
    path = clip_of_kind("closed.mp4", tmp_path)
    clip = probe(path)
    frames = decode(clip, range(LENGTH), 4)
    first = next(frames)
    frames.close()
    assert list(first.index) == [0, 1, 2, 3]
    handles = Path("/proc/self/fd")
    if handles.is_dir():
        open_files = [handle.resolve() for handle in handles.iterdir()]
        assert path.resolve() not in open_files


def test_untagged_and_tagged_clips_hold_the_same_codes(tmp_path: Path) -> None:
    frames = noise("yuv420p", 64, 48, 3)
    plain = decoded(write_clip(tmp_path / "plain.mp4", frames, "yuv420p"))
    tagged = decoded(write_clip(tmp_path / "tagged.mp4", frames, "yuv420p", tags=BT709_TAGS))
    for number in plain:
        np.testing.assert_array_equal(plain[number][0], tagged[number][0])
