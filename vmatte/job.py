"""What the pixels of a render are (`RenderJob`) and how they are made (`Runtime`). All its defaults stand here."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vmatte.encodings import ENCODINGS, Encoding, encoding_for_suffix
from vmatte.errors import JobError

Rgb8 = tuple[
    Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
]


DEFAULT_MODEL = "auto"
Upsampling = Literal["guided", "bilinear"]
"""How a network's matte gets the frame's size: its edges where those of the picture are, or merely enlarged."""
DEFAULT_UPSAMPLING: Upsampling = "guided"

Precision = Literal["auto", "fp32", "fp16"]
"""No bf16: on BiRefNet it moves alpha by more than 2/255 on one pixel in 200, and fp16, no slower, on none."""
LicenceGuard = Literal["commercial", "permissive"]
"""Which weights are let through: those free for commercial use, or of these only the ones without copyleft."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FilePlate(_Record):
    """A picture, or a video that loops and is matched by time."""

    method: Literal["file"] = "file"
    path: Path


class ColorPlate(_Record):
    """One colour, sRGB."""

    method: Literal["color"] = "color"
    rgb: Rgb8


class BlurPlate(_Record):
    """The clip's own background, out of focus."""

    method: Literal["blur"] = "blur"
    radius: Annotated[float, Field(gt=0, le=0.2)] = 0.02
    """Standard deviation of the blur, as a part of the picture's height."""


class NoPlate(_Record):
    """No background: the result is a cutout with alpha."""

    method: Literal["none"] = "none"


Background = Annotated[FilePlate | ColorPlate | BlurPlate | NoPlate, Field(discriminator="method")]


class NoSmoothing(_Record):
    """Every frame keeps the matte that the network gave it."""

    method: Literal["off"] = "off"

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's matte depends on."""
        return 0


class GaussianSmoothing(_Record):
    """A mean over the frames before and behind, whatever moves: to compare with."""

    method: Literal["gaussian"] = "gaussian"
    radius: Annotated[int, Field(ge=1, le=8)] = 2
    """Frames on each side; the bell's standard deviation is half of it."""

    @property
    def reach(self) -> int:
        """Frames on each side that a frame's matte depends on: one more, which tells a cut from a flash."""
        return self.radius + 1


Strength = Literal["low", "medium", "high"]


class MotionSmoothing(_Record):
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


Smoothing = Annotated[NoSmoothing | GaussianSmoothing | MotionSmoothing, Field(discriminator="method")]


class RenderJob(_Record):
    """A clip, what is done to it, and the file that comes of it. Two equal jobs give equal pixels."""

    clip: Path
    output: Path
    encoding: str
    background: Background = NoPlate()
    model: str = DEFAULT_MODEL
    """A name of MODELS, or `auto`: the best for the device, which is settled before the first frame."""
    weights: Path | None = None
    """The network's weights, a file or a folder that holds it; None for those of the catalogue."""
    smoothing: Smoothing | None = None
    """Over time. None: `motion` for a network, `off` for a key, which has no moods."""
    upsample: Upsampling = DEFAULT_UPSAMPLING
    segment_frames: Annotated[int, Field(ge=1)] = 240
    """Frames in a segment: so many are lost at most when a render is cut off. Video begins each with a key frame."""

    @property
    def row(self) -> Encoding:
        return ENCODINGS[self.encoding]

    @property
    def layer(self) -> Literal["cutout", "composite"]:
        return "cutout" if isinstance(self.background, NoPlate) else "composite"


class Runtime(_Record):
    """How a render is run. Once its model is settled, nothing in here moves a pixel by more than a network's last
    bits."""

    device: str = "auto"
    """`auto` (CUDA, else MPS, else the CPU), `cuda`, `cuda:1`, `mps` or `cpu`."""
    precision: Precision = "auto"
    """What the network computes in; `auto` is half precision on CUDA."""
    compile: bool = False
    """Whether torch.compile makes the network faster first; the first frames wait for it."""
    batch: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """Frames that go through the network at once."""
    cache: bool = True
    """Whether mattes are kept for later renders of the clip, and those kept are used."""
    licence_guard: LicenceGuard | None = None
    """Refuse weights whose licence is not of this kind, or is not known."""
    overwrite: bool = False
    """Whether an output that exists is replaced."""


def make_runtime(
    *,
    device: str | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    batch: int | str | None = None,
    licence_guard: str | None = None,
    overwrite: bool | None = None,
    cache: bool | None = None,
) -> Runtime:
    """A runtime from the words that the command line and `vmatte.run` take; None stands for Runtime's own default.

    Raises JobError for a word that means nothing.
    """
    fields = {
        "device": device,
        "precision": precision,
        "compile": compile,
        "batch": batch,
        "licence_guard": licence_guard,
        "overwrite": overwrite,
        "cache": cache,
    }
    try:
        return Runtime.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        can = {
            "batch": "auto, or how many frames: 1 to 1024",
            "licence_guard": " or ".join(get_args(LicenceGuard)),
            "precision": ", ".join(get_args(Precision)),
        }.get(field, "another")
        raise JobError(f"{field.replace('_', ' ')} cannot be {fields[field]!r}; give {can}") from error


def parse_background(text: str | None, folder: Path = Path()) -> FilePlate | ColorPlate | BlurPlate | NoPlate:
    """The plate that a word on the command line means: a file, a colour (`#00b140`, `green`), `blur` or `none`.

    A relative file lies in `folder`.
    """
    if text is None or text.lower() == "none":
        return NoPlate()
    if text.lower() == "blur":
        return BlurPlate()
    if not text:
        raise JobError("the background is empty; give a picture, a video, a colour, 'blur' or 'none'")
    path = folder / at_home(text)
    if path.is_file():
        return FilePlate(path=path)
    rgb = _parse_color(text)
    if rgb is not None:
        return ColorPlate(rgb=rgb)
    if re.fullmatch(r"#[^/\\.]*|[A-Za-z]+", text) and not path.exists():
        raise JobError(
            f"background {text!r} is no colour that vmatte knows, and no such file exists; "
            "give a file, a colour like #00b140 or 'navy', 'blur' or 'none'"
        )
    if path.is_dir():
        raise JobError(f"background {text} is a folder; give a picture or a video")
    raise JobError(f"background {text} does not exist; give a picture or a video")


def _parse_color(text: str) -> tuple[int, int, int] | None:
    from PIL import ImageColor  # only here, so that `vmatte --help` does not wait for Pillow

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        return None
    return (red, green, blue) if max(red, green, blue) <= 255 else None


def at_home(path: str | Path) -> Path:
    """The path, a `~` before it resolved; `~name` without such a home is a name like any other."""
    return Path(os.path.expanduser(path))


def make_job(
    clip: str | Path,
    *,
    background: str | Path | FilePlate | ColorPlate | BlurPlate | NoPlate | None = None,
    output: str | Path | None = None,
    encoding: str | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    smooth: str | None = None,
    strength: str | None = None,
    upsample: str | None = None,
    segment_frames: int | None = None,
) -> RenderJob:
    """A job from the words that the command line and `vmatte.run` take; fills in what follows from the rest.

    Without an output the result lies beside the clip: `NAME_composite.mp4`, or `NAME_cutout.mov` where no background
    is given. Raises JobError for a choice that cannot be.
    """
    clip = at_home(clip)
    if isinstance(background, (str, Path)) or background is None:
        background = parse_background(None if background is None else str(background))
    output = None if output is None else at_home(output)
    row = choose_encoding(output, encoding, cutout=isinstance(background, NoPlate))
    if isinstance(background, NoPlate) and row.pix_fmt_alpha is None:
        can = ", ".join(name for name, other in ENCODINGS.items() if other.pix_fmt_alpha)
        raise JobError(f"{row.name} has no alpha, and no background is given; choose --bg, or one of: {can}")
    if output is None:
        layer = "cutout" if isinstance(background, NoPlate) else "composite"
        output = clip.with_name(f"{clip.stem}_{layer}{row.suffix}")
    fields = {"clip": clip, "output": output, "encoding": row.name, "background": background, "model": model}
    fields["weights"] = None if weights is None else at_home(weights)
    fields["smoothing"] = parse_smoothing(smooth, strength)
    fields["upsample"] = None if upsample is None else parse_upsampling(upsample)
    if segment_frames is not None and segment_frames < 1:
        raise JobError(f"a segment needs at least one frame, not {segment_frames}")
    fields["segment_frames"] = segment_frames
    return RenderJob.model_validate({name: value for name, value in fields.items() if value is not None})


def parse_smoothing(
    method: str | None, strength: str | None
) -> NoSmoothing | GaussianSmoothing | MotionSmoothing | None:
    """The smoothing that two words mean; None where neither is given. JobError for words that mean nothing."""
    if strength is not None and strength not in get_args(Strength):
        raise JobError(f"no smoothing is {strength!r} strong; there are: {', '.join(get_args(Strength))}")
    if strength is not None and method not in (None, "motion"):
        raise JobError(f"smoothing by {method} has no strength; leave out {strength!r}, or smooth by motion")
    if method is None and strength is None:
        return None
    if method in (None, "motion"):
        return MotionSmoothing.model_validate({} if strength is None else {"strength": strength})
    choices: dict[str | None, NoSmoothing | GaussianSmoothing] = {"off": NoSmoothing(), "gaussian": GaussianSmoothing()}
    if method not in choices:
        raise JobError(f"no smoothing is called {method!r}; there are: motion, gaussian, off")
    return choices[method]


def parse_upsampling(word: str) -> Upsampling:
    """The word, where it is one of them; else JobError."""
    for known in get_args(Upsampling):
        if word == known:
            return known  # type: ignore[no-any-return]
    raise JobError(f"no upsampling is called {word!r}; there are: {', '.join(get_args(Upsampling))}")


def choose_encoding(output: Path | None, name: str | None, *, cutout: bool) -> Encoding:
    """The encoding of that name, or the one that the output's extension asks for. JobError where they do not agree."""
    known = ", ".join(ENCODINGS)
    if name is not None and name not in ENCODINGS:
        raise JobError(f"no encoding is called {name!r}; there are: {known}")
    if output is None:
        return ENCODINGS[name or ("prores4444" if cutout else "mp4")]
    by_suffix = encoding_for_suffix(output.suffix)
    if name is None:
        if by_suffix is None:
            raise JobError(
                f"{output}: no encoding has the extension {output.suffix!r}; name one with --format: {known}"
            )
        if by_suffix.is_sequence and output.suffix == "":
            raise JobError(f"{output} has no extension; add one, or name an encoding with --format: {known}")
        return by_suffix
    row = ENCODINGS[name]
    if by_suffix is not row and not (row.is_sequence and by_suffix is None):
        raise JobError(f"{output}: {name} goes into {row.suffix or 'a folder'}, not into {output.suffix or 'a folder'}")
    return row
