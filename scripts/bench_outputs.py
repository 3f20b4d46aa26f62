#!/usr/bin/env python
"""What more outputs cost the network: its frames and its CPU seconds in a render with one output and with four.

python scripts/bench_outputs.py [CLIP] [--model modnet] [--frames 60] [--rounds 3]

Both renders run in turn, in one process, without kept mattes, with the network on the thread that calls it. Ends with 1
where the four outputs send more frames through it, or its least CPU time a frame differs by more than 2 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before anything starts threads of its own

import vmatte
from vmatte import render
from vmatte.models.contract import MattingModel, Prediction, State

BAR = 0.02
SAMPLE = Path(__file__).parent.parent / "samples" / "avatar.mp4"
ONE = ("cut.mov,cutout",)
FOUR = (*ONE, "web.webm,cutout", "comp.mp4,composite", "matte.mp4,alpha")


class Timed:
    """A network that counts its frames and the CPU time of the thread that it runs on."""

    def __init__(self, model: MattingModel) -> None:
        self._model, self.spec, self.device = model, model.spec, model.device
        self.frames, self.seconds = 0, 0.0

    def predict(self, rgb: render.Tensor, state: State = ()) -> Prediction:
        started = time.thread_time()
        prediction = self._model.predict(rgb, state)
        self.seconds += time.thread_time() - started
        self.frames += len(rgb)
        return prediction


def main() -> int:
    """Print both costs and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--model", default="modnet")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    costs: dict[tuple[str, ...], list[Timed]] = {ONE: [], FOUR: []}
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "clip.mp4"
        cut = ["ffmpeg", "-v", "error", "-i", options.clip, "-frames:v", str(options.frames), "-an"]
        subprocess.run([*cut, "-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", clip], check=True)
        for _ in range(options.rounds):
            for outputs, timed in costs.items():
                timed.append(network_of(clip, outputs, options.model))
    a_frame = {}
    for outputs, timed in costs.items():
        least = min(timed, key=lambda each: each.seconds)
        a_frame[outputs] = least.seconds / least.frames
        passes = least.frames / options.frames
        print(f"{len(outputs)} output(s): {passes:.2f} passes a frame, {1000 * a_frame[outputs]:.1f} CPU ms a frame")
    frames = {outputs: {each.frames for each in timed} for outputs, timed in costs.items()}
    ratio = a_frame[FOUR] / a_frame[ONE]
    passed = frames[ONE] == frames[FOUR] and abs(ratio - 1) <= BAR
    print(f"network time {ratio:.3f} times that of one output (bar 1 ± {BAR}): {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


def network_of(clip: Path, outputs: tuple[str, ...], model: str) -> Timed:
    """The network of one render, and what it cost."""
    built: list[Timed] = []
    build = render.build_model

    def timed(*how: object) -> Timed:
        built.append(Timed(build(*how)))  # type: ignore[arg-type]
        return built[0]

    render.build_model = timed
    try:
        paths = [str(clip.parent / text) for text in outputs]
        vmatte.run(clip, background="navy", output=paths, model=model, cache=False, overwrite=True, batch=1)
    finally:
        render.build_model = build
    (network,) = built
    return network


if __name__ == "__main__":
    sys.exit(main())
