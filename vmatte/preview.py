"""A contact sheet: a few frames of a render, in seconds, to set its controls by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vmatte.analyse import analyse, looks_closely
from vmatte.analysis import Analysis
from vmatte.canvas import Canvas
from vmatte.clip import ClipInfo
from vmatte.errors import JobError, SourceError
from vmatte.frames import MatteBatch, RenderedBatch
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.tonemap import ToneMap, tone_mapped_rgb
from vmatte.job import RenderJob, Runtime
from vmatte.models.contract import MattingModel
from vmatte.models.weights import Progress
from vmatte.options import NoPlate, NoSmoothing, Upsampling
from vmatte.outputs import Output
from vmatte.pipeline import layers, settled_mattes
from vmatte.planning import Plan, announce, plan_job
from vmatte.render import Network
from vmatte.segments import Segment
from vmatte.stages.key import ScreenKey
from vmatte.stopwatch import Stopwatch
from vmatte.survey import survey
from vmatte.video.write import writing

Pixels = NDArray[np.uint8]

MOST_FRAMES = 24
TILE = 640
"""Longest side of a picture on the sheet, in pixels."""
_GAP, _TITLE = 8, 24
_GROUND, _TEXT = (24, 24, 26), (230, 230, 230)
_CHECKS = (150, 106)
"""Grays of the board behind a cutout."""
_CHECK = 12
"""Side of its fields, in pixels of the sheet."""
_SEEN_BEFORE = 8
"""Frames that a recurrent network sees before the one that is shown."""


def preview(job: RenderJob, runtime: Runtime, frames: int, on_weights: Progress | None = None) -> Path:
    """Write `NAME_preview.png` beside the output: source, matte and result of so many frames, spread over the clip.

    The mattes are not smoothed over time, which takes their neighbours' too, and the network sees whole frames; all
    else is as the render will have it.
    An earlier sheet is replaced, the output is not touched. Raises VmatteError as a render does.
    """
    if not 1 <= frames <= MOST_FRAMES:
        raise JobError(f"a preview has 1 to {MOST_FRAMES} frames, not {frames}")
    plan = plan_job(job, runtime.model_copy(update={"overwrite": True}))
    announce(plan)
    clip, network = plan.clip, Network(plan, on_weights)
    if clip.frames == 0:
        raise SourceError(f"{job.clip}: none of its {clip.promised_frames} frames can be decoded")
    shows = plan.canvas.shows
    numbers = [int(shows[len(shows) * (2 * place + 1) // (2 * frames)]) for place in range(frames)]
    analysis = _analysis(plan, network)
    layer = partial(_layer, plan.canvas, network, analysis)
    rows = []
    for number in dict.fromkeys(numbers):
        for matte in _matte(clip, number, network.model(analysis.screens), job.upsample):
            rows.append((_title(clip, number), _tiles(plan, matte, layer)))
    if not rows:
        raise SourceError(f"{job.clip}: none of the frames {numbers} can be decoded")
    path = job.output.with_name(f"{job.output.stem}_preview.png")
    unfinished = path.with_name(f".{path.name}.part")
    with writing(path):
        _sheet(rows).save(unfinished, "PNG")
        unfinished.replace(path)
    return path


def _analysis(plan: Plan, network: Network) -> Analysis:
    """What is asked of the whole clip but a crop, for which it would be looked at longer than all frames here."""
    job, spec = plan.job.model_copy(update={"crop": "off"}), plan.choice.spec
    closely = looks_closely(job)
    return analyse(job, plan.canvas, spec, lambda screens: survey(plan.clip, network.model(screens), closely=closely))


def _matte(
    clip: ClipInfo, number: int, model: MattingModel | ScreenKey, upsampling: Upsampling
) -> Iterator[MatteBatch]:
    """The frame with its matte; nothing where it cannot be decoded."""
    before = min(number, _SEEN_BEFORE if model.spec.recurrent else 0)
    alone = Segment(0, frames=range(number, number + 1), read=range(number - before, number + 1))
    with closing(settled_mattes(clip, [alone], model, NoSmoothing(), 1, Stopwatch(), upsampling=upsampling)) as mattes:
        yield from mattes


def _tiles(plan: Plan, matte: MatteBatch, layer: Callable[[RenderJob, MatteBatch], RenderedBatch]) -> list[Pixels]:
    """Source, matte and result of one frame."""
    job, tone = plan.job, ToneMap(matte.frames.coding, plan.clip.peak)
    source = _rgb(matte.frames.luma, matte.frames.chroma, tone)
    cutout = Output(path=job.output, encoding="prores4444", layer="cutout")
    composite = Output(path=job.output, encoding="mp4", layer="composite")
    wanted = [cutout] if isinstance(job.background, NoPlate) else [cutout, composite]
    first, *others = layer(job.model_copy(update={"outputs": tuple(wanted)}), matte).layers
    assert first.alpha is not None
    whole = np.float32(2**cutout.row.alpha_bits - 1)
    codes = np.rint(first.alpha[0, 0].numpy() * (255 / whole)).astype(np.uint8)
    alpha = _small(np.repeat(codes[..., None], 3, axis=2))
    if others:
        return [
            source,
            alpha,
            _rgb(others[0].luma, others[0].chroma, replace(tone, source=plan.canvas.composite.delivery)),
        ]
    colours = _rgb(first.luma, first.chroma, tone).astype(np.float32)
    share = alpha.astype(np.float32) / 255
    return [source, alpha, np.rint(colours * share + _board(alpha.shape[:2]) * (1 - share)).astype(np.uint8)]


def _layer(canvas: Canvas, network: Network, analysis: Analysis, job: RenderJob, matte: MatteBatch) -> RenderedBatch:
    only = (each for each in [matte])
    screen = network.key(analysis.screens)
    with layers(job, canvas, only, network.device, Stopwatch(), analysis, screen) as made:
        rendered = next(made)
        rendered.wait()
        return rendered


def _rgb(luma: Tensor, chroma: Tensor, tone: ToneMap) -> Pixels:
    """8-bit R'G'B' of a frame in `tone.source` at the sheet's size; SDR where it is HDR, by a render's own curve."""
    rgb = ycbcr_to_rgb(luma.cpu(), chroma.cpu(), tone.source)
    if tone.source.is_hdr:
        rgb = tone_mapped_rgb(rgb, tone)
    return _small(rgb[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy())


def _small(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    scale = min(1.0, TILE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _board(size: tuple[int, int]) -> NDArray[np.float32]:
    rows, columns = np.indices(size) // _CHECK
    return np.where((rows + columns) % 2, *map(np.float32, _CHECKS))[..., None]


def _title(clip: ClipInfo, number: int) -> str:
    seconds = float(int(clip.pts[number] - clip.pts[0]) * clip.time_base)
    return f"frame {number}, {seconds:.2f} s"


def _sheet(rows: list[tuple[str, list[Pixels]]]) -> Image.Image:
    widths = [max(tiles[column].shape[1] for _, tiles in rows) for column in range(3)]
    heights = [_TITLE + max(tile.shape[0] for tile in tiles) + _GAP for _, tiles in rows]
    sheet = Image.new("RGB", (sum(widths) + 4 * _GAP, sum(heights) + _GAP), _GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    top = _GAP
    for (title, tiles), height in zip(rows, heights, strict=True):
        left = _GAP
        for word, tile, width in zip((title, "matte", "result"), tiles, widths, strict=True):
            draw.text((left, top), word, fill=_TEXT, font=font)
            sheet.paste(Image.fromarray(tile), (left, top + _TITLE))
            left += width + _GAP
        top += height
    return sheet
