"""What a batch says that it will cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import clips
import pickled_jobs
import pytest
from av.video.format import VideoFormat
from conftest import Ended
from pickled_jobs import entry, write_jobs
from PIL import Image

from vmatte.batch.plan import JobPlan, disk_needed, plan, problems, too_full
from vmatte.batch.run import open_board
from vmatte.encodings import ENCODINGS
from vmatte.job import Runtime, make_job
from vmatte.jobfile import Entry


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames."""
    return clips.black_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 10, width=320, height=240)


def plans_of(entries: list[Entry], folder: Path) -> list[JobPlan]:
    board, prepared = open_board(entries, folder / "jobs.status.json", again=False)
    assert list(problems(prepared)) == []
    return list(plan(prepared, board))


def test_frames_and_segments_are_those_of_the_render(clip: Path, tmp_path: Path) -> None:
    found = plans_of(
        [
            entry(clip, tmp_path / "a.mp4"),
            entry(clip, tmp_path / "b.mp4", segment_frames=4),
        ],
        tmp_path,
    )
    assert [(each.frames, each.segments) for each in found] == [(10, 1), (10, 3)]


def test_costs_grow_with_frames_and_the_second_of_two_pays_for_no_network(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.batch.plan._network_seconds", lambda *_: 2.0)
    twice = clips.black_clip(tmp_path / "twice.mp4", 20, width=320, height=240)
    first, second, longer = plans_of(
        [
            entry(clip, tmp_path / "a.mp4"),
            entry(clip, tmp_path / "b.mp4", background="orange"),
            entry(twice, tmp_path / "c.mp4"),
        ],
        tmp_path,
    )
    assert first.seconds is not None
    assert second.seconds is not None
    assert first.seconds - second.seconds == pytest.approx(10 * 2.0)
    assert longer.seconds == pytest.approx(2 * first.seconds)
    # 320 × 240 pixels, 10 frames: raw 4:2:0 is 1.15 MB, and x264 takes a small part of it.
    assert longer.output_bytes == 2 * first.output_bytes
    assert 1_000 < first.output_bytes < 320 * 240 * 1.5 * 10 / 10
    assert first.disk_bytes == 2 * first.output_bytes
    assert disk_needed([first, second, longer]) == 6 * first.output_bytes


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_layer_of_every_encoding_takes_less_than_its_bare_pixels(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those too that this machine has no encoder for."""
    monkeypatch.setattr("vmatte.batch.plan.check_encoder", lambda _: None)
    row = ENCODINGS[name]
    formats = {"composite": row.pix_fmt, "cutout": row.pix_fmt_alpha, "alpha": row.pix_fmt_gray or row.pix_fmt}
    formats["foreground"] = row.pix_fmt
    for layer in ("composite", "foreground", "alpha", "cutout"):
        if row.carries(layer):
            output = tmp_path / f"out.{layer}{row.suffix}"
            job = make_job(clip, output=f"{output},{layer},{name}", background="navy", model="luma-key")
            (tmp_path / layer).mkdir()
            (found,) = plans_of([Entry(job=job, runtime=Runtime(), where="")], tmp_path / layer)
            bare = VideoFormat(formats[layer] or "yuv420p", 320, 240)
            bits = sum(part.bits * part.width * part.height for part in bare.components)
            assert 0 < found.output_bytes < 10 * bits / 8


def test_where_weights_are_missing_the_time_is_unknown(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path / "empty"))
    assert [each.seconds for each in plans_of([entry(clip, tmp_path / "a.mp4", model="modnet")], tmp_path)] == [None]


def test_a_disk_that_is_too_small_is_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = plans_of([entry(clip, tmp_path / "deep" / "a.mp4")], tmp_path)
    assert list(too_full(plans)) == []
    monkeypatch.setattr("vmatte.batch.plan.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    (line,) = too_full(plans)
    assert str(tmp_path) in line


def test_a_dry_run_prints_each_job_and_the_sum_and_renders_nothing(
    clip: Path, tmp_path: Path, vmatte_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.jobfile.read_jobs", pickled_jobs.read_jobs)
    entries = [entry(clip, tmp_path / f"{name}.mp4") for name in "ab"]
    jobs = write_jobs(tmp_path / "jobs.yaml", entries)
    ended = vmatte_command("batch", jobs, "--dry-run")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ended.code == 0
    assert [line[0] for line in lines] == ["frames", "10", "10", "20"]
    assert lines[3][1] == "2"
    ended = vmatte_command("batch", jobs, "--dry-run", "--json")
    shown = json.loads(ended.out)
    assert [each["frames"] for each in shown["plans"]] == [10, 10]
    assert shown["seconds"] == pytest.approx(sum(each["seconds"] for each in shown["plans"]))
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.yaml"]


def test_a_check_finds_masks_and_clean_plates_that_do_not_fit(
    clip: Path, tmp_path: Path, vmatte_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.jobfile.read_jobs", pickled_jobs.read_jobs)
    tall, gray, green = (tmp_path / f"{name}.png" for name in ("tall", "gray", "green"))
    Image.new("RGB", (240, 320), (0, 177, 64)).save(tall)
    Image.new("L", (320, 240), 128).save(gray)
    Image.new("RGB", (320, 240), (0, 177, 64)).save(green)
    keyed = {"model": "chroma-key"}
    entries = [
        entry(clip, tmp_path / "a.mp4", where="good", clean_plate=green, garbage=gray, **keyed),
        entry(clip, tmp_path / "b.mp4", where="tall", clean_plate=tall, **keyed),
        entry(clip, tmp_path / "c.mp4", where="gray", clean_plate=gray, **keyed),
        entry(clip, tmp_path / "d.mp4", where="two", garbage=tmp_path / "none.png", hold_out=tall),
    ]
    ended = vmatte_command("batch", write_jobs(tmp_path / "jobs.yaml", entries), "--check")
    assert ended.code == 2
    said = ended.out + ended.err
    assert "tall.png has another shape than the clip (240×320, clip.mp4 320×240)" in said
    assert "gray.png shows no green or blue screen" in said
    assert "garbage matte" in said
    assert "none.png" in said
    assert "hold-out matte" in said
    assert "3 of 4 jobs cannot be rendered as they are" in said
    assert "good: " not in said
