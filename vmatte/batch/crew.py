"""Worker processes as the driver sees them: started, spoken to, listened to, ended; and how many there should be."""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from vmatte.batch.messages import Command, Ended, Message

CORES_EACH = 4
"""Decoder, network and encoder keep about three busy; a network on the CPU shares what there is."""
MEMORY_EACH = 3 << 30
"""Bytes: the largest network on a CPU takes 2 GiB, frames of 1080p on their way most of another."""
_GRACE_S = 5.0
"""What a worker gets to clean up in; a network on a large frame does not listen sooner."""
_WORKER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from vmatte.batch.worker import main; main()"


@dataclass(frozen=True, slots=True)
class CrewSize:
    """How many workers, with how many threads each; `why` is the line that tells the user."""

    workers: int
    threads: int
    why: str


def crew_size(wanted: int | None, *, groups: int, cores: int, free_bytes: int | None, cuda: bool) -> CrewSize:
    """The number asked for, else what cores and memory allow; never more than there are groups of jobs to render."""
    if wanted is not None:
        workers, why = wanted, "as asked for"
    elif cuda:
        workers, why = 1, "auto: one GPU, which a second worker would only share"
    else:
        by_cores = max(1, cores // CORES_EACH)
        workers, why = by_cores, f"auto: one for {CORES_EACH} cores, and this process has {cores}"
        if free_bytes is not None and (by_memory := max(1, free_bytes // MEMORY_EACH)) < by_cores:
            workers = by_memory
            why = f"auto: one for {MEMORY_EACH >> 30} GiB of memory, and {free_bytes / 2**30:.1f} are free"
    if groups < workers:
        workers, why = max(1, groups), f"{_counted(groups, 'job')} that can run at the same time"
    threads = max(1, cores // workers)
    return CrewSize(workers, threads, f"{_counted(workers, 'worker')}, {_counted(threads, 'thread')} each ({why})")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that can be had without swapping, in this container; None where nobody knows."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        return min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return free


Events = queue.SimpleQueue[tuple["Worker", Message]]


class Worker:
    """A process that renders one job after the other. It ends when its stdin does: with the driver, however that ends.

    What it says is put into `events`, by a thread of its own; the last is always `Ended`.
    """

    def __init__(self, events: Events) -> None:
        # A file, for a pipe that nobody empties would stop whoever fills it.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-P", "-c", _WORKER, json.dumps(sys.path)]
        # A session of its own: Ctrl-C in the terminal is the driver's to hear.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True
        )
        self._commands = cast(IO[bytes], self._process.stdin)
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: Command) -> None:
        """Say something. Where nobody is left to hear it, `Ended` is on its way."""
        with suppress(OSError):
            pickle.dump(command, self._commands)
            self._commands.flush()

    def dismiss(self) -> None:
        """Let it end: nothing more comes."""
        with suppress(OSError):  # it went before
            self._commands.close()

    def terminate(self) -> None:
        """Interrupt what it does."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Until it has ended; after so many seconds it is killed."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.dismiss()

    def _listen(self, events: Events) -> None:
        with cast(IO[bytes], self._process.stdout) as messages:
            while True:
                try:
                    events.put((self, pickle.load(messages)))
                except (EOFError, OSError, pickle.UnpicklingError):  # killed, maybe in the middle of a word
                    break
        code = self._process.wait()
        with self._stderr as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().decode(errors="replace").splitlines()
        events.put((self, Ended(code, next((line.strip() for line in reversed(lines) if line.strip()), ""))))


def stop_all(workers: list[Worker]) -> None:
    """End all at once, in seconds."""
    for worker in workers:
        worker.terminate()
    deadline_s = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.wait(deadline_s - time.monotonic())
