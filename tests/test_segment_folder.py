"""Parts on disk: whole or not at all."""

import gzip
import json
import os
from pathlib import Path

import pytest

from vmatte.segment_folder import SegmentFolder, take_lock, write_whole


@pytest.fixture
def segments(tmp_path: Path) -> SegmentFolder:
    """Segment 7 is finished, with a file and a folder of pictures; segment 8 was begun."""
    segments = SegmentFolder(tmp_path, summed=False)
    segments.unfinished(7, ".mov").write_bytes(b"picture")
    pictures = segments.unfinished(7, "")
    pictures.mkdir()
    for name in ("000070.png", "000071.png"):
        (pictures / name).write_bytes(b"1234")
    segments.finish(7, [".mov", "", ".foreground"], [70, 71])
    segments.unfinished(8, ".mov").write_bytes(b"pict")
    return segments


def entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_segment_is_there_once_it_is_finished(segments: SegmentFolder) -> None:
    assert segments.written(7) == (70, 71)
    assert segments.file(7, ".mov").read_bytes() == b"picture"
    assert entries(segments.file(7, "")) == {"000070.png", "000071.png"}
    assert segments.written(8) is None


def test_what_was_begun_is_removed_and_what_is_finished_stays(segments: SegmentFolder) -> None:
    segments.clean()
    assert entries(segments.folder) == {"000007.mov", "000007", "000007.json"}
    assert segments.written(7) == (70, 71)


@pytest.mark.parametrize("damage", ["shorter", "gone", "a picture less", "half a record", "another kind of record"])
def test_a_segment_that_is_not_whole_any_more_is_not_there(damage: str, segments: SegmentFolder) -> None:
    match damage:
        case "shorter":
            os.truncate(segments.file(7, ".mov"), 6)
        case "gone":
            segments.file(7, ".mov").unlink()
        case "a picture less":
            (segments.file(7, "") / "000071.png").unlink()
        case "half a record":
            os.truncate(segments.file(7, ".json"), 10)
        case "another kind of record":
            segments.file(7, ".json").write_text(json.dumps({"written": [70, 71], "files": {".mov": 7}}))
    assert segments.written(7) is None


def test_a_flipped_byte_is_seen_where_checksums_are_noted(tmp_path: Path) -> None:
    segments = SegmentFolder(tmp_path, summed=True)
    segments.unfinished(0, ".mkv").write_bytes(b"matte")
    segments.finish(0, [".mkv"], [0])
    noted = json.loads(segments.file(0, ".json").read_bytes())["files"][".mkv"]
    assert noted == {"bytes": 5, "crc32": int.from_bytes(gzip.compress(b"matte")[-8:-4], "little")}
    assert segments.intact(0)
    segments.file(0, ".mkv").write_bytes(b"mattE")
    assert segments.written(0) == (0,)
    assert not segments.intact(0)


def test_a_segment_is_finished_again_over_the_old_one(segments: SegmentFolder) -> None:
    segments.unfinished(7, "").mkdir()
    segments.finish(7, [""], [])
    assert segments.written(7) == ()
    assert entries(segments.file(7, "")) == set()


def test_a_record_that_finds_no_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "about.json", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "about.json", "new")
    assert entries(tmp_path) == {"about.json"}
    assert (tmp_path / "about.json").read_text() == "old"


def test_one_at_a_time_has_a_folders_lock(tmp_path: Path) -> None:
    mine = take_lock(tmp_path)
    assert mine is not None
    assert take_lock(tmp_path) is None
    mine.release()
    another = take_lock(tmp_path)
    assert another is not None
    another.release()
