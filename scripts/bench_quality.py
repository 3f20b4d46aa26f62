"""What smoothing over time does to a network's mattes: the literature's metrics over truth folders.

    python scripts/bench_quality.py truth/* [--methods off,ema-0.8,median-3] [--model modnet] [--json FILE]

A truth folder (scripts/make_truth.py) holds source.mp4 and alpha.mkv. The network runs once over each, and every method
gets the same mattes. Lower is better in every column; the second table gives each as a multiple of `off`.

    mad, mse ×1000 · dtssd ×100 · grad, conn /1000      as vmatte.measure defines them, means over the frames
    boundary_mad                                         mad in the band round the truth's edge
    flicker       mean |change of alpha| from one frame to the next, in levels of 255, inside that band, where picture
                  and truth have stood still for three frames; – where too little stood still
    cpu_s         CPU seconds of the method alone, a frame
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vmatte.clip import ClipInfo
from vmatte.errors import JobError, SourceError, VmatteError
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.measure import flicker, measure_alpha
from vmatte.models.catalogue import load_model
from vmatte.models.contract import MattingModel
from vmatte.options import GaussianSmoothing, MotionSmoothing
from vmatte.stages.matte import matte
from vmatte.stages.smooth import smooth
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.alpha import decode_alpha
from vmatte.video.probe import probe
from vmatte.video.read import decode

Plane = NDArray[np.float32]
Method = Callable[[Iterable[MatteBatch]], Iterable[MatteBatch]]
"""The same frames, with other alphas."""

CPU = torch.device("cpu")
WIDTH = 110
"""Of the tables, in characters; a file or a pipe tells none."""
COLUMNS = ("mad", "mse", "grad", "conn", "dtssd", "boundary_mad", "flicker", "cpu_s")


# Methods
def ema(mattes: Iterable[MatteBatch], old: float) -> Iterator[MatteBatch]:
    """An exponential mean: `old` parts of what came before, the rest of the frame's own. It lags behind what moves."""
    before: torch.Tensor | None = None
    for batch in mattes:
        for one in single_frames(batch):
            before = one.alpha if before is None else torch.lerp(one.alpha, before, old)
            yield dataclasses.replace(one, alpha=before)


def median(mattes: Iterable[MatteBatch], frames: int) -> Iterator[MatteBatch]:
    """Each pixel's median over `frames` (odd) round its own; the first and last frame stand for those beyond."""
    every = [one for batch in mattes for one in single_frames(batch)]
    reach = frames // 2
    for number, one in enumerate(every):
        near = [every[min(max(n, 0), len(every) - 1)].alpha for n in range(number - reach, number + reach + 1)]
        yield dataclasses.replace(one, alpha=torch.stack(near).median(dim=0).values)


def single_frames(batch: MatteBatch) -> Iterator[MatteBatch]:
    for t, number in enumerate(batch.frames.index):
        frames, one = batch.frames, slice(t, t + 1)
        single = FrameBatch(range(number, number + 1), frames.luma[one], frames.chroma[one], frames.coding)
        yield MatteBatch(single, batch.alpha[one], None if batch.foreground is None else batch.foreground[one])


OWN: dict[str, Method] = {
    "off": lambda mattes: mattes,
    "gaussian": partial(smooth, options=GaussianSmoothing()),
    "motion": partial(smooth, options=MotionSmoothing()),
}
"""What vmatte itself offers, each with its default options."""
COMPARED = ("ema-0.2", "ema-0.8", "median-3")
"""What others do: the number is the weight of what came before, or how many frames."""


def find_method(name: str) -> Method:
    """The method of that name; JobError where there is none."""
    if name in OWN:
        return OWN[name]
    if re.fullmatch(r"ema-0\.\d+", name):
        return partial(ema, old=float(name.removeprefix("ema-")))
    if re.fullmatch(r"median-\d*[13579]", name):
        return partial(median, frames=int(name.removeprefix("median-")))
    raise JobError(f"no method is called {name!r}; there are: {', '.join(OWN)}, ema-0.N, median-N with an odd N")


# Truth
@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """A truth folder with a network's mattes of it."""

    mattes: list[MatteBatch]
    alphas: list[Plane]
    """The true ones, (H, W) in [0, 1]."""
    lumas: list[Plane]
    """The source's, (H, W), from 0 for black to 1 for white."""


def read_truth(folder: Path, model: MattingModel, cache: Path | None) -> Truth:
    """A folder's frames, their mattes and their truth. SourceError where it is none."""
    clip = probe(folder / "source.mp4")
    frames = list(upload(decode(clip, range(clip.frames), batch=1), clip.delivery, CPU))
    alphas = list(decode_alpha(probe(folder / "alpha.mkv")))
    black, white = clip.delivery.luma_ends
    if len(alphas) != len(frames) or alphas[0].shape != frames[0].size:
        sizes = f"{len(alphas)} mattes of {alphas[0].shape}, {len(frames)} frames of {frames[0].size}"
        raise SourceError(f"{folder}: its alpha.mkv does not fit its source.mp4 ({sizes}); make it again")
    lumas = [(batch.luma[0, 0].numpy().astype(np.float32) - black) / (white - black) for batch in frames]
    mattes = [MatteBatch(*pair) for pair in zip(frames, network_alphas(clip, model, cache).split(1), strict=True)]
    return Truth(mattes, alphas, lumas)


def network_alphas(clip: ClipInfo, model: MattingModel, cache: Path | None) -> torch.Tensor:
    """The network's (T, 1, H, W) of a whole clip, from the cache where they are in it."""
    weights = "" if model.spec.weights is None else model.spec.weights.sha256
    key = hashlib.sha256(clip.path.read_bytes() + weights.encode()).hexdigest()[:16]
    kept = None if cache is None else cache / f"{key}.{model.spec.name}.npy"
    if kept is not None and kept.exists():
        return torch.from_numpy(np.load(kept))
    frames = upload(decode(clip, range(clip.frames), batch=1), clip.delivery, model.device)
    alphas = torch.cat([batch.alpha.cpu() for batch in matte(frames, model, 1, Stopwatch())])
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, alphas.numpy())
    return alphas


# Report
Figures = dict[str, float | None]


def run_method(method: Method, truth: Truth) -> Figures:
    """A row of the table."""
    started = time.process_time()
    smoothed = list(method(truth.mattes))
    cpu_s = (time.process_time() - started) / len(truth.alphas)
    alphas = [alpha for batch in smoothed for alpha in batch.alpha[:, 0].numpy()]
    scores, steadiness = measure_alpha(alphas, truth.alphas), flicker(alphas, truth.lumas, truth.alphas)
    measured = {name: getattr(scores, name) for name in COLUMNS if name not in ("flicker", "cpu_s")}
    return {**measured, "flicker": steadiness.flicker, "cpu_s": cpu_s}


def ratios_to_off(rows: dict[str, Figures]) -> dict[str, Figures]:
    """Each method's figures as multiples of those of `off`; None where one of the two is not there, or is 0."""
    base = rows["off"]
    names = [name for name in COLUMNS if name != "cpu_s"]
    return {
        method: {name: row[name] / base[name] if row[name] is not None and base[name] else None for name in names}
        for method, row in rows.items()
    }


def mean_rows(folders: Iterable[dict[str, Figures]]) -> dict[str, Figures]:
    """Each method's means over the folders, leaving out what is not there."""
    folders = list(folders)
    means: dict[str, Figures] = {}
    for method, row in folders[0].items():
        values = {name: [rows[method][name] for rows in folders if rows[method][name] is not None] for name in row}
        means[method] = {name: fmean(there) if there else None for name, there in values.items()}
    return means


def print_table(title: str, rows: dict[str, Figures], console: Console) -> None:
    columns = list(next(iter(rows.values())))
    table = Table(title=title, title_justify="left")
    for column in ("method", *columns):
        table.add_column(column, justify="left" if column == "method" else "right")
    for method, row in rows.items():
        table.add_row(method, *("–" if row[name] is None else f"{row[name]:.3g}" for name in columns))
    console.print(table)


def bench(options: argparse.Namespace, console: Console) -> dict[str, object]:
    methods = {name: find_method(name) for name in options.methods.split(",")}
    model = load_model(options.model)
    costs: dict[str, dict[str, Figures]] = {}
    ratios: dict[str, dict[str, Figures]] = {}
    for folder in options.folders:
        truth = read_truth(folder, model, options.cache)
        name = folder.resolve().name
        costs[name] = {method: run_method(run, truth) for method, run in methods.items()}
        print_table(f"{name}, {options.model}", costs[name], console)
        if "off" in methods:
            ratios[name] = ratios_to_off(costs[name])
            print_table(f"{name}, off = 1", ratios[name], console)
    if len(costs) > 1 and ratios:
        print_table(f"mean over {len(costs)} folders, off = 1", mean_rows(ratios.values()), console)
    return {"model": options.model, "figures": costs, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--methods", default=",".join([*OWN, *COMPARED]))
    parser.add_argument("--model", default="modnet")
    parser.add_argument("--cache", type=Path, help="keep the network's mattes here; empty it when vmatte changes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        numbers = bench(options, Console(width=WIDTH))
    except VmatteError as error:
        print(f"bench_quality: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
