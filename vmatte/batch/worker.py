"""A worker: a process that renders the jobs it is given, one after the other, and keeps the last network loaded."""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from typing import IO, NoReturn

from vmatte.batch.messages import (
    Command,
    Failed,
    Fetching,
    Finished,
    Frames,
    Hello,
    Message,
    Note,
    Settle,
    Work,
    finished,
)
from vmatte.errors import VmatteError
from vmatte.stopwatch import Stopwatch
from vmatte.workdir import make_folders

_TELL_S = 0.25
"""Between two reports of a job's progress, at least."""
_GRACE_S = 10.0
"""What is left for cleaning up when the driver has gone."""


class _Stopped(BaseException):
    """The driver wants an end, or is gone."""


def main() -> NoReturn:
    """Say hello, settle, then render what comes until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    driver = _Driver()
    try:
        import torch

        driver.tell(Hello(torch.cuda.is_available()))
        while True:
            match driver.next():
                case Settle(threads):
                    _use_threads(threads)
                case Work() as work:
                    driver.tell(_rendered(work, driver))
    except (_Stopped, BrokenPipeError):
        pass
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # what was half done is cleaned up; the libraries' own leaving takes a second and changes nothing


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the first one's cleaning up
    raise _Stopped


class _Driver:
    """The other end of the pipes."""

    def __init__(self) -> None:
        self._messages = os.fdopen(os.dup(1), "wb")
        self._telling = threading.Lock()  # decoder and encoder, on threads of their own, have things to say too
        os.dup2(2, 1)  # what a library prints is no message
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(sys.stdin.buffer,), daemon=True).start()

    def _listen(self, commands: IO[bytes]) -> None:
        try:
            while True:
                self._commands.put(pickle.load(commands))
        except (EOFError, pickle.UnpicklingError):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        os._exit(1)

    def next(self) -> Command:
        return self._commands.get()

    def tell(self, message: Message) -> None:
        with self._telling:
            pickle.dump(message, self._messages)
            self._messages.flush()


def _use_threads(threads: int) -> None:
    """Compute with this many, so that workers do not fight over the cores."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # ONNX Runtime's networks are opened with it
    import cv2
    import torch

    from vmatte.models.warm import keep_last_model

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    keep_last_model()
    logging.getLogger("vmatte").setLevel(logging.INFO)


class _Teller(logging.Handler):
    """What vmatte logs, told to the driver."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def emit(self, record: logging.LogRecord) -> None:
        self._driver.tell(Note(record.getMessage(), warning=record.levelno >= logging.WARNING))


def _rendered(work: Work, driver: _Driver) -> Finished | Failed:
    logger, teller = logging.getLogger("vmatte"), _Teller(driver)
    logger.addHandler(teller)
    try:
        return _render(work, driver)
    except VmatteError as error:
        return Failed(" ".join(str(error).split()))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Failed(f"vmatte is at fault: {what} ({place.filename}:{place.lineno})")
    finally:
        logger.removeHandler(teller)


def _render(work: Work, driver: _Driver) -> Finished:
    from vmatte.render import render_job

    make_folders([output.path for output in work.job.outputs])
    told = 0.0

    def on_frames(done: int, total: int, _: Stopwatch) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            driver.tell(Frames(done, total))

    def on_weights(name: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_S:
            told = time.monotonic()
            driver.tell(Fetching(name, done, total))

    report = render_job(work.job, work.runtime, on_frames=on_frames, on_weights=on_weights)
    return finished(report)
