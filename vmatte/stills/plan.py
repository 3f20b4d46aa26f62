"""Which pictures are read, and what is written of each: settled before the first one is opened."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from vmatte.errors import JobError
from vmatte.outputs import LayerName
from vmatte.stills.formats import FORMATS, Format, find_format, format_of
from vmatte.workdir import check_parent

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif")
"""What is taken for a picture in a folder; a file that is named may be called anything."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A layer and the file that it goes into."""

    layer: LayerName
    path: Path
    format: Format


@dataclass(frozen=True, slots=True)
class StillJob:
    """A picture and what is written of it."""

    picture: Path
    writings: tuple[Writing, ...]
    sheet: Path | None = None
    """Where the photo is put on paper too."""


def plan_stills(
    named: Sequence[Path],
    into: str | Path | None,
    layers: Sequence[LayerName],
    format_name: str | None,
    *,
    sheet: bool = False,
) -> list[StillJob]:
    """A job for each picture that the names mean: files, folders with all below them, and patterns with `*`.

    They go `into` a file for one picture and one layer, or into a folder, in which those of a folder keep their places:
    one that is there, or a name without extension, or with a `/` at its end. Without it, each lies beside its picture.
    Raises JobError.
    """
    given = None if format_name is None else find_format(format_name)
    single = len(named) == 1 and not named[0].is_dir() and not _is_pattern(named[0]) and len(layers) == 1
    output = None if into is None else Path(into)
    if output is not None:
        try:
            check_parent(output)
            is_folder = _is_folder(str(into))
        except OSError as error:
            raise JobError(f"{output} cannot be written: {error.strerror}; give another name") from error
        if not is_folder:
            form = _agreed(output, given)
            if not single:
                raise JobError(f"{output} is one file, for several pictures or layers; give a folder")
            _check(layers[0], form)
            return [_job(named[0], {layers[0]: output}, form, sheet=sheet)]
    jobs = []
    for picture, place in _pictures(named, output):
        folder = picture.parent if output is None else output / place
        names = {}
        for layer in layers:
            form = given or _default(layer)
            _check(layer, form)
            ending = f"_{layer}" if output is None or len(layers) > 1 else ""
            names[layer] = folder / f"{picture.stem}{ending}{form.suffixes[0]}"
        jobs.append(_job(picture, names, given, sheet=sheet))
    _check_apart(jobs)
    return jobs


def find_layers(words: Sequence[str], *, plate: bool) -> tuple[LayerName, ...]:
    """The layers of these names; without any the composite where there is a plate, else the cutout. JobError."""
    for word in words:
        if word not in get_args(LayerName):
            raise JobError(f"no layer is called {word!r}; there are: {', '.join(get_args(LayerName))}")
        if word == "composite" and not plate:
            raise JobError("a composite needs a background; give --bg")
    return cast(tuple[LayerName, ...], tuple(dict.fromkeys(words))) or ("composite" if plate else "cutout",)


def _default(layer: LayerName) -> Format:
    return FORMATS["jpg" if layer == "composite" else "png"]


def _is_folder(into: str) -> bool:
    """Whether it names a folder. JobError where a layer stands behind it, as it may behind those of `vmatte run`."""
    path, name = Path(into), Path(into).name
    if path.is_dir() or into.endswith(_ENDS_OF_FOLDERS):
        return True
    before, _, layer = name.rpartition(",")
    if before and layer in get_args(LayerName):
        raise JobError(f"{into}: for a picture the layer is no part of the name; give -o {before} --layer {layer}")
    return path.suffix == ""


_ENDS_OF_FOLDERS = tuple(filter(None, ("/", os.sep, os.altsep)))


def _agreed(output: Path, given: Format | None) -> Format:
    found = format_of(output)
    if found is None:
        *most, last = FORMATS
        raise JobError(
            f"{output}: {output.suffix[1:]} is not written; {', '.join(most)} or {last}; a folder's name ends in /"
        )
    if given is not None and given is not found:
        raise JobError(
            f"{output} is no {given.name}; leave out the format, or call it {output.stem}{given.suffixes[0]}"
        )
    return found


def _check(layer: LayerName, form: Format) -> None:
    if layer == "cutout" and not form.alpha:
        can = ", ".join(row.name for row in FORMATS.values() if row.alpha)
        raise JobError(f"{form.name} has no alpha, which a cutout needs; give --bg, or one of: {can}")


def _job(picture: Path, names: dict[LayerName, Path], given: Format | None, *, sheet: bool) -> StillJob:
    writings = tuple(Writing(layer, path, given or _default(layer)) for layer, path in names.items())
    first = writings[0].path
    return StillJob(picture, writings, first.with_name(f"{first.stem}_sheet{first.suffix}") if sheet else None)


def _is_pattern(path: Path) -> bool:
    return not path.exists() and glob.has_magic(str(path))


def _pictures(named: Sequence[Path], output: Path | None) -> Iterator[tuple[Path, Path]]:
    """Each picture once, and its place below the output's folder."""
    seen = set()
    for name in named:
        for picture, place in _below(name, output):
            if picture.absolute() not in seen:
                seen.add(picture.absolute())
                yield picture, place


def _below(name: Path, output: Path | None) -> Iterator[tuple[Path, Path]]:
    if name.is_dir():
        found = sorted(path for path in name.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        own = None if output is None or output.resolve() == name.resolve() else output.resolve()
        pictures = [path for path in found if own is None or own not in path.resolve().parents]
        if not pictures:
            raise JobError(f"folder {name} holds no pictures ({', '.join(_SUFFIXES)})")
        yield from ((path, path.parent.relative_to(name)) for path in pictures)
        return
    if _is_pattern(name):
        matching = sorted(path for path in map(Path, glob.glob(str(name), recursive=True)) if path.is_file())
        if not matching:
            raise JobError(f"{name}: no file is called like that")
        yield from ((path, Path()) for path in matching)
        return
    yield name, Path()


def _check_apart(jobs: Sequence[StillJob]) -> None:
    """JobError where two pictures would become one file."""
    taken: dict[Path, Path] = {}
    for job in jobs:
        for path in (*(writing.path for writing in job.writings), *filter(None, [job.sheet])):
            if path in taken:
                raise JobError(
                    f"{taken[path]} and {job.picture} would both become {path}; give them another folder each"
                )
            taken[path] = job.picture
