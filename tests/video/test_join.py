"""Segments are joined without a seam, times are the source's, and the sound comes along."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from footage import (
    BT709_TAGS,
    Array,
    Planes,
    Sound,
    ffmpeg,
    ffprobe,
    frames_by_ffmpeg,
    gray,
    shown_times,
    write_clip,
)
from PIL import Image

from vmatte.delivery import RenderReport
from vmatte.job import Runtime, make_job
from vmatte.render import render_job, run
from vmatte.video.probe import probe

FRAMES = 20
OUTPUTS = ["out.mp4", "out.mov", "out.webm"]


def moving(frames: int = FRAMES) -> list[Planes]:
    """A bright, noisy square that goes to the right over black."""
    rng = np.random.default_rng(7)
    texture = rng.integers(100, 236, (32, 32)).astype("u1")
    lumas = []
    for number in range(frames):
        luma = np.full((64, 96), 16, "u1")
        luma[16:48, 2 * number : 2 * number + 32] = texture[:, : 96 - 2 * number]
        lumas.append(luma)
    return gray(lumas)


def plain_clip(path: Path, frames: int = FRAMES, **settings: Any) -> Path:
    return write_clip(path, moving(frames), "yuv420p", tags=BT709_TAGS, **settings)


def render_in(clip: Path, output: Path, segment_frames: int | None = None) -> RenderReport:
    background = "black" if output.suffix == ".mp4" else None
    encoding = None if output.suffix else "png"
    job = make_job(
        clip,
        background=background,
        output=output,
        encoding=encoding,
        model="luma-key",
        segment_frames=segment_frames,
    )
    return render_job(job, Runtime())


def source_times(path: Path) -> list[Fraction]:
    """When the clip's pictures are shown, counted from the first one."""
    times = shown_times(path)
    return [time - times[0] for time in times]


@pytest.mark.parametrize("segment_frames", [1, 7])
def test_prores_segments_join_without_a_seam(segment_frames: int, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", options={"preset": "veryfast", "crf": "18", "g": "9"})
    for output, length in (("whole.mov", None), ("joined.mov", segment_frames)):
        render_in(clip, tmp_path / output, length)
    whole, joined = (frames_by_ffmpeg(tmp_path / name, "yuva444p12le", 96, 64) for name in ("whole.mov", "joined.mov"))
    assert len(whole) == FRAMES
    for one, other in zip(whole, joined, strict=True):
        for plane, twin in zip(one, other, strict=True):
            np.testing.assert_array_equal(plane, twin)


@pytest.mark.parametrize("segment_frames", [1, 7])
def test_picture_sequences_join_without_a_seam(segment_frames: int, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4")
    whole = render_in(clip, tmp_path / "whole")
    joined = render_in(clip, tmp_path / "joined", segment_frames)
    assert whole.sha256 == joined.sha256
    names = [f"{number:06d}.png" for number in range(FRAMES)]
    assert sorted(path.name for path in (tmp_path / "joined").iterdir()) == names
    for name in names:
        with Image.open(tmp_path / "whole" / name) as one, Image.open(tmp_path / "joined" / name) as other:
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("segment_frames", [1, 7, None])
def test_joined_segments_show_every_frame_at_its_time(name: str, segment_frames: int | None, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4")
    render_in(clip, tmp_path / name, segment_frames)
    assert source_times(tmp_path / name) == [Fraction(number, 25) for number in range(FRAMES)]
    # Frame n shows the square n steps on: none is lost, doubled or out of order at a seam.
    pix_fmt = {"out.mp4": "yuv420p", "out.mov": "yuva444p12le", "out.webm": "yuva420p"}[name]
    decoder = "libvpx-vp9" if name == "out.webm" else None
    frames = frames_by_ffmpeg(tmp_path / name, pix_fmt, 96, 64, decoder=decoder)
    for number, planes in enumerate(frames):
        codes = planes[0 if name == "out.mp4" else 3].astype(float)
        square = np.where(codes > 40, 1, 0)  # over black the matte darkens the square once more
        middle = square.sum(axis=0) @ np.arange(96) / square.sum()
        assert abs(middle - (2 * number + 15.5)) < 0.6


VARIABLE = [0, 33, 67, 100, 200, 233, 400, 417, 433, 500, 533, 600, 700, 733, 767, 800, 1100, 1133, 1167, 1200]
TIMES: dict[str, dict[str, Any]] = {
    "29.97": {"rate": Fraction(30000, 1001)},
    "23.976": {"rate": Fraction(24000, 1001)},
    "59.94 with B-frames": {"rate": Fraction(60000, 1001), "options": {"preset": "medium", "g": "9", "bf": "3"}},
    "variable": {"rate": Fraction(30), "pts": VARIABLE, "time_base": Fraction(1, 1000), "last_duration": 250},
    "variable, 90 kHz": {"rate": Fraction(30), "pts": [90 * t + 1 for t in VARIABLE], "time_base": Fraction(1, 90000)},
    "late start": {"rate": Fraction(25), "pts": list(range(13, 13 + FRAMES))},
}


@pytest.mark.parametrize("segment_frames", [6, None])
@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("times", TIMES)
def test_times_are_those_of_the_source(times: str, name: str, segment_frames: int | None, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", **TIMES[times])
    render_in(clip, tmp_path / name, segment_frames)
    source, seen = source_times(clip), source_times(tmp_path / name)
    if name == "out.webm":  # its clock has milliseconds
        assert max(abs(a - b) for a, b in zip(seen, source, strict=True)) <= Fraction(1, 1000)
        absolute = [a - b for a, b in zip(shown_times(tmp_path / name), shown_times(clip), strict=True)]
        assert max(map(abs, absolute)) <= Fraction(1, 2000) + Fraction(1, 10**9)
    else:
        assert seen == source
        assert shown_times(tmp_path / name) == shown_times(clip)


@pytest.mark.parametrize("times", TIMES)
def test_times_of_a_matroska_clip_are_kept_to_the_tick(times: str, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mkv", **TIMES[times])
    for name in ("out.mp4", "out.mov"):
        render_in(clip, tmp_path / name, 7)
        assert source_times(tmp_path / name) == source_times(clip)


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_the_last_frame_lasts_as_long_as_in_the_source(name: str, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", **TIMES["variable"])
    render_in(clip, tmp_path / name)
    for path in (clip, tmp_path / name):
        # An edit list says for how long the track is shown; packets of reordered frames do not.
        stream = ffprobe(path, "-show_streams")["streams"][0]
        assert stream["duration_ts"] * Fraction(stream["time_base"]) == Fraction(1450, 1000)


def test_a_transport_stream_loses_its_running_clock_and_nothing_else(tmp_path: Path) -> None:
    settings = {"rate": Fraction(30000, 1001), "options": {"preset": "veryfast", "g": "9"}}
    clip = plain_clip(tmp_path / "clip.ts", pts=list(range(300, 300 + FRAMES)), **settings)
    for name in OUTPUTS:
        render_in(clip, tmp_path / name, 7)
        seen, source = shown_times(tmp_path / name), shown_times(clip)
        assert 0 <= seen[0] < Fraction(1, 2) < 10 < source[0]
        tick = Fraction(1, 1000) if name == "out.webm" else 0
        assert max(abs(a - b) for a, b in zip(source_times(tmp_path / name), source_times(clip), strict=True)) <= tick
        assert len(seen) == len(source) == FRAMES


def test_an_avi_with_b_frames_loses_none_of_its_frames(tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.avi", options={"preset": "medium", "g": "9", "bf": "2"})
    for name in OUTPUTS:
        assert render_in(clip, tmp_path / name, 7).lost == 0
        assert source_times(tmp_path / name) == [Fraction(number, 25) for number in range(FRAMES)]


def test_a_lost_frame_leaves_its_time_empty(tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", options={"preset": "ultrafast", "g": "1"})
    listed = ffprobe(clip, "-show_entries", "packet=pos,size")["packets"]
    with clip.open("r+b") as file:
        file.seek(int(listed[8]["pos"]))
        file.write(bytes(int(listed[8]["size"])))
    for name in ("out.mp4", "out.mov"):
        for length in (None, 4, 1):
            report = render_job(
                make_job(clip, background="navy", output=tmp_path / name, model="luma-key", segment_frames=length),
                Runtime(overwrite=True),
            )
            assert (report.frames, report.lost) == (FRAMES - 1, 1)
            expected = [Fraction(number, 25) for number in range(FRAMES) if number != 8]
            assert shown_times(tmp_path / name) == expected


# Sound


def clicks(seconds: float, period: int = 12_007) -> Array:
    """Clicks at irregular places, so that a shifted copy fits nowhere else; a quiet tone so that codecs stay awake."""
    samples = 0.02 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * 48_000)) / 48_000)
    rng = np.random.default_rng(1)
    for at in range(3000, len(samples) - 64, period):
        place = at + int(rng.integers(0, 2000))
        samples[place : place + 24] += 0.7 * np.hanning(24)[: len(samples[place : place + 24])]
    return samples


def audio_packets(path: Path, track: int = 0) -> list[dict[str, Any]]:
    entries = "packet=pts_time,size,data_hash"
    return list(
        ffprobe(path, "-select_streams", f"a:{track}", "-show_entries", entries, "-show_data_hash", "md5")["packets"]
    )


def audio_samples(path: Path, track: int = 0) -> tuple[Array, float]:
    """What ffmpeg plays, 48 kHz mono, and the time of its first sample against the first picture's, in seconds."""
    raw = ffmpeg("-i", path, "-map", f"0:a:{track}", "-f", "f32le", "-ac", "1", "-ar", "48000", "-")
    first = ffprobe(path, "-select_streams", f"a:{track}", "-show_entries", "frame=pts_time", "-read_intervals", "%+#5")
    return np.frombuffer(raw, "<f4"), float(first["frames"][0]["pts_time"]) - float(shown_times(path)[0])


def lag(seen: Array, source: Array) -> int:
    """By how many samples `seen` comes later than `source`, where the two fit best."""
    length = min(len(seen), len(source))
    size = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(seen[:length], size) * np.conj(np.fft.rfft(source[:length], size))
    correlation = np.fft.irfft(spectrum, size)
    best = int(correlation.argmax())
    return best if best < size // 2 else best - size


@pytest.mark.parametrize("segment_frames", [7, None])
@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_sound_is_copied_packet_for_packet(name: str, segment_frames: int | None, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", sound=[Sound(clicks(0.8))])
    render_in(clip, tmp_path / name, segment_frames)
    source, seen = audio_packets(clip), audio_packets(tmp_path / name)
    assert len(source) > 30
    assert [packet["data_hash"] for packet in seen] == [packet["data_hash"] for packet in source]
    assert [packet["pts_time"] for packet in seen] == [packet["pts_time"] for packet in source]
    (played, start), (original, source_start) = audio_samples(tmp_path / name), audio_samples(clip)
    np.testing.assert_array_equal(played, original)
    assert start == source_start


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_sound_in_webm_stays_in_sync_to_the_sample(rate: Fraction, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", frames=30, rate=rate, sound=[Sound(clicks(30 / float(rate)))])
    render_in(clip, tmp_path / "out.webm")
    assert ffprobe(tmp_path / "out.webm", "-show_streams")["streams"][1]["codec_name"] == "opus"
    (played, start), (original, source_start) = audio_samples(tmp_path / "out.webm"), audio_samples(clip)
    assert lag(played, original) == 0
    assert abs(start - source_start) <= 0.001  # WebM's tick
    assert abs(len(played) - len(original)) <= 960 + 1024  # one packet of either codec
    # The same sound, not only the same place.
    length = min(len(played), len(original)) - 1000
    assert np.corrcoef(played[:length], original[:length])[0, 1] > 0.98


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("start", [0, 9600])
def test_sound_that_begins_later_than_the_picture_stays_there(name: str, start: int, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mkv", sound=[Sound(clicks(0.5), "pcm_s16le", start=start)])
    render_in(clip, tmp_path / name)
    (played, seen_start), (original, source_start) = audio_samples(tmp_path / name), audio_samples(clip)
    assert source_start == pytest.approx(start / 48_000, abs=0.001)
    # AAC and Opus first give a few samples that lie before the sound: count from where the clicks are.
    late = lag(played, original) / 48_000 + seen_start - source_start
    assert abs(late) <= 0.0015, late


def test_pcm_becomes_aac_in_mp4_and_is_copied_into_mov(tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mov", sound=[Sound(clicks(0.8), "pcm_s16le")])
    codecs = {}
    for name in OUTPUTS:
        render_in(clip, tmp_path / name)
        codecs[name] = ffprobe(tmp_path / name, "-select_streams", "a", "-show_streams")["streams"][0]["codec_name"]
    assert codecs == {"out.mp4": "aac", "out.mov": "pcm_s16le", "out.webm": "opus"}
    original, source_start = audio_samples(clip)
    exact, _ = audio_samples(tmp_path / "out.mov")
    np.testing.assert_array_equal(exact, original)
    for name in ("out.mp4", "out.webm"):
        played, start = audio_samples(tmp_path / name)
        assert lag(played, original) == 0
        assert abs(start - source_start) <= 0.001


@pytest.mark.parametrize("name", OUTPUTS)
def test_all_audio_tracks_come_along_in_order_and_with_their_language(name: str, tmp_path: Path) -> None:
    tones = [0.5 * np.sin(2 * np.pi * hertz * np.arange(38_400) / 48_000) for hertz in (300, 1100)]
    sound = [Sound(tone, language=language) for tone, language in zip(tones, ("deu", "jpn"), strict=True)]
    clip = plain_clip(tmp_path / "clip.mp4", sound=sound)
    render_in(clip, tmp_path / name, 7)
    streams = ffprobe(tmp_path / name, "-select_streams", "a", "-show_streams")["streams"]
    # ISO 639-2 has two codes for German; QuickTime knows the older one.
    assert [stream["tags"]["language"] for stream in streams] == ["ger" if name == "out.mov" else "deu", "jpn"]
    for track, hertz in enumerate((300, 1100)):
        played, _ = audio_samples(tmp_path / name, track)
        spectrum = np.abs(np.fft.rfft(played[4000:28000]))
        assert spectrum.argmax() * 2 == pytest.approx(hertz, abs=2)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_sound_shorter_or_longer_than_the_picture_keeps_its_length(name: str, seconds: float, tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", sound=[Sound(clicks(seconds))])
    render_in(clip, tmp_path / name, 7)
    played, _ = audio_samples(tmp_path / name)
    original, _ = audio_samples(clip)
    assert abs(len(played) - len(original)) <= (1984 if name == "out.webm" else 0)
    assert len(shown_times(tmp_path / name)) == FRAMES


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_silent_clip_stays_silent(name: str, tmp_path: Path) -> None:
    render_in(plain_clip(tmp_path / "clip.mp4"), tmp_path / name)
    assert ffprobe(tmp_path / name, "-select_streams", "a", "-show_streams")["streams"] == []


def test_sound_of_a_transport_stream_stays_beside_its_picture(tmp_path: Path) -> None:
    begun = plain_clip(tmp_path / "clip.mp4", frames=40, sound=[Sound(clicks(1.6))], options={"preset": "veryfast"})
    clip = tmp_path / "clip.ts"
    ffmpeg("-i", begun, "-c", "copy", "-output_ts_offset", "7", clip)
    original, source_start = audio_samples(clip)
    for name in OUTPUTS:
        render_in(clip, tmp_path / name)
        played, start = audio_samples(tmp_path / name)
        assert abs(lag(played, original) / 48_000 + start - source_start) <= 0.0015


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_timecode_title_and_language_are_kept(name: str, tmp_path: Path) -> None:
    def speak(stream: Any) -> None:
        stream.metadata["language"] = "fra"

    metadata = {"timecode": "10:11:12:13", "title": "Take 7", "comment": "ü"}
    clip = plain_clip(tmp_path / "clip.mov", metadata=metadata, prepare=speak)
    assert probe(clip).timecode == "10:11:12:13"
    render_in(clip, tmp_path / name, 7)
    seen = ffprobe(tmp_path / name, "-show_format", "-show_streams")
    assert seen["format"]["tags"]["title"] == "Take 7"
    assert seen["format"]["tags"]["comment"] == "ü"
    assert seen["streams"][0]["tags"]["language"] == "fra"
    timecodes = [stream["tags"]["timecode"] for stream in seen["streams"] if "timecode" in stream.get("tags", {})]
    assert "10:11:12:13" in timecodes


def test_the_title_is_kept_in_webm(tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4", metadata={"title": "Take 7"})
    render_in(clip, tmp_path / "out.webm")
    assert ffprobe(tmp_path / "out.webm", "-show_format")["format"]["tags"]["title"] == "Take 7"


def test_nothing_but_the_output_is_left_behind(tmp_path: Path) -> None:
    clip = plain_clip(tmp_path / "clip.mp4")
    run(clip, background="navy", output=tmp_path / "out.mp4", model="luma-key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4", "out.mp4.json"]


@pytest.mark.parametrize("start", [1, 2, 3])
@pytest.mark.parametrize("rate", [(25, 1), (30000, 1001)])
def test_a_picture_that_begins_late_keeps_its_times_whatever_the_b_frames(
    start: int, rate: tuple[int, int], tmp_path: Path
) -> None:
    frames_per_second = Fraction(*rate)
    clip = tmp_path / "clip.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options={"bf": "3", "b-pyramid": "normal"})
        stream.width, stream.height = 64, 48
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 12 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + start, 1 / frames_per_second
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for name in OUTPUTS:
        run(clip, background="navy", output=tmp_path / name, model="luma-key")
        wanted = shown_times(clip)
        assert wanted[0] > 0
        assert shown_times(tmp_path / name) == pytest.approx(wanted, abs=0.0005 if name == "out.webm" else 0)


@pytest.mark.parametrize("start", [0, 5, 600, 2970, 100_000])
def test_an_mp4_says_how_long_its_picture_is_whatever_the_order_of_decoding(start: int, tmp_path: Path) -> None:
    """The lengths in its `stts` box are those between the times of decoding: only together do they mean something."""
    steps = np.random.default_rng(start).integers(2000, 5000, FRAMES)
    times = (start + np.cumsum(steps) - steps[0]).tolist()
    timing = {"pts": times, "time_base": Fraction(1, 90_000), "last_duration": 3600}
    clip = plain_clip(tmp_path / "clip.mp4", options={"preset": "veryfast"}, **timing)
    render_in(clip, tmp_path / "out.mp4")
    stream = ffprobe(tmp_path / "out.mp4", "-show_entries", "stream=duration_ts,time_base,has_b_frames")["streams"][0]
    assert stream["has_b_frames"] > 0
    assert stream["duration_ts"] * Fraction(stream["time_base"]) == Fraction(times[-1] - times[0] + 3600, 90_000)


def test_frames_within_a_millisecond_have_times_of_their_own_in_webm(tmp_path: Path) -> None:
    """As a clip has them whose rate was forced: two frames, one tick of 1/90 000 s apart."""
    times = [0, 3600, 3601, 7230, 10_800, 10_801]
    clip = plain_clip(tmp_path / "clip.mp4", len(times), pts=times, time_base=Fraction(1, 90_000), last_duration=3600)
    render_in(clip, tmp_path / "out.webm")
    assert shown_times(tmp_path / "out.webm") == [Fraction(ms, 1000) for ms in (0, 40, 41, 80, 120, 121)]
