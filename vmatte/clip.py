"""What is known of a clip before a frame of it is decoded for rendering."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ColorTags:
    """What integer codes mean as colour: code points of ITU-T H.273, and whether they use the full range."""

    matrix: int
    primaries: int
    transfer: int
    full_range: bool


FLOAT_BITS = 32
"""Codes of so many bits are no integers: float32 in [0, 1]."""
LINEAR = 8  # H.273's transfer of codes in proportion to light
SRGB = 13  # H.273's transfer of sRGB
RGB_MATRIX = 0  # H.273: "identity"; the planes are G, B, R
UNSPECIFIED = 2
BT709 = ColorTags(matrix=1, primaries=1, transfer=1, full_range=False)
BT601 = ColorTags(matrix=6, primaries=6, transfer=6, full_range=False)
BT2020_MATRICES = (9, 10)
BT2020_PRIMARIES = 9
PQ, HLG = 16, 18
HDR_TRANSFERS = (PQ, HLG)
REFERENCE_WHITE = 203.0
"""cd/m² of a diffuse white in HDR (ITU-R BT.2408)."""
DEFAULT_PEAK = 1000.0
"""cd/m² of the brightest in an HDR clip that does not say it: what most are graded on, and HLG is specified for."""
MATRICES = (RGB_MATRIX, 1, 4, 5, 6, 7, 9, 10)
"""Those that vmatte knows."""
CHROMATICITIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)),
}
"""x and y of red, green, blue and white (H.273, table 2), by primaries."""
_LIKE_BT709 = (0, 1, 2, 4, 5, 6, 7)  # unspecified, BT.709, and the primaries and transfers of BT.601's time


def luma_ends(bits: int, *, full_range: bool) -> tuple[int, int]:
    """The luma codes of black and white (ITU-T H.273)."""
    unit = 1 << (bits - 8)
    return (0, (1 << bits) - 1) if full_range else (16 * unit, 235 * unit)


@dataclass(frozen=True, slots=True)
class Coding:
    """How a frame's planes are coded."""

    color: ColorTags
    bits: int

    @property
    def is_hdr(self) -> bool:
        return self.color.transfer in HDR_TRANSFERS

    @property
    def luma_ends(self) -> tuple[int, int]:
        """The luma codes of black and white."""
        return luma_ends(self.bits, full_range=self.color.full_range)


@dataclass(frozen=True, slots=True)
class HdrLight:
    """What an HDR clip says of its light, in cd/m² (SMPTE ST 2086, CTA-861.3); 0 where it says nothing."""

    display_peak: float = 0
    """Of the display that it was graded on."""
    content_peak: float = 0
    """MaxCLL: of its brightest pixel."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """How decoded rows and columns become an upright picture: transposed first, then mirrored."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def upright(self) -> bool:
        return not (self.transpose or self.flip_x or self.flip_y)


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio stream of a clip."""

    stream: int
    codec: str
    sample_rate: int
    channels: int
    language: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """Where in its file a clip lies: from frame `first` of the `whole`. Sound is left out before `begin` and from `end`
    on, in seconds of the file's clock; None where it is kept as far as there is some."""

    whole: ClipInfo
    first: int
    begin: Fraction | None
    end: Fraction | None


@dataclass(frozen=True, slots=True, eq=False)
class ClipInfo:
    """A probed clip, or an excerpt of one.

    `width` and `height` are those of the upright picture with square pixels, as `decode` yields it.
    `pts` (N,) int64 has the time of every frame that is in the file, in display order, in units of `time_base`;
    `key_pts` the times of its key frames. `promised_frames` is what the container says it holds: more than N when the
    file was cut off. `clock_start` is what the file's clock shows, in seconds, when outputs begin: other than 0 in an
    MPEG stream, whose clock runs, and in an excerpt. `counted` says that the file does not tell which frame its times
    belong to: frames are numbered in the order in which they are decoded.
    """

    path: Path
    stream: int
    codec: str
    width: int
    height: int
    time_base: Fraction
    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    last_duration: int
    promised_frames: int
    counted: bool
    clock_start: Fraction
    rate: Fraction
    pixel_format: str
    coding: Coding
    orientation: Orientation
    sample_aspect: Fraction
    interlaced: bool
    audio: tuple[AudioTrack, ...]
    timecode: str | None
    metadata: dict[str, str]
    language: str | None
    hdr_light: HdrLight = HdrLight()
    alpha: bool = False
    """Whether its frames have alpha of their own, and it is decoded with them."""
    excerpt: Excerpt | None = None
    """None: the clip is all of its file."""

    @property
    def frames(self) -> int:
        return len(self.pts)

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's start to the last one's end."""
        return (int(self.pts[-1]) + self.last_duration - int(self.pts[0])) * self.time_base

    @property
    def start_of_file(self) -> int:
        """The time of the file's first frame, in units of `time_base`."""
        return int(self.pts[0] if self.excerpt is None else self.excerpt.whole.pts[0])

    @property
    def delivery(self) -> Coding:
        """What the frames are brought to for rendering, and what outputs are tagged with.

        BT.709, limited range. What the clip says of its primaries and transfer beyond that (BT.2020, PQ, Display P3)
        stays, for a new matrix alone would not change them; those of BT.601 count as BT.709's, as players take them.
        """
        source = self.coding.color
        wide = source.primaries == BT2020_PRIMARIES or source.matrix in BT2020_MATRICES
        return self.coding_for(
            ColorTags(
                matrix=BT2020_MATRICES[0] if wide or source.transfer in HDR_TRANSFERS else BT709.matrix,
                primaries=source.primaries if wide or source.primaries not in _LIKE_BT709 else BT709.primaries,
                transfer=source.transfer if wide or source.transfer not in _LIKE_BT709 else BT709.transfer,
                full_range=False,
            )
        )

    @property
    def peak(self) -> float:
        """cd/m² of an HDR clip's brightest; no less than reference white, which SDR's white stands for."""
        if self.coding.color.transfer == HLG:
            return DEFAULT_PEAK
        said = self.hdr_light.content_peak or self.hdr_light.display_peak or DEFAULT_PEAK
        return min(max(said, REFERENCE_WHITE), 10000.0)

    def coding_for(self, color: ColorTags) -> Coding:
        """The clip's frames in `color`: codes that must be converted get 10 bits, so that nothing is rounded away."""
        source = self.coding.color
        unchanged = (source.matrix, source.full_range) == (color.matrix, color.full_range)
        return Coding(color, self.coding.bits if unchanged else max(10, self.coding.bits))
