"""What a crop is worth: a network's mattes of truth folders, with it and without.

    python scripts/bench_crop.py truth/* [--model modnet] [--every 4] [--json FILE]

A truth folder (scripts/make_truth.py) holds source.mp4 and alpha.mkv. Printed of each: the crop, the error of every
`--every`th frame's matte as `vmatte.measure` defines it (mad ×1000, over the frame and in the band round the truth's
edge), without smoothing; and the CPU seconds of the survey, and of conversion and network for a frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vmatte.analyse import analyse
from vmatte.analysis import CropTrack
from vmatte.canvas import plan_canvas
from vmatte.clip import ClipInfo
from vmatte.errors import VmatteError
from vmatte.job import make_job
from vmatte.measure import measure_alpha
from vmatte.models.catalogue import load_model
from vmatte.models.contract import MattingModel
from vmatte.stages.matte import matte
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.survey import survey
from vmatte.video.alpha import decode_alpha
from vmatte.video.probe import probe
from vmatte.video.read import decode_samples

Figures = dict[str, float]
Plane = np.ndarray


def bench_folder(folder: Path, model: MattingModel, every: int) -> tuple[str, dict[str, Figures]]:
    """The crop in words, and the figures with it and without."""
    clip = probe(folder / "source.mp4")
    started = time.process_time()
    job = make_job(clip.path)
    canvas = plan_canvas(job, clip, None)
    crop = analyse(job, canvas, model.spec, lambda _: survey(clip, model, closely=False)).crop
    survey_s = time.process_time() - started
    wanted = range(0, clip.frames, every)
    truths = [alpha for number, alpha in enumerate(decode_alpha(probe(folder / "alpha.mkv"))) if number in wanted]
    figures = {"off": run_model(clip, model, None, wanted, truths)}
    if crop is None:
        return "none", figures
    figures["auto"] = run_model(clip, model, crop, wanted, truths) | {"survey_s": survey_s}
    return f"{crop.width}×{crop.height} of {clip.width}×{clip.height}", figures


def run_model(
    clip: ClipInfo, model: MattingModel, crop: CropTrack | None, wanted: range, truths: list[Plane]
) -> Figures:
    watch = Stopwatch(time.process_time)
    frames = upload(decode_samples(clip, list(wanted)), clip.delivery, torch.device("cpu"))
    alphas = [batch.alpha[0, 0].numpy() for batch in matte(frames, model, 1, watch, crop)]
    scores = measure_alpha(alphas, truths)
    spent = (watch.seconds["convert"] + watch.seconds["network"]) / len(wanted)
    return {"mad": scores.mad, "boundary_mad": scores.boundary_mad, "frame_s": spent, "survey_s": 0.0}


def bench(options: argparse.Namespace, console: Console) -> dict[str, dict[str, Figures]]:
    model = load_model(options.model)
    found = {}
    for folder in options.folders:
        crop, found[folder.resolve().name] = bench_folder(folder, model, options.every)
        table = Table(title=f"{folder.resolve().name}, {options.model}, crop {crop}", title_justify="left")
        rows = found[folder.resolve().name]
        for column in ("crop", *rows["off"]):
            table.add_column(column, justify="right")
        for name, row in rows.items():
            table.add_row(name, *(f"{value:.3g}" for value in row.values()))
        console.print(table)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", default="modnet")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        numbers = bench(options, Console(width=110))
    except VmatteError as error:
        print(f"bench_crop: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
