"""What a farm tells whoever shows it to the user. Jobs are known by their place in the list that was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmatte.delivery import RenderReport


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker is ready on a node."""

    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class Left:
    """A worker is gone; what it was at is given to another one."""

    node: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class Frames:
    """How many frames of a job are done, of how many; fewer than before where a worker took some with it."""

    number: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Note:
    """A line about a job: what was chosen for it, and why; with `warning`, what is odd about it."""

    number: int
    text: str
    warning: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """A job came to nothing, for the reason in this line; the others go on."""

    number: int
    error: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A job's output is there."""

    number: int
    report: RenderReport


Event = Joined | Left | Frames | Note | Failed | Finished
OnEvent = Callable[[Event], None]
