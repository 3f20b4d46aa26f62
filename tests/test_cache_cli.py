"""`vmatte cache`: what is kept, and making room."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ended
from test_kept_mattes import ABOUT, entries, keep_all

Command = Callable[..., Ended]


@pytest.fixture
def kept() -> list[Path]:
    """Two clips' mattes, the first one's longest unused."""
    paths = [keep_all("one"), keep_all("two")]
    for day, path in enumerate(paths):
        os.utime(path / "about.json", (86400 * (day + 1),) * 2)
    return paths


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def test_the_list_names_clip_model_frames_size_and_day(kept: list[Path], vmatte_command: Command) -> None:
    ended = vmatte_command("cache", "list")
    head, one, two, total = ended.out.splitlines()
    assert head.split() == ["last", "used", "size", "frames", "model", "clip"]
    for line, path in ((one, kept[0]), (two, kept[1])):
        day, _, megabytes, unit, frames, model, clip = line.split()
        assert re.fullmatch(r"19(69|70)-\d\d-\d\d", day)
        assert (megabytes, unit) == (f"{size(path) / 1e6:.1f}", "MB")
        assert (frames, model, clip) == ("5", "modnet", "/clips/talk.mp4")
    assert total == f"2 in all, {(size(kept[0]) + size(kept[1])) / 1e6:.1f} MB"
    listed = json.loads(vmatte_command("cache", "list", "--json").out)["mattes"]
    assert listed == [
        {**ABOUT, "bytes": size(path), "used": 86400.0 * (day + 1), "path": str(path)} for day, path in enumerate(kept)
    ]


@pytest.mark.parametrize(
    ("words", "left"), [("50G", 2), ("1.5 MB", 2), ("{two}", 1), ("{two}b", 1), ("1", 0), ("0", 0)]
)
def test_pruning_leaves_as_much_as_it_is_told(
    words: str, left: int, kept: list[Path], own_mattes: Path, vmatte_command: Command
) -> None:
    weights = entries(own_mattes / "weights")
    ended = vmatte_command("cache", "prune", "--max-size", words.format(two=size(kept[1])), "--json")
    gone = [entry["path"] for entry in json.loads(ended.out)["removed"]]
    assert gone == [str(path) for path in kept[: 2 - left]]
    assert entries(own_mattes / "mattes") == {path.name for path in kept[2 - left :]}
    assert entries(own_mattes / "weights") == weights


def test_pruning_says_what_went(kept: list[Path], vmatte_command: Command) -> None:
    total = (size(kept[0]) + size(kept[1])) / 1e6
    lines = vmatte_command("cache", "prune", "--max-size", "0").out.splitlines()
    assert lines[-1] == f"2 removed, {total:.1f} MB"
    assert vmatte_command("cache", "list").out == "0 in all, 0.0 MB\n"


@pytest.mark.parametrize("words", ["much", "-1", "1X", "", "1e9"])
def test_a_size_that_is_none_is_a_mistake(words: str, kept: list[Path], vmatte_command: Command) -> None:
    ended = vmatte_command("cache", "prune", f"--max-size={words}")
    assert (ended.code, ended.err) == (2, f"vmatte: {words!r} is no size; give one like 50G, 500M or 0\n")
    assert all(path.exists() for path in kept)
