"""What lies behind the subject. The clip is black and the model luma-key, so that a render shows the plate alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import vmatte
from vmatte.errors import JobError
from vmatte.options import BlurPlate, FilePlate, GradientPlate, Plate
from vmatte.plates import check_plate

Picture = NDArray[np.uint8]

CODED = 2
"""Levels of R'G'B' that eight-bit Y'CbCr may cost."""
QUADRANTS = ((200, 40, 40), (40, 180, 60), (50, 60, 210), (190, 190, 50))
"""Top left, top right, bottom left, bottom right."""


def shown(
    plate: Path | str | Plate,
    folder: Path,
    clip: Path | None = None,
    *,
    size: tuple[int, int] = (64, 48),
    **words: object,
) -> list[Picture]:
    """The frames (H, W, 3) of a black clip over the plate."""
    clip = clip or clips.black_clip(folder / "black.mp4", width=size[0], height=size[1])
    report = vmatte.run(
        clip,
        background=plate,
        output=folder / "shown",
        encoding="png",
        model="luma-key",
        overwrite=True,
        **words,  # type: ignore[arg-type]
    )
    return [np.asarray(Image.open(path)) for path in sorted(report.output.iterdir())]


def quadrants(width: int, height: int) -> Picture:
    picture = np.empty((height, width, 3), np.uint8)
    rows, columns = height // 2, width // 2
    picture[:rows, :columns], picture[:rows, columns:] = QUADRANTS[:2]
    picture[rows:, :columns], picture[rows:, columns:] = QUADRANTS[2:]
    return picture


def middles(picture: Picture) -> Picture:
    """The colours in the middle of each quadrant."""
    rows, columns = picture.shape[0] // 4, picture.shape[1] // 4
    return picture[rows :: 2 * rows, columns :: 2 * columns][:2, :2].reshape(4, 3)


def assert_close(found: Picture, wanted: object, levels: float = CODED) -> None:
    worst = float(np.abs(np.asarray(found, float) - np.asarray(wanted, float)).max())
    assert worst <= levels


def ramp(width: int, height: int, along: int) -> Picture:
    """A grey picture whose level is 2 for each column (`along` 1) or row (0)."""
    level = 2 * np.indices((height, width))[along]
    return np.repeat(level[..., None], 3, axis=2).astype(np.uint8)


# Pictures


@pytest.mark.parametrize(("size", "along"), [((112, 32), 1), ((48, 96), 0)], ids=["wider", "taller"])
def test_a_picture_of_another_shape_covers_the_frame_and_loses_both_sides_alike(
    size: tuple[int, int], along: int, tmp_path: Path
) -> None:
    Image.fromarray(ramp(*size, along)).save(tmp_path / "plate.png")
    (frame,) = shown(tmp_path / "plate.png", tmp_path, size=(48, 32))
    top, left = (size[1] - 32) // 2, (size[0] - 48) // 2
    assert_close(frame, ramp(*size, along)[top : top + 32, left : left + 48], levels=1)


@pytest.mark.parametrize("size", [(640, 480), (16, 12), (1000, 40), (40, 1000)])
def test_a_picture_of_another_size_is_scaled_until_it_covers(size: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(quadrants(*size)).save(tmp_path / "plate.png")
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert frame.shape == (48, 64, 3)
    assert_close(middles(frame), QUADRANTS)


@pytest.mark.parametrize("fit", ["contain", "stretch"])
@pytest.mark.parametrize("size", [(128, 48), (64, 96), (97, 49)])
@pytest.mark.parametrize("suffix", [".png", ".420.mkv", ".444.mkv"])
def test_a_plate_is_contained_or_stretched(suffix: str, size: tuple[int, int], fit: str, tmp_path: Path) -> None:
    plate, picture = tmp_path / f"plate{suffix}", quadrants(160, 120)
    if suffix == ".png":
        Image.fromarray(picture).save(plate)
    else:
        planes = [np.empty((120, 160), "u1") for _ in range(3)]
        for y, x in np.ndindex(2, 2):
            for plane, code in zip(planes, clips.codes_of(QUADRANTS[2 * y + x]), strict=True):
                plane[60 * y : 60 * y + 60, 80 * x : 80 * x + 80] = code
        halved = suffix == ".420.mkv"
        frame = (planes[0], *(plane[::2, ::2] if halved else plane for plane in planes[1:]))
        clips.write_clip(plate, [frame], codec="ffv1", pix_fmt="yuv420p" if halved else "yuv444p")  # type: ignore[list-item]
    (frame_shown,) = shown(plate, tmp_path, size=size, fit=fit)
    width, height = size
    if fit == "stretch":
        part = frame_shown
    elif width / height > 4 / 3:
        inner = round(height * 4 / 3 / 2) * 2
        left = (width // 2 - inner // 2) // 2 * 2
        part = frame_shown[:, left : left + inner]
        assert_close(frame_shown[:, : left - 1], 0)
        assert_close(frame_shown[:, left + inner + 1 :], 0)
    else:
        inner = round(width * 3 / 4 / 2) * 2
        top = (height // 2 - inner // 2) // 2 * 2
        part = frame_shown[top : top + inner]
        assert_close(frame_shown[: top - 1], 0)
        assert_close(frame_shown[top + inner + 1 :], 0)
    assert_close(middles(part), QUADRANTS, levels=3)


# EXIF 2.3, tag Orientation: on which side of the upright picture the file's row 0 and column 0 lie.
EXIF_ORIENTATIONS: dict[int, Callable[[Picture], Picture]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", EXIF_ORIENTATIONS)
def test_a_photograph_stands_upright(orientation: int, tmp_path: Path) -> None:
    stored = np.ascontiguousarray(EXIF_ORIENTATIONS[orientation](quadrants(128, 96)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "photo.jpg", exif=exif, quality=98, subsampling=0)
    (frame,) = shown(tmp_path / "photo.jpg", tmp_path)
    assert_close(middles(frame), QUADRANTS, levels=4)


def test_a_transparent_picture_lies_over_black(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 48), (200, 100, 50, 128)).save(tmp_path / "plate.png")
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert_close(frame, [value * 128 / 255 for value in (200, 100, 50)])


def test_a_palette_with_a_transparent_entry_lies_over_black(tmp_path: Path) -> None:
    picture = Image.new("P", (64, 48), 0)
    picture.paste(1, (32, 0, 64, 48))
    picture.putpalette([200, 100, 50, 20, 200, 90])
    picture.save(tmp_path / "plate.png", transparency=0)
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert_close(frame[:, :30], (0, 0, 0))
    assert_close(frame[:, 34:], (20, 200, 90))


def test_a_transparent_grey_picture_lies_over_black(tmp_path: Path) -> None:
    Image.new("LA", (64, 48), (180, 100)).save(tmp_path / "plate.png")
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert_close(frame, 180 * 100 / 255)


def linear_profile() -> bytes:
    """An ICC profile (ICC.1:2001-04, matrix/TRC) with sRGB's primaries and linear light."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    name = b"linear\0"
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)  # a curve without entries is the identity
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        # The columns of sRGB's matrix, adapted to D50 (Bradford).
        b"rXYZ": xyz(0.4360747, 0.2225045, 0.0139322),
        b"gXYZ": xyz(0.3850649, 0.7168786, 0.0971045),
        b"bXYZ": xyz(0.1430804, 0.0606169, 0.7141733),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for signature, content in tags.items():
        content += bytes(-len(content) % 4)
        table += signature + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2001, 4, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body


def test_a_pictures_colour_profile_is_followed(tmp_path: Path) -> None:
    linear = (20, 80, 190)
    Image.new("RGB", (64, 48), linear).save(tmp_path / "plate.png", icc_profile=linear_profile())
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    # IEC 61966-2-1
    encoded = [255 * (1.055 * (value / 255) ** (1 / 2.4) - 0.055) for value in linear]
    assert_close(frame, encoded, levels=3)


def test_a_transparent_pictures_colour_profile_is_followed_too(tmp_path: Path) -> None:
    linear = (20, 80, 190)
    Image.new("RGBA", (64, 48), (*linear, 255)).save(tmp_path / "plate.png", icc_profile=linear_profile())
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert_close(frame, [255 * (1.055 * (value / 255) ** (1 / 2.4) - 0.055) for value in linear], levels=3)


def test_a_broken_colour_profile_is_taken_for_srgb(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (20, 80, 190)).save(tmp_path / "plate.png", icc_profile=b"not a profile" * 20)
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert_close(frame, (20, 80, 190))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_sixteen_bit_colour_picture_keeps_its_colours(suffix: str, tmp_path: Path) -> None:
    plate = tmp_path / f"plate{suffix}"
    cv2.imwrite(str(plate), np.full((48, 64, 3), (50 * 257, 100 * 257, 200 * 257), np.uint16))  # OpenCV takes B, G, R
    (frame,) = shown(plate, tmp_path)
    assert_close(frame, (200, 100, 50))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_sixteen_bit_grey_picture_keeps_its_levels(suffix: str, tmp_path: Path) -> None:
    plate = tmp_path / f"plate{suffix}"
    cv2.imwrite(str(plate), np.repeat(np.array([[20 * 257], [200 * 257]], np.uint16), 64, axis=1).repeat(24, axis=0))
    (frame,) = shown(plate, tmp_path)
    assert_close(frame[:20], 20)
    assert_close(frame[-20:], 200)


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_a_cmyk_picture_becomes_rgb(suffix: str, tmp_path: Path) -> None:
    cyan, magenta, yellow, key = 30, 120, 200, 60
    plate = tmp_path / f"plate{suffix}"
    Image.new("CMYK", (64, 48), (cyan, magenta, yellow, key)).save(plate)
    (frame,) = shown(plate, tmp_path)
    assert_close(frame, [(255 - ink) * (255 - key) / 255 for ink in (cyan, magenta, yellow)], levels=5)


def test_a_one_bit_picture_is_black_and_white(tmp_path: Path) -> None:
    picture = Image.new("1", (64, 48), 0)
    picture.paste(1, (32, 0, 64, 48))
    picture.save(tmp_path / "plate.png")
    (frame,) = shown(tmp_path / "plate.png", tmp_path)
    assert_close(frame[:, :30], 0)
    assert_close(frame[:, 34:], 255)


def test_a_truncated_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:4000])
    with pytest.raises(vmatte.VmatteError, match=r"cut\.png cannot be read as a picture"):
        shown(tmp_path / "cut.png", tmp_path)


# Colours


@pytest.mark.parametrize(
    ("word", "rgb"),
    [
        ("navy", (0, 0, 128)),  # CSS Color Module Level 4
        ("#00b140", (0, 177, 64)),
        ("#f80", (255, 136, 0)),
        ("rgb(10, 200, 30)", (10, 200, 30)),
        ("WHITE", (255, 255, 255)),
    ],
)
def test_a_colour_is_that_colour(word: str, rgb: tuple[int, int, int], tmp_path: Path) -> None:
    (frame,) = shown(word, tmp_path)
    assert_close(frame, rgb)


def ramp_of(stops: list[tuple[int, int, int]], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours at places in [0, 1] between stops in even steps, by numpy."""
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(along, places, [stop[c] for stop in stops]) for c in range(3)], axis=-1)


@pytest.mark.parametrize(
    ("angle", "along"),
    [
        (0, lambda y, _: y),
        (90, lambda _, x: x),
        (180, lambda y, _: 1 - y),
        (-90, lambda _, x: 1 - x),
        # From corner to corner: cos 60° of 48 rows and sin 60° of 64 columns.
        (60, lambda y, x: (y * 48 * 0.5 + x * 64 * 0.8660254) / (48 * 0.5 + 64 * 0.8660254)),
    ],
)
def test_a_gradient_runs_through_its_colours_in_even_steps(
    angle: float, along: Callable[[Picture, Picture], NDArray[np.float64]], tmp_path: Path
) -> None:
    stops = [(0, 0, 128), (200, 220, 240), (255, 140, 0)]
    (frame,) = shown(GradientPlate(colors=tuple(stops), angle=angle), tmp_path)
    y, x = np.meshgrid((np.arange(48) + 0.5) / 48, (np.arange(64) + 0.5) / 64, indexing="ij")
    # At a stop the slope of eight-bit chroma, which lies on pairs of pixels, is mixed.
    assert_close(frame, ramp_of(stops, along(y, x)), levels=6)
    assert np.abs(frame - ramp_of(stops, along(y, x))).mean() < 1


def test_a_gradients_words_are_colours_from_top_to_bottom(tmp_path: Path) -> None:
    (frame,) = shown("gradient:#000, #808080", tmp_path, size=(16, 64))
    assert_close(frame[:, 8, 1], 128 * (np.arange(64) + 0.5) / 64)


# Videos


def coded_plate(path: Path, frames: int, **how: object) -> Path:
    """A video whose frame k is grey of luma 24 + 8 k."""
    return clips.write_clip(path, [clips.flat((24 + 8 * k, 128, 128), 64, 48) for k in range(frames)], **how)


def number_of(frame: Picture) -> int:
    """The number of the plate's frame that is seen."""
    luma = 16 + 219 * frame.astype(float).mean() / 255
    number = round((luma - 24) / 8)
    assert abs(luma - 24 - 8 * number) < 1.5
    assert np.ptp(frame) <= CODED
    return number


@pytest.mark.parametrize(
    ("clip_rate", "plate_rate", "plate_frames"),
    [
        (Fraction(25), Fraction(25), 5),
        (Fraction(25), Fraction(25), 1),
        (Fraction(25), Fraction(30), 7),
        (Fraction(30), Fraction(12), 4),
        (Fraction(24), Fraction(60), 20),
        (Fraction(30000, 1001), Fraction(25), 6),
        (Fraction(25), Fraction(24000, 1001), 11),
    ],
)
def test_a_video_loops_and_keeps_its_own_time(
    clip_rate: Fraction, plate_rate: Fraction, plate_frames: int, tmp_path: Path
) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 20, rate=clip_rate)
    plate = coded_plate(tmp_path / "plate.mp4", plate_frames, rate=plate_rate)
    due = [floor(number / clip_rate * plate_rate) % plate_frames for number in range(20)]
    assert [number_of(frame) for frame in shown(plate, tmp_path, clip)] == due


@pytest.mark.parametrize(
    ("plate_rate", "part", "play", "due"),
    [
        (25, {}, "hold", [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4]),
        (25, {}, "ping-pong", [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 1]),
        (50, {}, "ping-pong", [0, 2, 4, 3, 1, 0, 2, 4, 3, 1, 0, 2]),
        (Fraction(25, 2), {}, "hold", [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4]),
        (25, {"start": 0.04}, "loop", [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]),
        (25, {"start": 0.12}, "loop", [3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4]),  # 0.12 is below 3/25 as a binary fraction
        (25, {"end": 0.12}, "loop", [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]),
        (25, {"start": 0.04, "end": 0.16}, "hold", [1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]),
        (25, {"start": 0.04, "end": 0.16}, "ping-pong", [1, 2, 3, 3, 2, 1, 1, 2, 3, 3, 2, 1]),
        # Parts of frames: from the middle of frame 1 to the middle of 3, seen at 0, 0.04, 0.08, …
        (25, {"start": 0.06, "end": 0.14}, "ping-pong", [1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]),
    ],
)
def test_a_video_plays_as_it_is_told(
    plate_rate: Fraction | int, part: dict[str, float], play: str, due: list[int], tmp_path: Path
) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 12)
    plate = coded_plate(tmp_path / "plate.mp4", 5, rate=plate_rate)
    choice = FilePlate.model_validate({"path": plate, "play": play, **part})
    assert [number_of(frame) for frame in shown(choice, tmp_path, clip)] == due


@pytest.mark.parametrize("held_frames", [1, 3, 100])
def test_a_video_runs_backwards_in_bounded_memory_and_in_segments(
    held_frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.playback._AT_ONCE_BYTES", held_frames * 64 * 48 * 3)
    clip = clips.black_clip(tmp_path / "clip.mp4", 40)
    options = {"qp": "0", "preset": "medium", "bf": "3", "b-adapt": "0", "g": "250"}
    plate = coded_plate(tmp_path / "plate.mp4", 17, options=options)
    there_and_back = [*range(17), *reversed(range(17))]
    frames = shown(plate, tmp_path, clip, play="ping-pong", segment_frames=7)
    assert [number_of(frame) for frame in frames] == [there_and_back[number % 34] for number in range(40)]


@pytest.mark.parametrize("play", ["loop", "ping-pong", "hold"])
def test_a_damaged_frame_of_a_video_is_the_one_before_it_wherever_a_segment_begins(play: str, tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 20)
    options = {"qp": "0", "preset": "ultrafast", "bf": "0", "g": "1"}
    plate = coded_plate(tmp_path / "plate.mp4", 8, options=options)
    with av.open(str(plate)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(plate.read_bytes())
    for at, size in packets[4:6]:
        content[at : at + size] = bytes(size)
    plate.write_bytes(content)
    order = {
        "loop": [number % 8 for number in range(20)],
        "ping-pong": [[*range(8), *reversed(range(8))][number % 16] for number in range(20)],
        "hold": [min(number, 7) for number in range(20)],
    }[play]
    due = [3 if number in (4, 5) else number for number in order]
    for segment_frames in (240, 5, 1):
        frames = shown(plate, tmp_path, clip, play=play, segment_frames=segment_frames)
        assert [number_of(frame) for frame in frames] == due


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"start": 0.2}, r"is 0\.200 s long; its start cannot be at 0\.2 s"),
        ({"start": 7}, r"is 0\.200 s long; its start cannot be at 7 s"),
        ({"end": 0.21}, r"is 0\.200 s long; its end cannot be at 0\.21 s"),
    ],
)
def test_a_part_that_a_video_does_not_have_is_an_error(part: dict[str, float], says: str, tmp_path: Path) -> None:
    plate = coded_plate(tmp_path / "plate.mp4", 5)
    with pytest.raises(JobError, match=says):
        shown(FilePlate.model_validate({"path": plate, **part}), tmp_path)
    assert not (tmp_path / "shown").exists()


def test_a_part_must_have_a_length_and_a_picture_has_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end \(1\) is not after start \(1\)"):
        FilePlate(path=tmp_path / "plate.mp4", start=1, end=1)
    Image.new("RGB", (64, 48)).save(tmp_path / "plate.png")
    with pytest.raises(JobError, match="is a picture, which has no start and no end"):
        check_plate(FilePlate(path=tmp_path / "plate.png", start=1))


def test_a_longer_video_is_left_when_the_clip_ends(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 6)
    plate = coded_plate(tmp_path / "plate.mp4", 25)
    assert [number_of(frame) for frame in shown(plate, tmp_path, clip)] == [0, 1, 2, 3, 4, 5]


def test_a_clip_of_uneven_times_sees_what_the_video_shows_at_each(tmp_path: Path) -> None:
    ticks = [0, 30, 90, 100, 350, 410, 420, 800, 1210]  # thousandths of a second
    clip = clips.black_clip(tmp_path / "clip.mp4", len(ticks), pts=ticks, time_base=Fraction(1, 1000))
    plate = coded_plate(tmp_path / "plate.mp4", 7, rate=10)
    due = [floor(Fraction(tick, 1000) * 10) % 7 for tick in ticks]
    assert [number_of(frame) for frame in shown(plate, tmp_path, clip)] == due


def test_a_video_of_uneven_times_shows_each_frame_until_its_next(tmp_path: Path) -> None:
    starts = [0, 100, 120, 300]  # thousandths of a second; the last lasts a tenth of a second
    clip = clips.black_clip(tmp_path / "clip.mp4", 20)
    plate = coded_plate(tmp_path / "plate.mp4", 4, rate=10, pts=starts, time_base=Fraction(1, 1000))
    moments = [40 * number % 400 for number in range(20)]
    due = [max(k for k, start in enumerate(starts) if start <= moment) for moment in moments]
    assert [number_of(frame) for frame in shown(plate, tmp_path, clip)] == due


def test_both_start_with_their_first_frames_whatever_their_clocks_show(tmp_path: Path) -> None:
    late = [1000 + 40 * number for number in range(6)]
    clip = clips.black_clip(tmp_path / "clip.mkv", 6, pts=late, time_base=Fraction(1, 1000))
    later = [5000 + 40 * number for number in range(4)]
    plate = coded_plate(tmp_path / "plate.mkv", 4, pts=later, time_base=Fraction(1, 1000))
    assert [number_of(frame) for frame in shown(plate, tmp_path, clip)] == [0, 1, 2, 3, 0, 1]


def test_a_looping_video_with_b_frames_begins_with_its_first_frame_again(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 30)
    options = {"qp": "0", "preset": "medium", "bf": "3", "b-adapt": "0", "g": "250"}
    plate = coded_plate(tmp_path / "plate.mp4", 13, options=options)
    assert [number_of(frame) for frame in shown(plate, tmp_path, clip)] == [number % 13 for number in range(30)]


def test_segments_see_the_same_video_as_one_render_does(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 20)
    plate = coded_plate(tmp_path / "plate.mp4", 7)
    job = vmatte.RenderJob(
        clip=clip,
        outputs=[{"path": tmp_path / "cut", "encoding": "png", "layer": "composite"}],
        background={"method": "file", "path": plate},
        model="luma-key",
        segment_frames=6,
    )
    from vmatte.render import render_job

    render_job(job, vmatte.Runtime())
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "cut").iterdir())]
    assert [number_of(frame) for frame in frames] == [number % 7 for number in range(20)]


@pytest.mark.parametrize(
    ("coding", "bits", "pix_fmt"),
    [
        (clips.BT709_LIMITED, 8, "yuv444p"),
        (clips.BT601_FULL, 8, "yuv444p"),
        (clips.BT709_LIMITED, 10, "yuv444p10le"),
        (clips.BT601_FULL, 10, "yuv444p10le"),
        (clips.BT709_LIMITED, 8, "yuv420p"),
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (96, 40), (30, 90)])
def test_a_video_of_another_size_and_coding_shows_its_colours(
    size: tuple[int, int], coding: tuple[int, int], bits: int, pix_fmt: str, tmp_path: Path
) -> None:
    rgb = (180, 60, 90)
    codes = clips.codes_of(rgb, coding=coding, bits=bits)
    frame = clips.flat(codes, *size, half_chroma=pix_fmt == "yuv420p", dtype="u1" if bits == 8 else "<u2")
    plate = clips.write_clip(tmp_path / "plate.mkv", [frame] * 3, codec="ffv1", pix_fmt=pix_fmt, coding=coding)
    (seen,) = shown(plate, tmp_path)
    assert_close(seen, rgb, levels=3)


def test_an_eight_bit_video_behind_a_ten_bit_clip_keeps_its_levels(tmp_path: Path) -> None:
    black = clips.flat((64, 512, 512), 64, 48, dtype="<u2")
    clip = clips.write_clip(tmp_path / "clip.mkv", [black], codec="ffv1", pix_fmt="yuv444p10le")
    plate = coded_plate(tmp_path / "plate.mp4", 3)
    assert number_of(shown(plate, tmp_path, clip)[0]) == 0


@pytest.mark.parametrize(("size", "along"), [((112, 32), 1), ((48, 96), 0)], ids=["wider", "taller"])
def test_a_video_of_another_shape_covers_the_frame_and_loses_both_sides_alike(
    size: tuple[int, int], along: int, tmp_path: Path
) -> None:
    luma = 16 + np.indices(size[::-1])[along]
    plate = clips.write_clip(tmp_path / "plate.mkv", [clips.gray(luma)], codec="ffv1")
    (frame,) = shown(plate, tmp_path, size=(48, 32))
    top, left = (size[1] - 32) // 2, (size[0] - 48) // 2
    level = (luma[top : top + 32, left : left + 48] - 16) * 255 / 219
    assert_close(frame, level[..., None], levels=1)


def test_an_animated_gif_moves(tmp_path: Path) -> None:
    grey = [Image.new("L", (64, 48), 40 + 50 * k) for k in range(4)]
    grey[0].save(tmp_path / "plate.gif", save_all=True, append_images=grey[1:], duration=80, loop=0)
    clip = clips.black_clip(tmp_path / "clip.mp4", 12)
    levels = [float(frame.mean()) for frame in shown(tmp_path / "plate.gif", tmp_path, clip)]
    due = [floor(Fraction(number, 25) / Fraction(8, 100)) % 4 for number in range(12)]
    assert_close(np.array(levels), [40 + 50 * k for k in due])


def test_a_gif_that_does_not_move_is_a_picture(tmp_path: Path) -> None:
    Image.fromarray(quadrants(64, 48)).quantize(4).save(tmp_path / "plate.gif")
    (frame,) = shown(tmp_path / "plate.gif", tmp_path)
    assert_close(middles(frame), QUADRANTS, levels=4)


def test_an_animated_png_moves(tmp_path: Path) -> None:
    grey = [Image.new("RGB", (64, 48), (40 + 50 * k,) * 3) for k in range(3)]
    grey[0].save(tmp_path / "plate.png", save_all=True, append_images=grey[1:], duration=40)
    clip = clips.black_clip(tmp_path / "clip.mp4", 6)
    levels = [float(frame.mean()) for frame in shown(tmp_path / "plate.png", tmp_path, clip)]
    assert_close(np.array(levels), [40, 90, 140, 40, 90, 140])


# The clip's own background, out of focus


@pytest.mark.parametrize("size", [(64, 48), (320, 240), (640, 480)])
@pytest.mark.parametrize("half_chroma", [False, True], ids=["444", "420"])
def test_a_bright_subject_does_not_bleed_into_its_background(
    half_chroma: bool, size: tuple[int, int], tmp_path: Path
) -> None:
    (width, height), background = size, (20, 30, 60)
    subject = (255, 255, 255)  # of alpha one: it weighs nothing
    middle = (slice(height // 4 + 2, 3 * height // 4 - 2), slice(width // 4 + 4, 3 * width // 4 - 2))
    planes = clips.flat(clips.codes_of(background), width, height, half_chroma=half_chroma)
    for plane, code in zip(planes, clips.codes_of(subject), strict=True):
        step = height // plane.shape[0]
        plane[tuple(slice(side.start // step, side.stop // step) for side in middle)] = code
    clip = clips.write_clip(
        tmp_path / "clip.mkv", [planes], codec="ffv1", pix_fmt="yuv420p" if half_chroma else "yuv444p"
    )
    (frame,) = shown("blur", tmp_path, clip, foreground="source")
    outside = np.ones((height, width), bool)
    outside[middle[0].start - 2 : middle[0].stop + 2, middle[1].start - 2 : middle[1].stop + 2] = False
    assert_close(frame[outside], background, levels=3)


def test_a_background_without_a_subject_is_blurred_by_a_gaussian(tmp_path: Path) -> None:
    # A step from black to a grey that luma-key takes for barely there, so that the plate is what is seen.
    luma = np.full((200, 320), 16)
    luma[:, 160:] = 26
    clip = clips.write_clip(tmp_path / "clip.mkv", [clips.gray(luma)], codec="ffv1")
    report = vmatte.run(
        clip, background="blur", output=tmp_path / "out", encoding="png", model="luma-key", foreground="source"
    )
    (picture,) = report.output.iterdir()
    row = np.asarray(Image.open(picture))[100, :, 0].astype(float)
    high = row[-1]
    assert high == pytest.approx(10 * 255 / 219, abs=1)
    # sigma is 0.02 of 200 rows; 12 columns are three of it.
    assert abs(row[:148]).max() <= 1
    assert abs(row[172:] - high).max() <= 1
    assert row[159] == pytest.approx(high / 2, abs=2)


@pytest.mark.parametrize("chroma", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("behind", ["yuv420p", "yuv422p", "yuv444p"])
def test_a_videos_chroma_lies_where_its_luma_does(
    chroma: str, behind: str, tmp_path: Path, run_ffmpeg: Callable[..., None]
) -> None:
    """Colour bars behind a clip of black, whatever the sampling of either: each bar keeps its colour."""
    run_ffmpeg("-f", "lavfi", "-i", "color=black:s=160x90:r=25:d=0.08", "-pix_fmt", chroma, tmp_path / "clip.mkv")
    run_ffmpeg("-f", "lavfi", "-i", "smptebars=s=160x90:r=25:d=0.08", "-pix_fmt", behind, tmp_path / "bars.mkv")
    vmatte.run(
        tmp_path / "clip.mkv",
        background=tmp_path / "bars.mkv",
        output=tmp_path / "out",
        encoding="png",
        model="luma-key",
    )
    run_ffmpeg("-i", tmp_path / "bars.mkv", "-frames:v", "1", "-pix_fmt", "rgb24", tmp_path / "bars.png")
    shown = np.asarray(Image.open(tmp_path / "out" / "000000.png")).astype(int)
    wanted = np.asarray(Image.open(tmp_path / "bars.png").convert("RGB")).astype(int)
    middles = [11 + 23 * bar for bar in range(7)]
    assert np.abs(shown[30, middles] - wanted[30, middles]).max() <= 6


def test_on_another_canvas_the_blurred_background_covers_it(tmp_path: Path) -> None:
    """Thirds of dim colour, far from each other's blur: of a clip that is 3:1, a canvas of 1:1 shows the middle one."""
    thirds = [(30, 0, 0), (0, 25, 0), (0, 0, 40)]
    planes = [np.empty((60, 180), "u1") for _ in range(3)]
    for third, rgb in enumerate(thirds):
        for plane, code in zip(planes, clips.codes_of(rgb), strict=True):
            plane[:, 60 * third : 60 * third + 60] = code
    clip = clips.write_clip(tmp_path / "clip.mkv", [(planes[0], planes[1], planes[2])], codec="ffv1")
    # The clip itself, whose faint matte shows a little of it, is put to the side.
    place = {"size": "120x120", "subject_scale": 0.05, "subject_x": "left"}
    report = vmatte.run(
        clip, background=BlurPlate(radius=0.01), output=tmp_path / "out", encoding="png", model="luma-key", **place
    )
    (picture,) = report.output.iterdir()
    frame = np.asarray(Image.open(picture))
    assert frame.shape == (120, 120, 3)
    assert_close(frame[10:100, 30:110], thirds[1], levels=3)


@pytest.mark.parametrize("half_chroma", [False, True], ids=["444", "420"])
def test_where_a_subject_was_its_background_is_filled_in(half_chroma: bool, tmp_path: Path) -> None:
    """A white subject of alpha one takes two thirds of the height; moved aside, only background is left."""
    background = (20, 30, 60)
    planes = clips.flat(clips.codes_of(background), 240, 180, half_chroma=half_chroma)
    for plane, code in zip(planes, clips.codes_of((255, 255, 255)), strict=True):
        height, width = plane.shape
        plane[height // 3 :, width // 3 : width * 2 // 3] = code
    pix_fmt = "yuv420p" if half_chroma else "yuv444p"
    clip = clips.write_clip(tmp_path / "clip.mkv", [planes], codec="ffv1", pix_fmt=pix_fmt)
    (frame,) = shown("blur", tmp_path, clip, subject_scale=0.1, subject_x="left", subject_y="top")
    assert_close(frame[20:], background, levels=4)
