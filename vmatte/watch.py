"""The hot folder: clips are rendered as they are dropped into it, each once, whoever drops them and however slowly."""

from __future__ import annotations

import json
import logging
import os
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
        self._taken: dict[str, dict[str, object]] = {}
        try:
            for name, entry in json.loads(path.read_bytes()).items():
                if not entry.get("again"):  # what stood in the way may be mended
                    self._taken[name] = {"size": entry["size"], "mtime_ns": entry["mtime_ns"], **entry}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobError(f"{path} cannot be read ({error}); delete it to render everything again") from error

    def knows(self, name: str, state: State) -> bool:
        """Whether the file was rendered, or given up, as it is now."""
        entry = self._taken.get(name)
        return entry is not None and (entry["size"], entry["mtime_ns"]) == (state.size, state.mtime_ns)

    def twin_of(self, name: str) -> str | None:
        """Another clip whose results, which are there still, would be replaced: it differs by its extension alone."""
        stem = Path(name).with_suffix("")
        for other in self._taken.keys() - {name}:
            outputs = self._taken[other].get("outputs")
            if Path(other).with_suffix("") == stem and isinstance(outputs, list) and any(map(os.path.exists, outputs)):
                return other
        return None

    def note(self, name: str, state: State, outcome: dict[str, object]) -> None:
        """Keep what became of a file."""
        self._taken[name] = {"size": state.size, "mtime_ns": state.mtime_ns, **outcome}
        try:
            write_whole(self._path, json.dumps(self._taken, indent=1))
        except OSError as error:
            raise JobError(f"{self._path} cannot be written: {error.strerror}") from error


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
                if obstacle is None and (twin := register.twin_of(name)) is not None:
                    obstacle = f"{folder / name}: its results would replace those of {twin}; give it another name"
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
        except SourceError as error:
            obstacle = str(error)
        except VmatteError as error:  # a full disk, a model that cannot be fetched: the clip may be sound
            logger.error("%s; the next start tries it again", error)
            return {"error": str(error), "again": True}
        except Exception as error:
            logger.exception("%s: vmatte is at fault", clip)
            return {"error": f"vmatte is at fault: {type(error).__name__}: {error}", "again": True}
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
    results = out.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or path.suffix.lower() not in CLIPS:
            continue
        try:
            state = path.stat()
            below_results = results in path.resolve().parents
        except (OSError, RuntimeError):  # it went away, or is a link to itself
            continue
        if below_results:
            continue
        if path.is_file() and state.st_size:
            yield name.as_posix(), State(state.st_size, state.st_mtime_ns)


def check_names(names: Sequence[str], job_file: Path) -> None:
    """JobFileError where two renders would have one name, whatever folders `output` puts before it."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        mend = "write its name so that it differs for each clip, plate and format, such as {stem}_{plate}{suffix}"
        raise JobFileError(
            (f"{job_file}: more than one render would be {twice}, for of output the name alone counts here; {mend}",)
        )


def make_place(clip: Path, folder: Path, out: Path) -> Path:
    """The folder for a clip's results: below `out` as the clip lies below `folder`. Raises JobError."""
    place = out / clip.relative_to(folder).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"folder {place} cannot be made: {error.strerror}") from error
    return place


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
