import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
    # 1 says that the bar was missed, which so small a clip may do: what is fixed for a frame weighs more there.
    assert ended.returncode in (0, 1), ended.stderr
    costs = json.loads((tmp_path / "costs.json").read_text())[encoding]
    assert set(costs["stages"]) == {"decode", "upload", "convert", "upsample", "compose", "encode"}
    middle = "composite" if encoding == "mp4" else "pack"
    assert set(costs["bare"]) == {"decode", "resize", "normalise", "upsample", middle, "encode"}
    assert costs["stages"]["encode"] > 0
    assert ("PASS" in ended.stdout) == (ended.returncode == 0)
