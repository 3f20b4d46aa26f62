"""`vmatte batch --ray`: the board and the bytes are those of a batch on this machine alone."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import clips
import pytest

import vmatte

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None and "CI" not in os.environ, reason="Ray is not installed"
)


def test_a_batch_on_a_farm_writes_what_a_plain_run_does_and_tells_what_failed(tmp_path: Path) -> None:
    frames = [clips.flat((40 + 20 * number, 128, 128), 64, 48) for number in range(8)]
    clip = clips.write_clip(tmp_path / "clip.mp4", frames)
    (tmp_path / "broken.mp4").write_bytes(clip.read_bytes()[:300])
    defaults = '{model: luma-key, bg: navy, segment-frames: 3, output: "out/{stem}.mp4"}'
    (tmp_path / "jobs.yaml").write_text(f"defaults: {defaults}\nclips: [clip.mp4, broken.mp4]\n")
    command = [sys.executable, "-m", "vmatte", "batch", "jobs.yaml", "--ray", "auto", "--workers", "1", "--quiet"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (5, ""), ended.stderr
    assert "broken.mp4" in ended.stderr
    status = json.loads((tmp_path / "jobs.status.json").read_text())
    assert status["state"] == "finished"
    assert [(job["state"], job["frames_done"]) for job in status["jobs"]] == [("done", 8), ("failed", 0)]
    vmatte.run(clip, background="navy", output=tmp_path / "plain.mp4", model="luma-key", segment_frames=3)
    assert (tmp_path / "out" / "clip.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()
