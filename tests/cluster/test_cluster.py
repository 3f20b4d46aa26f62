"""Renders on a Ray of this machine: the same bytes as without it, whatever happens to the workers."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from small_onnx import write_mean_of_channels

import vmatte
from vmatte.cluster.connection import import_ray
from vmatte.cluster.driver import render_on_cluster
from vmatte.cluster.events import Event, Failed, Finished, Frames, Joined, Left, Note
from vmatte.job import make_job, make_runtime
from vmatte.jobfile import Entry
from vmatte.segment_folder import take_lock

pytestmark = pytest.mark.usefixtures("ray")

DEADLY = 235
"""Luma of frames that no worker of these tests survives."""


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ray with two cores, whose workers keep mattes in a cache of their own and cannot stand bright frames."""
    if importlib.util.find_spec("ray") is None:
        if os.environ.get("CI"):
            pytest.fail("ray is missing, and CI must have it")
        pytest.skip("ray is missing")

    def cannot_stand_bright_frames() -> None:
        from vmatte.models.luma_key import LumaKey

        predict = LumaKey.predict

        def deadly(self: LumaKey, rgb: Any, state: Any = ()) -> Any:
            if float(rgb.min()) > 0.9:
                os.kill(os.getpid(), 9)
            return predict(self, rgb, state)

        LumaKey.predict = deadly  # type: ignore[method-assign]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMATTE_CACHE", str(tmp_path_factory.mktemp("cache")))
        module, before = import_ray(), signal.getsignal(signal.SIGTERM)
        module.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            runtime_env={"worker_process_setup_hook": cannot_stand_bright_frames},
        )
        signal.signal(signal.SIGTERM, before)  # Ray takes it over
        yield module
        module.shutdown()


def ramp(path: Path, frames: int = 48) -> Path:
    """A clip whose frames all differ."""
    across = np.arange(64, dtype="u1")
    return clips.write_clip(path, [clips.gray(np.tile(20 + 2 * across + k, (48, 1))) for k in range(frames)])


def entry(clip: Path, output: Path, **words: Any) -> Entry:
    words = {"model": "luma-key", "segment_frames": 4} | words
    return Entry(make_job(clip, output=output, **words), make_runtime(device="cpu"), clip.name)


def farm(entries: list[Entry], on_event: Callable[[Event], None] = lambda _: None, workers: int = 2) -> list[Event]:
    events: list[Event] = []

    def note(event: Event) -> None:
        events.append(event)
        on_event(event)

    render_on_cluster(entries, "auto", note, workers=workers)
    return events


def content(output: Path) -> list[bytes]:
    return [file.read_bytes() for file in (sorted(output.iterdir()) if output.is_dir() else [output])]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie has ended; Ray's own process has not yet asked how.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_ended(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers are left"
        time.sleep(0.05)


def test_a_farm_writes_the_bytes_of_a_plain_run_though_a_worker_is_killed(tmp_path: Path) -> None:
    clip, weights = ramp(tmp_path / "clip.mp4"), write_mean_of_channels(tmp_path / "mean.onnx")
    network = {"model": "modnet", "weights": weights, "strength": "low"}
    choices: dict[str, dict[str, Any]] = {
        "key.mp4": {"background": "navy"},
        "key.mov": {},
        "key.webm": {},
        "key": {"encoding": "png"},
        "held.mov": {"subject": "largest"},  # one worker analyses the clip before any renders
        "network.mp4": {"background": "blur", **network},
        "network.mov": network,
    }
    (tmp_path / "plain").mkdir()
    joined: list[int] = []

    def kill_the_first(event: Event) -> None:
        if isinstance(event, Joined):
            joined.append(event.pid)
        if isinstance(event, Frames) and 0 < event.done < event.total and len(joined) == 2:
            os.kill(joined[0], signal.SIGKILL)
            joined.append(0)

    entries = [entry(clip, tmp_path / "farm" / name, **words) for name, words in choices.items()]
    events = farm(entries, kill_the_first)
    assert [event.pid for event in events if isinstance(event, Left)] == joined[:1]
    assert {event.number for event in events if isinstance(event, Finished)} == set(range(len(choices)))
    for name, words in choices.items():
        options = {"model": "luma-key", "segment_frames": 4, "device": "cpu", "cache": False} | words
        vmatte.run(clip, output=tmp_path / "plain" / name, **options)
        assert content(tmp_path / "farm" / name) == content(tmp_path / "plain" / name), name
    sidecars = {f"{name}.json" for name in choices}
    assert {path.name for path in (tmp_path / "farm").iterdir()} == set(choices) | sidecars  # no work folder is left
    # The network's second job found the mattes of its first, which all workers kept in one place.
    kept = list(Path(os.environ["VMATTE_CACHE"]).glob("mattes/*/*.alpha.mkv"))
    assert len(kept) == 48 / 4
    for number in range(len(choices)):
        shown = [event for event in events if isinstance(event, Frames) and event.number == number]
        assert (shown[-1].done, shown[-1].total) == (48, 48)


def test_jobs_that_fail_or_kill_their_workers_do_not_stop_the_others(tmp_path: Path) -> None:
    clip = ramp(tmp_path / "clip.mp4")
    deadly = clips.write_clip(tmp_path / "deadly.mp4", [clips.flat((DEADLY, 128, 128), 64, 48)] * 4)
    (tmp_path / "there.mov").write_text("precious")
    good = tmp_path / "good.mov"
    clip_of = {"nowhere.mov": tmp_path / "nowhere.mp4", "there.mov": clip, "deadly.mov": deadly}
    entries = [entry(clip, tmp_path / name) for name, clip in clip_of.items()] + [entry(clip, good)] * 2
    events = farm(entries)
    errors = {event.number: event.error for event in events if isinstance(event, Failed)}
    assert f"{tmp_path / 'nowhere.mp4'} is not there on " in errors[0]
    assert f"{tmp_path / 'there.mov'} exists; give -y" in errors[1]
    assert errors[2].startswith("3 workers died on frames 0–3, the last one on ")
    assert sum(isinstance(event, Left) for event in events) == 3
    # Two jobs with one output: one of them gets it, and the other is told.
    assert len(errors) == 4
    assert "good.mov" in errors[({3, 4} & set(errors)).pop()]
    reports = [event.report for event in events if isinstance(event, Finished)]
    assert [(report.output, report.frames, report.lost) for report in reports] == [(good, 48, 0)]
    assert any("model luma-key on the CPU" in event.text for event in events if isinstance(event, Note))
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"clip.mp4", "deadly.mp4", "there.mov", "good.mov", "good.mov.json"}
    assert (tmp_path / "there.mov").read_text() == "precious"


def test_an_interrupted_farm_leaves_no_worker_and_the_next_one_goes_on(tmp_path: Path) -> None:
    clip = ramp(tmp_path / "clip.mp4", 80)
    job = entry(clip, tmp_path / "out.mov")
    pids: list[int] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, Joined):
            pids.append(event.pid)
        if isinstance(event, Frames) and event.done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        farm([job], interrupt)
    wait_until_ended(pids)
    work = tmp_path / ".out.mov.vmatte"
    finished = {path.name for path in (work / "segments").iterdir()}
    assert len(finished) >= 10  # five segments, each a file and its record
    assert not any(".part" in name for name in finished)
    lock = take_lock(work)
    assert lock is not None
    lock.release()
    events = farm([job], workers=1)
    first = next(event for event in events if isinstance(event, Frames))
    assert first.done == 4 * sum(name.endswith(".json") for name in finished)
    vmatte.run(clip, output=tmp_path / "plain.mov", device="cpu", model="luma-key", segment_frames=4)
    assert content(tmp_path / "out.mov") == content(tmp_path / "plain.mov")


def test_a_node_with_another_version_is_not_worked_with(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmatte.cluster.driver.sha256_of_program", lambda: "0" * 64)
    with pytest.raises(vmatte.VmatteError, match="is another version than here; install the same one on all nodes"):
        farm([entry(ramp(tmp_path / "clip.mp4", 4), tmp_path / "out.mov")])
    deadline = time.monotonic() + 10
    while ray.available_resources().get("CPU") != 2:  # no worker holds a core any more
        assert time.monotonic() < deadline, "workers are left"
        time.sleep(0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
