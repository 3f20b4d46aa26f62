"""The files that a picture can become; pure data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vmatte.errors import JobError


@dataclass(frozen=True, slots=True)
class Format:
    """A row of FORMATS. `deep` files have 16 bits where the picture has; `lossy` ones can be given a
    quality; `most_pixels` is along a side."""

    name: str
    suffixes: tuple[str, ...]
    alpha: bool
    deep: bool
    lossy: bool
    most_pixels: int | None = None


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("png", (".png",), alpha=True, deep=True, lossy=False),
        Format("webp", (".webp",), alpha=True, deep=False, lossy=True, most_pixels=16383),
        Format("tiff", (".tif", ".tiff"), alpha=True, deep=True, lossy=False),
        Format("jpg", (".jpg", ".jpeg"), alpha=False, deep=False, lossy=True, most_pixels=65535),
    )
}


def format_of(path: Path) -> Format | None:
    """By the name's end; None for one that is not known."""
    return next((row for row in FORMATS.values() if path.suffix.lower() in row.suffixes), None)


def find_format(name: str) -> Format:
    """JobError for a name that is none."""
    if name not in FORMATS:
        raise JobError(f"no picture format is called {name!r}; there are: {', '.join(FORMATS)}")
    return FORMATS[name]
