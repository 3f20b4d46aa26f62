"""What each encoding costs on frames of a clip: CPU ms, from the layer to the file on disk, the size of that, and
how near the luma that comes back is to what was sent. CPU ms are of 1080p frames, by the
pixel: the sample, which is taken where no clip is named, is smaller.

    python scripts/bench_encodings.py [CLIP] [--format prores4444 ...] [--layer cutout ...] [--speed fast] [--frames 10]

Bars, of cutouts at 1080p: ProRes 4444 takes at most 60 ms a frame, at 60 dB or better, and WebM at speed fast at most
60 ms. A miss makes the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import torch

from vmatte.clip import ClipInfo
from vmatte.encodings import DEFAULT_SPEED, ENCODINGS, Encoding, Speed
from vmatte.errors import EncodeError
from vmatte.frames import LayerBatch, SubjectBatch
from vmatte.imaging.compositing import matte_planes
from vmatte.models.catalogue import load_model
from vmatte.outputs import LayerName
from vmatte.stages.compose import cut_out
from vmatte.stages.foreground import foreground
from vmatte.stages.matte import matte
from vmatte.stages.recode import recode, with_chroma_for
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.layer_coding import coding_for
from vmatte.video.planes import plane_views
from vmatte.video.probe import probe
from vmatte.video.read import decode
from vmatte.video.write import check_encoder, encode

_PIXELS = 1920 * 1080
_ROUNDS = 3
"""The least of them counts: after a network has run, its threads still turn for a while."""
SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "avatar.mp4"
BARS = {("prores4444", "cutout", "good"): (60.0, 60.0), ("webm", "cutout", "fast"): (60.0, 0.0)}
"""CPU ms a frame at most, and dB at least."""


@dataclass(frozen=True)
class Cost:
    """CPU ms of 1080p frames, at what the sample costs a pixel; `psnr_db` is None where colour is not coded as luma."""

    encoding: str
    layer: LayerName
    speed: Speed
    cpu_ms: float
    bytes_a_pixel: float
    psnr_db: float | None


def costs(
    names: Sequence[str],
    frames: int,
    folder: Path,
    layers: Sequence[LayerName] = (),
    speed: Speed = DEFAULT_SPEED,
    source: Path = SAMPLE,
) -> Iterator[Cost]:
    """Of the named encodings, or of all that this machine has: of their cutouts where they have alpha, else opaque."""
    clip = probe(source)
    subjects = list(subjects_of(clip, min(frames, clip.frames)))
    for name in names or ENCODINGS:
        row = ENCODINGS[name].at(speed)
        try:
            check_encoder(row)
        except EncodeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        for layer in layers or (["cutout"] if row.pix_fmt_alpha else ["composite"]):
            if row.carries(layer):
                yield cost_of(row, layer, speed, clip, subjects, folder / f"{name}.{layer}{row.suffix}")


def subjects_of(clip: ClipInfo, frames: int) -> Iterator[SubjectBatch]:
    decoded = upload(decode(clip, range(frames), batch=1), clip.delivery, torch.device("cpu"))
    yield from foreground(matte(decoded, load_model("modnet"), 1, Stopwatch()), "estimate")


def cost_of(
    row: Encoding, layer: LayerName, speed: Speed, clip: ClipInfo, subjects: Sequence[SubjectBatch], path: Path
) -> Cost:
    coding = coding_for(row, layer, clip.delivery)
    batches: Iterator[LayerBatch]
    made = list(layers_of(subjects, layer))
    seconds = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        if layer == "alpha":
            batches = (
                LayerBatch(each.index, *matte_planes(each.alpha, coding, each.chroma_size), None) for each in subjects
            )
        else:
            batches = recode(made, clip.delivery, coding, row)
            if (steps := row.chroma_steps(layer)) is not None:
                batches = with_chroma_for(batches, steps, coding.bits)
        encode(batches, path, row, coding, Fraction(clip.rate), is_matte=layer == "alpha")
        seconds.append(time.process_time() - started)
    pixels = clip.width * clip.height * len(subjects)
    cpu_ms = min(seconds) * 1000 * _PIXELS / pixels
    files = path.iterdir() if row.is_sequence else [path]
    size = sum(file.stat().st_size for file in files) / pixels
    lumas = [each.luma for each in made]
    return Cost(
        row.name, layer, speed, cpu_ms, size, None if row.colour != "ycbcr" or layer == "alpha" else psnr(path, lumas)
    )


def layers_of(subjects: Sequence[SubjectBatch], layer: LayerName) -> Iterator[LayerBatch]:
    """Layers as the pipeline makes them; the clip's own frames where a plate would be."""
    if layer == "cutout":
        yield from cut_out(subjects, 16)
        return
    for each in subjects:
        frames = each.source.frames
        yield LayerBatch(each.index, frames.luma, frames.chroma, None)


def psnr(path: Path, lumas: Sequence[torch.Tensor]) -> float:
    """dB of the luma in a file, by the 255 of 8-bit codes."""
    squares = []
    with av.open(str(path)) as container:
        for frame, luma in zip(container.decode(video=0), lumas, strict=True):
            height, width = luma.shape[-2:]
            seen = plane_views(frame)[0][:height, :width] / 2.0 ** (frame.format.components[0].bits - 8)
            squares.append(np.square((seen - luma[0, 0].numpy()) / 255).mean())
    mean = float(np.mean(squares))
    return float("inf") if mean == 0 else -10 * float(np.log10(mean))


def missed(cost: Cost) -> str | None:
    """What a bar says of it; None where it is held, or there is none."""
    bar = BARS.get((cost.encoding, cost.layer, cost.speed))
    if bar is None or cost.psnr_db is None or (cost.cpu_ms <= bar[0] and cost.psnr_db >= bar[1]):
        return None
    what = f"{cost.encoding} {cost.layer}: {cost.cpu_ms:.0f} ms, {cost.psnr_db:.1f} dB"
    return f"{what}; the bar is {bar[0]:.0f} ms, {bar[1]:.0f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="append", choices=list(ENCODINGS), default=[])
    parser.add_argument("--layer", action="append", choices=["cutout", "composite", "alpha"], default=[])
    parser.add_argument("clip", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--speed", choices=get_args(Speed), default=DEFAULT_SPEED)
    parser.add_argument("--frames", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as a render does
    faults = []
    print(f"{'encoding':<18} {'layer':<10} {'CPU ms':>7} {'bytes/pixel':>11} {'luma dB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for cost in costs(options.format, options.frames, Path(folder), options.layer, options.speed, options.clip):
            decibels = "–" if cost.psnr_db is None else f"{cost.psnr_db:.1f}"
            print(
                f"{cost.encoding:<18} {cost.layer:<10} {cost.cpu_ms:7.1f} {cost.bytes_a_pixel:11.3f} {decibels:>8}",
                flush=True,
            )
            faults += [fault] if (fault := missed(cost)) else []
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
