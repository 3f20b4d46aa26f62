"""Make the pictures of docs/looks.md: a frame of the sample over a plate, with one look after the other.

python scripts/make_looks.py --out docs
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vmatte.clip import ClipInfo
from vmatte.frames import FrameBatch, MatteBatch
from vmatte.imaging.color import rgb_to_ycbcr, ycbcr_to_rgb
from vmatte.imaging.grade import match_of
from vmatte.models.catalogue import load_model
from vmatte.options import ContactShadow, LightWrap
from vmatte.stages.compose import Look, compose
from vmatte.stages.foreground import foreground
from vmatte.stages.matte import matte
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.probe import probe
from vmatte.video.read import decode

SAMPLES = Path(__file__).parent.parent / "samples"
CPU = torch.device("cpu")


def matted(clip: ClipInfo, number: int) -> MatteBatch:
    frames: Iterator[FrameBatch] = upload(decode(clip, range(number, number + 1), batch=1), clip.delivery, CPU)
    return next(matte(frames, load_model("modnet"), 1, Stopwatch()))


def plate_of(rgb: torch.Tensor, clip: ClipInfo) -> tuple[torch.Tensor, torch.Tensor]:
    return rgb_to_ycbcr(rgb, clip.delivery, (clip.height // 2, clip.width // 2))


def pictured(batch: MatteBatch, plate: torch.Tensor, look: Look, clip: ClipInfo) -> Image.Image:
    """The frame's composite."""
    planes = plate_of(plate, clip)
    layer = next(compose(foreground([batch], "estimate"), lambda _: planes, look))
    rgb = ycbcr_to_rgb(layer.luma, layer.chroma, clip.delivery)[0].permute(1, 2, 0).numpy()
    return Image.fromarray(np.rint(rgb * 255).astype(np.uint8))


def sheet(pictures: list[Image.Image], box: tuple[int, int, int, int], width: int, path: Path) -> None:
    """The same part of some pictures side by side."""
    parts = [picture.crop(box) for picture in pictures]
    height = width * parts[0].height // parts[0].width
    whole = Image.new("RGB", (width * len(parts), height))
    for place, part in enumerate(parts):
        whole.paste(part.resize((width, height), Image.Resampling.LANCZOS), (place * width, 0))
    whole.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frame", type=int, default=70)
    options = parser.parse_args()

    clip = probe(SAMPLES / "avatar.mp4")
    batch = matted(clip, options.frame)
    size = (clip.width, clip.height)
    with Image.open(SAMPLES / "studio.png") as picture:
        studio = torch.from_numpy(np.array(picture.convert("RGB").resize(size)) / 255).permute(2, 0, 1)[None].float()
    white = torch.full_like(studio, 0.92)
    evening = (studio * torch.tensor([1.0, 0.72, 0.45]).view(1, 3, 1, 1)).clamp(0, 1)
    frame = ycbcr_to_rgb(batch.frames.luma, batch.frames.chroma, clip.delivery)

    whole = (clip.width // 4, 0, clip.width * 3 // 4, clip.height)
    head = (clip.width * 3 // 8, clip.height // 16, clip.width * 5 // 8, clip.height * 7 // 16)
    blends = [pictured(batch, white, Look(blend), clip) for blend in ("display", "linear")]
    sheet(blends, head, 360, options.out / "looks-blend.jpg")
    wraps = [None, LightWrap(strength=0.5), LightWrap(strength=1)]
    sheet(
        [pictured(batch, white, Look("linear", wrap), clip) for wrap in wraps],
        head,
        300,
        options.out / "looks-wrap.jpg",
    )
    grades = [match_of(frame, batch.alpha, evening, strength) for strength in (0, 0.5, 1)]
    matched = [pictured(batch, evening, Look("linear", grade_of=lambda _, own=grade: own), clip) for grade in grades]
    sheet(matched, whole, 300, options.out / "looks-match.jpg")
    figure = standing(batch)
    shadows = [None, ContactShadow(strength=0.5), ContactShadow(strength=1)]
    posed = [pictured(figure, white, Look("linear", shadow=shadow), clip) for shadow in shadows]
    sheet(posed, (0, clip.height // 3, clip.width, clip.height), 300, options.out / "looks-shadow.jpg")


def standing(batch: MatteBatch) -> MatteBatch:
    """The presenter as a bust that stands on the ground."""
    alpha = batch.alpha.clone()
    alpha[..., alpha.shape[-2] * 7 // 8 :, :] = 0  # above the picture's bottom
    return MatteBatch(batch.frames, alpha)


if __name__ == "__main__":
    main()
