"""How good an edge is, its alpha and its colours, measured over truth folders: what `bench_quality.py --edges` runs.

α and F are the true alpha and the subject's true straight colours (alpha.mkv, foreground.mkv), I the source's picture;
colours are display-referred R'G'B', differences of them in 8-bit levels and means over the three. `band` is
vmatte.measure's edge band of the truth. Lower is better in every column; the second table of each gives multiples of
the first method, for every folder, and the mean and the highest over them.

upsampling    A perfect matte, scaled down ×2, ×4 and ×8 (mean over the area) and brought back: mean |alpha − α| ×1000
              in the band, mean over the frames. `noisy` is a folder's own source.mp4, and a still with noise (σ 4
              levels) in JPEG of quality 80; `clean` a still without. A still is put over each plate; one whose
              straight colours are a file of their own also stands as it was photographed.
network       The network's own matte, brought up: mean |alpha − α| ×1000 in the band, and Grad over the whole picture.
foreground    Σ α(1−α) |F′ − F| / Σ α(1−α) over all frames, where F′ is estimated from I and either α itself or
              `soft`, α after a Gaussian of σ 1.5 pixels.
steady        What F′, given α, changes from frame to frame where picture and truth have stood still: mean α |F′ − F′
              before| over the pixels in which vmatte.measure takes flicker; – where too little stood still. `steady
              soft` weights with α(1−α), where colours are estimated at all. As a multiple of `source`, 1 is as steady
              as what was filmed.
composite     mean |C′ − C| in the band, over the frames and the plates P: C = αF + (1−α)P, without noise; C′ is what
              vmatte's compositing makes of the brought-up matte and the estimated colours, in the delivery's own
              coding. `true matte` is α scaled down to the size at which the network answers, `network` its answer.
              `truth` is what α itself and, where it is soft, F give there: about the least that can be reached.

Every row is a line in UPSAMPLERS, FOREGROUNDS or CHAINS. `pymatting ml` (Germer et al. 2020) is there where pymatting
is, which vmatte does not need.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from bench_tables import Figures, Rows, Tally, highest_rows, mean_rows, print_table, ratios_to
from PIL import Image
from rich.console import Console
from truth_folder import CPU, Plane, TruthFolder, network_answers, read_foregrounds, read_truth_folder

from vmatte.canvas import Canvas
from vmatte.clip import BT709, Coding
from vmatte.errors import JobError, SourceError
from vmatte.frames import FrameBatch, MatteBatch, SubjectBatch
from vmatte.imaging.blur import box_mean
from vmatte.imaging.color import downsample_chroma, rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.imaging.foreground import estimate_foreground
from vmatte.imaging.resize import resize
from vmatte.imaging.upsample import upsample
from vmatte.measure.metrics import Region, edge_band, grad, mad, mean
from vmatte.measure.steadiness import Follower, FrameSteadiness, mean_steadiness
from vmatte.models.catalogue import load_model
from vmatte.models.contract import MattingModel
from vmatte.options import FilePlate
from vmatte.plates import open_plate
from vmatte.stages.compose import Look, PlatePlanes, compose
from vmatte.video.alpha import read_alpha
from vmatte.video.read import is_still, read_still

Tensor = torch.Tensor
Codes = tuple[Tensor, Tensor]
"""Luma (1, 1, H, W) and chroma (1, 2, h, w) in a frame's own coding."""
Upsampler = Callable[[Tensor, FrameBatch, int], Tensor]
"""A small alpha (1, 1, h, w) in [0, 1], its frame, and how many pixels softer than the picture its edges are; alpha (1,
1, H, W)."""
Estimator = Callable[[FrameBatch, Tensor], Codes]
"""A frame and its alpha (1, 1, H, W); the codes of the subject's straight colours."""

STEPS = (2, 4, 8)
EXACT = 0
"""How many pixels softer than the picture a true matte's edges are."""
NOISE = 4
"""Standard deviation in 8-bit levels, of R', G' and B'."""
JPEG_QUALITY = 80
SOFTENED = 1.5
"""Sigma in pixels."""
DELIVERY = Coding(BT709, 8)


# Methods
def blur_fusion(frames: FrameBatch, alpha: Tensor) -> Codes:
    """Forte, Approximate Fast Foreground Colour Estimation, 2021: in two steps, over 91 pixels and over 7."""
    picture = ycbcr_to_rgb(frames.luma, frames.chroma, frames.coding)
    foreground, behind = picture, picture
    for side in (91, 7):
        inside, outside = (box_mean(weight, side).clamp_(min=1e-5) for weight in (alpha, 1 - alpha))
        near, behind = box_mean(foreground * alpha, side) / inside, box_mean(behind * (1 - alpha), side) / outside
        foreground = (near + alpha * (picture - alpha * near - (1 - alpha) * behind)).clamp_(0, 1)
    return recolored(frames.luma, frames.chroma, foreground, alpha, frames.coding)


def recolored(luma: Tensor, chroma: Tensor, foreground: Tensor, alpha: Tensor, coding: Coding) -> Codes:
    """A frame's codes, with the colours of `foreground`, straight R'G'B' (1, 3, H, W), where alpha (1, 1, H, W) is soft
    or 0."""
    solid = 1 - 0.5 / (2**coding.bits - 1)
    small = int(chroma.shape[-2]), int(chroma.shape[-1])
    fine, coarse = rgb_to_ycbcr(foreground, coding, (int(alpha.shape[-2]), int(alpha.shape[-1])))
    small_alpha = downsample_chroma(alpha, small)
    # Weighted by alpha, as it will be seen: what a foreground says where there is none means nothing.
    coarse = downsample_chroma(coarse * alpha, small).div_(small_alpha.clamp(min=1e-6))
    made = ((luma, fine, alpha), (chroma, coarse, small_alpha))
    return tuple(torch.where(part > solid, own, rounded(values, coding.bits)) for own, values, part in made)


def pymatting_ml(frames: FrameBatch, alpha: Tensor) -> Codes:
    from pymatting import estimate_foreground_ml

    picture = ycbcr_to_rgb(frames.luma, frames.chroma, frames.coding)[0].permute(1, 2, 0).numpy()
    foreground = estimate_foreground_ml(picture, alpha[0, 0].numpy())
    planes = torch.from_numpy(np.ascontiguousarray(foreground.transpose(2, 0, 1), np.float32))[None].clamp_(0, 1)
    return recolored(frames.luma, frames.chroma, planes, alpha, frames.coding)


UPSAMPLERS: dict[str, Upsampler] = {
    "bilinear": lambda alpha, frames, _: resize(alpha, frames.size),
    "guided": lambda alpha, frames, reach: upsample(alpha, frames.luma, frames.chroma, frames.coding.bits, reach),
}
FOREGROUNDS: dict[str, Estimator] = {
    "source": lambda frames, _: (frames.luma, frames.chroma),
    "blur fusion": blur_fusion,
    "pymatting ml": pymatting_ml,
    "ours": lambda frames, alpha: estimate_foreground(frames.luma, frames.chroma, alpha, frames.coding),
}
STEADY: dict[str, Callable[[Tensor], Tensor]] = {
    "steady": lambda alpha: alpha,
    "steady soft": lambda alpha: alpha * (1 - alpha),
}
"""How much of a colour's change counts, by alpha."""
CHAINS = {
    "plain": ("bilinear", "source"),
    "guided alone": ("guided", "source"),
    "vmatte": ("guided", "ours"),
}
"""By which method alpha is brought up, and colours are estimated; left out while one of them is not there."""
TABLES = {
    "upsampling": ("|alpha − α| ×1000", "bilinear"),
    "network": ("|alpha − α| ×1000 and Grad", "bilinear"),
    "foreground": ("levels", "source"),
    "composite": ("levels", "plain"),
}
"""In what it is measured, and the method that the others are multiples of."""


# Stills
@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A subject whose alpha is known: straight R'G'B' (1, 3, H, W) in [0, 1] and alpha (H, W)."""

    name: str
    colours: Tensor
    alpha: Plane
    photograph: Tensor | None
    """The same subject before its own background, where that is another picture."""


def read_stills(paths: list[Path]) -> Still:
    """A still of the files SUBJECT ALPHA [FOREGROUND]. SourceError where they do not fit together."""
    if len(paths) not in (2, 3):
        raise JobError(f"--stills takes a picture, its alpha and, if there is one, its foreground; got {len(paths)}")
    alpha = read_alpha(paths[1])
    subject, *foreground = (_picture(path, alpha) for path in (paths[0], *paths[2:]))
    return Still(paths[0].stem, *((foreground[0], alpha, subject) if foreground else (subject, alpha, None)))


def _picture(path: Path, alpha: Plane) -> Tensor:
    if not is_still(path):
        raise SourceError(f"{path} is no picture")
    with Image.open(path) as picture:
        size = picture.height, picture.width
    if size != alpha.shape:
        raise SourceError(f"{path} is {size[1]}×{size[0]}, its alpha {alpha.shape[1]}×{alpha.shape[0]}: give one size")
    return read_plate(path, size)


def still_pictures(still: Still, plates: Iterable[Path]) -> Iterator[tuple[str, FrameBatch]]:
    """The still over each plate and as it was photographed, `clean` and `noisy` each."""
    alpha = torch.from_numpy(still.alpha)[None, None]
    pictures = [
        torch.lerp(read_plate(plate, (alpha.shape[2], alpha.shape[3])), still.colours, alpha) for plate in plates
    ]
    if still.photograph is not None:
        pictures.append(still.photograph)
    for number, rgb in enumerate(pictures):
        yield "clean", frame_of(rgb)
        yield "noisy", frame_of(compressed(rgb, np.random.default_rng(number)))


def read_plate(path: Path, size: tuple[int, int]) -> Tensor:
    """A picture as R'G'B' (1, 3, H, W) in [0, 1] that fills `size` = (H, W)."""
    return torch.from_numpy(read_still(path, size))[None].to(torch.float32) / 255


def frame_of(rgb: Tensor) -> FrameBatch:
    """R'G'B' (1, 3, H, W) in [0, 1] as a frame of a usual clip: BT.709, 8 bits, 4:2:0."""
    luma, chroma = rgb_to_ycbcr(rgb, DELIVERY, (-(-rgb.shape[2] // 2), -(-rgb.shape[3] // 2)))
    return FrameBatch(range(1), rounded(luma, 8), rounded(chroma, 8), DELIVERY)


def compressed(rgb: Tensor, rng: np.random.Generator) -> Tensor:
    """A picture (1, 3, H, W) with a camera's noise, after JPEG."""
    codes = 255 * rgb[0].permute(1, 2, 0).numpy() + NOISE * rng.standard_normal((*rgb.shape[2:], 3), np.float32)
    bgr = np.rint(codes.clip(0, 255)).astype(np.uint8)[..., ::-1]
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.float32)[..., ::-1]
    return torch.from_numpy(decoded.transpose(2, 0, 1).copy())[None] / 255


# Alpha
def scaled_down(alpha: Plane, size: tuple[int, int]) -> Tensor:
    """Alpha (H, W) at (height, width) `size`: the mean over the area of each pixel; (1, 1, h, w)."""
    small = cv2.resize(alpha, size[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small)[None, None]


def band_of(alpha: Plane) -> Region:
    """The edge band; SourceError where there is no edge to measure."""
    band = edge_band(alpha)
    if not band.any():
        raise SourceError("a true matte without any edge: there is nothing to measure on it")
    return band


def measure_upsampling(
    pictures: Iterable[tuple[str, FrameBatch, Plane]], methods: Mapping[str, Upsampler]
) -> dict[str, Figures]:
    """`upsampling` over pictures with their true alpha, each `clean` or `noisy`."""
    tally = Tally(methods, [f"{kind} ×{step}" for kind in ("clean", "noisy") for step in STEPS])
    for kind, frame, truth in pictures:
        band = band_of(truth)
        for step in STEPS:
            small = scaled_down(truth, (round(truth.shape[0] / step), round(truth.shape[1] / step)))
            for name, method in methods.items():
                tally.add(name, f"{kind} ×{step}", mad(plane(method(small, frame, EXACT)), truth, band))
    return tally.rows()


def measure_network(
    truth: TruthFolder, answers: Tensor, methods: Mapping[str, Upsampler], reach: int
) -> dict[str, Figures]:
    """`network` over a folder, whose mattes are these (T, 1, h, w), `reach` pixels softer than the picture."""
    tally = Tally(methods, ("boundary_mad", "grad"))
    for frame, true_alpha, small in zip(truth.frames, truth.alphas, answers.split(1), strict=True):
        for name, method in methods.items():
            alpha = plane(method(small, frame, reach))
            tally.add(name, "boundary_mad", mad(alpha, true_alpha, band_of(true_alpha)))
            tally.add(name, "grad", grad(alpha, true_alpha)[0])
    return tally.rows()


def plane(alpha: Tensor) -> Plane:
    return np.ascontiguousarray(alpha[0, 0].numpy())


# Foreground
def measure_foreground(truth: TruthFolder, methods: Mapping[str, Estimator]) -> dict[str, Figures]:
    """`foreground` and `steadiness` over a folder."""
    tally = Tally(methods, ("true alpha", "soft alpha"))
    changes = {name: {column: Changes() for column in STEADY} for name in methods}
    for number, (frame, colours) in enumerate(zip(truth.frames, read_foregrounds(truth), strict=True)):
        alpha = truth.alpha(number)
        softened = torch.from_numpy(cv2.GaussianBlur(truth.alphas[number], (0, 0), SOFTENED))[None, None]
        for name, method in methods.items():
            found = rgb_of(method(frame, alpha), frame)
            tally.add(name, "true alpha", *foreground_error(found, colours, alpha))
            tally.add(name, "soft alpha", *foreground_error(rgb_of(method(frame, softened), frame), colours, alpha))
            for column, weight in STEADY.items():
                changes[name][column].follow(found, weight(alpha), truth.luma(number), truth.alphas[number])
    steady = {
        name: {column: change.mean() for column, change in followed.items()} for name, followed in changes.items()
    }
    return {name: {**row, **steady[name]} for name, row in tally.rows().items()}


def rgb_of(codes: Codes, frame: FrameBatch) -> Tensor:
    return ycbcr_to_rgb(*codes, frame.coding)


def foreground_error(found: Tensor, true: Tensor, alpha: Tensor) -> tuple[float, float]:
    """Mean |found − true| of R'G'B' (1, 3, H, W) in levels, weighted by alpha (1 − alpha), and the sum of weights."""
    weight = alpha * (1 - alpha)
    weights = float(weight.sum(dtype=torch.float64))
    apart = float(((found - true).abs_() * weight).sum(dtype=torch.float64))
    return (255 * apart / (3 * weights) if weights else 0.0), weights


class Changes:
    """Follows a subject's colours from frame to frame."""

    def __init__(self) -> None:
        self._channels: list[tuple[Follower, list[FrameSteadiness]]] = [(Follower(), []) for _ in range(3)]

    def follow(self, rgb: Tensor, weight: Tensor, luma: Plane, alpha: Plane) -> None:
        """The next frame: straight R'G'B' (1, 3, H, W), how much each pixel counts, which stands still where alpha does
        (1, 1, H, W), the picture's luma and the true alpha (H, W)."""
        for colour, (follower, seen) in zip((weight * rgb)[0].numpy(), self._channels, strict=True):
            # With a truth beside it, a follower takes any plane: band and stillness are the truth's.
            seen.append(follower.follow(colour, luma, alpha))

    def mean(self) -> float | None:
        """Mean change on the still pixels of the edge band, in levels; None where too little stood still."""
        flickers = [mean_steadiness(seen).flicker for _, seen in self._channels]
        there = [flicker for flicker in flickers if flicker is not None]
        return sum(there) / len(there) if there else None


# Composite
def measure_composite(
    truth: TruthFolder,
    answers: Tensor,
    plates: Iterable[Path],
    upsamplers: Mapping[str, Upsampler],
    foregrounds: Mapping[str, Estimator],
    reach: int,
) -> dict[str, Figures]:
    """`composite` over a folder whose mattes by the network are `answers` (T, 1, h, w), `reach` pixels softer than the
    picture."""
    chains = {
        name: (upsamplers[matte], foregrounds[colours])
        for name, (matte, colours) in CHAINS.items()
        if matte in upsamplers and colours in foregrounds
    }
    tally = Tally([*chains, "truth"], ("true matte", "network"))
    height, width = answers.shape[-2:]
    canvas = Canvas(truth.clip, truth.clip, np.arange(truth.clip.frames), None)
    with ExitStack() as opened:
        behind = [
            (
                read_plate(path, truth.frames[0].size),
                opened.enter_context(open_plate(FilePlate(path=path), canvas, CPU)),
            )
            for path in plates
        ]
        for number, (frame, colours) in enumerate(zip(truth.frames, read_foregrounds(truth), strict=True)):
            alpha, band = truth.alpha(number), band_of(truth.alphas[number])
            composites = [(torch.lerp(rgb, colours, alpha), planes) for rgb, planes in behind]
            luma, chroma = recolored(frame.luma, frame.chroma, colours, alpha, frame.coding)
            exact = SubjectBatch(luma, chroma, alpha, MatteBatch(frame, alpha))
            mattes = {
                "true matte": (scaled_down(truth.alphas[number], (height, width)), EXACT),
                "network": (answers[number, None], reach),
            }
            for column, (small, softer) in mattes.items():
                made = {name: cut_out(frame, small, softer, *chain) for name, chain in chains.items()}
                for name, subject in {**made, "truth": exact}.items():
                    for true, planes in composites:
                        tally.add(name, column, composite_error(subject, planes, true, band))
    return tally.rows()


def cut_out(frame: FrameBatch, small: Tensor, reach: int, enlarge: Upsampler, estimate: Estimator) -> SubjectBatch:
    """A frame in the subject's estimated colours, with its alpha."""
    alpha = enlarge(small, frame, reach)
    luma, chroma = estimate(frame, alpha)
    return SubjectBatch(luma, chroma, alpha, MatteBatch(frame, alpha))


def composite_error(subject: SubjectBatch, plate: PlatePlanes, true: Tensor, band: Region) -> float:
    """Mean |composite − true| of R'G'B' (1, 3, H, W) in levels over the band."""
    layer = next(compose([subject], plate, Look("display")))
    apart = (ycbcr_to_rgb(layer.luma, layer.chroma, subject.coding) - true).abs_().mean(dim=1)
    return 255 * mean(apart[0].numpy(), band)


# Report
def report(title: str, base: str, measured: Mapping[str, Rows], console: Console) -> dict[str, object]:
    """Print what was measured, by folder, and its multiples of the method `base`; both, to be kept."""
    multiples = {
        folder: {name: row for name, row in ratios_to(base, rows).items() if name != base}
        for folder, rows in measured.items()
    }
    over = {"mean": mean_rows(multiples.values()), "highest": highest_rows(multiples.values())}
    print_table(title, by_folder(measured), console)
    if over["mean"]:
        print_table(f"{title.split(',')[0]}, {base} = 1", by_folder({**multiples, **over}), console)
    return {"figures": measured, "ratios": multiples, **over}


def by_folder(measured: Mapping[str, Rows]) -> dict[str, Figures]:
    return {f"{folder}: {name}": row for folder, rows in measured.items() for name, row in rows.items()}


def available(console: Console) -> dict[str, Estimator]:
    """FOREGROUNDS, without what needs a library that is not there; says so."""
    if find_spec("pymatting") is not None:
        return FOREGROUNDS
    console.print("pymatting cannot be imported, so its row is left out")
    return {name: method for name, method in FOREGROUNDS.items() if method is not pymatting_ml}


def bench(options: argparse.Namespace, console: Console) -> dict[str, object]:
    """The `tables` of these `folders`, `stills` (lists of 2 or 3 files) and `plates`, with this `model` and `cache`."""
    if not options.plates or not all(is_still(plate) for plate in options.plates):
        raise JobError("the edge is measured over plates that are pictures; give some with --plates")
    wanted = options.tables.split(",")
    if not set(wanted) <= set(TABLES):
        raise JobError(f"no such tables of edges: {options.tables}; there are: {', '.join(TABLES)}")
    measured: dict[str, dict[str, Rows]] = {table: {} for table in TABLES if table in wanted}
    foregrounds = available(console)
    if "upsampling" in wanted:
        for still in map(read_stills, options.stills):
            shown = ((kind, frame, still.alpha) for kind, frame in still_pictures(still, options.plates))
            measured["upsampling"][still.name] = measure_upsampling(shown, UPSAMPLERS)
    model = load_model(options.model)
    for path in options.folders:
        folder = read_truth_folder(path)
        for table, rows in measured.items():
            rows[folder.name] = measure_folder(table, folder, model, options, foregrounds)
        console.print(f"{folder.name} is measured, with mattes by {options.model}")
    return {
        "model": options.model,
        **{
            table: report(f"{table}, {TABLES[table][0]}", TABLES[table][1], measured[table], console)
            for table in measured
        },
    }


def measure_folder(
    table: str,
    folder: TruthFolder,
    model: MattingModel,
    options: argparse.Namespace,
    foregrounds: Mapping[str, Estimator],
) -> dict[str, Figures]:
    """A folder's part of this table."""
    if table == "upsampling":
        filmed = (("noisy", frame, alpha) for frame, alpha in zip(folder.frames, folder.alphas, strict=True))
        return measure_upsampling(filmed, UPSAMPLERS)
    if table == "foreground":
        return measure_foreground(folder, foregrounds)
    answers, reach = network_answers(folder.clip, model, options.cache), model.spec.edge_reach
    if table == "network":
        return measure_network(folder, answers, UPSAMPLERS, reach)
    return measure_composite(folder, answers, options.plates, UPSAMPLERS, foregrounds, reach)
