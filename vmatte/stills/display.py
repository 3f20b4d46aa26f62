"""Pictures on their user's screen: a bar on a terminal, a line for each elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vmatte.stills.run import StillReport, Watcher
from vmatte.terminal import fetch_lines, logs_shown, say


@contextmanager
def shown(pictures: int, stream: TextIO, *, quiet: bool) -> Iterator[Watcher]:
    """A watcher that shows the run on `stream`; with `quiet` only what fails. What vmatte logs is shown too."""
    if quiet:
        yield _Lines(stream, pictures, quiet=True)
        return
    if stream.isatty():
        console = Console(file=stream)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            watcher: _Bar | _Lines = _Bar(progress, pictures)
            with logs_shown(watcher.note):
                yield watcher
    else:
        watcher = _Lines(stream, pictures, quiet=False)
        with logs_shown(watcher.note):
            yield watcher


def describe(report: StillReport) -> str:
    """What came of a picture, in a line."""
    if report.error is not None:
        return report.error
    if not report.outputs:
        return f"{report.picture}: done already"
    return f"{', '.join(map(str, report.outputs))} ({report.seconds:.1f} s)"


class _Lines:
    def __init__(self, stream: TextIO, pictures: int, *, quiet: bool) -> None:
        self._stream, self._pictures, self._quiet = stream, pictures, quiet
        self.fetching = fetch_lines(self.note)

    def ended(self, number: int, report: StillReport) -> None:
        if report.error is not None:
            self.note(f"vmatte: {report.error}")
        elif self._pictures > 1 and not self._quiet:
            self.note(f"[{number + 1}/{self._pictures}] {describe(report)}")

    def note(self, text: str) -> None:
        say(text, self._stream)


class _Bar:
    def __init__(self, progress: Progress, pictures: int) -> None:
        self._progress, self._task = progress, progress.add_task("pictures", total=pictures)
        self._fetches: dict[str, TaskID] = {}

    def ended(self, number: int, report: StillReport) -> None:
        if report.error is not None:
            self.note(f"vmatte: {report.error}")
        self._progress.update(self._task, completed=number + 1, description=report.picture.name)

    def fetching(self, name: str, done: int, total: int) -> None:
        if name not in self._fetches:
            self._fetches[name] = self._progress.add_task(f"{name}, MB", total=total // 10**6)
        self._progress.update(self._fetches[name], completed=done // 10**6)

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)
