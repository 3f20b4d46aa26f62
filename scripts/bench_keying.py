"""Mattes of coloured screens against truth: vmatte's key, a network, both together, and FFmpeg's own filters.

    python scripts/bench_keying.py truth/* [--model modnet] [--cache mattes] [--json FILE]

A truth folder (scripts/make_truth.py --light) holds source.mp4 and alpha.mkv; where it has a clean.png, the key gets it
as the clean plate in a row of its own. Lower is better in every column:

    mad, mse ×1000 · grad, conn /1000    as vmatte.measure defines them, means over the frames
    band         mad in the band round the truth's edge
    inside       mean of 1 − alpha ×1000 where the truth is solid, away from its edge: holes
    outside      mean of alpha ×1000 where the truth is nothing, away from its edge: what is left of the screen
    cpu_ms       CPU milliseconds of the method alone, a frame

FFmpeg's chromakey and colorkey are given the screen's true colour, as vmatte found it, and of fifteen settings the one
with the lowest mad on that very clip: no user would find a better one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean

import av
import numpy as np
import torch
from bench_tables import WIDTH, Figures, mean_rows, print_table
from rich.console import Console
from truth_folder import CPU, Plane, TruthFolder, network_alphas, read_truth_folder

from vmatte.analysis import Screens
from vmatte.errors import VmatteError
from vmatte.frames import MatteBatch
from vmatte.measure.metrics import conn, edge_band, grad, mad, mse
from vmatte.models.catalogue import load_model
from vmatte.options import Screen
from vmatte.screens import find_screens, screen_key
from vmatte.shots import find_shots
from vmatte.stages.key import key_edges, matte_by_key
from vmatte.video.planes import plane_views

SIMILARITIES = (0.02, 0.04, 0.06, 0.1, 0.15)
BLENDS = (0.05, 0.1, 0.2)
"""Of FFmpeg's filters."""


def filtered(truth: TruthFolder, name: str, screens: Screens, similarity: float, blend: float) -> list[Plane]:
    """The alphas that a filter of FFmpeg gives the clip."""
    rgb = screens.at(0).rgb
    color = "0x" + "".join(f"{round(value * 255):02x}" for value in rgb)
    graph = av.filter.Graph()
    size = truth.frames[0].size
    source = graph.add_buffer(width=size[1], height=size[0], format="yuv420p", time_base=Fraction(1, 30))
    # colorkey is for RGB only.
    steps = [("format", "yuva444p" if name == "chromakey" else "rgba"), (name, f"{color}:{similarity}:{blend}")]
    last = source
    for step, words in [*steps, ("alphaextract", ""), ("format", "gray")]:
        node = graph.add(step, words) if words else graph.add(step)
        last.link_to(node)
        last = node
    last.link_to(graph.add("buffersink"))
    graph.configure()
    with av.open(str(truth.clip.path)) as container:
        alphas = []
        for frame in container.decode(video=0):
            graph.vpush(frame)
            alphas.append(plane_views(graph.vpull())[0].astype(np.float32) / 255)
    return alphas


def best_filtered(truth: TruthFolder, name: str, screens: Screens) -> Outcome:
    """The best of its settings for this clip; its CPU time has the decoding in it."""
    settings = product(SIMILARITIES, BLENDS)
    outcomes = [timed(partial(filtered, truth, name, screens, *setting)) for setting in settings]
    return min(outcomes, key=lambda outcome: fmean(map(mad, outcome.alphas, truth.alphas)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The mattes of a clip, and the CPU seconds that they took; None where that is not told."""

    alphas: list[Plane]
    seconds: float | None


def timed(alphas: Callable[[], list[Plane]]) -> Outcome:
    started = time.process_time()
    return Outcome(alphas(), time.process_time() - started)


def collected(mattes: Iterable[MatteBatch]) -> list[Plane]:
    return [matte.alpha[0, 0].numpy() for matte in mattes]


def figures(truth: TruthFolder, outcome: Outcome) -> Figures:
    """A row of the table."""
    rows = []
    for alpha, true in zip(outcome.alphas, truth.alphas, strict=True):
        band = edge_band(true)
        solid, nothing = (true > 0.999) & (band == 0), (true < 0.001) & (band == 0)
        rows.append(
            {
                "mad": mad(alpha, true),
                "mse": mse(alpha, true),
                "grad": grad(alpha, true)[0],
                "conn": conn(alpha, true)[0],
                "band": mad(alpha, true, band),
                "inside": 1000 * float((1 - alpha[solid]).mean()),
                "outside": 1000 * float(alpha[nothing].mean()),
            }
        )
    means: Figures = {name: fmean(row[name] for row in rows) for name in rows[0]}
    return means | {"cpu_ms": None if outcome.seconds is None else 1000 * outcome.seconds / len(rows)}


def bench_folder(folder: Path, options: argparse.Namespace) -> dict[str, Figures]:
    truth = read_truth_folder(folder)
    shots = find_shots(truth.clip)
    key = screen_key(truth.clip, Screen(), find_screens(truth.clip, Screen(), shots), CPU)
    outcomes = {name: best_filtered(truth, name, key.screens) for name in ("chromakey", "colorkey")}
    outcomes["key"] = timed(lambda: collected(matte_by_key(truth.frames, key)))
    clean = folder / "clean.png"
    if clean.exists():
        screen = Screen(clean_plate=clean)
        with_plate = screen_key(truth.clip, screen, find_screens(truth.clip, screen, shots), CPU)
        outcomes["key, clean plate"] = timed(lambda: collected(matte_by_key(truth.frames, with_plate)))
    if options.model:
        network = network_alphas(truth.clip, load_model(options.model), options.cache)
        mattes = list(map(MatteBatch, truth.frames, network.split(1)))
        outcomes[options.model] = Outcome(collected(mattes), None)
        outcomes[f"{options.model} + key"] = timed(lambda: collected(key_edges(mattes, key)))
    return {method: figures(truth, outcome) for method, outcome in outcomes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="modnet", help="a network to compare with; '' for none")
    parser.add_argument("--cache", type=Path, help="keep the network's mattes here; empty it when vmatte changes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console(width=WIDTH)
    torch.set_num_threads(1)  # as a render has it
    try:
        tables = {folder.resolve().name: bench_folder(folder, options) for folder in options.folders}
    except VmatteError as error:
        print(f"bench_keying: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for name, rows in tables.items():
        print_table(name, rows, console)
    everywhere = [
        {method: row for method, row in rows.items() if all(method in other for other in tables.values())}
        for rows in tables.values()
    ]
    print_table(f"mean over {len(tables)} folders", mean_rows(everywhere), console)
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
