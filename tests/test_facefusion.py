"""scripts/facefusion_to_vmatte.sh, with a stand-in for FaceFusion that copies the clip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import clips
import pytest

from vmatte.video.probe import probe

SCRIPT = Path(__file__).parents[1] / "scripts" / "facefusion_to_vmatte.sh"
STAND_IN = """
import argparse, pathlib, shutil
parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["headless-run"])
for option in ("-s", "-t", "-o", "--output-video-quality"):
    parser.add_argument(option)
parser.add_argument("--processors", nargs="+")
given = parser.parse_args()
assert given.processors == ["face_swapper", "face_enhancer"]
assert pathlib.Path(given.s).read_text() == "a face"
shutil.copy(given.t, given.o)
with open("calls", "a") as calls:
    calls.write("x")
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "facefusion").mkdir()
    (tmp_path / "facefusion" / "facefusion.py").write_text(STAND_IN)
    (tmp_path / "face.jpg").write_text("a face")
    clips.black_clip(tmp_path / "take 1.mp4", 3)
    vmatte = tmp_path / "vmatte"
    vmatte.write_text(f'#!/bin/sh\nexec {sys.executable} -m vmatte "$@"\n')
    vmatte.chmod(0o755)
    return {
        **os.environ,
        "FACEFUSION": str(tmp_path / "facefusion"),
        "FACEFUSION_PYTHON": sys.executable,
        "VMATTE": str(vmatte),
    }


def run_script(tmp_path: Path, environment: dict[str, str], background: str) -> int:
    command = [SCRIPT, "face.jpg", "take 1.mp4", background, "final cut.mp4", "--model", "luma-key", "--quiet"]
    return subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode


def test_face_and_background_are_swapped_and_only_the_composite_stays(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert run_script(tmp_path, environment, "navy") == 0
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {"facefusion", "face.jpg", "take 1.mp4", "vmatte", "final cut.mp4", "final cut.mp4.json"}


def test_a_composite_that_fails_does_not_swap_the_face_again(tmp_path: Path, environment: dict[str, str]) -> None:
    assert run_script(tmp_path, environment, "no such plate.png") == 2
    assert run_script(tmp_path, environment, "navy") == 0
    assert (tmp_path / "facefusion" / "calls").read_text() == "x"


def test_a_face_swapped_in_another_clip_is_not_taken_for_this_one(tmp_path: Path, environment: dict[str, str]) -> None:
    assert run_script(tmp_path, environment, "no such plate.png") == 2
    clips.black_clip(tmp_path / "take 1.mp4", 5)
    assert run_script(tmp_path, environment, "navy") == 0
    assert probe(tmp_path / "final cut.mp4").frames == 5


def test_a_clip_that_is_not_there_is_told_before_facefusion_begins(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "take 1.mp4").unlink()
    assert run_script(tmp_path, environment, "navy") == 2
    assert not (tmp_path / "facefusion" / "calls").exists()


def test_without_facefusion_it_says_what_to_set(tmp_path: Path, environment: dict[str, str]) -> None:
    del environment["FACEFUSION"]
    assert run_script(tmp_path, environment, "navy") != 0
