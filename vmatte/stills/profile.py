"""ICC profiles: what they are of, and colours on their way from one to another."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_STRIP = 512
"""Rows that are converted at once."""


@lru_cache
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@lru_cache
def is_rgb_profile(icc: bytes | None) -> bool:
    """Whether it describes RGB; False for None, and for what is broken."""
    profile = _opened(icc)
    return profile is not None and profile.profile.xcolor_space.strip() == "RGB"


@lru_cache
def is_like_srgb(icc: bytes | None) -> bool:
    """Whether its colours are sRGB's, to one code of 8 bits; what is broken says nothing, and counts as sRGB."""
    if icc is None or not is_rgb_profile(icc):
        return True
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    moved = converted(cube, None, icc)
    return bool(np.abs(moved.astype(int) - cube).max() <= 1)


def converted(rgb: NDArray[np.unsignedinteger[Any]], source: bytes | None, target: bytes | None) -> NDArray[np.uint8]:
    """8-bit codes (H, W, 3) of one RGB space in another, by relative colorimetry; None is sRGB."""
    spaces = [_opened(icc) or ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")) for icc in (source, target)]
    change = ImageCms.buildTransform(
        spaces[0],
        spaces[1],
        "RGB",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    moved = np.empty(rgb.shape, np.uint8)
    for top in range(0, len(rgb), _STRIP):
        strip = Image.fromarray(np.ascontiguousarray(rgb[top : top + _STRIP]))
        moved[top : top + _STRIP] = np.asarray(ImageCms.applyTransform(strip, change))
    return moved


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """A picture of any kind (CMYK, Lab, gray) as sRGB; with a profile that does not fit it, as without one."""
    image = image.convert("RGB") if image.mode in ("P", "1", "RGBA", "RGBX") else image
    profile = _opened(icc)
    if image.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    if profile is not None:
        try:
            srgb = ImageCms.createProfile("sRGB")
            moved = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            return image.convert("RGB") if moved is None else moved
        except ImageCms.PyCMSError:
            pass  # it says nothing about these colours: they are taken as viewers take them
    return image.convert("RGB")


def _opened(icc: bytes | None) -> ImageCms.ImageCmsProfile | None:
    try:
        return None if icc is None else ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except (OSError, ImageCms.PyCMSError):
        return None
