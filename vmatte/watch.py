"""The hot folder: clips are rendered as they are dropped into it, each once, whoever drops them and however slowly."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmatte.errors import JobError, JobFileError, SourceError, VmatteError
from vmatte.segment_folder import take_lock, write_whole
from vmatte.video.probe import probe

logger = logging.getLogger(__name__)

CLIPS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".mxf", ".gif")
"""Extensions of what is taken; what a browser or a copy is still writing has another one, or begins with a dot."""
UNREADABLE_S = 300.0
"""Seconds after which a file that no longer grows and still cannot be read is given up."""

Render = Callable[[Path], Sequence[Path]]
"""Renders one clip and says what came of it; raises VmatteError."""


@dataclass(frozen=True, slots=True)
class State:
    """What a file looks like from outside."""

    size: int
    mtime_ns: int


class Register:
    """What became of every file that was taken: it outlives the program, so that none is taken twice.

    A file is known by its place, its size and its time: written anew under the same name it is another one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._taken: dict[str, dict[str, object]] = json.loads(path.read_bytes())
        except FileNotFoundError:
            self._taken = {}
        except (OSError, ValueError) as error:
            raise JobError(f"{path} cannot be read ({error}); delete it to render everything again") from error

    def knows(self, name: str, state: State) -> bool:
        """Whether the file was rendered, or given up, as it is now."""
        entry = self._taken.get(name)
        return entry is not None and (entry["size"], entry["mtime_ns"]) == (state.size, state.mtime_ns)

    def note(self, name: str, state: State, outcome: dict[str, object]) -> None:
        """Keep what became of a file."""
        self._taken[name] = {"size": state.size, "mtime_ns": state.mtime_ns, **outcome}
        write_whole(self._path, json.dumps(self._taken, indent=1))


def watch(folder: Path, out: Path, render: Render, *, poll_s: float, once: bool = False) -> tuple[int, int]:
    """Render every complete clip in `folder`, also those that come later; with `once` until nothing is left to do.

    A clip is complete when it stayed the same for a whole poll and its index says that all of it is there. Returns how
    many were rendered and how many failed. Raises JobError where the folders cannot be used, or are watched already.
    """
    _check_folders(folder, out)
    done = failed = 0
    with _own(out) as home:
        register = Register(home / "register.json")
        waiting: dict[str, _Waiting] = {}
        while True:
            ready = False
            for name, state in _clips_in(folder, out):
                if register.knows(name, state):
                    waiting.pop(name, None)
                    continue
                seen = waiting.get(name)
                if seen is None or seen.state != state:
                    waiting[name] = _Waiting(state, time.monotonic())
                    continue
                obstacle = _obstacle(folder / name)
                if obstacle is not None and time.monotonic() - seen.since < UNREADABLE_S and not once:
                    continue
                ready = True
                outcome = _outcome(folder / name, obstacle, render)
                register.note(name, state, outcome)
                done, failed = done + ("error" not in outcome), failed + ("error" in outcome)
                del waiting[name]
            if once and not ready and not waiting:
                return done, failed
            if not ready:
                time.sleep(poll_s)


@dataclass(frozen=True, slots=True)
class _Waiting:
    state: State
    since: float


def _outcome(clip: Path, obstacle: str | None, render: Render) -> dict[str, object]:
    if obstacle is None:
        try:
            return {"outputs": [str(path) for path in render(clip)]}
        except JobFileError:  # not the clip's fault: all others would fail too
            raise
        except VmatteError as error:
            obstacle = str(error)
    logger.error("%s", obstacle)
    return {"error": obstacle}


def _obstacle(clip: Path) -> str | None:
    """Why the clip cannot be rendered yet, or at all."""
    try:
        found = probe(clip)
    except SourceError as error:
        return str(error)
    if found.frames < found.promised_frames:
        return f"{clip}: only {found.frames} of its {found.promised_frames} frames are there"
    return None


def _clips_in(folder: Path, out: Path) -> Iterator[tuple[str, State]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or path.suffix.lower() not in CLIPS or out.resolve() in path.resolve().parents:
            continue
        try:
            state = path.stat()
        except OSError:  # it went away
            continue
        if path.is_file() and state.st_size:
            yield name.as_posix(), State(state.st_size, state.st_mtime_ns)


def _check_folders(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise JobError(f"folder {folder} does not exist; make it first")
    if out.resolve() == folder.resolve():
        raise JobError(f"results in {folder} itself would be taken for new clips; give another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"folder {out} cannot be made: {error.strerror}") from error


@contextmanager
def _own(out: Path) -> Iterator[Path]:
    home = out / ".vmatte-watch"
    try:
        home.mkdir(exist_ok=True)
        lock = take_lock(home)
    except OSError as error:
        raise JobError(f"folder {out} cannot be written: {error.strerror or error}") from error
    if lock is None:
        raise JobError(f"another vmatte already watches for {out}; give another --out, or end that one")
    with lock:
        yield home
