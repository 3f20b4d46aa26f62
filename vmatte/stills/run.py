"""Pictures one after the other: the model is loaded once, and one that fails does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vmatte.errors import JobError, ModelError, VmatteError
from vmatte.job import (
    DEFAULT_MODEL,
    RenderJob,
    Runtime,
    Words,
    at_home,
    job_words,
    make_job,
    make_runtime,
    runtime_words,
)
from vmatte.models.choice import choose
from vmatte.models.weights import Progress
from vmatte.options import FilePlate, NoPlate
from vmatte.outputs import LayerName
from vmatte.plates import check_plate
from vmatte.stills.matting import StillNetwork
from vmatte.stills.picture import Codes, picture_of, picture_of_codes, read_picture
from vmatte.stills.plan import StillJob, Writing
from vmatte.stills.render import render_still
from vmatte.stills.sheet import print_sheet
from vmatte.stills.sizes import IdPhoto
from vmatte.stills.write import Pixels, verify_picture, write_picture
from vmatte.workdir import check_output, publish

logger = logging.getLogger(__name__)

WORDS = frozenset(
    (
        *("background", "fit", "model", "weights", "upsample", "crop", "subject", "garbage", "hold_out"),
        *("remove_specks", "fill_holes", "black", "white", "gamma", "choke", "feather"),
        *("screen", "clean_plate", "despill", "foreground", "own_alpha"),
        *("size", "subject_scale", "subject_x", "subject_y"),
        *("blend", "light_wrap", "color_match", "shadow", "grain"),
        *("device", "precision", "licence_guard", "overwrite"),
    )
)
"""Those of a render that mean something for a picture."""


@dataclass(frozen=True, slots=True)
class PhotoOptions:
    """What is made of all pictures alike beside the job: ID photos, sheets of (width, height) mm, how files are
    written."""

    id_photo: IdPhoto | None = None
    sheet_mm: tuple[float, float] | None = None
    quality: int | None = None
    """1 to 100 of JPEG and WebP; None: 95, and lossless."""
    skip_existing: bool = False


@dataclass(frozen=True, slots=True)
class StillReport:
    """What came of a picture: the files that were written, none where they were there; or why not."""

    picture: Path
    outputs: tuple[Path, ...] = ()
    seconds: float = 0.0
    error: str | None = None


class Watcher(Protocol):
    def ended(self, number: int, report: StillReport) -> None:
        """Picture `number` of all, from 0 on, is done, left out, or has failed."""
        ...

    def fetching(self, name: str, done: int, total: int) -> None:
        """So many bytes of a model's weights are here."""
        ...


def run_stills(
    stills: Sequence[StillJob],
    words: Words,
    options: PhotoOptions,
    watcher: Watcher,
    on_weights: Progress | None = None,
) -> list[StillReport]:
    """Make all pictures. What is wrong with all of them, such as the words or the model, is raised at once; what is
    wrong with one of several is in its report. A single one's error is raised."""
    runtime = make_runtime(**runtime_words(words))
    first = _job_of(stills[0].picture, words)
    if isinstance(first.background, FilePlate):
        check_plate(first.background)
    network = StillNetwork(choose(first.model, first.weights, runtime), on_weights)
    logger.info("%s", network.choice)
    layers = {writing.layer for still in stills for writing in still.writings}
    idle = [*first.looks, *(() if isinstance(first.background, NoPlate) else ("background",))]
    if idle and "composite" not in layers:
        logger.warning("no layer has a background: nothing comes of %s", ", ".join(idle))
    inputs = [path for still in stills for path in _job_of(still.picture, words).files.values()]
    reports: list[StillReport] = []
    for number, still in enumerate(stills):
        try:
            reports.append(_made(still, words, options, network, runtime, inputs))
        except VmatteError as error:
            if len(stills) == 1 or (isinstance(error, ModelError) and not network.is_loaded):
                raise
            reports.append(StillReport(still.picture, error=" ".join(str(error).split())))
        watcher.ended(number, reports[-1])
    return reports


def _job_of(picture: str | Path, words: Words) -> RenderJob:
    if strange := [name for name, value in words.items() if name not in WORDS and value is not None]:
        raise JobError(f"a picture has no {strange[0].replace('_', ' ')}; leave that out")
    return make_job(picture, **job_words(words))


def _made(
    still: StillJob, words: Words, options: PhotoOptions, network: StillNetwork, runtime: Runtime, inputs: list[Path]
) -> StillReport:
    started = time.perf_counter()
    files = [*(writing.path for writing in still.writings), *filter(None, [still.sheet])]
    if options.skip_existing and all(path.exists() for path in files):
        return StillReport(still.picture)
    for path in files:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        # Only what is there can be one of them: in a large folder each would be compared with each.
        check_output(path, inputs if path.exists() else [], overwrite=runtime.overwrite, folder=False)
    picture = read_picture(at_home(still.picture))
    layers: list[LayerName] = [writing.layer for writing in still.writings]
    rendered = render_still(picture, _job_of(still.picture, words), network, layers, options.id_photo)
    for writing in still.writings:
        _write(rendered[writing.layer], writing, options.quality, overwrite=runtime.overwrite)
    if still.sheet is not None and options.id_photo is not None and options.sheet_mm is not None:
        main = still.writings[0]
        photo = rendered[main.layer]
        sheet = Pixels(print_sheet(photo.codes.astype(np.uint8), options.id_photo, options.sheet_mm), photo.tags)
        _write(sheet, Writing(main.layer, still.sheet, main.format), options.quality, overwrite=runtime.overwrite)
    return StillReport(still.picture, tuple(files), time.perf_counter() - started)


def _write(pixels: Pixels, writing: Writing, quality: int | None, *, overwrite: bool) -> None:
    """The file appears under its name only when it is whole and has been read again."""
    path = writing.path
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write_picture(pixels, part, writing.format, quality)
        verify_picture(pixels, part, writing.format)
        publish(part, path, overwrite=overwrite)
    except VmatteError as error:
        raise type(error)(str(error).replace(str(part), str(path))) from error
    finally:
        part.unlink(missing_ok=True)


def matte_image(
    picture: str | Path | Image.Image | NDArray[Any], *, on_weights: Progress | None = None, **words: Unpack[Words]
) -> Codes:
    """Cut a subject out of a picture, with the words of `vmatte image`.

    The picture is a path, one of Pillow's, or an array (H, W, 3 or 4) of R'G'B' codes, uint8 or uint16. What comes back
    is upright, of the same depth, and in the same colour space: (H, W, 4) with straight alpha, or with a `background`
    the composite (H, W, 3). The network is kept for the next call with the same words for it. Raises VmatteError for
    what the user can mend.
    """
    if unknown := sorted(set(words) - WORDS):
        raise TypeError(f"matte_image() got an unexpected keyword argument {unknown[0]!r}")
    if isinstance(picture, str | Path):
        opened = read_picture(at_home(picture))
    elif isinstance(picture, Image.Image):
        opened = picture_of(picture)
    else:
        opened = picture_of_codes(picture)
    job, runtime = _job_of(opened.name, words), make_runtime(**runtime_words(words))
    network = _network(job.model or DEFAULT_MODEL, job.weights, runtime)
    network.on_weights = on_weights
    layer: LayerName = "cutout" if isinstance(job.background, NoPlate) else "composite"
    return render_still(opened, job, network, (layer,))[layer].codes


@lru_cache(maxsize=1)
def _network(model: str, weights: Path | None, runtime: Runtime) -> StillNetwork:
    network = StillNetwork(choose(model, weights, runtime))
    logger.info("%s", network.choice)
    return network
