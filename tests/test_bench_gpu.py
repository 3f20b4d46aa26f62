"""scripts/bench_gpu.sh, which runs where nobody watches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "scripts" / "bench_gpu.sh"


def start(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(folder)}
    return subprocess.run([SCRIPT, *options], capture_output=True, text=True, env=environment)


def test_without_a_gpu_it_ends_at_once_and_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    ended = start(tmp_path / "out")
    assert ended.returncode == 2
    assert "there is no CUDA GPU that torch can use" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_its_parts_take_seven_minutes_at_most() -> None:
    words = SCRIPT.read_text().partition("<<'PARTS'\n")[2].partition("PARTS")[0].split()
    parts = ["large", "lite", "high-resolution", "half-precision", "deformable", "profile", "end-to-end", "compiled"]
    assert words[::2] == parts
    to_be_killed = int(SCRIPT.read_text().partition("--kill-after=")[2].split()[0])
    assert sum(map(int, words[1::2])) + to_be_killed * len(parts) <= 420


@pytest.mark.slow
def test_the_rehearsal_goes_through_every_part(tmp_path: Path) -> None:
    ended = start(tmp_path, "--cpu-rehearsal")
    log = (tmp_path / "log.txt").read_text()
    assert ended.returncode == 0, ended.stdout + ended.stderr + log
    parts = json.loads((tmp_path / "bench_gpu.json").read_text())["parts"]
    cases = {(line["kind"], line.get("precision"), line.get("batch")) for line in parts["large"]["lines"]}
    assert cases == {("plain loop", None, None)} | {
        ("network", precision, batch) for precision in ("fp32", "tf32", "fp16", "bf16") for batch in (1, 2)
    }
    for part in ("large", "lite", "high-resolution", "compiled"):
        assert all("failure" not in line for line in parts[part]["lines"]), parts[part]
    assert [(line["batch"], line["compile"]) for line in parts["compiled"]["lines"]] == [(1, True)]
    apart = {(row["dtype"], row["way"]): row.get("most") for row in parts["half-precision"]}
    assert len(apart) == 6
    assert apart["float32", "sampled"] == 0
    assert 0 < apart["float16", "sampled"] < apart["bfloat16", "sampled"] < 255
    sampled = [row for row in parts["deformable"] if row["way"] == "sampled"]
    assert len(sampled) == 9
    assert all(row["ms"] > 0 and row["error"] < 0.05 for row in sampled)
    assert len(parts["profile"]) == 15
    renders = [(row["batch"], row["segments"]) for row in parts["end-to-end"]]
    assert renders == [(1, 1), (4, 1), (4, 2), (4, 1)]
    assert all(row["frames/s"] > 0 for row in parts["end-to-end"])
    table = (tmp_path / "bench_gpu.md").read_text()
    assert table.count("\n## ") == 8
