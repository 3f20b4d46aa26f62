import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from scripts_loaded import load_script

from vmatte.options import MotionSmoothing, NoSmoothing

BENCH = Path(__file__).parent.parent / "scripts" / "bench.py"


@pytest.mark.parametrize("encoding", ["mp4", "prores4444", "webm", "png"])
def test_the_bench_measures_every_stage_and_every_primitive(
    encoding: str, tmp_path: Path, run_ffmpeg: Callable[..., bytes]
) -> None:
    clip = tmp_path / "clip.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.4", "-pix_fmt", "yuv420p", clip)
    options = ["--model", "luma-key", "--frames", "10", "--repeat", "1", "--json", str(tmp_path / "costs.json")]
    ended = subprocess.run(
        [sys.executable, str(BENCH), str(clip), "--format", encoding, *options], capture_output=True, text=True
    )
    # 1 says that a bar was missed, which so small a clip may do: what is fixed for a frame weighs more there.
    assert ended.returncode in (0, 1), ended.stderr
    costs = json.loads((tmp_path / "costs.json").read_text())[encoding]
    ours = {"decode", "upload", "convert", "upsample", "smooth", "settle", "foreground", "compose", "encode"}
    assert set(costs["stages"]) == ours
    middle = "composite" if encoding == "mp4" else "pack"
    assert set(costs["bare"]) == {"decode", "resize", "normalise", "upsample", middle, "encode"}
    assert costs["stages"]["encode"] > 0
    # Smoothing finds the same flows, and does something with them.
    assert costs["stages"]["smooth"] > costs["flow_pair"] > 0
    assert "bar 100 ms: " in ended.stdout
    assert ended.stdout.count("PASS") + ended.stdout.count("FAIL") == 2
    assert ("FAIL" in ended.stdout) == (ended.returncode == 1)


def test_the_pipeline_that_stands_beside_bare_primitives_does_not_smooth() -> None:
    job = load_script("bench").job_for(Path("clip.mp4"), "webm", "modnet")
    assert job.smoothing == NoSmoothing()


def test_memory_is_measured_with_smoothing() -> None:
    job = load_script("bench").job_for(Path("clip.mp4"), "webm", "luma-key", "motion")
    assert job.smoothing == MotionSmoothing()


@pytest.mark.parametrize(
    ("cost", "size", "passed", "verdict"),
    [
        (100.0, (1080, 1920), True, "bar 100 ms: PASS"),
        (100.1, (1080, 1920), False, "bar 100 ms: FAIL"),
        (100.1, (1920, 1080), False, "bar 100 ms: FAIL"),
        (300.0, (2160, 3840), True, "the bar is for 1080p"),
    ],
)
def test_smoothing_of_1080p_has_its_own_bar(
    cost: float, size: tuple[int, int], passed: bool, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_script("bench").report_smoothing(cost, 50.0, size, Console(width=200)) is passed
    assert f"{cost / 50:.2f}×" in (said := capsys.readouterr().out)
    assert verdict in said
