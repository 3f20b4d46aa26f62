"""How far each job of a batch is: kept in a JSON file that is whole whenever somebody reads it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from vmatte.errors import EncodeError, JobError
from vmatte.job import RenderJob
from vmatte.jobfile import Entry

VERSION = 1
"""Of the file's layout."""
State = Literal["waiting", "running", "done", "failed", "skipped"]
"""`skipped`: an earlier run of the batch has rendered it already."""
FINISHED: tuple[State, ...] = ("done", "skipped")
_EVERY_S = 0.5
"""Between two writes, at least."""
_HEARTBEAT_S = 5
"""Between two writes, at most: `updated` tells a batch that is at work from one that was killed."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far one job is."""

    where: str
    """Its place in the job file."""
    clip: str
    output: str
    """The first, by which the job is known."""
    fingerprint: str
    """Of the job and of the files it reads; another one means other pixels."""
    state: State = "waiting"
    frames_done: int = 0
    frames_total: int | None = None
    lost: int = 0
    """Frames of the clip that could not be decoded."""
    fps: float | None = None
    seconds: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    model: str | None = None
    licence: str | None = None
    sha256: str | None = None
    """Of the output."""
    matte: str | None = None
    """What its matte is kept under in the cache."""
    output_bytes: int | None = None
    output_mtime_ns: int | None = None
    beside: tuple[str, ...] = ()
    """The other outputs."""

    @property
    def outputs(self) -> list[Path]:
        return [Path(output) for output in (self.output, *self.beside)]


class Board:
    """The jobs of a batch and how far each is."""

    def __init__(self, path: Path, jobs: Iterable[JobStatus], others: Iterable[JobStatus] = ()) -> None:
        self.path = path
        self.jobs = list(jobs)
        self._others = [asdict(job) for job in others]
        self.state: Literal["running", "finished", "interrupted"] = "running"
        self._counts = Counter(job.state for job in self.jobs)
        self._started = _now()
        self._changed = True
        self._written_s = -_HEARTBEAT_S * 2.0
        self._cost_s = 0.0

    def update(self, number: int, **changes: Any) -> JobStatus:
        """Change fields of a job."""
        before = self.jobs[number]
        after = self.jobs[number] = replace(before, **changes)
        self._counts[before.state] -= 1
        self._counts[after.state] += 1
        self._changed = True
        return after

    def count(self, *states: State) -> int:
        """How many jobs are in one of these states."""
        return sum(self._counts[state] for state in states)

    def write_if_due(self) -> None:
        """Write the file where something changed, at most twice a second, and from time to time anyway."""
        waited = time.monotonic() - self._written_s
        # Thousands of jobs take long to write: that must not become all that is done.
        if waited >= max(_EVERY_S if self._changed else _HEARTBEAT_S, 20 * self._cost_s):
            self.write()

    def write(self) -> None:
        """Replace the file in one step. Raises EncodeError."""
        started = time.monotonic()
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False)
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            # A name of bytes that are no UTF-8 becomes what JSON writes for them: \udcff.
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(part, self.path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise EncodeError(f"{self.path} cannot be written: {error.strerror}") from error
        self._changed, self._written_s = False, time.monotonic()
        self._cost_s = self._written_s - started

    def as_json(self) -> dict[str, object]:
        """What the file holds; `started` and `updated` are seconds since 1970."""
        return {
            "version": VERSION,
            "state": self.state,
            "started": self._started,
            "updated": _now(),
            "jobs": [asdict(job) for job in self.jobs],
            "others": self._others,
        }


def _now() -> float:
    return int(time.time() * 1000) / 1000  # never later than it is


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """What the status file of an earlier run says."""

    jobs: dict[str, JobStatus]
    """By output."""
    cut_short: bool
    """Whether that run was killed or interrupted: what it wrote last may not be the last it did."""
    started: float
    updated: float


_NO_RUN = EarlierRun({}, cut_short=False, started=0.0, updated=0.0)
_SILENCE_S = 30
"""How long after its last word a run that was killed may have finished a job."""


def read_earlier_run(path: Path) -> EarlierRun:
    """What is known from an earlier run. JobError where the file is something else, which must not be replaced."""
    if not path.exists():
        return _NO_RUN
    names = {field.name for field in fields(JobStatus)}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] != VERSION:
            raise JobError(f"{path} is of another version of vmatte; remove it, or name another with --status")
        seen = (*found.get("others", ()), *found["jobs"])
        jobs = [JobStatus(**{name: job[name] for name in names & job.keys()}) for job in seen]
        jobs = [replace(job, warnings=tuple(job.warnings), beside=tuple(job.beside)) for job in jobs]
        return EarlierRun(
            {job.output: job for job in jobs}, found["state"] != "finished", found["started"], found["updated"]
        )
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(f"{path} is not the status of a batch; remove it, or name another file with --status") from error


def first_status(entry: Entry, earlier: EarlierRun, *, again: bool) -> tuple[JobStatus, bool]:
    """A job's status before the batch begins, and whether its output may be replaced.

    A job is skipped where its last run finished, nothing that it reads has changed since, and its output is still the
    one that it wrote. An output that the batch wrote itself may be replaced; a stranger only where the job, or `again`,
    says so.
    """
    output, *beside = (str(each.path) for each in entry.job.outputs)
    status = JobStatus(entry.where, str(entry.job.clip), output, fingerprint(entry.job), beside=tuple(beside))
    before, stamp = earlier.jobs.get(status.output), output_stamp(status.outputs)
    replaceable = again or entry.runtime.overwrite
    if before is None or stamp is None:
        return status, replaceable
    ours = stamp == (before.output_bytes, before.output_mtime_ns)
    if not ours and earlier.cut_short and before.state in ("running", "waiting"):
        # Published, when there was nobody left to write it down.
        ours = earlier.started <= stamp[1] / 1e9 <= earlier.updated + _SILENCE_S
    if not ours:
        return status, replaceable
    if before.state in FINISHED and before.fingerprint == status.fingerprint and not again:
        return replace(before, where=status.where, state="skipped"), True
    return replace(status, output_bytes=stamp[0], output_mtime_ns=stamp[1]), True


def others(earlier: EarlierRun, jobs: Iterable[JobStatus]) -> list[JobStatus]:
    """Of an earlier run the jobs that are not among these, as long as their outputs are the ones that it wrote.

    Without them a run of other clips, or with another `--set`, would make strangers of its own outputs.
    """
    rest = earlier.jobs.keys() - {job.output for job in jobs}
    return [
        job
        for output, job in earlier.jobs.items()
        if output in rest and output_stamp(job.outputs) == (job.output_bytes, job.output_mtime_ns)
    ]


def fingerprint(job: RenderJob) -> str:
    """SHA-256 of the job and of size and time of the files that it reads."""
    read = [*job.files.values(), *([] if job.weights is None else [job.weights])]
    seen = [job.model_dump(mode="json"), [_stamp(path) for path in read]]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def output_stamp(outputs: Sequence[Path]) -> tuple[int, int] | None:
    """(bytes, time of the last change in ns) of all outputs together; None where one of them is not there."""
    stamps = [stamp for stamp in map(_stamp_of_output, outputs) if stamp is not None]
    if len(stamps) < len(outputs):
        return None
    return sum(size for size, _ in stamps), max(changed for _, changed in stamps)


def _stamp_of_output(output: Path) -> tuple[int, int] | None:
    """Of a file, or of all files in a folder."""
    try:
        if not output.is_dir():
            return _stamp(output)
        with os.scandir(output) as entries:
            found = [entry.stat() for entry in entries]
    except OSError:  # whoever wants to write there will hear of it
        return None
    return (sum(each.st_size for each in found), max(each.st_mtime_ns for each in found)) if found else None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
