"""What comes of a render: which layer, in which encoding, under which name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import model_validator

from vmatte.encodings import DEFAULT_SPEED, ENCODINGS, Encoding, Speed, encoding_for_suffix
from vmatte.errors import JobError
from vmatte.options import Record

LayerName = Literal["cutout", "foreground", "alpha", "composite"]
"""`cutout`: the subject with its alpha; `foreground`: its colours alone; `alpha`: the matte as a gray picture;
`composite`: the subject over its background."""
AlphaForm = Literal["straight", "premultiplied"]


class Output(Record):
    """A file, or a folder of pictures, that comes of a render."""

    path: Path
    encoding: str
    layer: LayerName
    alpha: AlphaForm = "straight"
    """Of a cutout: its colours as they are, or multiplied with alpha."""
    speed: Speed = DEFAULT_SPEED
    """How much its encoder may compute: `fast` for drafts, `best` for a smaller file or a finer picture."""

    @property
    def row(self) -> Encoding:
        return ENCODINGS[self.encoding].at(self.speed)

    @property
    def alpha_form(self) -> AlphaForm | None:
        """None for a layer without alpha."""
        return self.alpha if self.layer == "cutout" else None

    @property
    def what(self) -> str:
        """In words."""
        form = "" if self.alpha_form is None else f"{self.alpha_form} "
        return f"{form}{self.layer} as {self.encoding}"


class OutputWords(Record):
    """What is said of an output; what is left open follows from its name and from the job."""

    path: str
    format: str | None = None
    """By the extension where it is not given."""
    layer: LayerName | None = None
    """With a background: a composite, or the cutout where there are several outputs and it has alpha; without: a
    cutout. A name that ends in matte, foreground, cutout or composite says so too."""
    alpha: AlphaForm | None = None
    """Of a cutout: straight or premultiplied; where nothing is said straight, but in OpenEXR."""
    speed: Speed | None = None
    """Of its encoder: fast, good (where nothing is said) or best."""

    @model_validator(mode="after")
    def _has_a_name(self) -> OutputWords:
        if not self.path:
            raise ValueError("an output has no name")
        return self


def parse_output(text: str) -> OutputWords:
    """What is said of an output on the command line: `cut.mov`, `cut.mov,premultiplied`, `matte.mp4,alpha,hevc`."""
    path, said = text, dict[str, str]()
    while "," in path:
        before, _, word = path.rpartition(",")
        key = _MEANINGS.get(word)
        if key is None:
            break
        if key in said:
            raise JobError(f"output {text!r} has two words for its {key}: {word} and {said[key]}; keep one of them")
        path, said[key] = before, word
    if not path:
        raise JobError(f"output {text!r} has no name")
    return OutputWords.model_validate({"path": path, **said})


_MEANINGS = {
    **dict.fromkeys(ENCODINGS, "format"),
    **dict.fromkeys(get_args(LayerName), "layer"),
    **dict.fromkeys(get_args(AlphaForm), "alpha"),
    **dict.fromkeys(get_args(Speed), "speed"),
}
"""The words that may follow an output's name, and what they say."""

_NAMED: dict[str, LayerName] = {
    "matte": "alpha",
    "foreground": "foreground",
    "cutout": "cutout",
    "composite": "composite",
    "comp": "composite",
}
"""What the last word of a file's name says of its layer."""


def make_output(said: OutputWords, path: Path | None, *, plated: bool, alone: bool) -> Output:
    """The output that some words mean; JobError for what cannot be.

    `plated`: the job has a background; `alone`: this is its only output. `path` None is settled by the caller, who
    knows the clip: then the path stays empty.
    """
    row = choose_encoding(path, said.format, cutout=said.layer == "cutout" or not plated)
    layer = said.layer or _layer_for(said.path, row, plated=plated, alone=alone)
    what = said.path or f"the {layer}"
    if layer == "composite" and not plated:
        raise JobError(f"{what} is to be a composite, and no background is given; choose --bg")
    if not row.carries(layer):
        can = ", ".join(name for name, other in ENCODINGS.items() if other.carries(layer))
        unsaid = layer == "cutout" and not plated and said.layer is None and said.alpha is None
        lacks = "has no alpha, and no background is given" if unsaid else f"cannot hold {_A[layer]}"
        raise JobError(f"{row.name} {lacks}; {'choose --bg, or one of' if unsaid else 'choose one of'}: {can}")
    if said.alpha == "premultiplied" and layer != "cutout":
        raise JobError(f"{what} is {_A[layer]}, which has no alpha to be premultiplied with; leave that out")
    usual: AlphaForm = (row.usual_alpha if layer == "cutout" else None) or "straight"
    if said.alpha is not None and row.usual_alpha not in (None, said.alpha):
        raise JobError(f"{what}: whoever opens {row.name} takes it for {row.usual_alpha}; leave {said.alpha} out")
    return Output(
        path=path or Path(),
        encoding=row.name,
        layer=layer,
        alpha=said.alpha or usual,
        speed=said.speed or DEFAULT_SPEED,
    )


_A = {"cutout": "a cutout", "foreground": "a foreground", "alpha": "a matte", "composite": "a composite"}


def _layer_for(name: str, row: Encoding, *, plated: bool, alone: bool) -> LayerName:
    words = re.split(r"[^a-z0-9]+", Path(name).stem.lower())
    named = _NAMED.get(words[-1])
    if named is not None and row.carries(named) and (plated or named != "composite"):
        return named
    if not plated or not row.carries("composite"):
        return "cutout"
    return "cutout" if not alone and row.carries("cutout") else "composite"


def default_output(clip: Path, said: OutputWords, *, plated: bool) -> Output:
    """The output of a job that names none: beside the clip, `NAME_composite.mp4` or `NAME_cutout.mov`."""
    output = make_output(said, None, plated=plated, alone=True)
    name = f"{clip.stem}_{output.layer}{output.row.suffix}"
    return output.model_copy(update={"path": clip.with_name(name)})


def check_apart(outputs: Sequence[Output]) -> None:
    """JobError where two outputs have one name, or one lies in another."""
    seen: dict[Path, Output] = {}
    for output in outputs:
        place = output.path.resolve()
        if place in seen:
            raise JobError(f"{output.path} is named as output twice; keep one of them, or name it another")
        seen[place] = output
    for output in outputs:
        if any(parent in seen for parent in output.path.resolve().parents):
            raise JobError(f"{output.path} lies in a folder that is an output itself; give another name")


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
            raise _unknown_suffix(output)
        if by_suffix.is_sequence and output.suffix == "":
            raise JobError(f"{output} has no extension; add one, or name an encoding with --format: {known}")
        return by_suffix
    row = ENCODINGS[name]
    fits = output.suffix.lower() in row.suffixes if row.suffix else by_suffix is None or by_suffix.suffix == ""
    if not fits:
        raise JobError(f"{output}: {name} goes into {row.suffix or 'a folder'}, not into {output.suffix or 'a folder'}")
    return row


def _unknown_suffix(output: Path) -> JobError:
    known = ", ".join(ENCODINGS)
    pictures = next((row.name for row in ENCODINGS.values() if row.picture_suffix == output.suffix.lower()), None)
    if pictures is not None:
        return JobError(f"{output}: pictures go into a folder; name that, and the format: -o frames,{pictures}")
    name, comma, word = output.name.rpartition(",")
    if comma and encoding_for_suffix(Path(name).suffix) is not None:
        words = ", ".join(word for word, meaning in _MEANINGS.items() if meaning != "format")
        return JobError(f"{output}: {word!r} is no word for an output; there are {words}, and the formats {known}")
    return JobError(f"{output}: no encoding has the extension {output.suffix!r}; name one with --format: {known}")
