#!/usr/bin/env python
"""What a second plate costs where the matte is kept: CPU seconds of `vmatte run`, as a share of the first one's.

python scripts/bench_recall.py [CLIP] [--model modnet] [--frames 60]

The clip's first frames are rendered over two colours, each by a process of its own, with a cache for this run alone but
for the weights, which are fetched before. Ends with 1 where the second takes 25 % of the first or more.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from vmatte.models.catalogue import fetch_weights, find_model
from vmatte.models.weights import cache_folder

BAR = 0.25
SAMPLE = Path(__file__).parent.parent / "samples" / "avatar.mp4"


def main() -> int:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--model", default="modnet")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    fetch_weights(find_model(options.model))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        cut = ["ffmpeg", "-v", "error", "-i", options.clip, "-frames:v", str(options.frames), "-an"]
        subprocess.run([*cut, "-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", clip], check=True)
        cache = folder / "cache"
        cache.mkdir()
        for weights in cache_folder().iterdir():
            if weights.name != "mattes":
                (cache / weights.name).symlink_to(weights)
        seconds = [cpu_seconds(clip, color, options.model, cache) for color in ("navy", "orange")]
    share = seconds[1] / seconds[0]
    print(
        f"{options.model}, {options.frames} frames: {seconds[0]:.1f} CPU s, then {seconds[1]:.1f} with the kept matte"
    )
    print(f"{share:.0%} (bar {BAR:.0%}): {'PASS' if share < BAR else 'FAIL'}")
    return 0 if share < BAR else 1


def cpu_seconds(clip: Path, color: str, model: str, cache: Path) -> float:
    """Of the process that renders the clip over a colour."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "vmatte", "run", clip, "--bg", color, "--model", model, "--quiet"]
    output = clip.with_name(f"{color}.mp4")
    subprocess.run([*command, "-o", output], check=True, env={**os.environ, "VMATTE_CACHE": str(cache)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
