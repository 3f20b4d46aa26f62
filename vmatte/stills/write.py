"""Writing pictures: PNG and TIFF of 8 or 16 bits, WebP and JPEG of 8."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

from vmatte.errors import EncodeError
from vmatte.stills.formats import Format
from vmatte.stills.picture import Codes, Tags, read_picture

_INCH_M = 0.0254
_TIFF_STRIP_BYTES = 1 << 20
_JPEG_QUALITY = 95
"""Unless another is asked for; WebP is lossless then. Both without smaller chroma."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """What is written: codes (H, W), (H, W, 3) or, with straight alpha, (H, W, 4), uint8 or uint16."""

    codes: Codes
    tags: Tags


def write_picture(pixels: Pixels, path: Path, form: Format, quality: int | None) -> None:
    """Write a picture as `form`; one that has no 16 bits gets 8. Raises EncodeError."""
    codes = pixels.codes if form.deep else as_8_bits(pixels.codes)
    height, width = codes.shape[:2]
    if form.most_pixels is not None and max(height, width) > form.most_pixels:
        raise EncodeError(
            f"{path}: {form.name} has at most {form.most_pixels} pixels along a side, not {width}×{height}"
        )
    try:
        with path.open("wb") as file:
            match form.name:
                case "png":
                    _write_png(codes, pixels.tags, file)
                case "tiff":
                    _write_tiff(codes, pixels.tags, file)
                case "webp":
                    choice = {"lossless": True} if quality is None else {"quality": quality}
                    _save(codes, pixels.tags, file, "WEBP", method=4, **choice)
                case _:
                    _save(codes, pixels.tags, file, "JPEG", quality=quality or _JPEG_QUALITY, subsampling=0)
    except (OSError, cv2.error, ValueError) as error:
        raise EncodeError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def verify_picture(pixels: Pixels, path: Path, form: Format) -> None:
    """EncodeError where a file is not what was written: of a lossless one every code, else the size."""
    seen = read_picture(path)
    sent = pixels.codes if form.deep else as_8_bits(pixels.codes)
    colors = sent[..., None] if sent.ndim == 2 else sent[..., :3]
    alpha = sent[..., 3] if sent.ndim == 3 and sent.shape[2] == 4 else None
    whole = seen.size == sent.shape[:2] and (alpha is None or seen.alpha is not None)
    if not form.lossy and whole:
        whole = seen.rgb.dtype == sent.dtype and np.array_equal(seen.rgb, np.broadcast_to(colors, seen.rgb.shape))
        whole = whole and (alpha is None or (seen.alpha is not None and np.array_equal(seen.alpha, alpha)))
    if not whole:
        raise EncodeError(f"{path} is not what was written to it when it is read again")


def as_8_bits(codes: Codes) -> Codes:
    """The nearest 8-bit codes."""
    if codes.dtype == np.uint8:
        return codes
    # (c + 128) / 257 is c · 255 / 65535 rounded; in 32 bits, strip by strip.
    narrow = np.empty(codes.shape, np.uint8)
    for top in range(0, len(codes), 256):
        narrow[top : top + 256] = (codes[top : top + 256].astype(np.uint32) + 128) // 257
    return narrow


def _save(codes: Codes, tags: Tags, file: BinaryIO, form: str, **choices: int | bool) -> None:
    known: dict[str, object] = dict(choices)
    if tags.icc is not None:
        known["icc_profile"] = tags.icc
    if tags.exif is not None:
        known["exif"] = tags.exif.tobytes()
    if tags.dpi is not None and form == "JPEG":
        known["dpi"] = tags.dpi
    Image.fromarray(codes).save(file, form, **known)


def _write_png(codes: Codes, tags: Tags, file: BinaryIO) -> None:
    """By OpenCV, for Pillow has no colours of 16 bits; the chunks that OpenCV leaves out are put in before the pixels
    (PNG, third edition, 11.3)."""
    planes = codes if codes.ndim == 2 else codes[..., [2, 1, 0, 3][: codes.shape[2]]]
    written, encoded = cv2.imencode(".png", planes)
    if not written:
        raise EncodeError("OpenCV cannot write it as PNG")
    stream = encoded.tobytes()
    header_ends = 8 + 12 + 13  # signature; length, name and checksum of IHDR; IHDR
    file.write(stream[:header_ends])
    if tags.icc is not None and codes.ndim == 3:
        file.write(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(tags.icc)))
    if tags.dpi is not None:
        across, down = (round(dots / _INCH_M) for dots in tags.dpi)
        file.write(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    if tags.exif is not None:
        file.write(_chunk(b"eXIf", tags.exif.tobytes().removeprefix(b"Exif\0\0")))
    file.write(memoryview(stream)[header_ends:])


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _write_tiff(codes: Codes, tags: Tags, file: BinaryIO) -> None:
    """By hand but for the directory, for Pillow has no colours of 16 bits (TIFF 6.0; Adobe's deflate; the predictor of
    differences)."""
    height, width = codes.shape[:2]
    samples = 1 if codes.ndim == 2 else codes.shape[2]
    rows = max(1, _TIFF_STRIP_BYTES // (width * samples * codes.itemsize))
    strips = [_packed(codes[top : top + rows]) for top in range(0, height, rows)]
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    own: dict[int, object] = {
        TiffImagePlugin.IMAGEWIDTH: width,
        TiffImagePlugin.IMAGELENGTH: height,
        TiffImagePlugin.BITSPERSAMPLE: (8 * codes.itemsize,) * samples,
        TiffImagePlugin.COMPRESSION: 8,
        TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 1 if samples == 1 else 2,
        TiffImagePlugin.SAMPLESPERPIXEL: samples,
        TiffImagePlugin.ROWSPERSTRIP: rows,
        TiffImagePlugin.PREDICTOR: 2,
        TiffImagePlugin.PLANAR_CONFIGURATION: 1,
    }
    if samples == 4:
        own[TiffImagePlugin.EXTRASAMPLES] = (2,)  # straight alpha
    if tags.dpi is not None:
        own |= {TiffImagePlugin.X_RESOLUTION: tags.dpi[0], TiffImagePlugin.Y_RESOLUTION: tags.dpi[1]}
        own[TiffImagePlugin.RESOLUTION_UNIT] = 2
    if tags.icc is not None and samples > 1:
        directory.tagtype[TiffImagePlugin.ICCPROFILE] = TiffTags.UNDEFINED
        own[TiffImagePlugin.ICCPROFILE] = tags.icc
    if tags.exif is not None:
        groups = (int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo))
        own |= {tag: value for tag, value in tags.exif.items() if tag not in groups}
        own |= {group: dict(entries) for group in groups if (entries := tags.exif.get_ifd(group))}
    for tag, value in own.items():
        directory[tag] = value
    sizes = [len(strip) for strip in strips]
    directory.tagtype[TiffImagePlugin.STRIPOFFSETS] = directory.tagtype[TiffImagePlugin.STRIPBYTECOUNTS] = TiffTags.LONG
    # From the directory's end on, which Pillow adds.
    directory[TiffImagePlugin.STRIPOFFSETS] = tuple(np.cumsum([0, *sizes[:-1]]).tolist())
    directory[TiffImagePlugin.STRIPBYTECOUNTS] = tuple(sizes)
    directory.save(file)
    for strip in strips:
        file.write(strip)


def _packed(rows: Codes) -> bytes:
    """Deflated differences of neighbours, the lower byte first, as in the directory."""
    flat = rows.reshape(len(rows), rows.shape[1], -1)
    differences = np.diff(flat, axis=1, prepend=np.zeros_like(flat[:, :1]))
    return zlib.compress(differences.astype("<" + differences.dtype.str[1:]).tobytes(), 6)
