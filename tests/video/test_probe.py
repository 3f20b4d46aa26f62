"""What `probe` says of clips whose facts are known, because they were made here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from footage import BT709_TAGS, LOSSLESS, Array, Planes, Sound, ffmpeg, ffprobe, gray, write_clip

from vmatte.clip import BT601, BT709, Coding, ColorTags, Orientation
from vmatte.errors import SourceError
from vmatte.video.probe import probe


def lumas(frames: int = 6, width: int = 64, height: int = 48) -> list[Array]:
    return [np.full((height, width), 20 + 5 * number, "u1") for number in range(frames)]


def small_clip(path: Path, frames: int = 6, **settings: Any) -> Path:
    return write_clip(path, gray(lumas(frames)), "yuv420p", **settings)


def test_the_plain_facts_of_a_clip(tmp_path: Path) -> None:
    clip = probe(small_clip(tmp_path / "clip.mp4", rate=Fraction(30000, 1001)))
    assert (clip.width, clip.height, clip.frames, clip.promised_frames) == (64, 48, 6, 6)
    assert (clip.codec, clip.pixel_format, clip.rate) == ("h264", "yuv420p", Fraction(30000, 1001))
    assert clip.orientation == Orientation()
    assert not clip.interlaced
    assert not clip.counted
    assert clip.audio == ()
    assert [time * clip.time_base for time in clip.pts.tolist()] == [Fraction(1001 * n, 30000) for n in range(6)]
    assert clip.duration == Fraction(6 * 1001, 30000)


ORIENTATIONS = {
    (0, False): Orientation(),
    (0, True): Orientation(flip_x=True),
    (180, False): Orientation(flip_x=True, flip_y=True),
    (180, True): Orientation(flip_y=True),
    (90, False): Orientation(transpose=True, flip_y=True),
    (270, False): Orientation(transpose=True, flip_x=True),
}


@pytest.mark.parametrize(("angle", "mirrored"), ORIENTATIONS)
def test_the_display_matrix_becomes_an_orientation(angle: int, mirrored: bool, tmp_path: Path) -> None:
    path = small_clip(tmp_path / "clip.mp4", prepare=lambda stream: stream.set_display_rotation(angle, hflip=mirrored))
    clip = probe(path)
    assert clip.orientation == ORIENTATIONS[angle, mirrored]
    assert (clip.width, clip.height) == ((48, 64) if angle in (90, 270) else (64, 48))


@pytest.mark.parametrize(
    ("matrix", "orientation"),
    [
        ((0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30), Orientation(transpose=True)),
        ((0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30), Orientation(transpose=True, flip_x=True, flip_y=True)),
    ],
)
def test_a_raw_matrix_that_mirrors_along_a_diagonal(
    matrix: tuple[int, ...], orientation: Orientation, tmp_path: Path
) -> None:
    path = small_clip(tmp_path / "clip.mp4", prepare=lambda stream: stream.set_display_matrix(matrix))
    assert probe(path).orientation == orientation


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(4, 3), (85, 48)), (Fraction(8, 9), (64, 54)), (Fraction(1), (64, 48))]
)
def test_sizes_are_those_of_square_pixels(aspect: Fraction, size: tuple[int, int], tmp_path: Path) -> None:
    def set_aspect(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    clip = probe(small_clip(tmp_path / "clip.mp4", prepare=set_aspect))
    assert (clip.width, clip.height) == size
    assert clip.sample_aspect == aspect


@pytest.mark.parametrize("flag", ["tff", "bff"])
def test_interlaced_clips_say_so(flag: str, tmp_path: Path) -> None:
    path = small_clip(tmp_path / "clip.mp4", options=LOSSLESS | {"x264-params": f"{flag}=1"})
    assert probe(path).interlaced


TAGS = {
    "709": (BT709_TAGS, BT709),
    "601": ((6, 6, 6, 1), BT601),
    "601 PAL": ((5, 5, 6, 1), ColorTags(5, 5, 6, full_range=False)),
    "709 full": ((1, 1, 1, 2), ColorTags(1, 1, 1, full_range=True)),
    "2020": ((9, 9, 14, 1), ColorTags(9, 9, 14, full_range=False)),
    "PQ": ((9, 9, 16, 1), ColorTags(9, 9, 16, full_range=False)),
    "HLG": ((9, 9, 18, 1), ColorTags(9, 9, 18, full_range=False)),
}


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("name", TAGS)
def test_colour_tags_are_read(name: str, suffix: str, tmp_path: Path) -> None:
    tags, expected = TAGS[name]
    assert probe(small_clip(tmp_path / f"clip.{suffix}", tags=tags)).coding == Coding(expected, 8)


@pytest.mark.parametrize(
    ("size", "matrix"), [((64, 48), 6), ((1278, 718), 6), ((1280, 64), 1), ((64, 720), 1), ((1280, 720), 1)]
)
def test_untagged_clips_are_601_when_small_and_709_from_hd_on(
    size: tuple[int, int], matrix: int, tmp_path: Path
) -> None:
    clip = probe(write_clip(tmp_path / "clip.mp4", gray(lumas(1, *size)), "yuv420p"))
    assert clip.coding.color.matrix == matrix
    assert not clip.coding.color.full_range
    assert clip.delivery == Coding(BT709, 8 if matrix == 1 else 10)


@pytest.mark.parametrize(
    ("pix_fmt", "bits", "codec"),
    [("yuv420p", 8, "libx264"), ("yuv422p10le", 10, "libx264"), ("yuv444p12le", 12, "ffv1"), ("gray", 8, "ffv1")],
)
def test_bit_depths(pix_fmt: str, bits: int, codec: str, tmp_path: Path) -> None:
    luma = np.full((48, 64), 200, "u1" if bits == 8 else "<u2")
    frames = [[luma]] if pix_fmt == "gray" else gray([luma], pix_fmt)
    path = write_clip(tmp_path / "clip.mkv", frames, pix_fmt, codec=codec, options={})
    assert probe(path).coding.bits == bits


VARIABLE = [0, 33, 67, 100, 200, 233, 400, 417, 1433]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_variable_times_are_exact(suffix: str, tmp_path: Path) -> None:
    path = small_clip(
        tmp_path / f"clip.{suffix}", frames=9, rate=Fraction(30), pts=VARIABLE, time_base=Fraction(1, 1000)
    )
    clip = probe(path)
    assert [time * clip.time_base for time in clip.pts.tolist()] == [Fraction(time, 1000) for time in VARIABLE]


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_an_mpeg_streams_running_clock_is_told_apart(suffix: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"codec": "mpeg2video", "options": {}} if suffix == "mpg" else {}
    path = small_clip(tmp_path / f"clip.{suffix}", pts=list(range(100, 106)), **settings)
    clip = probe(path)
    shown = ffprobe(path, "-show_entries", "format=start_time")
    assert float(clip.clock_start) == pytest.approx(float(shown["format"]["start_time"]), abs=1e-4)
    assert clip.clock_start > 0
    assert [time * clip.time_base - clip.clock_start for time in clip.pts.tolist()] == [
        Fraction(number, 25) for number in range(6)
    ]


def test_a_bare_stream_without_times_is_counted(tmp_path: Path) -> None:
    path = small_clip(tmp_path / "clip.h264", frames=9, options={"preset": "medium", "bf": "2"})
    clip = probe(path)
    assert clip.counted
    assert clip.frames == 9
    assert clip.pts.tolist() == list(range(9))
    assert clip.time_base == 1 / clip.rate == Fraction(1, 25)


def test_the_frames_of_an_avi_lie_on_its_grid(tmp_path: Path) -> None:
    """AVI has no presentation times; what libavformat makes of H.264 with B-frames in it is out of order."""
    path = small_clip(tmp_path / "clip.avi", frames=9, options={"preset": "medium", "bf": "2"})
    clip = probe(path)
    assert [time * clip.time_base for time in (clip.pts - clip.pts[0]).tolist()] == [Fraction(n, 25) for n in range(9)]
    assert clip.duration == Fraction(9, 25)


def test_audio_tracks_with_their_languages(tmp_path: Path) -> None:
    tone = 0.1 * np.sin(np.arange(9600) / 10)
    sound = [Sound(tone, language="deu"), Sound(tone, "pcm_s16le")]
    clip = probe(small_clip(tmp_path / "clip.mkv", sound=sound))
    assert [(t.stream, t.codec, t.sample_rate, t.channels, t.language) for t in clip.audio] == [
        (1, "aac", 48_000, 1, "deu"),
        (2, "pcm_s16le", 48_000, 1, None),
    ]


def test_the_timecode_is_found(tmp_path: Path) -> None:
    assert probe(small_clip(tmp_path / "clip.mov", metadata={"timecode": "01:02:03:04"})).timecode == "01:02:03:04"
    assert probe(small_clip(tmp_path / "plain.mov")).timecode is None


def test_a_cover_picture_is_not_the_clip(tmp_path: Path) -> None:
    small_clip(tmp_path / "clip.mp4")
    cover = tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", cover)
    covered = tmp_path / "covered.mp4"
    arguments = ["-i", cover, "-i", tmp_path / "clip.mp4", "-map", "0", "-map", "1", "-c", "copy"]
    ffmpeg(*arguments, "-disposition:v:0", "attached_pic", covered)
    clip = probe(covered)
    assert (clip.codec, clip.width, clip.frames) == ("h264", 64, 6)


def noisy(frames: int) -> list[Planes]:
    rng = np.random.default_rng(0)
    return gray([rng.integers(16, 236, (48, 64)).astype("u1") for _ in range(frames)])


def cut(path: Path, part: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    return path


@pytest.mark.parametrize("part", [0.4, 0.95])
def test_a_truncated_mp4_promises_more_than_it_holds(part: float, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", noisy(30), "yuv420p", container_options={"movflags": "faststart"})
    clip = probe(cut(path, part))
    assert clip.promised_frames == 30
    assert 30 * part - 3 < clip.frames < 30


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
@pytest.mark.parametrize("part", [0.4, 0.95])
def test_a_truncated_mkv_promises_more_than_it_holds(part: float, rate: Fraction, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", noisy(30), "yuv420p", rate=rate)
    clip = probe(cut(path, part))
    assert clip.promised_frames == 30
    assert 30 * part - 3 < clip.frames < 30


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.ts", "clip.mov"])
def test_a_whole_clip_promises_what_it_holds(name: str, tmp_path: Path) -> None:
    codec = {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}} if name.endswith("webm") else {}
    clip = probe(write_clip(tmp_path / name, noisy(30), "yuv420p", rate=Fraction(30000, 1001), **codec))
    assert clip.promised_frames == clip.frames == 30


def test_hidden_frames_of_vp8_are_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "clip.webm"
    source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2.4", "-c:v", "libvpx", "-b:v", "200k"]
    for number, target in (("1", Path("/dev/null")), ("2", path)):  # only a second pass makes hidden frames
        passes = ["-pass", number, "-passlogfile", tmp_path / "log", "-auto-alt-ref", "1", "-lag-in-frames", "16"]
        ffmpeg(*source, *passes, "-f", "webm", target)
    with av.open(str(path)) as container:
        packets = sum(1 for packet in container.demux(video=0) if packet.size)
    assert packets > 60  # or there would be nothing to tell apart
    clip = probe(path)
    assert clip.frames == 60
    assert not clip.counted


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, "does not exist"),
        ("empty.mp4", b"", "is empty"),
        ("notes.mp4", b"Dear diary, this is no video at all.\n" * 40, "cannot be opened"),
    ],
)
def test_what_is_no_video_is_refused_in_words(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=words) as error:
        probe(tmp_path / name)
    assert name in str(error.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder"):
        probe(tmp_path)


def test_a_clip_without_a_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=frequency=300:duration=0.2", "-c:a", "aac", path)
    with pytest.raises(SourceError, match=r"song\.m4a holds only audio"):
        probe(path)


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    path = cut(small_clip(tmp_path / "clip.mp4"), 0.5)
    with pytest.raises(SourceError, match="cut off before its index was written"):
        probe(path)


def test_a_video_of_which_nothing_can_be_decoded_is_refused(tmp_path: Path) -> None:
    path = small_clip(tmp_path / "clip.mp4")
    content = path.read_bytes()
    at = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    path.write_bytes(content[:at] + bytes(end - at) + content[end:])
    with pytest.raises(SourceError, match="no frame of it can be decoded"):
        probe(path)


def test_a_clip_trimmed_without_encoding_is_whole(tmp_path: Path) -> None:
    """An edit list hides the frames between the key frame and the cut: they are there, and nobody misses them."""
    whole = tmp_path / "whole.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=3", "-g", "50", "-bf", "2", str(whole))
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "1", "-i", str(whole), "-c", "copy", str(trimmed))
    found = probe(trimmed)
    assert (found.frames, found.promised_frames) == (50, 50)


@pytest.mark.parametrize("order", [(0, 100), (100, 0), (0, 0)])
def test_mpeg_streams_put_together_bytewise_are_refused(order: tuple[int, int], tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for part, offset in enumerate(order):
            piece = tmp_path / f"{part}.ts"
            source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=1", "-output_ts_offset", str(offset)]
            ffmpeg(*source, "-c:v", "libx264", str(piece))
            file.write(piece.read_bytes())
    with pytest.raises(SourceError, match="the clip's clock jumps"):
        probe(joined)


@pytest.mark.parametrize(("primaries", "transfer"), [("smpte432", "iec61966-2-1"), ("bt709", "iec61966-2-1")])
def test_primaries_and_transfer_that_no_matrix_changes_are_kept(primaries: str, transfer: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    tags = ["-color_primaries", primaries, "-color_trc", transfer, "-colorspace", "bt709"]
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.2"]
    ffmpeg(*source, "-pix_fmt", "yuv420p", *tags, str(clip))
    delivered = probe(clip).delivery.color
    assert (delivered.matrix, delivered.primaries, delivered.transfer) == (1, 12 if primaries == "smpte432" else 1, 13)
