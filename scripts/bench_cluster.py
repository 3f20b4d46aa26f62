"""What a second worker of a farm gains, on one machine, with a network that sleeps.

A network that computes would leave two workers to fight over this machine's cores; one that sleeps stands for a GPU of
each worker's own. Everything else is real: Ray, the workers' start, decoding, encoding, joining. Times are by the wall
clock, from the call to the published file. Exit code 1 says that the gain is below the bar.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from vmatte.cluster.connection import import_ray
from vmatte.cluster.driver import render_on_cluster
from vmatte.cluster.events import Event, Failed, Joined
from vmatte.job import make_job, make_runtime
from vmatte.jobfile import Entry

BAR = 1.7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--segment-frames", type=int, default=12)
    parser.add_argument("--network-ms", type=float, default=250, help="how long the network sleeps over each frame")
    options = parser.parse_args()
    ray = import_ray()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100_000_000,
        runtime_env={"worker_process_setup_hook": _sleepy(options.network_ms / 1000)},
    )
    with tempfile.TemporaryDirectory() as folder:
        clip = _write_clip(Path(folder) / "clip.mp4", options.frames)
        seconds, digests = {}, set()
        for workers in (1, 2):
            output = Path(folder) / f"{workers}.mov"
            job = make_job(clip, output=output, model="luma-key", segment_frames=options.segment_frames)
            seconds[workers], ready = _time(Entry(job, make_runtime(device="cpu"), clip.name), workers)
            digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
            asleep = options.frames * options.network_ms / 1000 / workers
            print(
                f"{workers} worker{'s' if workers > 1 else ' '}: {seconds[workers]:6.1f} s, of which "
                f"{ready:.1f} s until all were ready; the network alone {asleep:.1f} s"
            )
    ray.shutdown()
    gain = seconds[1] / seconds[2]
    same = "the same bytes" if len(digests) == 1 else "DIFFERENT BYTES"
    passed = gain >= BAR and len(digests) == 1
    print(f"two workers are {gain:.2f} times as fast as one; the bar is {BAR}; {same}: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


def _sleepy(seconds: float) -> Callable[[], None]:
    """What each worker does first: a network that takes so long over a frame."""

    def sleep_over_frames() -> None:
        from vmatte.models.luma_key import LumaKey

        predict = LumaKey.predict

        def slow(self: LumaKey, rgb: Any, state: Any = ()) -> Any:
            time.sleep(seconds * len(rgb))
            return predict(self, rgb, state)

        LumaKey.predict = slow  # type: ignore[method-assign]

    return sleep_over_frames


def _time(entry: Entry, workers: int) -> tuple[float, float]:
    """Seconds until the output was there, and until all workers were ready."""
    joined: list[float] = []
    started = time.perf_counter()

    def hear(event: Event) -> None:
        if isinstance(event, Joined):
            joined.append(time.perf_counter() - started)
        if isinstance(event, Failed):
            sys.exit(event.error)

    render_on_cluster([entry], "auto", hear, workers=workers)
    return time.perf_counter() - started, joined[-1]


def _write_clip(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        across = np.linspace(16, 200, 320, dtype="u1")
        for number in range(frames):
            gray = np.tile(np.roll(across, number), (240, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    sys.exit(main())
