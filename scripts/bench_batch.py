"""What a batch costs beside its renders.

    python scripts/bench_batch.py [--jobs 500] [--workers 1] [--json FILE]

Renders many tiny clips with luma-key and prints: the CPU time of planning (the board and its fingerprints, and what
`--check` and `--dry-run` look at); the wall time a job costs beyond its own render; by how much the driver's
resident memory grows from the tenth job to the last. Bars: 5 s, 50 ms, 10 MiB; exit code 1 when one is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from vmatte.batch.run import open_board, run_batch
from vmatte.batch.status import Board, JobStatus
from vmatte.job import Runtime, make_job
from vmatte.jobfile import Entry

PLANNING_BAR_S = 5.0
OVERHEAD_BAR_MS = 50.0
GROWTH_BAR_MIB = 10.0
FRAMES, WIDTH, HEIGHT = 4, 64, 48
_SETTLED = 10  # jobs after which the driver has imported and allocated what it needs


class Gauge:
    """A watcher that takes the driver's time and memory when jobs end."""

    def __init__(self) -> None:
        self.first_s = 0.0
        self.last_s = 0.0
        self.rss_mib: list[float] = []

    def note(self, text: str) -> None:
        pass

    def ended(self, number: int, job: JobStatus) -> None:
        if job.state != "done":
            raise SystemExit(f"job {number}: {job.error}")
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        self.rss_mib.append(resident_mib())

    def tick(self, board: Board) -> None:
        pass


def resident_mib() -> float:
    """Of this process; Linux only."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS:")).split()[1]) / 1024


def make_entries(folder: Path, jobs: int) -> list[Entry]:
    """So many clips, each with a job of its own."""
    clip = folder / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    entries = []
    for number in range(jobs):
        copy = folder / f"clip{number:04}.mp4"
        shutil.copy(clip, copy)
        output = folder / "out" / f"{number:04}.mp4"
        job = make_job(copy, background="navy", output=output, model="luma-key")
        entries.append(Entry(job=job, runtime=Runtime(device="cpu"), where=f"job {number}"))
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        entries = make_entries(folder, options.jobs)
        status = folder / "jobs.status.json"
        started = time.process_time()
        board, prepared = open_board(entries, status, again=False)
        board_s = time.process_time() - started
        watcher = Gauge()
        run_batch(prepared, board, watcher, workers=options.workers)
        # The first job also waits for its worker's imports.
        rendering_s = sum(job.seconds or 0 for job in board.jobs[1:]) / options.workers
        overhead_ms = 1000 * (watcher.last_s - watcher.first_s - rendering_s) / max(1, options.jobs - 1)
        growth_mib = watcher.rss_mib[-1] - watcher.rss_mib[min(_SETTLED, options.jobs - 1)]
        planning_s = board_s + _planning_seconds(entries, folder / "again.status.json")
    numbers = {
        "jobs": options.jobs,
        "workers": options.workers,
        "planning_s": round(planning_s, 3),
        "render_ms": round(1000 * rendering_s / max(1, options.jobs - 1), 2),
        "overhead_ms": round(overhead_ms, 2),
        "driver_mib": round(watcher.rss_mib[-1], 1),
        "driver_growth_mib": round(growth_mib, 2),
    }
    for name, value in numbers.items():
        print(f"{name:18} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(numbers))
    missed = planning_s > PLANNING_BAR_S or overhead_ms > OVERHEAD_BAR_MS or growth_mib > GROWTH_BAR_MIB
    sys.exit(1 if missed else 0)


def _planning_seconds(entries: list[Entry], status: Path) -> float:
    """CPU time of --dry-run with its checks and the import of torch, which is why it is measured last."""
    started = time.process_time()
    from vmatte.batch.plan import plan, problems

    board, prepared = open_board(entries, status, again=True)
    found = list(problems(prepared))
    if found:
        raise SystemExit(str(found[0]))
    list(plan(prepared, board))
    return time.process_time() - started


if __name__ == "__main__":
    main()
