"""The driver of a batch: it hands jobs to workers, keeps the board, and outlives every worker."""

from __future__ import annotations

import queue
import signal
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from vmatte.batch.crew import Events, Worker, crew_size, free_memory, stop_all, usable_cores
from vmatte.batch.messages import Ended, Failed, Fetching, Finished, Frames, Hello, Message, Note, Settle, Work
from vmatte.batch.status import Board, JobStatus, first_status, others, read_earlier_run
from vmatte.errors import BatchError, EncodeError
from vmatte.jobfile import Entry

_TICK_S = 0.25
"""How long the driver sleeps where nobody says anything."""


class Watcher(Protocol):
    """Who shows a batch to its user."""

    def note(self, text: str) -> None:
        """A line: what was chosen, and why. The same line may come for each job."""

    def ended(self, number: int, job: JobStatus) -> None:
        """Job `number` is done, or has failed."""

    def tick(self, board: Board) -> None:
        """Something may have changed; called some times a second, or many."""


def open_board(entries: Sequence[Entry], status: Path, *, again: bool) -> tuple[Board, list[Entry]]:
    """The board of a batch, with what an earlier run of it has done already, and the entries as they are to be run:
    with leave to replace what the batch itself has written. `again` renders everything anew.

    Raises JobError where `status` is something else.
    """
    earlier = read_earlier_run(status)
    jobs, prepared = [], []
    for entry in entries:
        job, replaceable = first_status(entry, earlier, again=again)
        runtime = entry.runtime.model_copy(update={"overwrite": replaceable})
        jobs.append(job)
        prepared.append(Entry(job=entry.job, runtime=runtime, where=entry.where))
    return Board(status, jobs, others(earlier, jobs)), prepared


@contextmanager
def only_run(job_file: Path) -> Iterator[None]:
    """Keep a second batch off the same job file, as far as the system can. BatchError where one is at work."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with job_file.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BatchError(f"{job_file} is being rendered by another vmatte; wait for it, or stop it") from error
        except OSError:  # a file system without locks
            pass
        yield


def run_batch(
    entries: Sequence[Entry], board: Board, watcher: Watcher, *, workers: int | None = None, fail_fast: bool = False
) -> None:
    """Render what waits on the board; `workers` at once, None for as many as cores and memory allow.

    A job that fails is marked and the others go on, unless `fail_fast`. Whatever ends the batch, no worker is left
    and the status file is true. Raises BatchError where no worker can be started.
    """
    driver = _Driver(entries, board, watcher, wanted=workers, fail_fast=fail_fast)
    board.write()  # where that fails it is better known now
    try:
        driver.work()
    finally:
        driver.stop()
        watcher.tick(board)


def groups(entries: Sequence[Entry], numbers: Sequence[int]) -> deque[deque[int]]:
    """The jobs of these numbers, those with the same matte together, in the order of the file.

    They go to one worker, one after the other: the second finds the matte that the first has made.
    """
    together: dict[object, deque[int]] = defaultdict(deque)
    for number in numbers:
        job = entries[number].job
        how = (job.start, job.end, job.smoothing, job.crop, job.subject.keep, job.upsample, job.segment_frames)
        together[job.clip, job.model, job.weights, how].append(number)
    return deque(together.values())


def mark_done(board: Board, watcher: Watcher, number: int, finished: Finished) -> None:
    """A job's output is there."""
    total = finished.frames + finished.lost
    warnings = board.jobs[number].warnings
    if finished.lost:
        warnings += (f"{finished.lost} of {total} frames could not be decoded and are missing",)
    ended = board.update(
        number,
        state="done",
        frames_done=finished.frames,
        frames_total=total,
        lost=finished.lost,
        fps=round(finished.fps, 3),
        seconds=round(finished.seconds, 3),
        warnings=warnings,
        model=finished.model,
        licence=finished.licence,
        sha256=finished.sha256,
        matte=finished.matte,
        output_bytes=finished.output_bytes,
        output_mtime_ns=finished.output_mtime_ns,
    )
    watcher.ended(number, ended)


def mark_failed(board: Board, watcher: Watcher, number: int, error: str) -> None:
    """A job came to nothing."""
    watcher.ended(number, board.update(number, state="failed", error=error))


def save(write: Callable[[], None], watcher: Watcher) -> None:
    """Write the status; where that fails the batch goes on, for the full disk may be another one than the outputs'."""
    try:
        write()
    except EncodeError as error:
        watcher.note(str(error))


class _Driver:
    """The loop that listens to the workers, and what it has to remember."""

    def __init__(
        self, entries: Sequence[Entry], board: Board, watcher: Watcher, *, wanted: int | None, fail_fast: bool
    ) -> None:
        self._entries, self._board, self._watcher = entries, board, watcher
        self._wanted, self._fail_fast = wanted, fail_fast
        self._groups = groups(entries, [number for number, job in enumerate(board.jobs) if job.state == "waiting"])
        self._events: Events = queue.SimpleQueue()
        self._threads: int | None = None
        """For each worker; None until the first one has told what devices there are."""
        self._greeted: set[Worker] = set()
        self._group: dict[Worker, deque[int]] = {}
        """What each worker still has to do of its group."""
        self._job: dict[Worker, int] = {}
        """What each worker is at."""

    def work(self) -> None:
        """Until every job has been tried, or one has failed and that is enough."""
        if self._groups:
            self._hire()
        while self._group:
            try:
                worker, message = self._events.get(timeout=_TICK_S)
            except queue.Empty:
                pass
            else:
                self._hear(worker, message)
                if self._fail_fast and self._board.count("failed"):
                    return
            save(self._board.write_if_due, self._watcher)
            self._watcher.tick(self._board)

    def stop(self) -> None:
        """End all workers; what they were at waits for the next run, unless they finished it just now."""
        stop_all(list(self._group))
        while self._group:
            try:
                worker, message = self._events.get(timeout=1)
            except queue.Empty:  # the interruption came while the last word of one was being heard
                break
            match message:
                case Finished():
                    self._finish(self._job.pop(worker), message)
                case Ended():
                    self._group.pop(worker, None)
        for number, job in enumerate(self._board.jobs):
            if job.state == "running":
                self._board.update(number, state="waiting", frames_done=0)
        self._board.state = "interrupted" if self._board.count("waiting") else "finished"
        save(self._board.write, self._watcher)

    def _hire(self) -> None:
        self._group[Worker(self._events)] = deque()

    def _hear(self, worker: Worker, message: Message) -> None:
        match message:
            case Hello(cuda):
                self._greet(worker, cuda)
            case Frames(done, total):
                self._board.update(self._job[worker], frames_done=done, frames_total=total)
            case Fetching(name, done_bytes, total_bytes):
                # Told in tenths, and by its text each of them only once.
                tenths = 10 * done_bytes // max(1, total_bytes)
                self._watcher.note(f"fetching {name}: {10 * tenths} % of {total_bytes / 1e6:.1f} MB")
            case Note(text, warning=False):
                self._watcher.note(text)
            case Note(text) if worker in self._job:  # a thread of the render may have the last word
                number = self._job[worker]
                self._board.update(number, warnings=(*self._board.jobs[number].warnings, text))
            case Finished():
                self._finish(self._job.pop(worker), message)
                self._give(worker)
            case Failed(error):
                self._fail(self._job.pop(worker), error)
                self._give(worker)
            case Ended():
                self._mourn(worker, message)

    def _greet(self, worker: Worker, cuda: bool) -> None:
        self._greeted.add(worker)
        if self._threads is None:
            # It counts where a job may use it.
            cuda = cuda and any(entry.runtime.device not in ("cpu", "mps") for entry in self._entries)
            size = crew_size(
                self._wanted, groups=len(self._groups), cores=usable_cores(), free_bytes=free_memory(), cuda=cuda
            )
            self._threads = size.threads
            self._watcher.note(size.why)
            for _ in range(size.workers - 1):
                self._hire()
        worker.send(Settle(self._threads))
        self._give(worker)

    def _give(self, worker: Worker) -> None:
        """The next job of its group, or of the next group; where there is none it may go."""
        group = self._group[worker] or (self._groups.popleft() if self._groups else None)
        if group is None:
            worker.dismiss()
            return
        number = group.popleft()
        self._group[worker], self._job[worker] = group, number
        self._board.update(number, state="running", frames_done=0)
        worker.send(Work(self._entries[number].job, self._entries[number].runtime))

    def _finish(self, number: int, finished: Finished) -> None:
        mark_done(self._board, self._watcher, number, finished)

    def _fail(self, number: int, error: str) -> None:
        mark_failed(self._board, self._watcher, number, error)

    def _mourn(self, worker: Worker, ended: Ended) -> None:
        """A worker's process is gone: its job has failed, the rest of its group is another one's."""
        rest = self._group.pop(worker)
        if worker not in self._greeted:
            if self._group:  # the others go on without it
                return
            raise BatchError(f"a worker cannot be started ({_cause(ended)}); try `vmatte run` with one of the clips")
        if worker in self._job:
            self._fail(self._job.pop(worker), f"its worker {_cause(ended)}")
        if rest:
            self._groups.appendleft(rest)
        if self._groups:
            self._hire()


def _cause(ended: Ended) -> str:
    words = f": {ended.last_words}" if ended.last_words else ""
    if ended.code == 0:
        return "was told to stop by somebody else (SIGTERM)"
    if ended.code > 0:
        return f"ended with code {ended.code}{words}"
    name = next((number.name for number in signal.Signals if number == -ended.code), f"signal {-ended.code}")
    if name == "SIGKILL":
        return "was killed (SIGKILL): most likely memory ran out; fewer workers need less"
    return f"died of {name}{words}"
