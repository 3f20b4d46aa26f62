"""The hot folder: what is taken, when, and that it is taken once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import clips
import pytest
from conftest import Ended

from vmatte.errors import EncodeError, JobError, SourceError
from vmatte.watch import watch


class Recorder:
    """Notes which clips it is given, and what was in them."""

    def __init__(self) -> None:
        self.rendered: list[tuple[str, bytes]] = []

    def __call__(self, clip: Path) -> Sequence[Path]:
        self.rendered.append((clip.name, clip.read_bytes()))
        return [clip.with_suffix(".made")]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.rendered]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def one_pass(folder: Path, render: Recorder) -> tuple[int, int]:
    return watch(folder, folder.parent / "out", render, poll_s=0.05, once=True)


def test_each_clip_is_rendered_once_also_after_a_restart(folder: Path) -> None:
    clips.black_clip(folder / "b.mp4", 3)
    (folder / "deep").mkdir()
    clips.black_clip(folder / "deep" / "a.mov", 3)
    render = Recorder()
    assert one_pass(folder, render) == (2, 0)
    assert one_pass(folder, render) == (0, 0)
    assert render.names == ["b.mp4", "a.mov"]
    kept = json.loads((folder.parent / "out" / ".vmatte-watch" / "register.json").read_text())
    assert list(kept) == ["b.mp4", "deep/a.mov"]
    assert kept["b.mp4"]["outputs"] == [str(folder / "b.made")]


def test_a_clip_written_anew_under_its_name_is_rendered_anew(folder: Path) -> None:
    render = Recorder()
    clips.black_clip(folder / "a.mp4", 3)
    one_pass(folder, render)
    clips.black_clip(folder / "a.mp4", 5)
    one_pass(folder, render)
    assert render.names == ["a.mp4", "a.mp4"]


@pytest.mark.parametrize("name", [".a.mp4", "a.mp4.part", "a.txt", "a.crdownload"])
def test_what_is_no_clips_name_is_left_alone(name: str, folder: Path) -> None:
    clips.black_clip(folder / "a.mp4", 3).rename(folder / name)
    assert one_pass(folder, Recorder()) == (0, 0)


def test_a_clip_that_is_still_being_copied_is_taken_whole(folder: Path) -> None:
    whole = clips.black_clip(folder.parent / "whole.mp4", 40).read_bytes()
    render = Recorder()

    def copy_slowly() -> None:
        with (folder / "a.mp4").open("wb") as file:
            for start in range(0, len(whole), -(-len(whole) // 12)):
                file.write(whole[start : start + -(-len(whole) // 12)])
                file.flush()
                time.sleep(0.05)

    copying = threading.Thread(target=copy_slowly)
    copying.start()
    time.sleep(0.1)
    assert watch(folder, folder.parent / "out", render, poll_s=0.6, once=True) == (1, 0)
    copying.join()
    assert render.rendered == [("a.mp4", whole)]


def test_a_clip_whose_index_is_not_there_yet_waits_though_it_has_stopped_growing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mp4 without faststart: the index comes last, and the program that writes it may take its time."""
    whole = clips.black_clip(folder.parent / "whole.mp4", 40).read_bytes()
    (folder / "a.mp4").write_bytes(whole[: len(whole) - 200])
    render, polls = Recorder(), []

    class EnoughError(Exception):
        pass

    def sleep(_: float) -> None:
        polls.append(len(render.rendered))
        if len(polls) == 4:
            (folder / "a.mp4").write_bytes(whole)
        if len(polls) > 8:
            raise EnoughError

    monkeypatch.setattr("vmatte.watch.time.sleep", sleep)
    with pytest.raises(EnoughError):
        watch(folder, folder.parent / "out", render, poll_s=1)
    assert polls[:5] == [0, 0, 0, 0, 0]
    assert render.rendered == [("a.mp4", whole)]


def test_what_cannot_be_read_is_given_up_once_and_does_not_stop_the_others(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.mp4").write_text("no clip")
    clips.black_clip(folder / "b.mp4", 3)
    render = Recorder()
    assert one_pass(folder, render) == (1, 1)
    assert one_pass(folder, render) == (0, 0)
    assert render.names == ["b.mp4"]
    assert caplog.text.count(str(folder / "a.mp4")) == 1


def test_a_clip_that_fails_is_noted_with_its_reason(folder: Path) -> None:
    clips.black_clip(folder / "a.mp4", 3)

    def render(clip: Path) -> Sequence[Path]:
        raise SourceError(f"{clip} is not to my taste")

    assert watch(folder, folder.parent / "out", render, poll_s=0.05, once=True) == (0, 1)
    kept = json.loads((folder.parent / "out" / ".vmatte-watch" / "register.json").read_text())
    assert kept["a.mp4"]["error"] == f"{folder / 'a.mp4'} is not to my taste"


def test_a_clip_at_which_vmatte_itself_fails_does_not_stop_the_others(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b.mp4"):
        clips.black_clip(folder / name, 3)

    def render(clip: Path) -> Sequence[Path]:
        if clip.name == "a.mp4":
            raise ZeroDivisionError("of frames")
        return []

    assert watch(folder, folder.parent / "out", render, poll_s=0.05, once=True) == (1, 1)
    assert "Traceback" in caplog.text
    kept = json.loads((folder.parent / "out" / ".vmatte-watch" / "register.json").read_text())
    assert kept["a.mp4"]["error"] == "vmatte is at fault: ZeroDivisionError: of frames"


def test_a_clip_that_differs_by_its_extension_alone_does_not_replace_the_others_results(folder: Path) -> None:
    out = folder.parent / "out"

    def render(clip: Path) -> Sequence[Path]:
        result = out / f"{clip.stem}_navy.made"
        result.write_text(clip.name)
        return [result]

    clips.black_clip(folder / "a.mp4", 3)
    assert watch(folder, out, render, poll_s=0.05, once=True) == (1, 0)
    clips.black_clip(folder / "a.mov", 3)
    assert watch(folder, out, render, poll_s=0.05, once=True) == (0, 1)
    assert (out / "a_navy.made").read_text() == "a.mp4"
    (out / "a_navy.made").unlink()  # taken away: its name is free
    clips.black_clip(folder / "a.mov", 5)
    assert watch(folder, out, render, poll_s=0.05, once=True) == (1, 0)
    assert (out / "a_navy.made").read_text() == "a.mov"


def test_links_to_themselves_and_to_nothing_are_no_clips(folder: Path) -> None:
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "dead.mp4").symlink_to("nothing.mp4")
    clips.black_clip(folder.parent / "elsewhere.mp4", 3)
    (folder / "link.mp4").symlink_to(folder.parent / "elsewhere.mp4")
    render = Recorder()
    assert one_pass(folder, render) == (1, 0)
    assert render.names == ["link.mp4"]


@pytest.mark.parametrize("text", ["", "[]", '{"a.mp4": {}}', '{"a.mp4": 3}'])
def test_a_register_that_is_none_is_a_mistake(text: str, folder: Path) -> None:
    (folder.parent / "out" / ".vmatte-watch").mkdir(parents=True)
    (folder.parent / "out" / ".vmatte-watch" / "register.json").write_text(text)
    with pytest.raises(JobError, match="delete it to render everything again"):
        one_pass(folder, Recorder())


def test_results_below_the_watched_folder_are_no_new_clips(folder: Path) -> None:
    clips.black_clip(folder / "a.mp4", 3)
    out = folder / "finished"

    def render(clip: Path) -> Sequence[Path]:
        return [clips.black_clip(out / clip.name, 3)]

    for done in (1, 0):
        assert watch(folder, out, render, poll_s=0.05, once=True) == (done, 0)


def test_folders_that_cannot_be_used_are_mistakes(folder: Path) -> None:
    with pytest.raises(JobError, match="does not exist"):
        watch(folder / "none", folder / "out", Recorder(), poll_s=1, once=True)
    with pytest.raises(JobError, match="itself"):
        watch(folder, folder, Recorder(), poll_s=1, once=True)


def test_two_watchers_do_not_share_a_folder(folder: Path) -> None:
    clips.black_clip(folder / "a.mp4", 3)
    out = folder.parent / "out"

    def render(_: Path) -> Sequence[Path]:
        with pytest.raises(JobError, match="another vmatte already watches"):
            watch(folder, out, Recorder(), poll_s=1, once=True)
        return []

    assert watch(folder, out, render, poll_s=0.05, once=True) == (1, 0)


def test_the_command_renders_what_is_dropped_as_the_job_file_says(
    folder: Path, tmp_path: Path, vmatte_command: Callable[..., Ended]
) -> None:
    (folder / "day-2").mkdir()
    clips.black_clip(folder / "day-2" / "a.mp4", 3)
    job = tmp_path / "job.yaml"
    job.write_text("defaults: {model: luma-key, output: 'x/{stem}_{plate}.mp4'}\nmatrix: {bg: [navy, green]}\n")
    ended = vmatte_command("watch", folder, "--job", job, "--out", tmp_path / "out", "--once", "--poll", 0.1, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mp4"))
    assert made == ["day-2/a_green.mp4", "day-2/a_navy.mp4"]


def test_a_mistake_in_the_job_file_is_told_before_the_first_clip_comes(
    folder: Path, tmp_path: Path, vmatte_command: Callable[..., Ended]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("defaults: {modle: luma-key}\n")
    ended = vmatte_command("watch", folder, "--job", job, "--out", tmp_path / "out", "--once")
    assert ended.code == 2
    assert "job.yaml:1:12: unknown key 'modle'" in ended.err


@pytest.mark.parametrize("output", ["'{stem}/{plate}.mp4'", "'final_{plate}.mp4'", "'{plate}/{stem}.mp4'"])
def test_an_output_whose_name_would_be_that_of_another_is_a_mistake_at_once(
    output: str, folder: Path, tmp_path: Path, vmatte_command: Callable[..., Ended]
) -> None:
    """The results of one clip must never replace those of another."""
    job = tmp_path / "job.yaml"
    job.write_text(f"defaults: {{model: luma-key, output: {output}}}\nmatrix: {{bg: [navy, green]}}\n")
    ended = vmatte_command("watch", folder, "--job", job, "--out", tmp_path / "out", "--once")
    assert ended.code == 2
    assert "more than one render would be" in ended.err


def test_what_failed_for_no_fault_of_the_clips_is_tried_again_by_the_next_start(folder: Path) -> None:
    clips.black_clip(folder / "a.mp4", 3)
    errors: list[Exception] = [EncodeError("the disk is full"), RuntimeError("a mistake in the program")]

    def render(_: Path) -> Sequence[Path]:
        if errors:
            raise errors.pop()
        return []

    for outcome in ((0, 1), (0, 1), (1, 0), (0, 0)):
        assert watch(folder, folder.parent / "out", render, poll_s=0.05, once=True) == outcome
