"""A batch on its user's screen: a live table on a terminal, a line for each finished job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from vmatte.batch.run import Watcher
from vmatte.batch.status import Board, JobStatus
from vmatte.terminal import say

_REFRESH_S = 0.25


@contextmanager
def shown(board: Board, stream: TextIO, *, quiet: bool) -> Iterator[Watcher]:
    """A watcher that shows the batch on `stream`; with `quiet` nothing."""
    if quiet or not stream.isatty():
        yield _Lines(stream, len(board.jobs), quiet=quiet)
        return
    console = Console(file=stream)
    with Live(console=console, auto_refresh=False) as live:
        yield _LiveTable(live, console, len(board.jobs))


def describe(job: JobStatus) -> str:
    """What came of a job, in a line."""
    if job.state == "failed":
        return f"{job.where}: {job.output}: {job.error}"
    warned = "".join(f"; {warning}" for warning in job.warnings)
    return f"{job.output}: {job.frames_done} frames in {job.seconds or 0:.1f} s ({job.fps or 0:.1f} fps){warned}"


def counts(board: Board) -> str:
    """How many jobs are in which state."""
    words = {"done": "done", "skipped": "already done", "failed": "failed", "running": "running", "waiting": "waiting"}
    found = [f"{number} {word}" for state, word in words.items() if (number := board.count(state))]  # type: ignore[arg-type]
    return f"{len(board.jobs)} job{'' if len(board.jobs) == 1 else 's'}: {', '.join(found)}"


class _Lines:
    def __init__(self, stream: TextIO, jobs: int, *, quiet: bool) -> None:
        self._stream, self._jobs, self._quiet = stream, jobs, quiet
        self._noted: set[str] = set()

    def note(self, text: str) -> None:
        if not self._quiet and text not in self._noted:
            self._noted.add(text)
            self._print(text)

    def ended(self, number: int, job: JobStatus) -> None:
        if not self._quiet:
            self._print(f"[{number + 1}/{self._jobs}] {describe(job)}")

    def tick(self, board: Board) -> None:
        pass

    def _print(self, text: str) -> None:
        say(text, self._stream)


class _LiveTable:
    """A row for each running job; what failed or is odd scrolls by above."""

    def __init__(self, live: Live, console: Console, jobs: int) -> None:
        self._live, self._console, self._jobs = live, console, jobs
        self._noted: set[str] = set()
        self._drawn_s = 0.0
        self._began_s: dict[int, float] = {}

    def note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._print(text)

    def ended(self, number: int, job: JobStatus) -> None:
        if job.state == "failed" or job.warnings:
            self._print(f"[{number + 1}/{self._jobs}] {describe(job)}")

    def tick(self, board: Board) -> None:
        now = time.monotonic()
        if now - self._drawn_s >= _REFRESH_S or not board.count("running"):
            self._drawn_s = now
            self._live.update(self._table(board, now), refresh=True)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def _table(self, board: Board, now: float) -> Table:
        running = [number for number, job in enumerate(board.jobs) if job.state == "running"]
        self._began_s = {number: self._began_s.get(number, now) for number in running}
        table = Table(box=None, pad_edge=False, show_header=False, caption=counts(board), caption_justify="left")
        for number in running:
            job, seconds = board.jobs[number], now - self._began_s[number]
            done, total = job.frames_done, job.frames_total
            bar = ProgressBar(total=total, completed=done, width=30, pulse=total is None)
            fps = f"{done / seconds:.1f} fps" if done and seconds > 0 else ""
            table.add_row(Path(job.output).name, bar, f"{done}/{total}" if total else "starts", fps)
        return table
