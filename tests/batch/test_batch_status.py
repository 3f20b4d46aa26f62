"""What a batch remembers of an earlier run, and what it may do with an output that is there."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pickled_jobs import entry

from vmatte.batch.run import groups, open_board
from vmatte.batch.status import Board, EarlierRun, JobStatus, fingerprint, first_status, read_earlier_run
from vmatte.errors import JobError
from vmatte.job import Runtime
from vmatte.jobfile import Entry

NOTHING = EarlierRun({}, cut_short=False, started=0, updated=0)


@pytest.fixture
def job(tmp_path: Path) -> Entry:
    for name in ("clip.mp4", "plate.png"):
        (tmp_path / name).write_text(name)
    return entry(tmp_path / "clip.mp4", tmp_path / "a.mp4", background=str(tmp_path / "plate.png"))


def after(job: Entry, state: str, *, cut_short: bool = False) -> EarlierRun:
    """What the run that has just written the job's output has left behind."""
    job.job.output.write_text("made")
    found = job.job.output.stat()
    status, _ = first_status(job, NOTHING, again=True)
    if state == "done":
        status = replace(status, output_bytes=found.st_size, output_mtime_ns=found.st_mtime_ns)
    status = replace(status, state=state)  # type: ignore[arg-type]
    now = found.st_mtime
    return EarlierRun({status.output: status}, cut_short=cut_short, started=now - 5, updated=now - 1)


def test_a_finished_job_is_skipped_until_something_it_reads_changes(job: Entry, tmp_path: Path) -> None:
    earlier = after(job, "done")
    assert first_status(job, earlier, again=False)[0].state == "skipped"
    assert first_status(job, earlier, again=True)[0].state == "waiting"
    for name in ("clip.mp4", "plate.png"):
        before = (tmp_path / name).stat()
        os.utime(tmp_path / name, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        status, replaceable = first_status(job, earlier, again=False)
        assert (status.state, replaceable) == ("waiting", True)
        os.utime(tmp_path / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert first_status(job, earlier, again=False)[0].state == "skipped"
    other = job.job.model_copy(update={"model": "modnet"})
    assert fingerprint(other) != fingerprint(job.job)


def test_a_run_of_other_jobs_forgets_none_whose_output_is_still_there(job: Entry, tmp_path: Path) -> None:
    status = tmp_path / "jobs.status.json"
    done = after(job, "done").jobs[str(job.job.output)]
    Board(status, [done]).write()
    another = entry(tmp_path / "clip.mp4", tmp_path / "b.mp4")
    for _ in range(2):
        board, _ = open_board([another], status, again=False)
        board.write()
    assert [each.output for each in board.jobs] == [str(another.job.output)]
    assert open_board([job], status, again=False)[0].jobs[0].state == "skipped"
    job.job.output.write_text("by somebody else")
    open_board([another], status, again=False)[0].write()
    assert json.loads(status.read_text())["others"] == []


def test_a_name_that_is_no_utf_8_is_written_as_json_writes_it(tmp_path: Path) -> None:
    status = tmp_path / "jobs.status.json"
    name = os.fsdecode(b"/raw/\xff.mp4")
    Board(status, [JobStatus("jobs.yaml:1:1", name, "/made/ü.mp4", "")]).write()
    assert json.loads(status.read_bytes().decode("utf-8"))["jobs"][0]["clip"] == name
    assert "ü" in status.read_text(encoding="utf-8")


def test_an_output_that_the_batch_did_not_write_may_not_be_replaced(job: Entry) -> None:
    earlier = after(job, "done")
    job.job.output.write_text("another one")
    status, replaceable = first_status(job, earlier, again=False)
    assert (status.state, replaceable) == ("waiting", False)
    assert first_status(job, earlier, again=True) == (status, True)
    willing = replace(job, runtime=Runtime(overwrite=True))
    assert first_status(willing, earlier, again=False) == (status, True)


@pytest.mark.parametrize(
    ("state", "cut_short", "seconds", "replaceable"),
    [
        ("running", True, 0, True),
        ("waiting", True, 0, True),
        ("running", True, -60, False),
        ("running", True, +120, False),
        ("running", False, 0, False),
        ("failed", True, 0, False),
    ],
)
def test_what_a_killed_run_published_unrecorded_is_known_by_its_time(
    state: str, cut_short: bool, seconds: int, replaceable: bool, job: Entry
) -> None:
    earlier = after(job, state, cut_short=cut_short)
    moved = time.time() + seconds
    os.utime(job.job.output, (moved, moved))
    assert first_status(job, earlier, again=False)[1] is replaceable


def test_the_file_says_what_the_board_knows_and_is_read_again(job: Entry, tmp_path: Path) -> None:
    path = tmp_path / "jobs.status.json"
    board = Board(path, [first_status(job, NOTHING, again=False)[0]])
    board.update(0, state="done", frames_done=7, warnings=("odd",), output_bytes=1, output_mtime_ns=2)
    board.state = "finished"
    board.write()
    written = json.loads(path.read_text())
    assert (written["version"], written["state"], written["jobs"][0]["warnings"]) == (1, "finished", ["odd"])
    assert written["started"] <= written["updated"] <= time.time()
    earlier = read_earlier_run(path)
    assert earlier.jobs == {str(job.job.output): board.jobs[0]}
    assert not earlier.cut_short
    assert board.count("done") == 1
    assert board.count("waiting", "running") == 0


def test_the_file_is_written_twice_a_second_at_most(
    job: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("vmatte.batch.status.time.monotonic", lambda: now)
    path = tmp_path / "jobs.status.json"
    board = Board(path, [first_status(job, NOTHING, again=False)[0]])
    writes = []
    for _ in range(100):  # ten seconds
        now += 0.1
        board.update(0, frames_done=len(writes))
        path.unlink(missing_ok=True)
        board.write_if_due()
        writes += [now] if path.exists() else []
    assert 16 <= len(writes) <= 20
    assert [entry.name for entry in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": []}', '{"version": 1, "jobs": [{}]}', '{"version": 99}'])
def test_a_file_that_is_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(JobError, match=r"notes\.json is"):
        read_earlier_run(path)


def test_jobs_with_the_same_matte_go_to_one_worker_in_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    entries = [
        entry(one, tmp_path / "a.mp4"),
        entry(two, tmp_path / "b.mp4"),
        entry(one, tmp_path / "c.mp4", background="orange"),
        entry(one, tmp_path / "d.mp4", smooth="gaussian"),
        entry(one, tmp_path / "e.mov", background=None),
        entry(one, tmp_path / "f.mp4", upsample="bilinear"),
        entry(one, tmp_path / "g.mp4", segment_frames=50),
    ]
    assert [list(group) for group in groups(entries, range(7))] == [[0, 2, 4], [1], [3], [5], [6]]
    assert [list(group) for group in groups(entries, [1, 2, 4])] == [[1], [2, 4]]
