"""What a matte costs and gains, measured over truth folders: smoothing over time, or with --edges the edge.

    python scripts/bench_quality.py truth/* [--methods off,ema-0.8,median-3] [--model modnet] [--json FILE]
    python scripts/bench_quality.py --edges truth/* [--stills SUBJECT ALPHA [FOREGROUND]] --plates P1 P2 [--json FILE]

A truth folder (scripts/make_truth.py) holds source.mp4, alpha.mkv and foreground.mkv; smoothing needs the first two.
scripts/bench_edges.py tells what --edges measures. For smoothing, the network runs once over each folder, and every
method gets the same mattes. Lower is better in every column; the second table gives each as a multiple of `off`.

    mad, mse ×1000 · dtssd ×100 · grad, conn /1000      as vmatte.measure defines them, means over the frames
    boundary_mad                                         mad in the band round the truth's edge
    flicker       mean |change of alpha| from one frame to the next, in levels of 255, inside that band, where picture
                  and truth have stood still for three frames; – where too little stood still
    cpu_s         CPU seconds of the method alone, a frame
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bench_edges
import torch
from bench_tables import WIDTH, Figures, mean_rows, print_table, ratios_to
from rich.console import Console
from truth_folder import TruthFolder, network_alphas, read_truth_folder

from vmatte.errors import JobError, VmatteError
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.measure import flicker, measure_alpha
from vmatte.models.catalogue import load_model
from vmatte.models.contract import MattingModel
from vmatte.options import GaussianSmoothing, MotionSmoothing
from vmatte.stages.smooth import smooth

Method = Callable[[Iterable[MatteBatch]], Iterable[MatteBatch]]
"""The same frames, with other alphas."""

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
        yield MatteBatch(single, batch.alpha[one])


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

    folder: TruthFolder
    mattes: list[MatteBatch]


def read_truth(path: Path, model: MattingModel, cache: Path | None) -> Truth:
    """A folder's frames, their mattes and their truth. SourceError where it is none."""
    folder = read_truth_folder(path)
    alphas = network_alphas(folder.clip, model, cache).split(1)
    return Truth(folder, [MatteBatch(*pair) for pair in zip(folder.frames, alphas, strict=True)])


# Report
def run_method(method: Method, truth: Truth) -> Figures:
    """A row of the table."""
    started = time.process_time()
    smoothed = list(method(truth.mattes))
    truths = truth.folder.alphas
    cpu_s = (time.process_time() - started) / len(truths)
    alphas = [alpha for batch in smoothed for alpha in batch.alpha[:, 0].numpy()]
    lumas = (truth.folder.luma(number) for number in range(len(truths)))
    scores, steadiness = measure_alpha(alphas, truths), flicker(alphas, lumas, truths)
    measured = {name: getattr(scores, name) for name in COLUMNS if name not in ("flicker", "cpu_s")}
    return {**measured, "flicker": steadiness.flicker, "cpu_s": cpu_s}


def ratios_to_off(rows: dict[str, Figures]) -> dict[str, Figures]:
    """Each method's figures as multiples of those of `off`, but for its cost."""
    return ratios_to(
        "off", {method: {name: row[name] for name in COLUMNS if name != "cpu_s"} for method, row in rows.items()}
    )


def bench(options: argparse.Namespace, console: Console) -> dict[str, object]:
    methods = {name: find_method(name) for name in options.methods.split(",")}
    model = load_model(options.model)
    costs: dict[str, dict[str, Figures]] = {}
    ratios: dict[str, dict[str, Figures]] = {}
    for folder in options.folders:
        truth = read_truth(folder, model, options.cache)
        name = truth.folder.name
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
    parser.add_argument("--edges", action="store_true", help="measure the edge instead of smoothing")
    parser.add_argument("--stills", type=Path, nargs="+", action="append", default=[], metavar="PICTURE")
    parser.add_argument("--plates", type=Path, nargs="+", default=[], metavar="PICTURE")
    parser.add_argument("--tables", default=",".join(bench_edges.TABLES), help="of edges, those to be measured")
    parser.add_argument("--methods", default=",".join([*OWN, *COMPARED]), help="of smoothing")
    parser.add_argument("--model", default="modnet")
    parser.add_argument("--cache", type=Path, help="keep the network's mattes here; empty it when vmatte changes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        console = Console(width=WIDTH)
        numbers = bench_edges.bench(options, console) if options.edges else bench(options, console)
    except VmatteError as error:
        print(f"bench_quality: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
