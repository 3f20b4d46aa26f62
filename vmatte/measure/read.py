"""What is measured, frame by frame: mattes and pictures, from a clip or a folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vmatte.clip import BT709, ClipInfo
from vmatte.errors import SourceError
from vmatte.frames import DecodedFrames
from vmatte.imaging.color import luma_weights, ycbcr_to_rgb
from vmatte.imaging.resize import resize
from vmatte.measure.metrics import Plane
from vmatte.video.alpha import decode_alpha, read_alpha
from vmatte.video.probe import probe
from vmatte.video.read import decode, read_still

T = TypeVar("T")

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
_FOLDER_RATE = Fraction(25)
"""Frames a second of a folder of pictures, which does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A source frame. `luma` (H, W) float32: black is 0, white 1; `rgb(size)` (height, width, 3) uint8 at any size."""

    luma: Plane
    rgb: Callable[[tuple[int, int]], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Footage(Generic[T]):
    """`frames` frames of (height, width) `size`, `rate` a second; each iteration reads them from the beginning."""

    path: Path
    frames: int
    size: tuple[int, int]
    rate: Fraction
    read: Callable[[], Iterator[T]]

    def __iter__(self) -> Iterator[T]:
        return self.read()


def open_mattes(path: Path) -> Footage[Plane]:
    """The alphas (H, W) float32 in [0, 1] of a clip or a folder of pictures. Raises SourceError."""
    if path.is_dir():
        pictures = _pictures_in(path)
        height, width = read_alpha(pictures[0]).shape
        return Footage(path, len(pictures), (height, width), _FOLDER_RATE, lambda: map(read_alpha, pictures))
    clip = probe(path)
    return Footage(path, clip.frames, (clip.height, clip.width), clip.rate, lambda: decode_alpha(clip))


def open_pictures(path: Path) -> Footage[Picture]:
    """The frames of a clip or a folder of pictures. Raises SourceError."""
    if path.is_dir():
        pictures = _pictures_in(path)
        size = _size_of(pictures[0])
        return Footage(path, len(pictures), size, _FOLDER_RATE, lambda: (_still(each, size) for each in pictures))
    clip = probe(path)
    return Footage(path, clip.frames, (clip.height, clip.width), clip.rate, lambda: _frames(clip))


def _pictures_in(folder: Path) -> list[Path]:
    """In the order of the numbers in their names, whether or not these have leading zeros."""
    found = [
        entry for entry in folder.iterdir() if entry.suffix.lower() in _PICTURES and not entry.name.startswith(".")
    ]
    if not found:
        raise SourceError(f"{folder} holds no pictures ({', '.join(_PICTURES)}); give a clip or a folder of frames")

    def in_order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

    return sorted(found, key=in_order)


def _size_of(picture: Path) -> tuple[int, int]:
    try:
        with Image.open(picture) as opened:
            return opened.height, opened.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{picture} cannot be read as a picture: {error}") from error


def _still(path: Path, size: tuple[int, int]) -> Picture:
    if _size_of(path) != size:
        raise SourceError(f"{path} is not as large as the first picture of its folder")
    rgb = read_still(path, size)
    weights = np.array(luma_weights(BT709), np.float32) / 255
    return Picture(
        luma=np.asarray(np.tensordot(weights, rgb.astype(np.float32), axes=1), np.float32),
        rgb=lambda small: np.asarray(cv2.resize(rgb.transpose(1, 2, 0), small[::-1], interpolation=cv2.INTER_AREA)),
    )


def _frames(clip: ClipInfo) -> Iterator[Picture]:
    number = 0
    for frame in decode(clip, range(clip.frames), batch=1):
        if frame.index.start != number:
            break
        number += 1
        yield _picture(frame)
    if number < clip.frames:
        raise SourceError(f"{clip.path}: frame {number} cannot be decoded")


def _picture(frame: DecodedFrames) -> Picture:
    black, white = frame.coding.luma_ends
    luma = (frame.luma[0, 0].astype(np.float32) - np.float32(black)) / np.float32(white - black)

    def rgb(size: tuple[int, int]) -> NDArray[np.uint8]:
        planes = [resize(torch.from_numpy(codes), size) for codes in (frame.luma, frame.chroma)]
        shown = ycbcr_to_rgb(planes[0], planes[1], frame.coding)[0]
        return (shown * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()

    return Picture(luma, rgb)
