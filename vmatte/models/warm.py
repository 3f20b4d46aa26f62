"""The last network that was built, kept for the next job: for a process that does nothing but render."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmatte.models.contract import MattingModel, ModelSpec
    from vmatte.models.placement import Placement


@dataclass(frozen=True, slots=True)
class _Built:
    """All that tells one network from another."""

    spec: ModelSpec
    own: Path | None
    version: tuple[int, int] | None
    """Size and time of the user's own weights, which may be trained further meanwhile."""
    placement: Placement


class _Shelf:
    """One place for one network."""

    def __init__(self) -> None:
        self.kept: tuple[_Built, MattingModel] | None = None

    def take(self, built: _Built, build: Callable[[], MattingModel]) -> MattingModel:
        if self.kept is None or self.kept[0] != built:
            self.kept = None  # before the next one is built: memory may not hold both
            self.kept = (built, build())
        return self.kept[1]


_shelf: _Shelf | None = None


def keep_last_model() -> None:
    """From now on this process keeps the last network it built: it never gives that memory back."""
    global _shelf
    _shelf = _shelf or _Shelf()


def forget_models() -> None:
    """Give the kept network's memory back, and keep none from now on."""
    global _shelf
    _shelf = None


def warm_model(
    spec: ModelSpec, own: Path | None, placement: Placement, build: Callable[[], MattingModel]
) -> MattingModel:
    """The kept network where it is the wanted one, else what `build` makes."""
    if _shelf is None:
        return build()
    found = None if own is None else own.stat()
    version = None if found is None else (found.st_size, found.st_mtime_ns)
    return _shelf.take(_Built(spec, own, version, placement), build)
