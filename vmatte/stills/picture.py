"""A picture as it was taken: its codes, its colour space, and what its file says of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from vmatte.errors import SourceError
from vmatte.stills.profile import is_rgb_profile, srgb_profile, to_srgb

Codes = NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16."""
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
"""Brands of HEIF files, with HEVC inside more often than not."""
_ORIENTATION = ExifTags.Base.Orientation
_EXTRA_SAMPLES, _PREMULTIPLIED = 338, 1
_STORED = {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 296, 301, 317, 318, 319, 320, 321}
_STORED |= {322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675}
"""TIFF tags that say how a file stores its pixels, or are blocks of another standard: they are the new file's own."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What a file says of its picture beside the pixels."""

    icc: bytes | None = None
    """The ICC profile of its RGB; None: sRGB, as viewers take it."""
    exif: Image.Exif | None = None
    """Without what says how pixels are stored; upright."""
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright picture: `rgb` (H, W, 3) codes of full range, uint8 or uint16, in the colour space of its profile."""

    name: str
    """For messages."""
    rgb: Codes
    alpha: Codes | None = None
    """(H, W), straight, of the same type; None where it is opaque."""
    tags: Tags = Tags()

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"a picture is (H, W, 3) of uint8 or uint16, not {self.rgb.shape} of {self.rgb.dtype}")
        if self.alpha is not None and (self.alpha.shape, self.alpha.dtype) != (self.size, self.rgb.dtype):
            raise ValueError(f"alpha {self.alpha.shape} of {self.alpha.dtype} does not fit the picture's {self.size}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.rgb.shape[0]), int(self.rgb.shape[1])

    @property
    def bits(self) -> int:
        return 8 * self.rgb.itemsize


def read_picture(path: Path) -> Picture:
    """A picture file, upright, with its depth, colour space and alpha.

    CMYK, Lab, gray with a profile and palettes come as sRGB. Raises SourceError for what is no picture, or moves.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns from 90 megapixels on, which some cameras have; from 179 on it refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _check(path, opened)
                return _read_deep(path, opened) if _is_deep(path, opened) else picture_of(opened, str(path))
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist") from error
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} {_why_unknown(path)}") from error
    except Image.DecompressionBombError as error:
        raise SourceError(f"{path} has more than 178 million pixels; scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise SourceError(f"{path} cannot be read as a picture: {error}") from error


def picture_of(image: Image.Image, name: str = "the picture") -> Picture:
    """Of a picture in Pillow's hands, 8 bits deep or 16 bits gray."""
    image.load()
    orientation = image.getexif().get(_ORIENTATION, 1)  # asked for now: Pillow turns a TIFF when it loads it
    tags = _tags(image)
    if image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.uint16)
        return _upright(Picture(name, np.repeat(gray[..., None], 3, axis=2), tags=replace(tags, icc=None)), orientation)
    if image.mode in ("I", "F"):
        raise SourceError(f"{name} has samples of 32 bits; give a picture of 8 or 16")
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        tags = replace(tags, icc=tags.icc if is_rgb_profile(tags.icc) else None)
    own_space = image.mode in ("RGB", "RGBA", "RGBX") and is_rgb_profile(tags.icc)
    if own_space or (tags.icc is None and image.mode != "LAB"):
        rgb = image.convert("RGB")
    else:
        rgb, tags = to_srgb(image, tags.icc), replace(tags, icc=srgb_profile())
    return _upright(Picture(name, np.asarray(rgb), alpha, tags), orientation)


def picture_of_codes(codes: NDArray[Any], name: str = "the picture") -> Picture:
    """Of an array: (H, W), (H, W, 3) or (H, W, 4) uint8 or uint16, R'G'B' with straight alpha, as sRGB."""
    if codes.dtype not in (np.uint8, np.uint16) or codes.ndim not in (2, 3):
        raise ValueError(f"a picture is (H, W), (H, W, 3) or (H, W, 4) of uint8 or uint16, not {codes.shape}")
    if codes.ndim == 2 or codes.shape[2] == 1:
        codes = np.repeat(codes.reshape(*codes.shape[:2], 1), 3, axis=2)
    return Picture(name, codes[..., :3], codes[..., 3] if codes.shape[2] == 4 else None)


def _check(path: Path, opened: Image.Image) -> None:
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format == "TIFF":
        raise SourceError(f"{path} holds {frames} pictures; give each in a file of its own")
    if frames > 1 and opened.format != "MPO":  # a camera's JPEG with a second picture, a gain map or a depth
        raise SourceError(f"{path} moves ({frames} frames): it is no still; `vmatte run` takes videos")
    if opened.format == "TIFF" and path.suffix.lower() not in (".tif", ".tiff"):
        raise SourceError(f"{path} is a camera's raw file; develop it to TIFF, PNG or JPEG first")


def _why_unknown(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "is empty"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "is HEIC, which vmatte does not read; export it as JPEG, PNG or TIFF first"
    return "is no picture that vmatte reads; give JPEG, PNG, TIFF, WebP, AVIF or BMP"


def _is_deep(path: Path, opened: Image.Image) -> bool:
    """Whether it has colours of 16 bits, of which Pillow would drop the lower half."""
    if opened.mode.startswith("I;16"):
        return False
    if opened.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] == 16
    bits = getattr(opened, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (8,))
    return opened.format == "TIFF" and max(bits) == 16 and opened.mode in ("RGB", "RGBA", "RGBX")


def _read_deep(path: Path, opened: Image.Image) -> Picture:
    orientation, tags = opened.getexif().get(_ORIENTATION, 1), _tags(opened)
    codes = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if codes is None or codes.dtype != np.uint16:
        raise SourceError(f"{path} is damaged, or stores its 16 bits in a way that is not read")
    if codes.ndim == 2:
        codes = np.repeat(codes[..., None], 3, axis=2)
    rgb, alpha = np.ascontiguousarray(codes[..., 2::-1]), None
    if codes.shape[2] == 4 and opened.mode != "RGBX":
        alpha = np.ascontiguousarray(codes[..., 3]).astype(np.uint16)
        if getattr(opened, "tag_v2", {}).get(_EXTRA_SAMPLES, ())[:1] == (_PREMULTIPLIED,):
            share = np.maximum(alpha, 1)[..., None].astype(np.float32)
            rgb = np.minimum(np.rint(rgb * (65535 / share)), 65535)
    if tags.icc is not None and not is_rgb_profile(tags.icc):
        tags = replace(tags, icc=None)
    return _upright(Picture(str(path), rgb.astype(np.uint16), alpha, tags), orientation)


def _tags(image: Image.Image) -> Tags:
    exif = image.getexif()
    kept = Image.Exif()
    for tag, value in exif.items():
        if tag not in _STORED and tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, _ORIENTATION):
            kept[tag] = value
    for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if entries := exif.get_ifd(group):
            kept.get_ifd(group).update(entries)
    across, down = map(float, image.info.get("dpi") or (0, 0))
    dpi = (across, down) if min(across, down) > 1 else None  # 1: the pixels' shape is all that is told
    return Tags(image.info.get("icc_profile") or None, kept if len(kept) else None, dpi)


def _upright(picture: Picture, orientation: int) -> Picture:
    """Turned and mirrored as EXIF's orientation (tag 274) asks for."""

    def turned(codes: Codes) -> Codes:
        if orientation in (5, 6, 7, 8):
            codes = codes.swapaxes(0, 1)
        rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
        columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
        return np.ascontiguousarray(codes[rows, columns])

    alpha = None if picture.alpha is None else turned(picture.alpha)
    return replace(picture, rgb=turned(picture.rgb), alpha=alpha)
