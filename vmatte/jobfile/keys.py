"""The keys that defaults, clips and matrix share: the words of `vmatte run`, tied to what they set.

They are those of `JobWords` and `RuntimeWords`, their types those of `RenderJob`, `Runtime` and the option classes:
an option that is added there is a key here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError, WithJsonSchema

from vmatte.encodings import ENCODINGS, Speed
from vmatte.job import PARTS, JobWords, RenderJob, Runtime, RuntimeWords
from vmatte.jobfile.document import Node, Plain
from vmatte.jobfile.problems import Problems, instead, nearest
from vmatte.options import (
    Background,
    ColorMatch,
    ContactShadow,
    GrainMatch,
    Keep,
    LightWrap,
    Mask,
    MotionSmoothing,
    Screen,
    Smoothing,
    Strength,
    Subject,
)
from vmatte.outputs import OutputWords

Value = str | int | float | bool | BaseModel | tuple[Any, ...] | None
"""A tuple where a key has several values."""


def _models(union: Any) -> tuple[type[BaseModel], ...]:
    """The option classes of one of options.py's unions."""
    return get_args(get_args(union)[0])


def _method(model: type[BaseModel]) -> str:
    """What tells an option class from the others; "" where there is but one."""
    return str(model.model_fields["method"].default) if "method" in model.model_fields else ""


def _meaning(record: type[BaseModel], name: str) -> str:
    return str(record.model_fields[name].description).replace("None", "null")  # as YAML writes it


def _one_of(words: list[str]) -> Any:
    """The type of a word that is one of these, named as `vmatte run` names them."""

    def known(word: str) -> str:
        if word not in words:
            raise ValueError(f"{word!r} is none; {instead(word, words)}")
        return word

    return Annotated[str, AfterValidator(known), WithJsonSchema({"type": "string", "enum": words})]


def _by_strength(option: type[BaseModel]) -> tuple[Any, str, tuple[type[BaseModel], ...], str]:
    """An option class that is mostly given by its strength alone, and left out by 0."""
    strength = option.model_fields["strength"]
    return Annotated[(strength.annotation, *strength.metadata)], str(option.__doc__), (option,), ""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a job file.

    `words` are its names, the first one the usual; `parameter` is what it sets, of `make_job` or `make_runtime`.
    `annotation` is the type of a plain value; where a mapping may stand instead, `options` are the types that it can
    become by its `method`, and `method` is the one it has where it names none; None: the only one with all its keys.
    """

    words: tuple[str, ...]
    parameter: str
    annotation: Any
    meaning: str
    options: tuple[type[BaseModel], ...] = ()
    method: str | None = None
    many: bool = False
    """Whether a list of values may stand instead of one."""

    @property
    def word(self) -> str:
        return self.words[0]

    def methods(self) -> dict[str, type[BaseModel]]:
        """The options by their methods."""
        return {_method(model): model for model in self.options}

    def option_keys(self) -> list[str]:
        """All keys that a mapping here can have, whatever its method."""
        return list(dict.fromkeys(name for model in self.options for name in model.model_fields))


_WORDS = {
    "background": ("bg", "plate"),
    "output": ("output", "outputs"),
    "encoding": ("format",),
    "strength": ("smooth-strength",),
    "licence_guard": ("license-guard", "licence-guard"),
}
"""Where the command line has another word for a parameter."""

_SHAPES: dict[str, tuple[Any, str, tuple[type[BaseModel], ...], str | None]] = {
    "background": (
        str,
        "A picture, a video, a colour, `gradient:COLOUR,COLOUR`, `blur` or `none`.",
        _models(Background),
        None,
    ),
    "output": (
        str,
        "The file, or folder of pictures, with {fields} that tell renders apart; a list for several from one pass. "
        "Behind a name may stand its layer, its format and `premultiplied`, as in `cut.mov,premultiplied`.",
        (OutputWords,),
        "",
    ),
    "encoding": (_one_of(list(ENCODINGS)), "By the output's extension where it is not given.", (), None),
    "speed": (_one_of(list(get_args(Speed))), "Of the encoders; an output may have its own.", (), None),
    "weights": (str, _meaning(RenderJob, "weights"), (), None),
    "start": (str | int | float, _meaning(RenderJob, "start"), (), None),
    "end": (str | int | float, _meaning(RenderJob, "end"), (), None),
    "c2pa": (str, _meaning(Runtime, "c2pa"), (), None),
    "smooth": (
        _one_of([_method(model) for model in _models(Smoothing)]),
        _meaning(RenderJob, "smoothing"),
        _models(Smoothing),
        _method(MotionSmoothing),
    ),
    "strength": (_one_of(list(get_args(Strength))), "Of smoothing by motion.", (), None),
    "garbage": (str, _meaning(RenderJob, "garbage"), _models(Mask), None),
    "hold_out": (str, _meaning(RenderJob, "hold_out"), _models(Mask), None),
    "subject": (_one_of(list(get_args(Keep))), _meaning(Subject, "keep"), (Subject,), ""),
    "screen": (str, "`auto`, green, blue or a colour. " + _meaning(RenderJob, "screen"), (Screen,), ""),
    "clean_plate": (str, _meaning(Screen, "clean_plate"), (), None),
    "size": (str, "Of the output: `clip`, `plate` or WIDTHxHEIGHT.", (), None),
    "rate": (str | int | float, _meaning(RenderJob, "rate"), (), None),
    "light_wrap": _by_strength(LightWrap),
    "color_match": _by_strength(ColorMatch),
    "shadow": _by_strength(ContactShadow),
    "grain": _by_strength(GrainMatch),
}
"""Of the parameters that do not go as they are into a field of their name: type, meaning, options, method."""


def _key(parameter: str, record: type[BaseModel]) -> Key:
    words = _WORDS.get(parameter, (parameter.replace("_", "-"),))
    if parameter in _SHAPES:
        annotation, meaning, options, method = _SHAPES[parameter]
        return Key(words, parameter, annotation, meaning, options, method, many=parameter == "output")
    record, name = PARTS.get(parameter, (record, parameter))
    entry = record.model_fields[name]
    # The field's own bounds stand beside its type.
    bounds = tuple(entry.metadata)
    annotation = Annotated[(entry.annotation, *bounds)] if bounds else entry.annotation
    return Key(words, parameter, annotation, _meaning(record, name))


JOB_KEYS = [_key(name, RenderJob) for name in JobWords.__annotations__]
RUNTIME_KEYS = [_key(name, Runtime) for name in RuntimeWords.__annotations__]
KEYS = {key.word: key for key in (*JOB_KEYS, *RUNTIME_KEYS)}
"""By their usual word."""
USUAL = {word: key.word for key in KEYS.values() for word in key.words}
"""Each word that a file may write, and the usual one."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A key's value, checked by itself. A None is `null`: what `vmatte run` does without the option."""

    value: Value
    node: Node
    folder: Path
    """That relative paths lie in."""
    sound: bool = True
    """Whether the value can be used; where not, a problem says why."""


Layer = dict[str, Setting]
"""Settings by the usual words of their keys."""


def instead_of_key(name: str, known: Iterable[str]) -> str:
    """What to do about a key that is none of the known ones, which are too many to list."""
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else "`vmatte schema` has all keys"


def read_setting(key: Key, node: Node, folder: Path, problems: Problems) -> Setting:
    """The value that stands under a key; what is wrong with its type or its words is noted."""
    before = len(problems.found)
    value: Value = None
    if node.broken:
        return Setting(None, node, folder, sound=False)
    if node.empty:
        quotes = "a colour with # needs quotes; " if key.word == "bg" else ""
        problems.add(node.place, f"{key.word} has no value; {quotes}give one, or leave the key out")
    elif isinstance(node.content, list) and key.many:
        if not node.content:
            problems.add(node.place, f"{key.word} is an empty list; name one at least, or leave the key out")
        value = tuple(_read_value(key, each, problems) for each in node.content)
    elif node.content is not None:
        value = _read_value(key, node, problems)
    return Setting(value, node, folder, sound=len(problems.found) == before and not node.empty)


def _read_value(key: Key, node: Node, problems: Problems) -> Value:
    if isinstance(node.content, dict) and key.options:
        return _read_option(key, node, node.content, problems)
    try:
        value: Value = _validate(key.annotation, node.plain())
    except ValidationError as error:
        problems.add(node.place, _what(key.word, error, node))
        return None
    return value


def _validate(annotation: Any, plain: Plain) -> Any:
    # As JSON: only so a strict check takes a list for a tuple and text for a path, but "3" for no number.
    return _adapter(annotation).validate_json(json.dumps(plain), strict=True)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _read_option(key: Key, node: Node, content: dict[str, Node], problems: Problems) -> BaseModel | None:
    methods = key.methods()
    method = content["method"].content if "method" in content else key.method or _only_method(methods, content)
    if method is None:
        problems.add(node.place, f"{key.word} has no method; add one of: {', '.join(methods)}")
        return None
    if not isinstance(method, str) or method not in methods:
        place = content["method"].place
        problems.add(place, f"no method of {key.word} is called {method!r}; {instead(str(method), methods)}")
        return None
    model = methods[method]
    by = f" by {method}" if method else ""
    for name, part in content.items():
        if name not in model.model_fields:
            owners = [other for other, options in methods.items() if name in options.model_fields]
            of_others = f"it belongs to {' and '.join(owners)}; leave it out" if owners else ""
            mend = of_others or instead(name, model.model_fields)
            problems.add(part.key_place, f"unknown key {name!r} in {key.word}{by}; {mend}")
    known = {name: part.plain() for name, part in content.items() if name in model.model_fields}
    try:
        read: BaseModel = _validate(model, known | ({"method": method} if method else {}))
    except ValidationError as error:
        for name in dict.fromkeys(str(each["loc"][0]) if each["loc"] else "" for each in error.errors()):
            part = content.get(name, node)
            problems.add(part.place, _what(f"{key.word}.{name}" if name else key.word, error, part, field=name))
        return None
    return read


def _only_method(methods: dict[str, type[BaseModel]], keys: Iterable[str]) -> str | None:
    """The one method that has all these keys."""
    having = [method for method, model in methods.items() if set(keys) <= set(model.model_fields)]
    return having[0] if len(having) == 1 else None


def _what(name: str, error: ValidationError, node: Node, field: str | None = None) -> str:
    """One line of what pydantic says of a value, or of one field of it."""
    wanted: list[str] = []
    for each in error.errors():
        if field is not None and (str(each["loc"][0]) if each["loc"] else "") != field:
            continue
        if each["type"] == "missing":
            return f"{name} is missing, or is not complete; write it"
        if each["type"] == "value_error":
            return f"{name}: {each['msg'].removeprefix('Value error, ')}"
        wanted.append(_required(each["msg"]))
    shown = repr(node.plain())
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    hint = ""
    if isinstance(node.content, list):
        hint = "; a list of choices belongs under matrix:"
    elif wanted == ["a string"] and isinstance(node.content, int | float):
        hint = "; put it in quotes"
    elif isinstance(node.content, str):
        near = nearest(node.content, re.findall(r"'([^']+)'", " ".join(wanted)))
        hint = f"; did you mean {near!r}?" if near else ""
    return f"{name} is {shown}; it should be {' or '.join(dict.fromkeys(wanted))}{hint}"


def _required(message: str) -> str:
    message = re.sub(r"^Input (?:should be|is not) ", "", message)
    words = {"boolean": "true or false", "array": "a list", "integer": "a whole number"}
    found = re.fullmatch(r"a valid (\w+)", message)
    return message if found is None else words.get(found[1], f"a {found[1]}")
