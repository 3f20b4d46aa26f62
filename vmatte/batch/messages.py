"""What the driver of a batch and its workers say to each other: pickled, one after the other, on a worker's pipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmatte.batch.status import output_stamp
from vmatte.errors import JobError
from vmatte.job import RenderJob, Runtime

if TYPE_CHECKING:  # a driver does not wait for torch
    from vmatte.delivery import RenderReport


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first word."""

    cuda: bool
    """Whether torch finds a CUDA device."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The driver's first word: how many threads the worker may compute with."""

    threads: int


@dataclass(frozen=True, slots=True)
class Work:
    """A job to render."""

    job: RenderJob
    runtime: Runtime


@dataclass(frozen=True, slots=True)
class Frames:
    """How many frames of the job are done."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the user: what was chosen for the job and why, or, with `warning`, what is odd about it."""

    text: str
    warning: bool


@dataclass(frozen=True, slots=True)
class Fetching:
    """Weights are being fetched."""

    name: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The job's output is there. `output_bytes` and `output_mtime_ns` tell it from another file of that name."""

    frames: int
    lost: int
    seconds: float
    fps: float
    model: str
    licence: str
    sha256: str
    matte: str | None
    output_bytes: int
    output_mtime_ns: int


def finished(report: RenderReport) -> Finished:
    """What a render came to, and what its output looks like. JobError where that is gone."""
    stamp = output_stamp([output.path for output in report.outputs])
    if stamp is None:
        raise JobError(f"{report.output} was removed as soon as it was there")
    return Finished(
        frames=report.frames,
        lost=report.lost,
        seconds=report.seconds,
        fps=report.fps,
        model=report.model,
        licence=report.licence,
        sha256=report.sha256,
        matte=report.matte,
        output_bytes=stamp[0],
        output_mtime_ns=stamp[1],
    )


@dataclass(frozen=True, slots=True)
class Failed:
    """The job came to nothing; in one line why."""

    error: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker's process is gone; told by the thread that listens to it."""

    code: int
    """As subprocess has it: -9 for a process that SIGKILL ended."""
    last_words: str
    """The end of what it wrote to stderr, in one line."""


Command = Settle | Work
Message = Hello | Frames | Note | Fetching | Finished | Failed | Ended
