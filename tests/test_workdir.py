"""The hidden folder, and how an output gets its name."""

import contextlib
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from vmatte import workdir
from vmatte.errors import JobError
from vmatte.segment_folder import remove
from vmatte.workdir import WorkFolder, already_there, check_output, open_work_folder, publish, whole_of


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def killed(output: Path, *, picture: str | None = "new", replaced: bool = False) -> WorkFolder:
    """The folder of a render that was killed as it gave the output its name: a file, or a folder with a picture."""
    work = WorkFolder(output.with_name(f".{output.name}.vmatte"))
    work.segments.folder.mkdir(parents=True)
    (work.path / "job.json").write_text(json.dumps({"fingerprint": "job"}))
    work.segments.unfinished(0, ".mp4").write_text("segment")
    work.segments.finish(0, [".mp4"], [0])
    work.note_report({"frames": 1}, {output: sha256(b"new").hexdigest()})
    if picture is not None:
        (work.path / "whole").mkdir()
        (work.path / "whole" / "000000.png").write_text(picture)
    if replaced:
        (work.path / "replaced").mkdir()
        (work.path / "replaced" / "000000.png").write_text("old")
    return work


def test_only_the_bytes_under_the_name_tell_that_it_was_published(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    killed(output, picture=None)
    assert not already_there([output])
    output.write_text("old")
    assert not already_there([output])
    output.write_text("new")
    assert already_there([output]) == {output}


def test_what_a_kill_in_the_very_last_step_left_is_removed(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("new")
    folder = tmp_path / ".out.mp4.vmatte"
    for names in ((), ("lock",)):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        assert not already_there([output])
        assert entries(tmp_path) == {"out.mp4"}
    with open_work_folder([tmp_path / "out.mp4"], "job") as work:
        for entry in ("segments", "job.json"):
            remove(work.path / entry)
        assert not already_there([output])  # another is at work in it
        assert folder.is_dir()


def test_pictures_killed_between_the_two_renames_come_back(tmp_path: Path) -> None:
    output = tmp_path / "out"
    killed(output, replaced=True)
    with open_work_folder([output], "job") as work:
        assert (output / "000000.png").read_text() == "old"
        assert work.published([output]) is None
        assert work.segments.written(0) == (0,)
        publish(work.path / "whole", output, overwrite=True)
        assert (output / "000000.png").read_text() == "new"
    assert entries(tmp_path) == {"out"}


@pytest.mark.parametrize("fingerprint", ["job", "another job"])
def test_the_old_pictures_come_back_behind_a_link_too(fingerprint: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    killed(tmp_path / "real", replaced=True)
    (tmp_path / "real").rmdir()
    with pytest.raises(RuntimeError), open_work_folder([tmp_path / "link"], fingerprint):
        raise RuntimeError("the render failed")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "link" / "000000.png").read_text() == "old"


def test_pictures_are_replaced_although_a_kill_left_those_before_them(tmp_path: Path) -> None:
    output = tmp_path / "out"
    work = killed(output, replaced=True)
    output.mkdir()
    (output / "000000.png").write_text("edited since")
    publish(work.path / "whole", output, overwrite=True)
    assert (output / "000000.png").read_text() == "new"


def test_what_is_finished_waits_for_the_same_job_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "out.mp4"
    killed(output)
    for fingerprint, written, said in (("job", (0,), ""), ("another", None, "it begins anew")):
        with contextlib.suppress(RuntimeError), open_work_folder([output], fingerprint) as work:
            assert work.segments.written(0) == written
            raise RuntimeError("the render failed")
        assert said in caplog.text
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert bool(said) == bool(warnings)
    assert entries(tmp_path) == set()


def test_outputs_whose_long_names_differ_late_have_folders_of_their_own(tmp_path: Path) -> None:
    one, other = (tmp_path / f"{'ä' * 60}{number}{'ü' * 60}.mp4" for number in (1, 2))
    with open_work_folder([one], "job") as first, open_work_folder([other], "job") as second:
        assert first.path != second.path
        assert len(os.fsencode(first.path.name)) < 256
    assert entries(tmp_path) == set()


def test_a_name_that_is_no_unicode_is_one_too(tmp_path: Path) -> None:
    with open_work_folder([tmp_path / os.fsdecode(b"\xff" * 50 + b".mp4")], "job") as work:
        assert work.path.is_dir()


def test_a_relative_output_lies_beside_where_the_render_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_work_folder([Path("out.mp4")], "job") as work:
        assert work.path == tmp_path / ".out.mp4.vmatte"


def test_the_lock_is_free_as_soon_as_a_render_failed(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError) as held, open_work_folder([output], "job"):
        raise RuntimeError("the render failed")
    # The error is still alive, and so are the frames that it went through.
    assert held.value is not None
    message = r"out\.mp4 is being rendered by another vmatte; wait for it"
    with open_work_folder([output], "job"), pytest.raises(JobError, match=message):
        open_work_folder([output], "job").__enter__()
    assert entries(tmp_path) == set()


def test_the_word_that_it_is_published_is_cleared_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(workdir, "remove", lambda path: gone.append(path.name))
    output = tmp_path / "out.mp4"
    killed(output)
    with open_work_folder([output], "job"):
        gone.clear()
    assert set(gone[:-3]) == {"segments", "whole"}
    assert gone[-3:] == ["job.json", "published.json", "lock"]


def test_without_hard_links_an_output_gets_its_name_and_takes_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    whole, output = tmp_path / "whole", tmp_path / "out.mp4"
    whole.write_text("new")
    publish(whole, output, overwrite=False)
    assert output.read_text() == "new"
    whole.write_text("newer")
    with pytest.raises(JobError, match="turned up during the render"):
        publish(whole, output, overwrite=False)
    assert output.read_text() == "new"


def test_a_link_to_nothing_is_somebodys_name(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.symlink_to("gone.mp4")
    with pytest.raises(JobError, match="exists; give -y"):
        check_output(output, [], overwrite=False, folder=False)
    check_output(output, [], overwrite=True, folder=False)


def test_of_several_outputs_each_lies_beside_its_own_name_until_it_gets_it(tmp_path: Path) -> None:
    first, second = tmp_path / "one" / "cut.mov", tmp_path / "two" / "comp.mp4"
    workdir.make_folders([first, second])
    with open_work_folder([first, second], "job") as work:
        assert whole_of(first, ".mov") == work.path / "whole.mov"
        assert whole_of(second, ".mp4") == tmp_path / "two" / ".comp.mp4.vmatte" / "whole.mp4"
        with pytest.raises(JobError, match="being rendered by another"):
            open_work_folder([second], "another").__enter__()
    assert entries(tmp_path / "one") == entries(tmp_path / "two") == set()


def test_of_several_outputs_those_that_have_their_names_already_are_the_renders_own(tmp_path: Path) -> None:
    first, second = tmp_path / "cut.mov", tmp_path / "comp.mp4"
    with contextlib.suppress(RuntimeError), open_work_folder([first, second], "job") as work:
        work.segments.unfinished(0, ".mov").write_text("segment")
        work.segments.finish(0, [".mov"], [0])
        work.note_report({"frames": 1}, {first: sha256(b"new").hexdigest(), second: sha256(b"newer").hexdigest()})
        first.write_text("new")
        second.write_text("a stranger's")
        raise RuntimeError("killed between the two")
    assert already_there([first, second]) == {first}
    assert WorkFolder(work.path).published([first, second]) is None
    second.write_text("newer")
    assert WorkFolder(work.path).published([first, second]) == {"frames": 1}


def test_a_second_output_that_cannot_be_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="cannot be written"):
        open_work_folder([tmp_path / "a.mov", tmp_path / "file" / "b.webm"], "job").__enter__()
    assert entries(tmp_path) == {"file"}
