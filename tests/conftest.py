"""Debian's ffmpeg and ffprobe as judges, and the program as its user meets it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from vmatte import cli
from vmatte.models.weights import cache_folder


def find_program(name: str) -> str:
    """Its path; a test that needs a missing program is skipped, in CI it fails."""
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{name} is missing, and CI must have it")
    pytest.skip(f"{name} is missing")


@pytest.fixture(autouse=True)
def own_mattes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, without mattes, which shares the weights."""
    weights = cache_folder() / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("cache")
    (folder / "weights").symlink_to(weights.absolute())
    monkeypatch.setenv("VMATTE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def run_ffmpeg() -> Callable[..., bytes]:
    """Runs ffmpeg with these arguments; returns its stdout."""
    program = find_program("ffmpeg")

    def run(*arguments: object) -> bytes:
        command = [program, "-v", "error", "-y", *map(str, arguments)]
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=True, stdout=subprocess.PIPE).stdout

    return run


@dataclass(frozen=True)
class Seen:
    """What ffprobe sees of a file: the time in seconds of each picture that is shown, in order; each stream's facts."""

    times: list[Fraction]
    video: dict[str, Any]
    audio: list[dict[str, Any]]
    audio_times: list[Fraction]


@pytest.fixture(scope="session")
def look() -> Callable[[Path], Seen]:
    """Looks at a file with ffprobe."""
    program = find_program("ffprobe")

    def see(path: Path) -> Seen:
        shown = "stream=index,codec_type,codec_name,width,height,pix_fmt,time_base:packet=stream_index,pts,flags"
        command = [program, "-v", "error", "-show_entries", shown, "-of", "json", f"file:{path}"]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        video = next(stream for stream in found["streams"] if stream["codec_type"] == "video")
        audio = [stream for stream in found["streams"] if stream["codec_type"] == "audio"]

        def times(stream: dict[str, Any]) -> list[Fraction]:
            own = [packet for packet in found["packets"] if packet["stream_index"] == stream["index"]]
            # "D" is what an edit list leaves out: it is decoded, and never shown.
            ticks = [packet["pts"] for packet in own if "D" not in packet["flags"]]
            return sorted(tick * Fraction(stream["time_base"]) for tick in ticks)

        return Seen(times(video), video, audio, times(audio[0]) if audio else [])

    return see


@pytest.fixture(scope="session")
def birefnet_vectors() -> Path:
    """The folder of stored vectors that scripts/check_birefnet.py reads; too large to lie beside the tests."""
    folder = os.environ.get("VMATTE_BIREFNET_VECTORS")
    if not folder:
        pytest.skip("VMATTE_BIREFNET_VECTORS does not name a folder of BiRefNet's vectors")
    return Path(folder)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def vmatte_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ended]]:
    """Runs `vmatte ARGUMENTS` in this process: importing torch for each command would take seconds."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in ending}

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["vmatte", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        code = leaving.value.code
        return Ended(code if isinstance(code, int) else 0, *capfd.readouterr())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
