"""Outputs of another size and another rate than the clip's. ffmpeg is the judge of pictures, ffprobe of times."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from conftest import Ended, Seen
from numpy.typing import NDArray
from PIL import Image
from small_onnx import write_mean_of_channels

import vmatte
from vmatte.canvas import Canvas, PlateShape, plan_canvas
from vmatte.errors import JobError
from vmatte.job import RenderJob, make_job
from vmatte.jobfile import read_jobs
from vmatte.options import FilePlate
from vmatte.video.probe import probe

Tool = Callable[..., bytes]
Look = Callable[[Path], Seen]
Codes = NDArray[np.uint8]


def squares(path: Path, frames: int = 6, *, width: int = 36, height: int = 64, **how: object) -> Path:
    """White squares on black, hard-edged: luma-key's matte is the picture itself, and the subject all white.

    In frame k one more stands in the upper row, at column 8 k.
    """
    drawn = []
    for k in range(frames):
        luma = np.full((height, width), 16, np.uint8)
        luma[height // 2 :, 8:-8] = 235
        luma[4:8, 8 * k % width : 8 * k % width + 4] = 235
        drawn.append(clips.gray(luma))
    return clips.write_clip(path, drawn, codec="ffv1", **how)  # type: ignore[arg-type]


def gray_frames(path: Path | str, size: tuple[int, int], run_ffmpeg: Tool, *filters: object) -> Codes:
    """Frames (T, H, W) as ffmpeg decodes them, full range."""
    # -vsync: by default ffmpeg repeats frames of uneven times.
    raw = run_ffmpeg("-i", path, *filters, "-vsync", 0, "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(raw, "u1").reshape(-1, *size)


# Size


@pytest.mark.parametrize(
    ("clip_size", "canvas", "words", "scaled", "at"),
    [
        # An upright avatar on a wide studio, as high as it: 2.25 canvas pixels for one.
        ((36, 64), (256, 144), {}, (81, 144), (87.5, 0)),
        ((36, 64), (256, 144), {"subject_scale": 0.5, "subject_x": "25%"}, (40.5, 72), (43.75, 72)),
        ((36, 64), (256, 144), {"subject_x": "right"}, (81, 144), (175, 0)),
        # A wide clip on an upright canvas: what stands over is cut off.
        ((64, 36), (90, 160), {}, (284.4444, 160), (-97.2222, 0)),
        ((64, 36), (90, 160), {"subject_scale": 0.3, "subject_y": "center"}, (85.3333, 48), (2.3333, 56)),
    ],
)
def test_a_clip_lies_on_another_canvas_where_ffmpeg_would_lay_it(
    clip_size: tuple[int, int],
    canvas: tuple[int, int],
    words: dict[str, object],
    scaled: tuple[float, float],
    at: tuple[float, float],
    tmp_path: Path,
    run_ffmpeg: Tool,
) -> None:
    clip = squares(tmp_path / "clip.mkv", 2, width=clip_size[0], height=clip_size[1])
    report = vmatte.run(
        clip,
        background="#404040",
        output=tmp_path / "out",
        encoding="png",
        size=f"{canvas[0]}x{canvas[1]}",
        model="luma-key",
        blend="display",
        **words,  # type: ignore[arg-type]
    )
    found = gray_frames(report.output / "%06d.png", (canvas[1], canvas[0]), run_ffmpeg).astype(float)
    # Eight times as fine ffmpeg can lay it down on whole pixels; averaged, that is where the parts of pixels are.
    width, height = (round(8 * side) for side in scaled)
    x, y = (round(8 * place) for place in at)
    fine = f"scale={width}:{height}:flags=neighbor,format=gray"
    wanted = gray_frames(clip, (height, width), run_ffmpeg, "-vf", fine).astype(float) / 255
    laid = np.zeros((2, 8 * canvas[1], 8 * canvas[0]))
    rows, columns = (
        slice(max(start, 0), min(start + side, 8 * whole))
        for start, side, whole in ((y, height, canvas[1]), (x, width, canvas[0]))
    )
    laid[:, rows, columns] = wanted[:, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    alpha = laid.reshape(2, canvas[1], 8, canvas[0], 8).mean(axis=(2, 4))
    error = np.abs(found - (64 + alpha * (255 - 64)))
    # Kernels differ along edges, to both sides alike; anything out of place would not be.
    assert error.mean() < 3.5
    assert abs((found - 64).sum() / (alpha * 191).sum() - 1) < 0.01
    for frame, shown in zip(found - 64, alpha, strict=True):
        for axis in (0, 1):
            middle, due = (
                (each.sum(axis=axis) * np.arange(each.shape[1 - axis])).sum() / each.sum() for each in (frame, shown)
            )
            assert middle == pytest.approx(due, abs=0.1)


def test_an_upright_clip_stands_on_a_wide_video_as_ffmpegs_overlay_has_it(tmp_path: Path, run_ffmpeg: Tool) -> None:
    """Heights agree, so nothing is scaled: every pixel is the one that ffmpeg makes of plate and subject."""
    clip = squares(tmp_path / "clip.mkv", 6)
    level = np.random.default_rng(1).integers(40, 200, (64, 114)).astype(np.uint8)
    plates = [clips.gray(np.roll(level, 3 * k, axis=1)) for k in range(6)]
    plate = clips.write_clip(tmp_path / "plate.mkv", plates, codec="ffv1")
    report = vmatte.run(
        clip, background=plate, output=tmp_path / "out", encoding="png", size="plate", model="luma-key", subject_x="50%"
    )
    merged = (
        "[1]split[a][b];[a]format=gray[m];[b]format=yuva444p[c];[c][m]alphamerge[s];[0][s]overlay=39:0:format=yuv444"
    )
    raw = run_ffmpeg("-i", plate, "-i", clip, "-filter_complex", merged, "-f", "rawvideo", "-pix_fmt", "gray", "-")
    wanted = np.frombuffer(raw, "u1").reshape(6, 64, 114)
    found = gray_frames(report.output / "%06d.png", (64, 114), run_ffmpeg)
    assert np.abs(found.astype(int) - wanted).max() <= 2


@pytest.mark.parametrize(("name", "size"), [("out.mov", (101, 57)), ("out.webm", (101, 57)), ("out.mp4", (102, 58))])
def test_an_output_has_the_size_that_it_was_asked_for(
    name: str, size: tuple[int, int], tmp_path: Path, look: Look
) -> None:
    """H.264 shows the last row and column of an odd picture twice."""
    background = "navy" if name == "out.mp4" else None
    report = vmatte.run(
        squares(tmp_path / "clip.mkv"),
        background=background,
        output=tmp_path / name,
        size="101x57",
        model="luma-key",
        subject_scale=0.7,
    )
    video = look(report.output).video
    assert (video["width"], video["height"]) == size


def test_a_plate_in_the_clips_own_size_changes_nothing(tmp_path: Path) -> None:
    clip = squares(tmp_path / "clip.mkv")
    outputs = [
        vmatte.run(
            clip,
            background="navy",
            output=tmp_path / f"{number}.mp4",
            model="luma-key",
            **words,  # type: ignore[arg-type]
        )
        for number, words in enumerate([{}, {"size": "36x64", "subject_x": "center", "subject_y": "top"}])
    ]
    assert outputs[0].sha256 == outputs[1].sha256


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"size": "plate"}, "size is that of the plate, and there is none"),
        ({"rate": "plate"}, "rate is that of the plate, and that does not move"),
        ({"size": "64x48", "subject_x": "200%"}, "lies outside the picture of 64×48"),
        ({"size": "8x48"}, "size cannot be '8x48'; a side has 16 to 16384 pixels"),
        ({"size": "64*48"}, "size cannot be '64\\*48'; give clip, plate, or WIDTHxHEIGHT"),
        ({"rate": "0"}, "rate cannot be '0'; give clip, plate, or up to 1000 frames a second: 25, 30000/1001"),
        ({"rate": "25fps"}, "rate cannot be '25fps'"),
        ({"subject_x": "top"}, "subject x cannot be 'top'"),
        ({"subject_x": "abc%"}, "subject x cannot be 'abc%'; give 70%, left, center or right"),
        ({"subject_y": "xbottom"}, "subject y cannot be 'xbottom'"),
        ({"despill": 0.5}, "despill belongs to a screen"),
    ],
)
def test_a_canvas_that_cannot_be_is_a_job_error(words: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=says):
        vmatte.run(
            squares(tmp_path / "clip.mkv"),
            background="navy",
            output=tmp_path / "out.mp4",
            model="luma-key",
            **words,  # type: ignore[arg-type]
        )
    assert not (tmp_path / "out.mp4").exists()


# Rate


def canvas_of(clip: Path, plate: PlateShape | None = None, **words: object) -> Canvas:
    return plan_canvas(make_job(clip, background="navy", **words), probe(clip), plate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "shows"),
    [
        ("25", [0, 1, 2, 3, 4, 5]),
        ("50", [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        ("12.5", [0, 2, 4]),
        # At 0, 33.3, 66.7, 100, 133.3, 166.7, 200, 233.3 ms of frames of 40 ms.
        ("30", [0, 0, 1, 2, 3, 4, 5, 5]),
        ("30000/1001", [0, 0, 1, 2, 3, 4, 5, 5]),
        ("10", [0, 2, 5]),
        ("4", [0]),
    ],
)
def test_each_frame_of_the_output_shows_what_is_on_screen_then(rate: str, shows: list[int], tmp_path: Path) -> None:
    canvas = canvas_of(clips.black_clip(tmp_path / "clip.mp4", 6), rate=rate)
    output = canvas.output
    assert canvas.shows.tolist() == shows
    assert [time * output.time_base for time in output.pts.tolist()] == [k / Fraction(rate) for k in range(len(shows))]
    assert output.last_duration * output.time_base == 1 / Fraction(rate)


def test_a_rate_with_more_places_than_a_file_can_count_is_the_one_that_was_meant(tmp_path: Path) -> None:
    clip = probe(clips.black_clip(tmp_path / "black.mp4", frames=48, rate=24))
    canvas = plan_canvas(make_job(clip.path, rate="23.976023976023976"), clip, None)
    assert canvas.output.rate == Fraction(24000, 1001)


def test_a_clip_of_uneven_times_and_a_late_start_is_shown_by_its_times(tmp_path: Path) -> None:
    ticks = [1000, 1030, 1090, 1100, 1350]  # thousandths of a second
    clip = clips.black_clip(tmp_path / "clip.mkv", 5, pts=ticks, time_base=Fraction(1, 1000))
    canvas = canvas_of(clip, rate="20")
    # At 0, 50, 100, 150, …; the last one from 350 ms on.
    assert canvas.shows.tolist() == [0, 1, 3, 3, 3, 3, 3, 4]
    assert canvas.output.pts[0] * canvas.output.time_base - canvas.output.clock_start == 1


def test_the_plates_size_and_rate_are_the_plates(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 6)
    canvas = canvas_of(clip, PlateShape(320, 180, Fraction(24000, 1001)), size="plate", rate="plate")
    assert (canvas.output.width, canvas.output.height, canvas.output.rate) == (320, 180, Fraction(24000, 1001))
    with pytest.raises(JobError, match="the plate is 20000×180"):
        canvas_of(clip, PlateShape(20000, 180, None), size="plate")


@pytest.mark.parametrize(
    ("timecode", "clip_rate", "rate", "due"),
    [
        ("01:02:03:20", 25, "50", "01:02:03:40"),
        ("01:02:03:49", 50, "25", "01:02:03:24"),
        ("01:02:03;15", Fraction(30000, 1001), "25", "01:02:03:12"),
        ("01:02:03;15", Fraction(30000, 1001), "30", "01:02:03;15"),
    ],
)
def test_a_timecode_tells_the_same_second_and_the_frame_of_the_new_rate(
    timecode: str, clip_rate: Fraction | int, rate: str, due: str, tmp_path: Path, run_ffmpeg: Tool
) -> None:
    clips.black_clip(tmp_path / "plain.mp4", 3, rate=clip_rate)
    run_ffmpeg("-i", tmp_path / "plain.mp4", "-c", "copy", "-timecode", timecode, tmp_path / "clip.mov")
    canvas = canvas_of(tmp_path / "clip.mov", rate=rate)
    assert (canvas.clip.timecode, canvas.output.timecode) == (timecode, due)


@pytest.mark.parametrize(("name", "tick"), [("out.mp4", 0), ("out.mov", 0), ("out.webm", Fraction(1, 1000))])
@pytest.mark.parametrize("rate", ["30", "30000/1001", "10"])
def test_an_output_of_another_rate_has_exact_times_and_the_clips_sound(
    rate: str, name: str, tick: Fraction, tmp_path: Path, run_ffmpeg: Tool, look: Look
) -> None:
    pictures = squares(tmp_path / "pictures.mkv", 12, width=96, height=48)
    clip = tmp_path / "clip.mov"
    sound = ("-f", "lavfi", "-i", "sine=440:d=0.48:r=48000")
    run_ffmpeg("-i", pictures, *sound, "-c:v", "libx264", "-qp", 0, "-c:a", "aac", clip)
    plain, retimed = tmp_path / f"plain{Path(name).suffix}", tmp_path / name
    words = {"background": "#202020", "model": "luma-key", "segment_frames": 5}
    vmatte.run(clip, output=plain, **words)  # type: ignore[arg-type]
    report = vmatte.run(clip, output=retimed, rate=rate, **words)  # type: ignore[arg-type]
    due = [k / Fraction(rate) for k in range(-int(-Fraction(12, 25) * Fraction(rate) // 1))]
    seen = look(retimed)
    assert len(seen.times) == len(due) == report.frames
    assert max(abs(time - wanted) for time, wanted in zip(seen.times, due, strict=True)) <= tick
    assert (report.lost, seen.audio_times) == (0, look(plain).audio_times)
    # Frame k has a square at column 8 k.
    columns = gray_frames(retimed, (48, 96), run_ffmpeg)[:, 6, 2::8].argmax(axis=1)
    assert columns.tolist() == [int(time * 25) for time in due]


def test_a_plate_keeps_its_own_time_at_any_rate(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 5)
    frames = [clips.flat((24 + 8 * k, 128, 128), 64, 48) for k in range(20)]
    plate = clips.write_clip(tmp_path / "plate.mp4", frames, rate=50)
    report = vmatte.run(
        clip,
        background=plate,
        output=tmp_path / "out",
        encoding="png",
        rate="plate",
        model="luma-key",
        segment_frames=2,
    )
    lumas = [16 + np.asarray(Image.open(path)).mean() * 219 / 255 for path in sorted(report.output.iterdir())]
    assert [round((luma - 24) / 8) for luma in lumas] == list(range(10))


def test_segments_do_not_show_at_another_rate_and_size(tmp_path: Path) -> None:
    clip = squares(tmp_path / "clip.mkv", 11)
    plate = clips.write_clip(
        tmp_path / "plate.mkv", [clips.flat((30 + 9 * k, 120, 140), 90, 50) for k in range(7)], codec="ffv1", rate=24
    )
    for rate in ("clip", "60", "7"):
        outputs = [
            vmatte.run(
                clip,
                background=FilePlate(path=plate, play="ping-pong", fit="contain"),
                output=tmp_path / f"{rate}-{length}",
                encoding="png",
                model="luma-key",
                rate=rate,
                size="77x44",
                subject_scale=0.77,
                segment_frames=length,
            )
            for length in (240, 3, 1)
        ]
        assert len({report.sha256 for report in outputs}) == 1


def test_frames_that_are_lost_are_missing_and_told_at_another_rate_too(tmp_path: Path) -> None:
    clip = clips.write_clip(
        tmp_path / "clip.mp4",
        [clips.gray(np.random.default_rng(k).integers(16, 200, (48, 64))) for k in range(8)],
        options={"qp": "0", "preset": "ultrafast", "bf": "0", "g": "1"},
    )
    packets = [(packet.pos, packet.size) for packet in av_packets(clip)]
    content = bytearray(clip.read_bytes())
    at, size = packets[3]
    content[at : at + size] = bytes(size)
    clip.write_bytes(content)
    reports = {
        rate: vmatte.run(clip, background="navy", output=tmp_path / f"at-{rate}.mp4", rate=rate, model="luma-key")
        for rate in ("clip", "50", "12.5")
    }
    assert {rate: (report.frames, report.lost) for rate, report in reports.items()} == {
        "clip": (7, 1),
        "50": (14, 1),
        "12.5": (4, 0),  # it shows frames 0, 2, 4 and 6
    }


def av_packets(path: Path) -> list[av.Packet[av.VideoStream]]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


# Mattes


def test_mattes_keep_the_clips_size_and_are_read_at_any_rate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip, own = squares(tmp_path / "clip.mkv"), write_mean_of_channels(tmp_path / "own.onnx")

    def go(name: str, **words: object) -> vmatte.RenderReport:
        chosen = {"model": "onnx:isnet", "weights": own, "smooth": "off", "device": "cpu", "segment_frames": 4}
        return vmatte.run(clip, output=tmp_path / name, background="navy", **chosen, **words)  # type: ignore[arg-type]

    assert go("retimed.mp4", rate="50").matte is None
    first = go("first.mp4", size="128x72")
    assert first.matte is not None
    for number, words in enumerate([{"rate": "50"}, {"size": "90x60", "subject_scale": 0.5}]):
        report = go(f"read-{number}.mp4", **words)
        assert report.sha256 == go(f"made-{number}.mp4", cache=False, **words).sha256
    assert "damaged" not in caplog.text


# Words


WORDS = {
    "fit": "contain",
    "play": "ping-pong",
    "size": "1080x1920",
    "rate": "30000/1001",
    "subject-scale": "0.8",
    "subject-x": "30%",
    "subject-y": "center",
}


def test_the_command_line_and_a_job_file_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vmatte_command: Callable[..., Ended]
) -> None:
    clip, plate = squares(tmp_path / "clip.mkv"), tmp_path / "plate.png"
    Image.new("RGB", (64, 48)).save(plate)
    jobs: list[RenderJob] = []

    def noted(job: RenderJob, *_: object, **__: object) -> None:
        jobs.append(job)
        raise JobError("enough")

    monkeypatch.setattr("vmatte.render.render_job", noted)
    options = [part for word, value in WORDS.items() for part in (f"--{word}", value)]
    vmatte_command("run", clip, "--bg", plate, "-o", tmp_path / "out.mp4", *options)
    lines = "".join(f"  {word}: {value}\n" for word, value in WORDS.items())
    (tmp_path / "words.yaml").write_text(f"defaults:\n  bg: plate.png\n  output: out.mp4\n{lines}clips: clip.mkv\n")
    (tmp_path / "mappings.yaml").write_text(
        "defaults:\n"
        "  bg: {method: file, path: plate.png, fit: contain, play: ping-pong}\n"
        "  subject: {scale: 0.8, x: 30%, y: center}\n"
        "  output: out.mp4\n  size: 1080x1920\n  rate: 30000/1001\n"
        "clips: clip.mkv\n"
    )
    for name in ("words.yaml", "mappings.yaml"):
        (entry,) = read_jobs(tmp_path / name, ())
        assert entry.job == jobs[0]
    assert (jobs[0].size, jobs[0].rate, jobs[0].subject.x) == ((1080, 1920), "30000/1001", "30%")


@pytest.mark.parametrize(("written", "rate"), [("25", "25"), ("29.97", "29.97"), ("'24'", "24"), ("clip", "clip")])
def test_a_job_file_may_write_a_rate_as_a_number(written: str, rate: str, tmp_path: Path) -> None:
    squares(tmp_path / "clip.mkv")
    (tmp_path / "jobs.yaml").write_text(f"defaults: {{bg: navy, rate: {written}}}\nclips: clip.mkv\n")
    (entry,) = read_jobs(tmp_path / "jobs.yaml", ())
    assert entry.job.rate == rate
