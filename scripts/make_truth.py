"""Make a truth folder: a clip whose matte is known, to measure mattes against.

    python scripts/make_truth.py dancer.webm room.jpg truth/dancer --kind fast --despill
    python scripts/make_truth.py cutout.png room.jpg truth/presenter --kind easy
    python scripts/make_truth.py talk.mp4 room.jpg truth/presenter --subject-frame 20 --subject-matte modnet

A subject that carries its alpha (a still, a folder of pictures, a clip: WebM, ProRes 4444, …) is put over a plate, gets
a camera's noise, and is compressed. What comes of it:

    source.mp4       H.264, 4:2:0, BT.709
    alpha.mkv        the true alpha of every frame: FFV1, 12-bit grey, full range (4095 is opaque)
    foreground.mkv   the subject's own straight colours, before noise and compression: FFV1, 12-bit R'G'B', full range;
                     black where alpha is 0, where they mean nothing
    truth.json       how it was made

A still moves as a presenter does, with rests in between. Where it has no alpha, `--subject-matte` gives it one: another
picture, grey, and then its colours are taken as they are; or a network's, and then the old background is taken out of
them. Either is the truth, for the clip is made from it. A matte that flickers would be a truth that does, so a network
mattes stills only. Choose another network than the one you mean to measure.

The composite is display-referred: colours are mixed as coded, as nearly all editors do, not as light. With `--light`
they are mixed as light, which is what a camera does: for clips that are to be keyed.
The same command gives the same files, byte for byte, on one version of FFmpeg.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import ColorRange
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageOps

import vmatte
from vmatte.clip import BT709, RGB_MATRIX, Coding, ColorTags
from vmatte.encodings import ENCODINGS
from vmatte.errors import JobError, SourceError, VmatteError
from vmatte.frames import FrameBatch, LayerBatch
from vmatte.imaging.blur import blur_around
from vmatte.imaging.color import rgb_to_ycbcr, rounded, ycbcr_to_rgb
from vmatte.imaging.resize import cover, covered_part
from vmatte.models.catalogue import MODELS, load_model
from vmatte.stages.matte import matte
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch
from vmatte.video.alpha import alpha_decoder, read_alpha
from vmatte.video.planes import plane_views
from vmatte.video.probe import probe
from vmatte.video.read import decode, is_still, read_still
from vmatte.video.write import encode

Picture = NDArray[np.float32]

CPU = torch.device("cpu")
DELIVERY = Coding(BT709, 8)
SRGB = Coding(ColorTags(RGB_MATRIX, 1, 13, full_range=True), 8)
ALPHA_FORMAT, FOREGROUND_FORMAT = "gray12le", "gbrp12le"
CODES = 4095
"""The largest: what vmatte's decoder reads exactly; it shortens 16 bits to 12."""
PICTURES = (".png", ".tif", ".tiff", ".webp")

FAINT = 0.04
"""A network's alpha below it is nothing, above 1 less it solid."""
SETTLING = 8
"""How often a network that remembers sees a picture before its matte is taken."""
PAN = 0.0035
"""How far a panning plate moves in a frame, as a part of the frame's width."""
SWAY_ROWS = 0.01
"""How far it goes up and down meanwhile, as a part of the height."""
BELOW = 0.04
"""How far the foot of a still lies below the frame, as a part of its height: its cut must not rise into view."""
REST, MOVE = 7, 9
"""Frames in which a still stands between two moves, and that a move takes."""


@dataclass(frozen=True, slots=True)
class Shot:
    """How a clip is photographed."""

    plate_motion: str
    noise: float
    crf: int


KINDS = {"easy": Shot("still", 2, 20), "hard": Shot("pan", 6, 30), "fast": Shot("pan", 4, 28)}


# Subject
@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A subject that does not move by itself: premultiplied R'G'B' and alpha (H, W, 4) in [0, 1]."""

    layer: Picture
    head: float
    """How far down the head reaches, as a part of the subject's height."""


@dataclass(frozen=True, slots=True)
class Pose:
    """One instant of a still: lengths as parts of the frame's height, angles in radians."""

    shift: tuple[float, float] = (0, 0)
    tilt: float = 0
    growth: float = 0
    head_shift: tuple[float, float] = (0, 0)
    head_tilt: float = 0
    hair: float = 0
    """Amplitude of the waves that run through the hair."""
    phase: float = 0


def premultiplied(rgb: Picture, alpha: Picture) -> Picture:
    """(H, W, 4) of straight R'G'B' (H, W, 3) and alpha (H, W), all in [0, 1]."""
    return np.concatenate([rgb * alpha[..., None], alpha[..., None]], axis=2)


def read_picture(path: Path, matte_path: Path | None = None) -> Picture:
    """A picture with its alpha, or that of another picture's grey, premultiplied (H, W, 4). SourceError without one."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    except OSError as error:
        raise SourceError(f"{path} cannot be read as a picture: {error}") from error
    if matte_path is None and not has_alpha:
        raise SourceError(f"{path} has no alpha; give one with --subject-matte, a picture or a network's name")
    alpha = rgba[..., 3] if matte_path is None else read_alpha(matte_path)
    if alpha.shape != rgba.shape[:2]:
        sides = f"{alpha.shape[1]}×{alpha.shape[0]}, the subject {rgba.shape[1]}×{rgba.shape[0]}"
        raise SourceError(f"{matte_path} does not fit {path}: the matte is {sides}; give one of the same size")
    return premultiplied(rgba[..., :3], alpha)


def cut_out(path: Path, number: int, model_name: str) -> Picture:
    """A network's cutout of a picture, or of a frame of a clip, premultiplied (H, W, 4)."""
    frames = picture_batch(path) if is_still(path) else frame_batch(path, number)
    model = load_model(model_name)
    seen = FrameBatch(frames.index, frames.luma.to(model.device), frames.chroma.to(model.device), frames.coding)
    alpha = list(matte([seen] * (SETTLING if model.spec.recurrent else 1), model, 1, Stopwatch()))[-1].alpha.cpu()
    alpha = torch.from_numpy(largest_piece(alpha[0, 0].numpy()))[None, None]
    foreground = own_colours(ycbcr_to_rgb(frames.luma, frames.chroma, frames.coding), alpha)
    return premultiplied(foreground[0].permute(1, 2, 0).numpy(), alpha[0, 0].numpy())


def picture_batch(path: Path) -> FrameBatch:
    """A picture file as a frame."""
    with Image.open(path) as opened:
        size = ImageOps.exif_transpose(opened).size
    red, green, blue = torch.from_numpy(read_still(path, size[::-1]))
    return FrameBatch(range(1), green[None, None], torch.stack([blue, red])[None], SRGB)


def frame_batch(path: Path, number: int) -> FrameBatch:
    """A frame of a clip."""
    clip = probe(path)
    frames = next(upload(decode(clip, range(number, number + 1), batch=1), clip.delivery, CPU), None)
    if frames is None:
        raise SourceError(f"{path} has no frame {number}: it has {clip.frames}; give another --subject-frame")
    return frames


def largest_piece(alpha: Picture) -> Picture:
    """A network's alpha (H, W) with its faint ends cut, and without what hangs together with nothing."""
    outlines, _ = cv2.findContours((alpha > 0.3).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        raise SourceError("the network finds no subject in the picture; give another one, or another network")
    piece = cv2.drawContours(np.zeros(alpha.shape, np.uint8), [max(outlines, key=cv2.contourArea)], 0, 1, cv2.FILLED)
    near = cv2.dilate(piece, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (31, 31)))
    return np.clip((alpha * near - FAINT) / (1 - 2 * FAINT), 0, 1)


def own_colours(rgb: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """The subject's straight colours of a picture (1, 3, H, W), without the background's: blur fusion in two steps
    (Forte, Approximate Fast Foreground Colour Estimation, 2021)."""
    foreground = rgb
    for sigma in (30.0, 3.0):
        near, behind = blur_around(foreground, 1 - alpha, sigma), blur_around(rgb, alpha, sigma)
        foreground = (near + alpha * (rgb - alpha * near - (1 - alpha) * behind)).clamp_(0, 1)
    return foreground


def clip_layers(path: Path, first: int, *, despill: bool) -> Iterator[Picture]:
    """A clip's frames from `first` on with their own alpha, premultiplied (H, W, 4)."""
    if path.is_dir():
        for picture in sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES)[first:]:
            yield read_picture(picture)
        return
    coding = probe(path).coding
    for frame in islice(frames_with_alpha(path), first, None):
        if not any(component.is_alpha for component in frame.format.components):
            raise SourceError(f"{path} has no alpha; take a frame of it with --subject-frame and --subject-matte")
        if not frame.format.name.startswith(("yuva", "gbrap")):
            frame = frame.reformat(format="gbrap12le" if frame.format.components[0].bits > 8 else "gbrap")
        *planes, alpha = plane_views(frame)
        bits = frame.format.components[0].bits
        luma, first_chroma, second_chroma = (torch.from_numpy(plane.astype(np.float32)) for plane in planes)
        chroma = torch.stack([first_chroma, second_chroma])[None]
        rgb = ycbcr_to_rgb(luma[None, None], chroma, Coding(coding.color, bits))[0].permute(1, 2, 0).numpy()
        if despill:
            rgb[..., 1] = np.minimum(rgb[..., 1], np.maximum(rgb[..., 0], rgb[..., 2]))
        yield premultiplied(rgb, alpha.astype(np.float32) / (2**bits - 1))


def frames_with_alpha(path: Path) -> Iterator[av.VideoFrame]:
    """All frames of a clip, decoded so that alpha is not lost."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = alpha_decoder(stream)
        for packet in container.demux(stream):
            yield from decoder.decode(packet if packet.size else None)


# Motion
def perform(motion: str, frames: int, rng: Generator) -> list[Pose]:
    """A pose per frame. `sway`: the body shifts, tilts and leans in, and rests in between; `talk`: besides, the head
    nods and turns and the hair swings, which never rest."""
    if motion == "none":
        return [Pose()] * frames
    body = rest_and_move(frames, np.array([0.03, 0.008, 0.02, 0.012]), rng)
    if motion == "sway":
        return [Pose((x, y), tilt, growth) for x, y, tilt, growth in body]
    head = rest_and_move(frames + MOVE, np.array([0.012, 0.006, 0.05]), rng)[MOVE // 2 :]
    poses = []
    for number, ((x, y, tilt, growth), (head_x, head_y, head_tilt)) in enumerate(zip(body, head, strict=False)):
        nod = 0.003 * math.sin(2 * math.pi * number / 11)
        poses.append(Pose((x, y), tilt, growth, (head_x, head_y + nod), head_tilt, hair=0.005, phase=number / 24))
    return poses


def rest_and_move(frames: int, reach: Picture, rng: Generator) -> list[list[float]]:
    """Values within ± `reach` (N,) for each frame: each of a chain of them is held for a while, then they glide."""
    turns = frames // (REST + MOVE) + 2
    drawn = rng.uniform(-1, 1, (turns + 1, len(reach))) * reach
    values = []
    for turn in range(turns):
        glide = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, MOVE + 1) / MOVE)
        share = np.concatenate([np.zeros(REST), glide])[:, None]
        values.append(drawn[turn] * (1 - share) + drawn[turn + 1] * share)
    return np.concatenate(values)[:frames].tolist()


def photograph_still(still: Still, pose: Pose, size: tuple[int, int], height_part: float) -> Picture:
    """The still in this pose, premultiplied (H, W, 4) of `size` = (H, W): in the middle, its foot below the frame."""
    height, width = size
    rows, columns = still.layer.shape[:2]
    scale = height * height_part / rows
    left, top = (width - columns * scale) / 2, height * (1 + BELOW - height_part)
    seen = np.flatnonzero(still.layer[..., 3].max(axis=1) > 0.5)
    crown, foot = top + seen[0] * scale, top + (seen[-1] + 1) * scale
    neck = crown + still.head * (foot - crown)

    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = turned(x - pose.shift[0] * height, y - pose.shift[1] * height, (width / 2, foot), pose.tilt)
    x, y = width / 2 + (x - width / 2) / (1 + pose.growth), foot + (y - foot) / (1 + pose.growth)
    weight = np.clip((neck + 0.25 * (neck - crown) - y) / max(0.5 * (neck - crown), 1), 0, 1)
    weight = weight * weight * (3 - 2 * weight)
    head_x, head_y = turned(
        x - pose.head_shift[0] * height, y - pose.head_shift[1] * height, (width / 2, neck), pose.head_tilt
    )
    x, y = x + weight * (head_x - x), y + weight * (head_y - y)
    if pose.hair:
        wave, swing = 2 * np.pi * (y / (0.3 * height) - pose.phase), pose.hair * height * weight
        across = 2 * np.pi * (x / (0.35 * height) + 1.3 * pose.phase)
        x, y = x + swing * np.sin(wave + 0.5 * across), y + 0.5 * swing * np.sin(across)
    layer = still.layer
    if scale < 0.5:  # or the remap would leave source pixels out
        layer = cv2.resize(layer, (round(columns * scale), round(rows * scale)), interpolation=cv2.INTER_AREA)
    columns_at = (x - left) / scale * (layer.shape[1] / columns) - 0.5
    rows_at = (y - top) / scale * (layer.shape[0] / rows) - 0.5
    placed = cv2.remap(layer, columns_at.astype(np.float32), rows_at.astype(np.float32), cv2.INTER_CUBIC)
    return within_alpha(placed)


def turned(x: Picture, y: Picture, pivot: tuple[float, float], angle: float) -> tuple[Picture, Picture]:
    right, down = x - pivot[0], y - pivot[1]
    cosine, sine = math.cos(angle), math.sin(angle)
    return pivot[0] + cosine * right + sine * down, pivot[1] + cosine * down - sine * right


def within_alpha(layer: Picture) -> Picture:
    """What a cubic kernel overshot, cut off: alpha to [0, 1], premultiplied colour to [0, alpha]."""
    alpha = np.clip(layer[..., 3:], 0, 1)
    return np.concatenate([np.clip(layer[..., :3], 0, alpha), alpha], axis=2)


def place_frame(layer: Picture, size: tuple[int, int], height_part: float) -> Picture:
    """A frame of a moving subject, premultiplied, in a frame of `size`: in the middle, at the lower edge."""
    height, width = size
    if layer.shape[:2] == size and height_part == 1:
        return layer
    scale = height * height_part / layer.shape[0]
    sides = (round(layer.shape[1] * scale), round(layer.shape[0] * scale))
    layer = cv2.resize(layer, sides, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    left, top = (width - sides[0]) // 2, height - sides[1]
    return within_alpha(cv2.remap(layer, x - left, y - top, cv2.INTER_NEAREST))


# Plate
def plate_frames(path: Path, first: int, size: tuple[int, int], frames: int, motion: str) -> Iterator[Picture]:
    """The plate behind each frame, (H, W, 3) in [0, 1]; a clip plays from frame `first` to its end, and again."""
    height, width = size
    travel = PAN * width * (frames - 1)
    wide = (
        size if motion == "still" else (height + 2 * math.ceil(SWAY_ROWS * height) + 2, width + math.ceil(travel) + 2)
    )
    pictures = still_plate(path, wide) if is_still(path) else looped_plate(path, first, wide)
    for number, picture in enumerate(islice(pictures, frames)):
        if motion == "still":
            yield picture
            continue
        right = 1 + PAN * width * number
        down = 1 + SWAY_ROWS * height * (1 + math.sin(2 * math.pi * number / 50))
        moved = cv2.warpAffine(picture, np.float32([[1, 0, -right], [0, 1, -down]]), size[::-1], flags=cv2.INTER_CUBIC)
        yield np.clip(moved, 0, 1)


def still_plate(path: Path, size: tuple[int, int]) -> Iterable[Picture]:
    return cycle([read_still(path, size).transpose(1, 2, 0).astype(np.float32) / 255])


def looped_plate(path: Path, first: int, size: tuple[int, int]) -> Iterator[Picture]:
    clip = probe(path)
    if not 0 <= first < clip.frames:
        raise SourceError(f"{path} has no frame {first}: it has {clip.frames}; give another --plate-start")
    part = covered_part((clip.height, clip.width), size)
    while True:
        for frames in upload(decode(clip, range(first, clip.frames), batch=1), clip.delivery, CPU):
            rgb = ycbcr_to_rgb(frames.luma, frames.chroma, frames.coding)
            yield cover(rgb, size, part)[0].permute(1, 2, 0).numpy()


# Clip
@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """A frame as the camera sees it, and what is true of it, in codes up to `CODES`: alpha (H, W) and the subject's
    straight R'G'B' (3, H, W), 0 where alpha is."""

    picture: LayerBatch
    alpha: NDArray[np.uint16]
    foreground: NDArray[np.uint16]


def shoot(
    layers: Iterable[Picture], plates: Iterable[Picture], noise: float, rng: Generator, *, light: bool = False
) -> Iterator[Photograph]:
    """Each layer over its plate, mixed as `light` or as coded. `noise` is the standard deviation in 8-bit codes of
    luma; half of it is that of chroma, whose samples are each the mean of four."""
    for number, (layer, plate) in enumerate(zip(layers, plates, strict=False)):
        codes = np.rint(layer[..., 3] * CODES)
        alpha = codes[..., None] / CODES
        if light:
            straight = layer[..., :3] / np.maximum(layer[..., 3:], 1 / CODES)
            mixed = as_coded(alpha * as_light(straight) + (1 - alpha) * as_light(plate))
        else:
            mixed = layer[..., :3] + (1 - alpha) * plate
        rgb = torch.from_numpy(np.clip(mixed, 0, 1).astype(np.float32).transpose(2, 0, 1))[None]
        planes = rgb_to_ycbcr(rgb, DELIVERY, (rgb.shape[2] // 2, rgb.shape[3] // 2))
        noisy = []
        for plane, deviation in zip(planes, (noise, noise / 2), strict=True):
            grain = torch.from_numpy(rng.standard_normal(plane.shape, np.float32))
            noisy.append(rounded((plane + deviation * grain).clamp_(0, 255), 8))
        picture = LayerBatch(range(number, number + 1), noisy[0], noisy[1], alpha=None)
        yield Photograph(picture, codes.astype(np.uint16), straight_codes(layer, codes))


def as_light(coded: Picture) -> Picture:
    """Light of display-encoded values, by sRGB's curve (IEC 61966-2-1)."""
    coded = coded.clip(0, 1)
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def as_coded(light: Picture) -> Picture:
    """The opposite."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def straight_codes(layer: Picture, alpha: Picture) -> NDArray[np.uint16]:
    """Straight R'G'B' (3, H, W) of a premultiplied layer whose alpha is that of these codes: over any plate the two
    give what the layer gives."""
    straight = layer[..., :3] / np.maximum(alpha[..., None] / CODES, 1 / CODES)
    straight[alpha == 0] = 0
    return np.rint(straight.clip(0, 1) * CODES).astype(np.uint16).transpose(2, 0, 1)


class LosslessFile:
    """An FFV1 file of planar frames of `size` = (H, W), full range."""

    def __init__(self, path: Path, pixel_format: str, size: tuple[int, int], rate: Fraction) -> None:
        self._container = av.open(str(path), "w", options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("ffv1", rate=rate, options={"level": "3", "slicecrc": "1"})
        self._stream.height, self._stream.width, self._stream.pix_fmt = *size, pixel_format
        self._stream.codec_context.color_range = ColorRange.JPEG
        self._tick = 1 / rate

    def write(self, number: int, planes: Iterable[NDArray[np.uint16]]) -> None:
        """Frame `number`, its planes (H, W) in the pixel format's order."""
        frame = av.VideoFrame(self._stream.width, self._stream.height, self._stream.pix_fmt)
        for target, plane in zip(plane_views(frame), planes, strict=True):
            target[:] = plane
        frame.pts, frame.time_base, frame.color_range = number, self._tick, ColorRange.JPEG
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


def write_truth(made: Iterable[Photograph], folder: Path, size: tuple[int, int], rate: Fraction, crf: int) -> int:
    """The three films of frames of `size` = (H, W); the number of frames in each."""
    # With mbtree, the x264 of PyAV 18.1 writes now these bytes, now others, on processors with AVX-512.
    row = dataclasses.replace(ENCODINGS["mp4"], codec_options={"preset": "medium", "crf": str(crf), "mbtree": "0"})

    def pictures() -> Iterator[LayerBatch]:
        with (
            closing(LosslessFile(folder / "alpha.mkv", ALPHA_FORMAT, size, rate)) as alphas,
            closing(LosslessFile(folder / "foreground.mkv", FOREGROUND_FORMAT, size, rate)) as foregrounds,
        ):
            for photograph in made:
                number = photograph.picture.index.start
                red, green, blue = photograph.foreground
                alphas.write(number, [photograph.alpha])
                foregrounds.write(number, [green, blue, red])
                yield photograph.picture

    return len(encode(pictures(), folder / "source.mp4", row, DELIVERY, rate))


def frame_size(width: int) -> tuple[int, int]:
    """(height, width) of a 16:9 frame, both even."""
    return round(width * 9 / 32) * 2, width // 2 * 2


def subject_layers(options: argparse.Namespace, size: tuple[int, int], rng: Generator) -> Iterator[Picture]:
    """The subject in every frame, premultiplied (H, W, 4)."""
    path, source, height_part = options.subject, options.subject_matte, options.subject_height
    if not path.exists():
        raise SourceError(f"{path} does not exist; give a still, a clip or a folder of pictures with alpha")
    moves = path.is_dir() or not is_still(path)
    if moves and options.subject_frame is None:
        if source is not None:
            raise JobError("a matte of moving pictures flickers, which is no truth; choose one with --subject-frame")
        for layer in clip_layers(path, options.start, despill=options.despill):
            yield place_frame(layer, size, height_part)
        return
    if source is None and moves:
        layer = next(clip_layers(path, options.subject_frame, despill=options.despill))
    elif source in MODELS and not Path(source).exists():
        layer = cut_out(path, options.subject_frame or 0, source)
    else:
        layer = read_picture(path, None if source is None else Path(source))
    still = Still(layer, options.head)
    for pose in perform(options.subject_motion, options.frames, rng):
        yield photograph_still(still, pose, size, height_part)


def make_truth(options: argparse.Namespace) -> int:
    """Write the folder; the number of frames in it."""
    shot, size = options.shot, frame_size(options.width)
    motions, grain = default_rng(options.seed), default_rng([options.seed, 1])
    options.folder.mkdir(parents=True, exist_ok=True)
    layers = islice(subject_layers(options, size, motions), options.frames)
    plates = plate_frames(options.plate, options.plate_start, size, options.frames, shot.plate_motion)
    frames = write_truth(
        shoot(layers, plates, shot.noise, grain, light=options.light), options.folder, size, options.rate, shot.crf
    )
    if frames < options.frames:
        raise SourceError(f"{options.subject} has only {frames} frames from {options.start} on; ask for fewer --frames")
    made = {
        "subject": {"name": options.subject.name, "sha256": digest(options.subject), "matte": options.subject_matte},
        "plate": {"name": options.plate.name, "sha256": digest(options.plate)},
        "shot": dataclasses.asdict(shot),
        "frames": frames,
        "rate": str(options.rate),
        "width": size[1],
        "height": size[0],
        "start": options.start,
        "plate_start": options.plate_start,
        "subject_frame": options.subject_frame,
        "subject_motion": options.subject_motion,
        "subject_height": options.subject_height,
        "head": options.head,
        "despill": options.despill,
        "light": options.light,
        "seed": options.seed,
        "vmatte": vmatte.__version__,
    }
    if made["subject"]["matte"] is not None:
        made["subject"]["matte"] = Path(options.subject_matte).name
    (options.folder / "truth.json").write_text(json.dumps(made, indent=1) + "\n")
    return frames


def digest(path: Path) -> str | None:
    """sha256 of a file; None for a folder."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", type=Path)
    parser.add_argument("plate", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=list(KINDS), default="easy", help="how it is photographed, in one word")
    parser.add_argument("--plate-motion", choices=["still", "pan"])
    parser.add_argument("--noise", type=float, help="standard deviation in 8-bit levels")
    parser.add_argument("--crf", type=int)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rate", type=Fraction, default=Fraction(30))
    parser.add_argument("--start", type=int, default=0, help="the first frame of a moving subject that is used")
    parser.add_argument("--plate-start", type=int, default=0, help="the same of a moving plate")
    parser.add_argument("--despill", action="store_true", help="green no stronger than red or blue (green screen)")
    parser.add_argument("--light", action="store_true", help="mix the subject and its plate as light")
    parser.add_argument("--subject-frame", type=int, help="take this frame of a clip as a still")
    parser.add_argument("--subject-matte", help="a grey picture, or the name of a network")
    parser.add_argument("--subject-motion", choices=["none", "sway", "talk"], default="sway", help="of a still")
    parser.add_argument("--subject-height", type=float, default=1.0, help="as a part of the frame's")
    parser.add_argument("--head", type=float, default=0.45, help="how far down it reaches, as a part of the subject")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    chosen = {name: getattr(options, name) for name in ("plate_motion", "noise", "crf")}
    shot = dataclasses.replace(
        KINDS[options.kind], **{name: value for name, value in chosen.items() if value is not None}
    )
    return argparse.Namespace(**vars(options), shot=shot)


def main() -> None:
    options = parse_options()
    try:
        frames = make_truth(options)
    except VmatteError as error:
        print(f"make_truth: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{options.folder}: {frames} frames")


if __name__ == "__main__":
    main()
