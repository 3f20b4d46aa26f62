"""`vmatte batch`: what comes of the jobs, with real renders in real worker processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clips
import pickled_jobs
import pytest
from conftest import Ended
from pickled_jobs import entry, write_jobs
from PIL import Image

import vmatte
from vmatte.batch.run import only_run

Command = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _jobs_from_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmatte.jobfile.read_jobs", pickled_jobs.read_jobs)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames."""
    frames = [clips.flat((40 + 20 * k, 128, 128), 64, 48) for k in range(6)]
    return clips.write_clip(tmp_path / "clip.mp4", frames)


@pytest.fixture(scope="session")
def endless_clip(tmp_path_factory: pytest.TempPathFactory, run_ffmpeg: Callable[..., bytes]) -> Path:
    """Longer than any test waits."""
    folder = tmp_path_factory.mktemp("endless")
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=4", "-pix_fmt", "yuv420p", folder / "short.mp4")
    run_ffmpeg("-stream_loop", 299, "-i", folder / "short.mp4", "-c", "copy", folder / "long.mp4")
    return folder / "long.mp4"


def status_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "jobs.status.json").read_text())
    return found


def states(folder: Path) -> list[str]:
    return [job["state"] for job in status_of(folder)["jobs"]]


def test_each_job_is_what_run_makes_and_a_second_time_only_what_changed_is_rendered(
    clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    plate = tmp_path / "plate.png"
    Image.new("RGB", (64, 48), "navy").save(plate)
    outputs = [tmp_path / "made" / "here" / "plain.mp4", tmp_path / "cutout.mov", tmp_path / "pictures"]
    jobs = write_jobs(
        tmp_path / "jobs.yaml",
        [
            entry(clip, outputs[0], background=str(plate)),
            entry(clip, outputs[1], background=None),
            entry(clip, outputs[2], background=None, encoding="png"),
        ],
    )
    ended = vmatte_command("batch", jobs, "--workers", 2)
    assert (ended.code, ended.out) == (0, "3 jobs: 3 done\n")
    assert "plain.mp4: 6 frames in" in ended.err
    alone = vmatte.run(clip, background=plate, output=tmp_path / "alone.mp4", model="luma-key")
    assert outputs[0].read_bytes() == alone.output.read_bytes()
    job = status_of(tmp_path)["jobs"][0]
    assert job["sha256"] == hashlib.sha256(outputs[0].read_bytes()).hexdigest()
    assert (job["frames_done"], job["frames_total"], job["lost"], job["error"]) == (6, 6, 0, None)
    assert (job["model"], job["licence"], job["where"]) == ("luma-key", "none needed", "jobs.yaml: plain.mp4")
    assert len(list(outputs[2].iterdir())) == 6

    before = [output.stat().st_mtime_ns for output in outputs]
    Image.new("RGB", (64, 48), "orange").save(plate)
    next(outputs[2].iterdir()).unlink()  # a folder that was meddled with is not what the batch made
    ended = vmatte_command("batch", jobs, "--json")
    assert ended.code == 5
    assert states(tmp_path) == ["done", "skipped", "failed"]
    assert "pictures is not empty; give -y" in status_of(tmp_path)["jobs"][2]["error"]
    assert [output.stat().st_mtime_ns != stamp for output, stamp in zip(outputs, before, strict=True)][:2] == [1, 0]
    assert json.loads(ended.out)["jobs"] == status_of(tmp_path)["jobs"]
    orange = vmatte.run(clip, background="orange", output=tmp_path / "orange.mp4", model="luma-key")
    assert outputs[0].read_bytes() == orange.output.read_bytes()


def test_a_job_that_fails_is_told_at_the_end_and_the_others_go_on(
    clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    stranger = tmp_path / "precious.mp4"
    stranger.write_text("precious")
    odd = tmp_path / "<b>&amp.mp4"
    odd.write_bytes(clip.read_bytes())
    jobs = write_jobs(
        tmp_path / "jobs.yaml",
        [
            entry(tmp_path / "missing.mp4", tmp_path / "a.mp4", where="jobs.yaml: <i>first</i>"),
            entry(clip, stranger),
            entry(odd, tmp_path / "c.mov", background=None),
        ],
    )
    report = tmp_path / "report.html"
    ended = vmatte_command("batch", jobs, "--report", report)
    assert (ended.code, ended.out) == (5, "3 jobs: 1 done, 2 failed\n")
    told = ended.err.splitlines()[-2:]
    assert re.fullmatch(r"vmatte: jobs.yaml: <i>first</i>: .*a\.mp4: .*missing\.mp4 does not exist", told[0])
    assert re.fullmatch(r"vmatte: jobs.yaml: .*precious\.mp4 exists; give -y to overwrite it, or another name", told[1])
    assert stranger.read_text() == "precious"
    assert states(tmp_path) == ["failed", "failed", "done"]

    page = report.read_text()
    assert "<b>&amp" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;&amp;amp.mp4" in page
    assert "&lt;i&gt;first&lt;/i&gt;" in page
    assert "missing.mp4 does not exist" in page
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|url\(|@import""", page)
    rows = re.findall(r"<tr class=\"(\w+)\">", page)
    assert rows == ["failed", "failed", "done"]

    ended = vmatte_command("batch", jobs, "-y", "--fail-fast", "--quiet")
    assert ended.code == 6
    assert states(tmp_path) == ["failed", "waiting", "waiting"]
    assert status_of(tmp_path)["state"] == "interrupted"
    assert stranger.read_text() == "precious"
    # What waits still knows its output: the next run may replace it without being told to.
    ended = vmatte_command("batch", write_jobs(jobs, pickled_jobs.read_jobs(jobs)[2:]), "--quiet")
    assert (ended.code, ended.out, ended.err, states(tmp_path)) == (0, "", "", ["done"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_log_that_cannot_be_written_does_not_end_a_batch(clip: Path, tmp_path: Path) -> None:
    jobs = write_jobs(tmp_path / "jobs.yaml", [entry(clip, tmp_path / name) for name in ("a.mp4", "b.mp4")])
    command = [sys.executable, pickled_jobs.__file__, "batch", str(jobs)]
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, stdout=full, stderr=full, check=False).returncode == 0
    assert states(tmp_path) == ["done", "done"]


def test_a_batch_of_which_nothing_is_done_has_a_code_of_its_own(tmp_path: Path, vmatte_command: Command) -> None:
    jobs = write_jobs(tmp_path / "jobs.yaml", [entry(tmp_path / "missing.mp4", tmp_path / "a.mp4")])
    ended = vmatte_command("batch", jobs)
    assert (ended.code, ended.out) == (6, "1 job: 1 failed\n")


def test_a_damaged_clip_counts_as_done_with_a_warning(
    tmp_path: Path, vmatte_command: Command, run_ffmpeg: Callable[..., bytes]
) -> None:
    whole = tmp_path / "whole.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4", "-c:v", "libx264", "-g", 5, whole)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    jobs = write_jobs(tmp_path / "jobs.yaml", [entry(cut, tmp_path / "a.mp4")])
    ended = vmatte_command("batch", jobs)
    job = status_of(tmp_path)["jobs"][0]
    assert ended.code == 0
    assert job["frames_done"] + job["lost"] == 100
    assert job["lost"] > 0
    assert any(f"{job['lost']} of 100 frames could not be decoded" in warning for warning in job["warnings"])


def test_mistakes_end_in_one_line_before_anything_is_rendered(
    clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    jobs = write_jobs(tmp_path / "jobs.yaml", [entry(clip, tmp_path / "a.mp4")])
    foreign = tmp_path / "foreign.json"
    foreign.write_text('{"precious": 1}')
    for arguments, says in (
        ((jobs, "--workers", "0"), "workers cannot be '0'; give auto, or how many"),
        ((jobs, "--status", foreign), "foreign.json is not the status of a batch"),
        ((jobs, "--report", tmp_path / "report.mp4"), "extension .html"),
    ):
        ended = vmatte_command("batch", *arguments)
        assert ended.code == 2
        assert re.fullmatch(rf"vmatte: .*{says}.*\n", ended.err)
    assert foreign.read_text() == '{"precious": 1}'
    assert not (tmp_path / "a.mp4").exists()


def test_check_names_all_problems_at_once_and_renders_nothing(
    clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "there.mp4").touch()
    good = entry(clip, tmp_path / "new" / "deep" / "a.mp4", where="one")
    bad = [
        entry(tmp_path / "missing.mp4", tmp_path / "there.mp4", where="two", model="modnt"),
        entry(clip, tmp_path / "c.mp4", where="three", background=str(tmp_path / "notes.txt")),
        entry(clip, tmp_path / "notes.txt" / "d.mp4", where="four"),
    ]
    ended = vmatte_command("batch", write_jobs(tmp_path / "jobs.yaml", [good, *bad]), "--check")
    assert ended.code == 2
    said = ended.err.splitlines()
    for line, words in zip(
        said,
        (
            r"two: .*missing\.mp4 does not exist",
            r"two: there is no model called 'modnt'; did you mean modnet\?.*",
            r"two: .*there\.mp4 exists; give -y.*",
            r"three: background .*notes\.txt is neither a picture nor a video.*",
            r"four: .*notes\.txt.* is a file, not a folder.*",
            "3 of 4 jobs cannot be rendered as they are",
        ),
        strict=True,
    ):
        assert re.fullmatch(f"vmatte: {words}", line)
    ended = vmatte_command("batch", write_jobs(tmp_path / "jobs.yaml", [good]), "--check")
    assert (ended.code, ended.out) == (0, "1 job, nothing wrong\n")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "jobs.status.json").exists()


# Ends


def children_of(pid: int) -> list[int]:
    """Its living child processes."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if int(fields["PPid"]) == pid and not fields["State"].startswith("Z"):
                found.append(int(status.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.05)):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("waited in vain")


@pytest.fixture
def running(clip: Path, endless_clip: Path, tmp_path: Path) -> Iterator[tuple[Any, list[int]]]:
    """A batch of an endless job and a short one, two workers at work; and the workers' process ids."""
    if not Path("/proc/self/status").exists():
        pytest.skip("/proc tells which processes there are")
    entries = [entry(endless_clip, tmp_path / "endless.mp4"), entry(clip, tmp_path / "short.mp4")]
    process = pickled_jobs.start(write_jobs(tmp_path / "jobs.yaml", entries), "--workers", 2)
    try:
        # Whenever it is read, the file is whole.
        until(
            lambda: (
                (tmp_path / "jobs.status.json").exists()
                and states(tmp_path) == ["running", "done"]
                and status_of(tmp_path)["jobs"][0]["frames_done"] > 0
            )
        )
        workers = children_of(process.pid)
        assert workers
        yield process, workers
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_worker_that_is_killed_fails_its_job_alone(running: Any, tmp_path: Path) -> None:
    process, workers = running
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "2 jobs: 1 done, 1 failed\n")
    assert re.search(r"vmatte: jobs.yaml: endless.mp4: .*its worker was killed \(SIGKILL\): most likely memory", err)
    assert status_of(tmp_path)["state"] == "finished"
    assert not (tmp_path / "endless.mp4").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_batch_leaves_no_worker_and_can_go_on(number: int, running: Any, tmp_path: Path) -> None:
    process, workers = running
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "vmatte: interrupted; 2 jobs: 1 done, 1 waiting; the same command goes on from here"
    assert not any(map(alive, workers))
    assert (status_of(tmp_path)["state"], states(tmp_path)) == ("interrupted", ["waiting", "done"])


def test_the_workers_of_a_driver_that_is_killed_end_by_themselves(running: Any, tmp_path: Path) -> None:
    process, workers = running
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, workers)), seconds=20)
    assert (status_of(tmp_path)["state"], states(tmp_path)) == ("running", ["running", "done"])


def test_two_batches_of_one_file_do_not_run_at_the_same_time(
    clip: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    jobs = write_jobs(tmp_path / "jobs.yaml", [entry(clip, tmp_path / "a.mp4")])
    with only_run(jobs):
        ended = vmatte_command("batch", jobs)
    assert ended.code == 2
    assert re.fullmatch(
        r"vmatte: .*jobs.yaml is being rendered by another vmatte; wait for it, or stop it\n", ended.err
    )
