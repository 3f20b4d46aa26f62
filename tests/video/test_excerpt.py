"""An excerpt is frame for frame, and sample for sample, what the whole clip has there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import Seen
from footage import Array, Sound, ffmpeg, gray, need, write_clip
from scripts_loaded import load_script

from vmatte.errors import JobError
from vmatte.job import Runtime, make_job
from vmatte.planning import plan_job
from vmatte.render import run
from vmatte.video.excerpt import excerpt
from vmatte.video.probe import probe

awkward = load_script("make_awkward")
FRAMES = 12
FIRST, STOP = 4, 9
SECOND = 48_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("ffmpeg")
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    """Frame n at n / 25 s."""
    path: Path = awkward.silent(folder)
    return path


def fragmented(folder: Path) -> Path:
    path = folder / "fragmented.mp4"
    ffmpeg("-i", awkward.open_gop(folder), "-c", "copy", "-movflags", "frag_keyframe+empty_moov", path)
    return path


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        ("3f", None, range(3, 12)),
        (None, "3f", range(3)),
        ("0.12", "0.2", range(3, 5)),  # frame 3 is shown at 0.12 s, frame 5 at 0.2 s
        ("0.121", "0.201", range(4, 6)),
        ("00:00:00.080", "0:00.48", range(2, 12)),
        ("11f", "9999f", range(11, 12)),
        ("0", "90:00:00", range(12)),
    ],
)
def test_frames_are_counted_from_nought_and_the_end_is_left_out(
    start: str | None, end: str | None, frames: range, clip: Path
) -> None:
    whole = probe(clip)
    part = excerpt(whole, start, end)
    assert part.pts.tolist() == whole.pts[frames.start : frames.stop].tolist()
    assert part.promised_frames == part.frames == len(frames)
    assert part.duration == Fraction(len(frames), 25)


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("12f", None, "start 12f is behind the clip's end; its 12 frames end at 0.480 s"),
        ("0.48", None, "start 0.48 is behind"),
        ("5f", "5f", "between start 5f and end 5f"),
        ("5f", "0.1", "between start 5f and end 0.1"),
        (None, "0", "between the clip's first frame and end 0;"),
    ],
)
def test_nothing_left_is_a_clear_error(start: str | None, end: str | None, words: str, clip: Path) -> None:
    with pytest.raises(JobError, match=words):
        excerpt(probe(clip), start, end)


@pytest.mark.parametrize("moment", ["soon", "-1", "1:2:3:4", "10:75", "f", "1.5f", "", "1e3"])
def test_what_is_no_time_is_refused(moment: str, clip: Path) -> None:
    with pytest.raises(JobError, match=r"start cannot be .*; give a frame \(120f\), seconds \(2.5\) or a time"):
        make_job(clip, start=moment)


@pytest.mark.parametrize(
    "make",
    [
        fragmented,
        awkward.phone,
        awkward.open_gop,
        awkward.late_stream,
        awkward.edit_list,
        awkward.interlaced,
        awkward.motion_jpeg,
    ],
)
def test_its_pictures_are_those_of_the_whole_clip(make: Callable[[Path], Path], folder: Path, tmp_path: Path) -> None:
    source = make(folder)
    run(source, output=tmp_path / "whole", encoding="png", model="luma-key", segment_frames=5)
    words = {"start": f"{FIRST}f", "end": f"{STOP}f", "model": "luma-key"}
    report = run(source, output=tmp_path / "part", encoding="png", segment_frames=2, **words)  # type: ignore[arg-type]
    assert (report.frames, report.lost) == (STOP - FIRST, 0)
    for number in range(STOP - FIRST):
        whole, part = (tmp_path / name / f"{at:06}.png" for name, at in (("whole", FIRST + number), ("part", number)))
        assert part.read_bytes() == whole.read_bytes(), number


@pytest.mark.parametrize("output", ["out.mov", "out.mp4", "out.webm"])
def test_it_begins_at_nought_and_keeps_its_times(
    output: str, folder: Path, tmp_path: Path, look: Callable[[Path], Seen]
) -> None:
    source = awkward.phone(folder)
    run(source, output=tmp_path / output, background="navy", model="luma-key", start="4f", end="9f")
    times, due = look(tmp_path / output).times, look(source).times
    assert len(times) == STOP - FIRST
    exact = 0 if output != "out.webm" else Fraction(1, 1000)
    assert times[0] == 0
    assert all(abs(time - (due[FIRST + n] - due[FIRST])) <= exact for n, time in enumerate(times))


def with_sound(path: Path, codec: str) -> tuple[Path, Array]:
    """Two seconds with noise in their sound, and that as ffmpeg decodes it, from time 0 on."""
    rng = np.random.default_rng(3)
    smooth = np.convolve(rng.uniform(-1, 1, 2 * SECOND), np.ones(8) / 8, "same") * 0.5
    pictures = gray([np.full((32, 48), 40 + n, "u1") for n in range(50)])
    write_clip(path, pictures, "yuv420p", sound=[Sound(smooth.astype("f4"), codec, "fra")])
    return path, samples_of(path)


def samples_of(path: Path) -> Array:
    return np.frombuffer(ffmpeg("-i", path, "-map", "0:a", "-f", "f32le", "-"), "<f4")


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "pcm_s16le"), ("a.mp4", "aac"), ("a.mkv", "ac3")])
@pytest.mark.parametrize("output", ["out.mov", "out.mp4"])
def test_its_sound_is_cut_to_the_sample(
    name: str, codec: str, output: str, tmp_path: Path, look: Callable[[Path], Seen]
) -> None:
    """From the first picture's time on each sample is the whole clip's, and lies where that one's picture does."""
    source, whole = with_sound(tmp_path / name, codec)
    run(source, output=tmp_path / output, background="navy", model="luma-key", start="0.7", end="1.5")
    seen = look(source)
    begin = round((seen.times[18] - seen.audio_times[0]) * SECOND)
    part = samples_of(tmp_path / output)
    assert 0.75 * SECOND < len(part) < 0.82 * SECOND
    count = round(0.75 * SECOND)
    assert lag(part[:count], whole[begin : begin + count]) == 0
    # MP4 gets AAC of it, and AC-3's decoder adds noise by chance (ATSC A/52, dither).
    if codec == "aac" or (codec == "pcm_s16le" and output == "out.mov"):
        assert np.abs(part[:count] - whole[begin : begin + count]).max() < 1e-4


def test_sound_of_another_codec_is_cut_before_it_is_coded(tmp_path: Path, look: Callable[[Path], Seen]) -> None:
    source, whole = with_sound(tmp_path / "a.mp4", "aac")
    run(source, output=tmp_path / "out.webm", model="luma-key", start="18f", end="38f")
    part = samples_of(tmp_path / "out.webm")
    assert abs(len(part) - 0.8 * SECOND) <= 960  # a packet of Opus
    count, begin = round(0.75 * SECOND), round(0.72 * SECOND)
    assert lag(part[:count], whole[begin : begin + count]) == 0
    assert look(tmp_path / "out.webm").audio[0]["codec_name"] == "opus"


def lag(sound: Array, other: Array) -> int:
    """By how many samples it comes later."""
    spectrum = np.fft.rfft(sound, 2 * len(sound)) * np.conj(np.fft.rfft(other, 2 * len(sound)))
    found = int(np.argmax(np.fft.irfft(spectrum)))
    return found if found < len(sound) else found - 2 * len(sound)


def test_a_track_that_ends_before_it_is_left_out(tmp_path: Path, look: Callable[[Path], Seen]) -> None:
    pictures = gray([np.full((32, 48), 40 + n, "u1") for n in range(50)])
    tone = np.sin(np.arange(2 * SECOND) / 20).astype("f4")
    tracks = [Sound(tone[: SECOND // 2], language="eng"), Sound(tone, language="fra")]
    write_clip(tmp_path / "clip.mp4", pictures, "yuv420p", sound=tracks)
    run(tmp_path / "clip.mp4", output=tmp_path / "out.mov", model="luma-key", start="1")
    assert len(look(tmp_path / "out.mov").audio) == 1


@pytest.mark.parametrize(
    ("timecode", "rate", "first", "due"),
    [
        ("10:20:30:05", Fraction(25), 4, "10:20:30:09"),
        ("10:20:59:23", Fraction(25), 4, "10:21:00:02"),
        ("23:59:59:24", Fraction(25), 1, "00:00:00:00"),
        ("00:00:59;28", Fraction(30000, 1001), 2, "00:01:00;02"),  # SMPTE ST 12-1: ;00 and ;01 are skipped
        ("00:09:59;29", Fraction(30000, 1001), 1, "00:10:00;00"),  # but not in each tenth minute
        ("00:00:59:28", Fraction(30000, 1001), 2, "00:01:00:00"),
        ("00:00:59;58", Fraction(60000, 1001), 2, "00:01:00;04"),
        ("23:59:59;29", Fraction(30000, 1001), 1, "00:00:00;00"),
    ],
)
def test_its_timecode_is_its_first_frames(timecode: str, rate: Fraction, first: int, due: str, clip: Path) -> None:
    times = (np.arange(12) * rate.denominator).astype(np.int64)
    whole = replace(probe(clip), timecode=timecode, rate=rate, time_base=Fraction(1, rate.numerator), pts=times)
    assert excerpt(whole, f"{first}f", None).timecode == due


def test_frames_that_are_missing_in_it_are_counted(folder: Path) -> None:
    """The file has 7 of its 12 frames."""
    whole = probe(awkward.truncated(folder))
    assert (whole.frames, whole.promised_frames) == (7, 12)
    for start, end, promised in (("2f", None, 10), ("2f", "6f", 4), (None, "9f", 9), ("2f", "0.2", 3)):
        assert excerpt(whole, start, end).promised_frames == promised


def test_its_matte_is_kept_apart_by_its_frames(clip: Path, tmp_path: Path) -> None:
    """Other words for the same frames are the same excerpt."""

    def matte_of(**words: str) -> str:
        job = make_job(clip, output=tmp_path / "out.mov", model="luma-key", **words)  # type: ignore[arg-type]
        return plan_job(job, Runtime()).matte_fingerprint

    assert matte_of(start="3f") == matte_of(start="0.12") == matte_of(start="00:00:00.12")
    assert len({matte_of(), matte_of(start="3f"), matte_of(end="9f"), matte_of(start="3f", end="9f")}) == 4


def test_a_garbage_matte_keeps_time_with_the_whole_clip(clip: Path, tmp_path: Path) -> None:
    masks = gray([np.full((64, 96), 235 if n == 6 else 16, "u1") for n in range(FRAMES)])
    garbage = write_clip(tmp_path / "garbage.mp4", masks, "yuv420p")
    words = {"encoding": "png", "model": "luma-key", "garbage": garbage}
    run(clip, output=tmp_path / "part", start="5f", end="8f", **words)  # type: ignore[arg-type]
    shown = [np.frombuffer(_rgba(tmp_path / "part" / f"{number:06}.png"), "u1")[3::4].max() for number in range(3)]
    assert [bool(alpha) for alpha in shown] == [True, False, True]


def _rgba(picture: Path) -> bytes:
    return ffmpeg("-i", picture, "-f", "rawvideo", "-pix_fmt", "rgba", "-")
