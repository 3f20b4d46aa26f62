"""A batch to look at: one HTML file that needs nothing else, a row for each job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from string import Template

import cv2
import numpy as np

from vmatte.batch.display import counts
from vmatte.batch.status import FINISHED, Board, JobStatus
from vmatte.errors import EncodeError, VmatteError
from vmatte.job import RenderJob
from vmatte.jobfile import Entry
from vmatte.kept_mattes import alphas_of
from vmatte.measure.measurement import Pixels, measure
from vmatte.measure.metrics import Plane
from vmatte.measure.read import open_mattes, open_pictures
from vmatte.measure.report import STYLE, embedded
from vmatte.measure.steadiness import Follower, mean_steadiness

_POSTER_WIDTH, _POSTER_HEIGHT = 240, 180
_POSTER_BYTES = 20_000
"""Of a poster as it stands in the file, at most: a report of 500 jobs is opened by a browser."""
_POSTER_FRAME = 24
"""A second in: the first frame is often a fade. The frames before it are decoded, so not further."""
_CHECKER = 8
"""Pixels, a square's side."""


def write_batch_report(
    path: Path, title: str, entries: Sequence[Entry], board: Board, on_row: Callable[[int], None] | None = None
) -> None:
    """Write the report, row by row, under a name of its own until it is whole. Raises EncodeError."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for text in _page(title, entries, board, on_row):
                file.write(text)
        os.replace(part, path)
    except OSError as error:
        raise EncodeError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _page(title: str, entries: Sequence[Entry], board: Board, on_row: Callable[[int], None] | None) -> Iterator[str]:
    yield _HEAD.substitute(style=STYLE, title=escape(title), counts=counts(board))
    for number, (entry, status) in enumerate(zip(entries, board.jobs, strict=True)):
        yield _row(entry.job, status)
        if on_row is not None:
            on_row(number + 1)
    yield "</table>\n</html>\n"


def _row(job: RenderJob, status: JobStatus) -> str:
    finished = status.state in FINISHED
    picture = poster(job) if finished else None
    flicker = flicker_of(job, status.matte) if finished else None
    shown = "" if picture is None else f'<img src="{picture}" alt="a frame of {escape(job.output.name)}">'
    notes = [f'<p class="error">{escape(status.error)}</p>'] if status.error else []
    notes += [f"<p>{escape(warning)}</p>" for warning in status.warnings]
    size = "" if not finished or status.output_bytes is None else f"{status.output_bytes / 1e6:.1f} MB"
    model = "–" if status.model is None else f"{escape(status.model)}<p>{escape(status.licence or '')}</p>"
    cells = [
        shown,
        f"<b>{escape(job.clip.name)}</b><p>{escape(status.where)}</p>",
        _STATES[status.state],
        f"{escape(str(job.output))}<p>{size}</p>",
        _number(flicker, 2),
        _number(status.fps if finished else None, 1),
        str(status.frames_done) if finished else "–",
        str(status.lost) if finished else "–",
        model,
        "".join(notes),
    ]
    return f'<tr class="{status.state}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'


_STATES = {
    "waiting": "not rendered",
    "running": "not rendered",
    "done": "done",
    "failed": "failed",
    "skipped": "already done",
}


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def flicker_of(job: RenderJob, matte: str | None) -> float | None:
    """The flicker of a finished job's matte, as `vmatte measure` gives it; None where it cannot be measured.

    Of the kept `matte` where there is one: a codec hides flicker. A composite without one shows none.
    """
    try:
        if matte is not None and (found := _flicker_of_kept(job, matte)) is not None:
            return found
        steadiness = measure(job.output, source=job.clip).steadiness if job.outputs[0].layer == "cutout" else None
    except VmatteError:
        return None
    return None if steadiness is None else steadiness.flicker


def _flicker_of_kept(job: RenderJob, matte: str) -> float | None:
    """None also for a clip that lost frames: the mattes would be compared with the wrong ones."""
    follower, seen = Follower(), []
    pictures = open_pictures(job.clip)
    alphas = alphas_of(matte)
    for number, picture in enumerate(pictures):
        kept, alpha = next(alphas, (None, None))
        if alpha is None or kept != number:
            return None
        seen.append(follower.follow(alpha, picture.luma, None))
    return mean_steadiness(seen).flicker


def poster(job: RenderJob) -> str | None:
    """A small picture of a finished output as a data address, over a checkerboard where it is transparent."""
    try:
        pictures = open_pictures(job.output)
        height, width = pictures.size
        shrink = min(_POSTER_WIDTH / width, _POSTER_HEIGHT / height, 1.0)
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        number = min(_POSTER_FRAME, pictures.frames - 1)
        pixels = next(islice(pictures, number, None)).rgb(size)
        if job.outputs[0].layer == "cutout":
            pixels = _over_checkers(pixels, next(islice(open_mattes(job.output), number, None)))
    except (VmatteError, StopIteration):  # removed or replaced since
        return None
    qualities = (address for quality in range(85, 0, -10) if len(address := embedded(pixels, quality)) <= _POSTER_BYTES)
    return next(qualities, None)


def _over_checkers(pixels: Pixels, alpha: Plane) -> Pixels:
    height, width = pixels.shape[:2]
    small = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)[..., None]
    rows, columns = np.indices((height, width)) // _CHECKER
    board = np.where((rows + columns) % 2, 153, 102).astype(np.float32)[..., None]
    return np.asarray((pixels * small + board * (1 - small)).round(), np.uint8)


_HEAD = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title – vmatte batch</title>
<style>
$style
td p { font-size: .8rem; margin: 0; } td:nth-child(even), td:last-child { overflow-wrap: anywhere; }
img { max-width: 240px; display: block; }
td:nth-child(n+5):nth-child(-n+8) { text-align: right; white-space: nowrap; }
.error { color: light-dark(#b91c1c, #f87171); } .failed td:nth-child(3) { color: light-dark(#b91c1c, #f87171); }
</style>
<h1>$title</h1>
<p>$counts. Flicker is the change of alpha in levels of 255, in the edge band where the picture stands still.</p>
<table>
<tr><th></th><th>clip</th><th>state</th><th>output</th><th>flicker</th><th>fps</th><th>frames</th><th>lost</th>
<th>model, licence</th><th>notes</th></tr>
""")
