"""A batch on a Ray cluster: what the farm tells goes onto the board, as what workers on this machine tell does."""

from __future__ import annotations

from collections.abc import Sequence

from vmatte.batch.messages import finished
from vmatte.batch.run import Watcher, mark_done, mark_failed, save
from vmatte.batch.status import Board
from vmatte.cluster.driver import render_on_cluster
from vmatte.cluster.events import Event, Failed, Finished, Frames, Joined, Left, Note
from vmatte.errors import JobError
from vmatte.jobfile import Entry


def run_on_farm(
    entries: Sequence[Entry],
    board: Board,
    watcher: Watcher,
    address: str,
    *,
    workers: int | None = None,
    fail_fast: bool = False,
) -> None:
    """Render what waits on the board on the cluster at `address`, as `render_on_cluster` has it.

    A job that fails is marked and the others go on, unless `fail_fast`. Whatever ends the batch, the status file is
    true. Raises JobError where the cluster cannot be used.
    """
    numbers = [number for number, job in enumerate(board.jobs) if job.state == "waiting"]
    board.write()  # where that fails it is better known now

    def on_event(event: Event) -> None:
        match event:
            case Joined(node, pid):
                watcher.note(f"worker {pid} on {node}")
            case Left(node, pid, reason):
                watcher.note(f"worker {pid} on {node} is gone: {reason}")
            case Frames(place, done, total):
                board.update(numbers[place], state="running", frames_done=done, frames_total=total)
            case Note(_, text, warning=False):
                watcher.note(text)
            case Note(place, text):
                job = board.jobs[numbers[place]]
                board.update(numbers[place], warnings=(*job.warnings, text))
            case Failed(place, error):
                mark_failed(board, watcher, numbers[place], error)
                if fail_fast:
                    raise _EnoughError
            case Finished(place, report):
                try:
                    mark_done(board, watcher, numbers[place], finished(report))
                except JobError as error:
                    mark_failed(board, watcher, numbers[place], str(error))
        save(board.write_if_due, watcher)
        watcher.tick(board)

    try:
        if numbers:
            render_on_cluster([entries[number] for number in numbers], address, on_event, workers=workers)
    except _EnoughError:
        pass
    finally:
        for number, job in enumerate(board.jobs):
            if job.state == "running":
                board.update(number, state="waiting", frames_done=0)
        board.state = "interrupted" if board.count("waiting") else "finished"
        save(board.write, watcher)
        watcher.tick(board)


class _EnoughError(Exception):
    """One job has failed, and that is enough."""
