"""What runs on the nodes: one process that keeps its network loaded, and does one errand after the other."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from vmatte.delivery import RenderReport, finish, published
from vmatte.errors import JobError
from vmatte.fingerprint import sha256_of_program
from vmatte.job import RenderJob, Runtime
from vmatte.kept_mattes import KeptMattes
from vmatte.models.warm import keep_last_model
from vmatte.planning import Plan, announce, plan_job
from vmatte.render import Network, Task, find_analysis, render_segments
from vmatte.segments import Segment
from vmatte.stopwatch import Stopwatch
from vmatte.workdir import WorkFolder


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first word."""

    program: str
    """The SHA-256 of the vmatte that it runs."""
    node: str
    pid: int
    shares_cache: bool
    """Whether it sees the driver's cache folder."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What vmatte logged on the way."""

    text: str
    warning: bool


Remarks = list[Remark]


class Worker:
    """A Ray actor's class. Its errands raise VmatteError for what the user can mend."""

    def __init__(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        keep_last_model()
        logging.getLogger("vmatte").setLevel(logging.INFO)
        self._shares_cache = False
        self._network: tuple[int, Network] | None = None
        self._at = (-1, 0, 0)

    def hello(self, token: Path | None) -> Hello:
        """`token` is a file that the driver has put into its cache folder."""
        self._shares_cache = token is not None and token.exists()
        return Hello(sha256_of_program(), platform.node(), os.getpid(), self._shares_cache)

    def plan(self, job: RenderJob, runtime: Runtime) -> tuple[Plan, Remarks]:
        """Planned here, not where the driver runs: the model and its precision follow from the worker's device."""
        with _listening() as remarks:
            _check_shared(_inputs(job))
            plan = plan_job(job, runtime)
            announce(plan)
        return plan, remarks

    def analyse(
        self,
        number: int,
        plan: Plan,
        segments: tuple[Segment, ...],
        folder: Path,
        recalled: bool,
        kept: KeptMattes | None,
    ) -> Remarks:
        """Leave in the folder of job `number` what its clip as a whole has to tell; the driver holds the locks."""
        with _listening() as remarks:
            task, kept = self._task(plan, segments, folder, recalled, kept)
            find_analysis(task, self._network_of(number, plan), kept, Stopwatch())
        return remarks

    def render(
        self,
        number: int,
        plan: Plan,
        segments: tuple[Segment, ...],
        folder: Path,
        recalled: bool,
        kept: KeptMattes | None,
    ) -> Remarks:
        """Render segments of job `number` into its folder; the driver holds the locks of both folders."""
        self._at = (number, segments[0].number, 0)

        def on_frames(done: int, *_: object) -> None:
            self._at = (number, segments[0].number, done - segments[0].frames.start)

        with _listening() as remarks:
            task, kept = self._task(plan, segments, folder, recalled, kept)
            render_segments(task, self._network_of(number, plan), kept, Stopwatch(), on_frames)
        return remarks

    def _task(
        self, plan: Plan, segments: tuple[Segment, ...], folder: Path, recalled: bool, kept: KeptMattes | None
    ) -> tuple[Task, KeptMattes | None]:
        """What is to be done, as far as this node can: one that does not see the cache keeps and recalls nothing."""
        if not self._shares_cache:
            kept, recalled = None, False
        _check_shared([*_inputs(plan.job), folder])
        return Task(plan, segments, folder, recalled), kept

    def _network_of(self, number: int, plan: Plan) -> Network:
        if self._network is None or self._network[0] != number:
            self._network = number, Network(plan)
        return self._network[1]

    def frames_done(self) -> tuple[int, int, int]:
        """(job, first segment of the task, frames of the task that are done) of what is being rendered, or was last."""
        return self._at

    def finish(self, plan: Plan, folder: Path, spent_s: float) -> tuple[RenderReport, Remarks]:
        """Join a job's segments and give the whole its name; `spent_s` is how long the job has taken so far."""
        started = time.perf_counter() - spent_s
        with _listening() as remarks:
            _check_shared([plan.job.clip, folder])
            work = WorkFolder(folder)
            # A worker before this one may have died between giving the output its name and saying so.
            report = published(plan, work) or finish(plan, work, started)
        return report, remarks


def _inputs(job: RenderJob) -> list[Path]:
    return [*job.files.values(), *([] if job.weights is None else [job.weights])]


def _check_shared(paths: list[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise JobError(
                f"{path} is not there on {platform.node()}; what jobs read and write must lie in a folder that all "
                "nodes share, under the same name on each"
            )


class _Listener(logging.Handler):
    def __init__(self, remarks: Remarks) -> None:
        super().__init__()
        self._remarks = remarks

    def emit(self, record: logging.LogRecord) -> None:
        self._remarks.append(Remark(record.getMessage(), record.levelno >= logging.WARNING))


@contextmanager
def _listening() -> Iterator[Remarks]:
    """What vmatte logs inside: it would else end in a file on the node."""
    remarks: Remarks = []
    listener = _Listener(remarks)
    logger = logging.getLogger("vmatte")
    logger.addHandler(listener)
    try:
        yield remarks
    finally:
        logger.removeHandler(listener)
