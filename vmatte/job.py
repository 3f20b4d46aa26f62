"""What the pixels of a render are (`RenderJob`) and how they are made (`Runtime`).

Their defaults stand here; those of the option classes in `options.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, TypedDict, TypeVar, Unpack, get_args

from pydantic import AfterValidator, Field, ValidationError

from vmatte.encodings import Speed
from vmatte.errors import JobError
from vmatte.options import (
    DEFAULT_UPSAMPLING,
    Background,
    Blend,
    BlurPlate,
    ColorMatch,
    ColorPlate,
    Colors,
    ContactShadow,
    Edges,
    FileMask,
    FilePlate,
    GaussianSmoothing,
    GradientPlate,
    GrainMatch,
    LightWrap,
    Mask,
    MotionSmoothing,
    NoPlate,
    NoSmoothing,
    OwnAlpha,
    Plate,
    PolygonMask,
    Record,
    Screen,
    Smoothing,
    SmoothingMethod,
    Strength,
    Subject,
    ToneMapping,
    Upsampling,
)
from vmatte.outputs import Output, OutputWords, check_apart, default_output, make_output, parse_output

R = TypeVar("R", bound=Record)

DEFAULT_MODEL = "auto"

Precision = Literal["auto", "fp32", "fp16"]
"""No bf16: on BiRefNet it moves alpha by more than 2/255 on one pixel in 200, and fp16, no slower, on none."""
LicenceGuard = Literal["commercial", "permissive"]
"""Which weights are let through: those free for commercial use, or of these only the ones without copyleft."""
Verify = Literal["sampled", "full"]
"""What of a finished output is decoded again: some frames of each segment, or every one."""


SIDES = range(16, 16385)
"""Widths and heights that an output can be asked to have."""
RATE = r"^\d+(\.\d+|/[1-9]\d*)?$"
FASTEST = 1000
"""Frames a second."""
_Side = Annotated[int, Field(ge=SIDES.start, lt=SIDES.stop)]
Size = tuple[_Side, _Side]


def _possible(rate: str) -> str:
    if not 0 < Fraction(rate) <= FASTEST:
        raise ValueError(f"should be above 0 and at most {FASTEST}")
    return rate


Rate = Annotated[str, Field(pattern=RATE), AfterValidator(_possible)]

MOMENT = r"^(\d+f|\d+(\.\d+)?|(\d+:[0-5]\d|\d+):[0-5]\d(\.\d+)?)$"
Moment = Annotated[str, Field(pattern=MOMENT)]
"""A frame's number (`120f`, counted from 0), seconds (`2.5`), or a time (`00:00:02.500`, `1:30`)."""


class RenderJob(Record):
    """A clip, what is done to it, and the files that come of it. Two equal jobs give equal pixels."""

    clip: Path
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]
    """What comes of it, all in one pass; the job is known by the first."""
    start: Moment | None = None
    """What is rendered of the clip begins here: at this frame (`120f`), or with the first one that is shown from this
    time on (`2.5` seconds, `00:00:02.500`)."""
    end: Moment | None = None
    """It ends before this: the frame, or what is shown from this time on, is left out."""
    background: Background = NoPlate()
    model: str = DEFAULT_MODEL
    """A name of MODELS, or `auto`: the best for the device, which is settled before the first frame."""
    weights: Path | None = None
    """The network's weights, a file or a folder that holds it; None for those of the catalogue."""
    smoothing: Smoothing | None = None
    """Over time. None: `motion` for a network, `off` for a key, which has no moods."""
    upsample: Upsampling = DEFAULT_UPSAMPLING
    """How a network's matte gets the frame's size: its edges where those of the picture are, or merely enlarged."""
    segment_frames: Annotated[int, Field(ge=1)] = 240
    """Frames in a segment: so many are lost at most when a render is cut off. Video begins each with a key frame."""
    crop: Literal["auto", "off"] = "auto"
    """`auto`: the network sees only the part of the picture in which the subject is, where that gains enough."""
    edges: Edges = Edges()
    garbage: Mask | None = None
    """Where nothing is kept: a microphone, a lamp."""
    hold_out: Mask | None = None
    """Where everything is kept: a desk, a chair."""
    subject: Subject = Subject()
    screen: Screen | None = None
    """Beside a network's matte, the edge is keyed. None: no screen; `chroma-key` looks for one all the same."""
    foreground: Colors = "estimate"
    """The subject's colour where the matte is soft: estimated, or the clip's, with the old background in it."""
    own_alpha: OwnAlpha = "multiply"
    """Of a clip that has alpha already: its matte is multiplied by it, and its colours count as straight; or it is
    ignored."""
    size: Literal["clip", "plate"] | Size = "clip"
    """Of the output, (width, height)."""
    rate: Literal["clip", "plate"] | Rate = "clip"
    """Frames a second of the output; `clip`: each frame of the clip, at its own time."""
    blend: Blend = "linear"
    """Whether edges are mixed as light, or as the codes that a display gets, as most editors do."""
    tone_map: ToneMapping = "auto"
    """`auto`: of an HDR clip composites, and what has eight bits, are SDR; `off`: its codes are kept everywhere."""
    light_wrap: LightWrap | None = None
    color_match: ColorMatch | None = None
    shadow: ContactShadow | None = None
    grain: GrainMatch | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Every file that is read beside the weights, by what it is: a change of one changes the pixels."""
        found = {"clip": self.clip}
        if isinstance(self.background, FilePlate):
            found["background"] = self.background.path
        for name, mask in (("garbage", self.garbage), ("hold-out", self.hold_out)):
            if isinstance(mask, FileMask):
                found[name] = mask.path
        if self.screen is not None and self.screen.clean_plate is not None:
            found["clean plate"] = self.screen.clean_plate
        return found

    def relocated(self, move: Callable[[Path], Path]) -> RenderJob:
        """The same job with all its paths moved."""
        outputs = tuple(each.model_copy(update={"path": move(each.path)}) for each in self.outputs)
        moved: dict[str, object] = {"clip": move(self.clip), "outputs": outputs}
        if self.weights is not None:
            moved["weights"] = move(self.weights)
        for name in ("background", "garbage", "hold_out"):
            choice = getattr(self, name)
            if isinstance(choice, FilePlate | FileMask):
                moved[name] = choice.model_copy(update={"path": move(choice.path)})
        if self.screen is not None and self.screen.clean_plate is not None:
            moved["screen"] = self.screen.model_copy(update={"clean_plate": move(self.screen.clean_plate)})
        return self.model_copy(update=moved)

    @property
    def looks(self) -> list[str]:
        """What is asked for of how the subject belongs to its background, in words: nothing of it comes without one."""
        options = {
            "light wrap": self.light_wrap,
            "color match": self.color_match,
            "shadow": self.shadow,
            "grain": self.grain,
        }
        return [name for name, option in options.items() if option is not None]

    @property
    def output(self) -> Path:
        """The first one, by whose name the job is known."""
        return self.outputs[0].path

    @property
    def composes(self) -> bool:
        """Whether anything lies before a background."""
        return any(each.layer == "composite" for each in self.outputs)


class Runtime(Record):
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
    verify: Verify = "sampled"
    """What of an output is decoded and compared before it gets its name."""
    sidecar: bool = True
    """Whether a JSON file beside the output says what it was made of, and how it was proven."""
    c2pa: Path | None = None
    """A JSON file with c2patool's words for who signs: outputs then carry a C2PA manifest."""


class RuntimeWords(TypedDict, total=False):
    """What the command line and `vmatte.run` take for a Runtime; None stands for Runtime's own default."""

    device: str | None
    precision: str | None
    compile: bool | None
    batch: int | str | None
    licence_guard: str | None
    overwrite: bool | None
    cache: bool | None
    verify: str | None
    sidecar: bool | None
    c2pa: str | Path | None


def make_runtime(**words: Unpack[RuntimeWords]) -> Runtime:
    """A runtime from words. Raises JobError for a word that means nothing."""
    try:
        return Runtime.model_validate({name: value for name, value in words.items() if value is not None})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        can = {
            "batch": "auto, or how many frames: 1 to 1024",
            "licence_guard": " or ".join(get_args(LicenceGuard)),
            "precision": ", ".join(get_args(Precision)),
            "verify": " or ".join(get_args(Verify)),
        }.get(field, "another")
        raise JobError(f"{field.replace('_', ' ')} cannot be {words.get(field)!r}; give {can}") from error


def parse_background(text: str | None, folder: Path = Path()) -> Plate:
    """The plate that a word on the command line means: a file, a colour (`#00b140`, `green`), `blur`, `none`, or
    colours that run into each other (`gradient:navy,#f0e0d0`).

    A relative file lies in `folder`.
    """
    if text is None or text.lower() == "none":
        return NoPlate()
    if text.lower() == "blur":
        return BlurPlate()
    if text.startswith("gradient:"):
        return _parse_gradient(text)
    if not text:
        raise JobError("the background is empty; give a picture, a video, a colour, 'blur' or 'none'")
    path = folder / at_home(text)
    if path.is_file():
        return FilePlate(path=path)
    rgb = parse_color(text)
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


def _parse_gradient(text: str) -> GradientPlate:
    names = [name.strip() for name in text.removeprefix("gradient:").split(",")]
    colors = [rgb for rgb in map(parse_color, names) if rgb is not None]
    if len(colors) < max(len(names), 2):
        raise JobError(f"background {text!r} is no gradient; give two colours or more, as in gradient:navy,#f0e0d0")
    return GradientPlate(colors=tuple(colors))


def parse_color(text: str) -> tuple[int, int, int] | None:
    """sRGB of a colour's name or number; None for what is none."""
    from PIL import ImageColor  # only here, so that `vmatte --help` does not wait for Pillow

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        return None
    return (red, green, blue) if max(red, green, blue) <= 255 else None


def at_home(path: str | Path) -> Path:
    """The path, a `~` before it resolved; `~name` without such a home is a name like any other."""
    return Path(os.path.expanduser(path))


class JobWords(TypedDict, total=False):
    """What the command line and `vmatte.run` take for a RenderJob; None stands for RenderJob's own default."""

    background: str | Path | Plate | None
    fit: str | None
    play: str | None
    output: str | Path | OutputWords | Sequence[str | Path | OutputWords] | None
    encoding: str | None
    speed: str | None
    model: str | None
    weights: str | Path | None
    start: str | float | None
    end: str | float | None
    smooth: str | SmoothingMethod | None
    strength: str | None
    segment_frames: int | None
    upsample: str | None
    crop: str | None
    remove_specks: float | None
    fill_holes: float | None
    black: float | None
    white: float | None
    gamma: float | None
    choke: float | None
    feather: float | None
    garbage: str | Path | FileMask | PolygonMask | None
    hold_out: str | Path | FileMask | PolygonMask | None
    subject: str | Subject | None
    subject_scale: float | None
    subject_x: str | None
    subject_y: str | None
    screen: str | Screen | None
    clean_plate: str | Path | None
    despill: float | None
    foreground: str | None
    own_alpha: str | None
    size: str | tuple[int, int] | None
    rate: str | float | None
    blend: str | None
    tone_map: str | None
    light_wrap: float | LightWrap | None
    color_match: float | ColorMatch | None
    shadow: float | ContactShadow | None
    grain: float | GrainMatch | None


class Words(JobWords, RuntimeWords, total=False):
    """All that `vmatte run` takes."""


def job_words(words: Words) -> JobWords:
    """Those of a RenderJob."""
    return {name: value for name, value in words.items() if name in JobWords.__annotations__}  # type: ignore[return-value]


def runtime_words(words: Words) -> RuntimeWords:
    """Those of a Runtime."""
    return {name: value for name, value in words.items() if name in RuntimeWords.__annotations__}  # type: ignore[return-value]


PARTS: dict[str, tuple[type[Record], str]] = {
    **{name: (Edges, name) for name in Edges.model_fields},
    "fit": (FilePlate, "fit"),
    "play": (FilePlate, "play"),
    "subject_scale": (Subject, "scale"),
    "subject_x": (Subject, "x"),
    "subject_y": (Subject, "y"),
    "clean_plate": (Screen, "clean_plate"),
    "despill": (Screen, "despill"),
}
"""The words that are a field of an option class: of which one, and its name there."""


def make_job(clip: str | Path, **words: Unpack[JobWords]) -> RenderJob:
    """A job from words; fills in what follows from the rest.

    Without an output the result lies beside the clip: `NAME_composite.mp4`, or `NAME_cutout.mov` where no background
    is given. Raises JobError for a choice that cannot be, and for a background that none of several outputs has.
    """
    clip = at_home(clip)
    background = _plate(words)
    outputs = _outputs(words, clip, plated=not isinstance(background, NoPlate))
    if (frames := words.get("segment_frames")) is not None and frames < 1:
        raise JobError(f"a segment needs at least one frame, not {frames}")
    fields = {
        "clip": clip,
        "outputs": outputs,
        "background": background,
        "weights": None if (weights := words.get("weights")) is None else at_home(weights),
        "start": _moment("start", words.get("start")),
        "end": _moment("end", words.get("end")),
        "smoothing": _smoothing(words),
        "edges": _record(Edges, words),
        "garbage": _mask(words.get("garbage")),
        "hold_out": _mask(words.get("hold_out")),
        "subject": _subject(words),
        "screen": _screen(words),
        "size": _size(words.get("size")),
        "rate": _rate(words.get("rate")),
        "light_wrap": _strong(LightWrap, "light wrap", words.get("light_wrap")),
        "color_match": _strong(ColorMatch, "color match", words.get("color_match")),
        "shadow": _strong(ContactShadow, "shadow", words.get("shadow")),
        "grain": _strong(GrainMatch, "grain", words.get("grain")),
    }
    for name in ("model", "segment_frames", "upsample", "crop", "foreground", "own_alpha", "blend", "tone_map"):
        fields[name] = words.get(name)
    return _validated(RenderJob, {name: value for name, value in fields.items() if value is not None})


_LIKE = {"x": "70%, left, center or right", "y": "50%, top, center or bottom"}
"""What may stand for an anchor."""


def _validated(record: type[R], fields: Mapping[str, object], *, of: str = "") -> R:
    """The record with these fields, which stand under their own names; JobError for the first that cannot be."""
    try:
        return record.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        reason = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if not name:
            raise JobError(f"{of or 'the job'}: {reason}") from error
        shown = f"{of} {name}".strip().replace("_", " ")
        if first["type"] == "string_pattern_mismatch" and name in _LIKE:
            raise JobError(f"{shown} cannot be {fields.get(name)!r}; give {_LIKE[name]}") from error
        raise JobError(f"{shown} cannot be {fields.get(name)!r}: it {reason}") from error


def _record(record: type[R], words: JobWords, **given: object) -> R | None:
    """The option class that some words are fields of; None where there is none of them, and nothing is given."""
    own = {field: words.get(word) for word, (owner, field) in PARTS.items() if owner is record}
    fields = given | {field: value for field, value in own.items() if value is not None}
    of = {Subject: "subject", Screen: "screen"}.get(record, "")
    return _validated(record, fields, of=of) if fields else None


def _plate(words: JobWords) -> Plate:
    background = words.get("background")
    if isinstance(background, str | Path) or background is None:
        background = parse_background(None if background is None else str(background))
    own = {name: words.get(name) for name in ("fit", "play") if words.get(name) is not None}
    if not own:
        return background
    if not isinstance(background, FilePlate):
        raise JobError(f"only a background that is a picture or a video has {' and '.join(own)}; leave that out")
    return _validated(FilePlate, background.model_dump() | own)


def _outputs(words: JobWords, clip: Path, *, plated: bool) -> tuple[Output, ...]:
    named, encoding, speed = words.get("output"), words.get("encoding"), words.get("speed")
    if speed not in (None, *get_args(Speed)):
        raise JobError(f"no speed is called {speed!r}; there are: {', '.join(get_args(Speed))}")
    several = [] if named is None else [named] if isinstance(named, str | Path | OutputWords) else list(named)
    if not several:
        return (
            default_output(clip, OutputWords.model_construct(path="", format=encoding, speed=speed), plated=plated),
        )
    if encoding is not None and len(several) > 1:
        raise JobError("several outputs have a format each; write it behind its name, as in cut.mov,prores4444")
    made = []
    for each in several:
        said = parse_output(each) if isinstance(each, str) else each
        said = OutputWords(path=str(said)) if isinstance(said, Path) else said
        if encoding is not None:
            if said.format is not None:
                raise JobError(f"output {said.path} has a format twice: {said.format} and {encoding}; keep one of them")
            said = said.model_copy(update={"format": encoding})
        said = said.model_copy(update={"speed": said.speed or speed})
        made.append(make_output(said, at_home(said.path), plated=plated, alone=len(several) == 1))
    check_apart(made)
    return tuple(made)


def _smoothing(words: JobWords) -> SmoothingMethod | None:
    smooth = words.get("smooth")
    return parse_smoothing(smooth, words.get("strength")) if isinstance(smooth, str) or smooth is None else smooth


def _mask(mask: str | Path | FileMask | PolygonMask | None) -> FileMask | PolygonMask | None:
    return FileMask(path=at_home(mask)) if isinstance(mask, str | Path) else mask


def _subject(words: JobWords) -> Subject | None:
    subject = words.get("subject")
    given = subject.model_dump() if isinstance(subject, Subject) else {} if subject is None else {"keep": subject}
    return _record(Subject, words, **given)


def _screen(words: JobWords) -> Screen | None:
    screen = words.get("screen")
    given: dict[str, object] = screen.model_dump() if isinstance(screen, Screen) else {}
    if isinstance(screen, str):
        # The words are hues, not the paints that other software means by them: no screen is filmed as it was bought.
        color = screen if screen in ("auto", "green", "blue") else parse_color(screen)
        if color is None:
            raise JobError(f"screen cannot be {screen!r}; give auto, green, blue, or a colour like #00b140")
        given = {"color": color}
    alone = screen is None and words.get("clean_plate") is None and words.get("despill") is not None
    if alone and words.get("model") != "chroma-key":
        raise JobError("despill belongs to a screen; give that too: auto, green, blue, or a colour like #00b140")
    if (clean := words.get("clean_plate")) is not None:
        words = {**words, "clean_plate": at_home(clean)}
    return _record(Screen, words, **given)


def _size(text: str | tuple[int, int] | None) -> str | tuple[int, int] | None:
    if isinstance(text, tuple):
        text = "x".join(map(str, text))
    found = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text or "")
    if text is None or text in ("clip", "plate"):
        return text
    if found is None:
        raise JobError(f"size cannot be {text!r}; give clip, plate, or WIDTHxHEIGHT such as 1080x1920")
    width, height = int(found[1]), int(found[2])
    if width not in SIDES or height not in SIDES:
        raise JobError(f"size cannot be {text!r}; a side has {SIDES.start} to {SIDES.stop - 1} pixels")
    return width, height


def _rate(rate: str | float | None) -> str | None:
    if rate is None or rate in ("clip", "plate"):
        return rate
    text = str(rate)
    if re.fullmatch(RATE, text) is None or not 0 < Fraction(text) <= FASTEST:
        raise JobError(f"rate cannot be {text!r}; give clip, plate, or up to {FASTEST} frames a second: 25, 30000/1001")
    return text


def _moment(name: str, moment: str | float | None) -> str | None:
    if moment is None or re.fullmatch(MOMENT, str(moment)):
        return None if moment is None else str(moment)
    raise JobError(f"{name} cannot be {str(moment)!r}; give a frame (120f), seconds (2.5) or a time (00:00:02.500)")


def _strong(record: type[R], name: str, choice: float | R | None) -> R | None:
    """An option class that is mostly given by its strength alone; with a strength of 0 it is left out."""
    if choice is None or isinstance(choice, Record):
        return choice
    return _validated(record, {"strength": choice}, of=name) if choice else None


def parse_smoothing(method: str | None, strength: str | None) -> SmoothingMethod | None:
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
