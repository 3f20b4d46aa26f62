"""What a render can be asked for: each choice is a class, its bounds and defaults beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rgb8 = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Part = Annotated[float, Field(ge=0, le=1)]
Fit = Literal["cover", "contain", "stretch"]
Play = Literal["loop", "ping-pong", "hold"]


# What lies behind the subject
class FilePlate(Record):
    """A picture, or a video, which is matched by time and begins with the clip."""

    method: Literal["file"] = "file"
    path: Path
    fit: Fit = "cover"
    """`cover` fills the frame and cuts off what is too much, `contain` shows all of it with black beside it."""
    play: Play = "loop"
    """What a video does at its end: it begins again, runs back and forth, or stands."""
    start: Annotated[float, Field(ge=0)] = 0
    """Seconds of a video that are left out at its beginning."""
    end: Annotated[float, Field(gt=0)] | None = None
    """Seconds from its beginning at which a video ends; None: with its last frame."""

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> FilePlate:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end ({self.end:g}) is not after start ({self.start:g})")
        return self


class ColorPlate(Record):
    """One colour, sRGB."""

    method: Literal["color"] = "color"
    rgb: Rgb8


class GradientPlate(Record):
    """From one colour to the next in even steps, sRGB."""

    method: Literal["gradient"] = "gradient"
    colors: Annotated[tuple[Rgb8, ...], Field(min_length=2)]
    angle: Annotated[float, Field(ge=-360, le=360)] = 0
    """In degrees: 0 runs from top to bottom, 90 from left to right."""


class BlurPlate(Record):
    """The clip's own background, out of focus."""

    method: Literal["blur"] = "blur"
    radius: Annotated[float, Field(gt=0, le=0.2)] = 0.02
    """Standard deviation of the blur, as a part of the picture's height."""


class NoPlate(Record):
    """No background: the result is a cutout with alpha."""

    method: Literal["none"] = "none"


Plate = FilePlate | ColorPlate | GradientPlate | BlurPlate | NoPlate
Background = Annotated[Plate, Field(discriminator="method")]


# The matte's size
Upsampling = Literal["guided", "bilinear"]
DEFAULT_UPSAMPLING: Upsampling = "guided"


# The matte over time
class NoSmoothing(Record):
    """Every frame keeps the matte that the network gave it."""

    method: Literal["off"] = "off"

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's matte depends on."""
        return 0


class GaussianSmoothing(Record):
    """A mean over the frames before and behind, whatever moves: to compare with."""

    method: Literal["gaussian"] = "gaussian"
    radius: Annotated[int, Field(ge=1, le=8)] = 2
    """Frames on each side; the bell's standard deviation is half of it."""

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's matte depends on: one more, which tells a cut from a flash."""
        return self.radius + 1


Strength = Literal["low", "medium", "high"]


class MotionSmoothing(Record):
    """What a frame and its neighbours say of a pixel, followed along the motion, is reconciled."""

    method: Literal["motion"] = "motion"
    strength: Strength = "medium"
    radius: Annotated[int, Field(ge=1, le=8)] | None = None
    """Frames on each side; None: as the strength has it."""

    @property
    def frames(self) -> int:
        """Frames on each side that are asked."""
        return self.radius or {"low": 2, "medium": 4, "high": 6}[self.strength]

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's matte depends on: one more, which tells a cut from a flash."""
        return self.frames + 1

    @property
    def own_weight(self) -> float:
        """Of the frame's own matte; the best neighbour's is 1."""
        return {"low": 2.0, "medium": 1.3, "high": 1.0}[self.strength]


SmoothingMethod = NoSmoothing | GaussianSmoothing | MotionSmoothing
Smoothing = Annotated[SmoothingMethod, Field(discriminator="method")]


# The matte's edge
class Edges(Record):
    """What is done to every matte, by constants alone: a matte that follows its own frame's figures pumps.

    In the order of the fields. Lengths are in pixels of the clip.
    """

    remove_specks: Annotated[float, Field(ge=0, le=1000)] = 0
    """Islands that are nowhere wider than this are dropped."""
    fill_holes: Annotated[float, Field(ge=0, le=1000)] = 0
    """Holes that are nowhere wider than this are filled."""
    black: Annotated[float, Field(ge=0, lt=1)] = 0
    """Alpha up to here becomes 0."""
    white: Annotated[float, Field(gt=0, le=1)] = 1
    """Alpha from here on becomes 1."""
    gamma: Annotated[float, Field(ge=0.1, le=10)] = 1
    """Alpha to the power of 1 / gamma: above 1 soft edges become denser."""
    choke: Annotated[float, Field(ge=-100, le=100)] = 0
    """How far the edge moves inwards; below 0 it spreads. Parts of a pixel count."""
    feather: Annotated[float, Field(ge=0, le=100)] = 0
    """Standard deviation of the blur over the matte."""

    @model_validator(mode="after")
    def _black_below_white(self) -> Edges:
        if self.black >= self.white:
            raise ValueError(f"black ({self.black:g}) is not below white ({self.white:g})")
        return self


# Where the matte is told
class FileMask(Record):
    """A gray picture, or clip, of the clip's shape: it acts where it is white; a picture with alpha, where it is
    opaque."""

    method: Literal["file"] = "file"
    path: Path
    feather: Annotated[float, Field(ge=0, le=0.2)] = 0
    """Standard deviation of the blur over it, as a part of the picture's height."""


Polygon = Annotated[tuple[tuple[float, float], ...], Field(min_length=3)]


class PolygonMask(Record):
    """Polygons in the picture: they act inside."""

    method: Literal["polygon"] = "polygon"
    polygons: Annotated[tuple[Polygon, ...], Field(min_length=1)]
    """Corners (x, y), as parts of the picture's width and height."""
    feather: Annotated[float, Field(ge=0, le=0.2)] = 0
    """Standard deviation of the blur over it, as a part of the picture's height."""


Mask = Annotated[FileMask | PolygonMask, Field(discriminator="method")]

Keep = Literal["all", "largest", "center"]
AnchorX = Annotated[str, Field(pattern=r"^(-?\d+(\.\d+)?%|left|center|right)$")]
AnchorY = Annotated[str, Field(pattern=r"^(-?\d+(\.\d+)?%|top|center|bottom)$")]


class Subject(Record):
    """Who is kept of those whom the network finds, and where the clip's picture comes to lie on the output's."""

    keep: Keep = "all"
    """`largest`: whoever takes most of the picture over the clip; `center`: whoever is most in its middle."""
    scale: Annotated[float, Field(ge=0.05, le=20)] = 1
    """At 1 the clip's picture is as high as the output's."""
    x: AnchorX = "50%"
    """Of the clip's middle, as a part of the output's width; `left`, `right`: the edges meet."""
    y: AnchorY = "bottom"
    """Of the clip's middle, as a part of the output's height; `top`, `bottom`: the edges meet."""


# A coloured screen
class Screen(Record):
    """The clip was shot before a screen of one colour."""

    color: Literal["auto", "green", "blue"] | Rgb8 = "auto"
    """sRGB. `auto`: found in the first frames of each shot; `green`, `blue`: so, but only a screen of that hue."""
    clean_plate: Path | None = None
    """A picture of the screen alone, by the same camera: its light and shade are taken out."""
    despill: Annotated[float, Field(ge=0, le=1)] = 1
    """How much of the screen's light is taken off the subject."""

    @model_validator(mode="after")
    def _green_or_blue(self) -> Screen:
        if not isinstance(self.color, str):
            red, green, blue = self.color
            if max(green, blue) <= red or green == blue:
                raise ValueError("a screen is green or blue")
        return self


# How the subject belongs to its plate
Colors = Literal["estimate", "source"]
OwnAlpha = Literal["multiply", "ignore"]
"""What becomes of alpha that a clip has already."""
Blend = Literal["linear", "display"]
ToneMapping = Literal["auto", "off"]


class LightWrap(Record):
    """The plate's light comes round the subject's edge."""

    strength: Part
    radius: Annotated[float, Field(gt=0, le=0.2)] = 0.012
    """How far in, as a part of the picture's height."""


class ColorMatch(Record):
    """The subject takes on mean and spread of the plate's colours, once for each shot."""

    strength: Part


class ContactShadow(Record):
    """A soft shadow where a standing figure meets the ground."""

    strength: Part


class GrainMatch(Record):
    """The plate is given the clip's grain."""

    strength: Annotated[float, Field(ge=0, le=2)]
    """1: as strong as the clip's."""
