"""What is known of a clip as a whole: found once for each job, kept in its folder, and read by every part of it.

So no segment guesses what another one saw: a frame's pixels follow from the job, the clip and this.
"""

from __future__ import annotations

import base64
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, in its pixels."""

    top: int
    left: int
    height: int
    width: int

    def subsampled(self, down: int, across: int) -> Box:
        """The same in planes with a row for each `down` rows and a column for each `across` columns."""
        top, left = self.top // down, self.left // across
        return Box(top, left, -(-self.bottom // down) - top, -(-self.right // across) - left)

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width


@dataclass(frozen=True, slots=True)
class CropTrack:
    """The part of each frame that the network sees: of one size, and moving in straight lines between the frames that
    are named, in rising order.

    It begins at even rows and columns, so that half-size chroma is cut between its samples.
    """

    height: int
    width: int
    frames: tuple[int, ...]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.tops) == len(self.lefts) > 0:
            counts = f"{len(self.frames)} frames, {len(self.tops)} tops and {len(self.lefts)} lefts"
            raise ValueError(f"a track needs a place for each of its frames, and at least one; got {counts}")

    @property
    def moves(self) -> bool:
        return len(set(self.tops)) > 1 or len(set(self.lefts)) > 1

    def box(self, number: int) -> Box:
        """The part of the frame of this number."""
        # Between even numbers, so that the rounded one is no further out than they are.
        top, left = (2 * round(float(np.interp(number, self.frames, at)) / 2) for at in (self.tops, self.lefts))
        return Box(top, left, self.height, self.width)


@dataclass(frozen=True, slots=True)
class SubjectTrack:
    """Where the kept subject and the others are in some frames, in rising order."""

    frames: tuple[int, ...]
    height: int
    width: int
    """Of the small pictures of it."""
    packed: str
    """Labels (N, height, width) uint8, deflated, in base64."""

    @classmethod
    def of(cls, frames: tuple[int, ...], labels: NDArray[np.uint8]) -> Self:
        """`labels` (N, h, w): 0 is nobody, 1 the subject, and from 2 on each other one has a number of its own."""
        if len(frames) != len(labels):
            raise ValueError(f"{len(frames)} frames do not fit {len(labels)} pictures of labels")
        height, width = labels.shape[1:]
        return cls(frames, height, width, base64.b64encode(zlib.compress(labels.tobytes())).decode())

    def labels(self) -> NDArray[np.uint8]:
        """(N, h, w) uint8: 0 is nobody, 1 the subject, and from 2 on each other one has a number of its own."""
        codes = np.frombuffer(zlib.decompress(base64.b64decode(self.packed)), np.uint8)
        return codes.reshape(len(self.frames), self.height, self.width)


@dataclass(frozen=True, slots=True)
class Grade:
    """A change of Oklab: lightness becomes gain · L + lift; a and b become gain · a + tint · L.

    A tint grows with lightness, as that of coloured light does, so what is black stays without colour.
    """

    gain: tuple[float, float, float]
    lift: float
    tint: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Grain:
    """Standard deviation of luma's grain at black, at white and evenly between, as parts of the range between them."""

    deviations: tuple[float, ...]

    def scaled(self, factor: float) -> Grain:
        return Grain(tuple(deviation * factor for deviation in self.deviations))

    def beyond(self, other: Grain) -> Grain:
        """What has to be added to grain like `other` to make it this: variances add up."""
        pairs = zip(self.deviations, other.deviations, strict=True)
        return Grain(tuple(max(own**2 - its**2, 0.0) ** 0.5 for own, its in pairs))


Hue = Literal["green", "blue"]
Rgb = tuple[float, float, float]
Surface = tuple[float, float, float, float, float, float]
"""A smooth light over the frame: of 1, x, y, x², xy and y² so much each, where x and y go from −1 to 1."""


@dataclass(frozen=True, slots=True)
class ScreenColor:
    """What is known of a screen: constants of a shot."""

    rgb: Rgb
    """Its commonest colour, R'G'B' in [0, 1]."""
    difference: Surface
    """Its channel's light above that of the others, over the frame; beside a clean plate, as a multiple of the
    plate's."""
    spread: float
    """How far the screen itself goes from that, as a part of it: alpha up to here is its noise and its shade."""
    calm: float
    """The same of means over cells of 4 × 4 pixels, which have less noise."""
    share: float
    """How much of the picture it takes, the border above all."""


@dataclass(frozen=True, slots=True)
class ShotScreen:
    """A shot's screen, from frame `start` on."""

    start: int
    screen: ScreenColor


@dataclass(frozen=True, slots=True)
class Screens:
    """The screens of a clip's shots, in order, all of one hue, and the part of the frame that is picture, not bars."""

    hue: Hue
    shots: tuple[ShotScreen, ...]
    rows: tuple[int, int]
    """The first row of the picture, and the first one below it."""
    columns: tuple[int, int]

    def at(self, number: int) -> ScreenColor:
        """The screen behind frame `number`."""
        return self.shots[max(bisect_right(self.shots, number, key=lambda shot: shot.start) - 1, 0)].screen


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that was found; None for what the job does not ask for, and for what is not there."""

    shots: tuple[int, ...] = (0,)
    """The number of the first frame of each, in rising order."""
    crop: CropTrack | None = None
    subject: SubjectTrack | None = None
    grades: tuple[Grade, ...] | None = None
    """Of each shot's subject, towards its plate."""
    grain: Grain | None = None
    """What the plate lacks of the clip's."""
    screens: Screens | None = None
    """What the clip was shot before."""

    def grade(self, number: int) -> Grade | None:
        """That of the frame of this number."""
        return None if self.grades is None else self.grades[bisect_right(self.shots, number) - 1]

    def to_json(self) -> str:
        return _ANALYSIS.dump_json(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Analysis:
        """ValueError for what `to_json` has not written."""
        return _ANALYSIS.validate_json(text)


_ANALYSIS = TypeAdapter(Analysis)
