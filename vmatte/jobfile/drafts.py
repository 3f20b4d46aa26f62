"""One clip with its settings becomes a job; what renders do to each other's files is seen here."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vmatte.job import DEFAULT_MODEL, RenderJob, Runtime, make_job, parse_background, parse_smoothing
from vmatte.jobfile.keys import JOB_KEYS, Setting, Value
from vmatte.jobfile.names import FIELDS, check_template, escape_braces, expand
from vmatte.jobfile.problems import Place, Problems
from vmatte.options import BlurPlate, ColorPlate, FilePlate, GradientPlate, NoPlate, Plate
from vmatte.outputs import Output, OutputWords, make_output, parse_output

FILES = ("garbage", "hold-out", "screen", "clean-plate")
"""The keys, beside the background and the weights, that may name a file."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A render as far as it can be known. `job` is None, and `outputs` are empty, where a problem says why."""

    clip: Path
    place: Place
    from_glob: bool
    job: RenderJob | None
    runtime: Runtime
    outputs: tuple[_Named, ...]
    beside: dict[str, Path]
    """The files that are read beside the clip and the weights, by what they are."""


@dataclass(frozen=True, slots=True, eq=False)
class _Named:
    """An output of a draft, by its name."""

    path: Path
    fields: dict[str, str]
    """What a template's fields come to."""
    used: frozenset[str]
    """The fields that its template has."""


def draft(
    clip: Path,
    shot: str,
    place: Place,
    from_glob: bool,
    layer: dict[str, Setting],
    runtime: Runtime,
    problems: Problems,
) -> Draft:
    """The render of one clip with these settings, which have been checked one by one."""
    unsound = {word for word, setting in layer.items() if not setting.sound}
    values = {word: setting.value for word, setting in layer.items() if setting.value is not None}
    background, plate_name = _background(layer.get("bg"), problems)
    weights = _weights(layer.get("weights"), problems)
    smoothing = _smoothing(layer, place, problems)
    files = {word.replace("-", "_"): _file(word, layer[word], problems) for word in FILES if word in layer}
    job: RenderJob | None = None
    named: list[_Named] = []
    if not unsound & {"bg", "format", "output"}:
        # Blamed is what chose the encoding: mostly it is that which does not fit.
        with problems.noted(next((layer[word].node.place for word in ("format", "output") if word in values), place)):
            words: dict[str, Any] = {
                key.parameter: values[key.word] for key in JOB_KEYS if key.word in values.keys() - unsound
            }
            words |= {"background": background, "weights": weights, "smooth": smoothing, "strength": None} | files
            templates = _output_words(values.get("output"))
            shared = {
                "stem": clip.stem,
                "plate": plate_name,
                "shot": shot,
                "model": str(values.get("model", DEFAULT_MODEL)).replace(":", "-"),
            }
            for said in templates:
                used = check_template(said.path)
                alone = len(templates) == 1
                encoding = _text(values.get("format")) if alone else None
                like = _like(said, used, encoding, plated=not isinstance(background, NoPlate), alone=alone)
                fields = shared | _of_output(like)
                named.append(_Named(_filled(said.path, layer["output"].folder, fields), fields, used))
            if templates:
                # By the layer that the template says, not by the name that it comes to.
                words["output"] = [
                    said.model_copy(update={"path": str(each.path), "layer": each.fields["layer"]})
                    for said, each in zip(templates, named, strict=True)
                ]
            job = make_job(clip, **words)
            if not templates:
                named = [_Named(job.output, shared | _of_output(job.outputs[0]), frozenset())]
    # A field whose setting cannot be read neither tells two renders apart nor makes them one.
    if job is None:
        named = []
    named = [each for each in named if not (unsound & {"model"} and "model" in each.used)]
    beside = {} if job is None else {name: path for name, path in job.files.items() if name != "clip"}
    return Draft(clip, place, from_glob, job, runtime, tuple(named), beside)


def _output_words(value: Value) -> list[OutputWords]:
    """What is said of each output, in templates."""
    several = value if isinstance(value, tuple) else () if value is None else (value,)
    return [parse_output(each) if isinstance(each, str) else each for each in several]


def _of_output(output: Output) -> dict[str, str]:
    return {"format": output.encoding, "suffix": output.row.suffix, "layer": output.layer}


def check_names(word: str, setting: Setting, problems: Problems) -> Setting:
    """The setting, with what is wrong with the files or the fields that it names noted."""
    if setting.sound and word == "bg":
        _background(setting, problems)
    elif setting.sound and word == "weights":
        _weights(setting, problems)
    elif setting.sound and word in FILES:
        _file(word, setting, problems)
    elif setting.sound and word == "output" and setting.value is not None:
        before = len(problems.found)
        with problems.noted(setting.node.place):
            for said in _output_words(setting.value):
                check_template(said.path)
        return replace(setting, sound=len(problems.found) == before)
    return setting


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _background(setting: Setting | None, problems: Problems) -> tuple[Plate, str]:
    """The plate, and what {plate} says of it. A plate that does not exist is a problem, and still has its name."""
    if setting is None or setting.value is None:
        return NoPlate(), "none"
    if isinstance(setting.value, FilePlate):
        node = setting.node.content["path"] if isinstance(setting.node.content, dict) else setting.node
        path = setting.value.path
        with problems.noted(node.place):
            path = setting.folder / expand(str(node.content))
            if not path.is_file():
                problems.add(node.place, f"background {node.content} is no file that exists; give a picture or a video")
        return setting.value.model_copy(update={"path": path}), path.stem
    if isinstance(setting.value, ColorPlate):
        return setting.value, bytes(setting.value.rgb).hex()
    if isinstance(setting.value, GradientPlate):
        return setting.value, "-".join(bytes(rgb).hex() for rgb in setting.value.colors)
    if isinstance(setting.value, BlurPlate | NoPlate):
        return setting.value, setting.value.method
    text = str(setting.value)
    with problems.noted(setting.node.place):
        plate = parse_background(expand(text), setting.folder)
        return plate, plate.path.stem if isinstance(plate, FilePlate) else re.sub("[#: ]", "", text)
    return FilePlate(path=setting.folder / text), Path(text).stem


def _weights(setting: Setting | None, problems: Problems) -> Path | None:
    if setting is None or setting.value is None:
        return None
    with problems.noted(setting.node.place):
        path = setting.folder / expand(str(setting.value))
        if not path.exists():
            problems.add(setting.node.place, f"weights {setting.value} do not exist; give a file, or its folder")
        return path
    return None


def _file(word: str, setting: Setting, problems: Problems) -> Value:
    """The value with the path that is in it, if any, in the setting's folder. A file that does not exist is noted."""
    value, content = setting.value, setting.node.content
    if isinstance(value, BaseModel):
        names = [name for name in ("path", "clean_plate") if getattr(value, name, None) is not None]
        if not setting.sound or not names or not isinstance(content, dict):
            return value if setting.sound else None
        path = _existing(word, str(getattr(value, names[0])), content[names[0]].place, setting.folder, problems)
        return value.model_copy(update={names[0]: path})
    if value is None or not setting.sound or word == "screen":
        return value if setting.sound else None
    return str(_existing(word, str(value), setting.node.place, setting.folder, problems))


def _existing(word: str, name: str, place: Place, folder: Path, problems: Problems) -> Path:
    path = folder / name
    with problems.noted(place):
        path = folder / expand(name)
        if not path.is_file():
            problems.add(place, f"{word} {name} is no file that exists; give a picture or a video")
    return path


def _smoothing(layer: dict[str, Setting], place: Place, problems: Problems) -> BaseModel | None:
    method, strength = layer.get("smooth"), layer.get("smooth-strength")
    if any(setting is not None and not setting.sound for setting in (method, strength)):
        return None
    if method is not None and isinstance(method.value, BaseModel):
        if strength is not None and strength.value is not None:
            problems.add(strength.node.place, "smooth is a mapping, where strength: says this; write it there")
        return method.value
    blamed = next((setting.node.place for setting in (strength, method) if setting is not None), place)
    with problems.noted(blamed):
        return parse_smoothing(
            None if method is None else _text(method.value), None if strength is None else _text(strength.value)
        )
    return None


def _like(said: OutputWords, used: frozenset[str], encoding: str | None, *, plated: bool, alone: bool) -> Output:
    """The output that a template means but for its name: where the template leaves the extension open, the encoding is
    the layer's usual one."""
    written = Path(expand(said.path, escape_braces))
    is_open = "suffix" in used or "{" in written.suffix
    said = said.model_copy(update={"format": said.format or encoding})
    return make_output(said, None if is_open or said.format else written, plated=plated, alone=alone)


def _filled(template: str, folder: Path, fields: dict[str, str]) -> Path:
    return folder / expand(template, escape_braces).format_map(fields)


def without_clashes(drafts: list[Draft], problems: Problems) -> list[Draft]:
    """The drafts, without clips of a glob that are outputs of other clips: the file's results of an earlier time.

    Noted are outputs that are written twice, and those that are an input.
    """
    writers: dict[Path, list[tuple[Draft, Path]]] = defaultdict(list)
    for each in drafts:
        for named in each.outputs:
            writers[named.path.resolve()].append((each, named.path))
    kept: list[Draft] = []
    for each in drafts:
        others = [(other, path) for other, path in writers.get(each.clip.resolve(), []) if other.clip != each.clip]
        if others and each.from_glob:
            continue
        kept.append(each)
        for named in each.outputs:
            if named.path.resolve() == each.clip.resolve():
                problems.add(each.place, f"the output {named.path} is the clip itself; give another output")
        for other, output in others:
            problems.add(other.place, f"the output {output} is the clip of {each.place.label}; give another")
        for name, path in each.beside.items():
            for other, output in writers.get(path.resolve(), []):
                problems.add(other.place, f"the output {output} is a {name}; give another output")
    _note_clashes(kept, problems)
    return kept


def _note_clashes(drafts: list[Draft], problems: Problems) -> None:
    """A problem for each place where outputs are written that another draft writes, too."""
    first: dict[Path, tuple[Draft, _Named]] = {}
    clashes: dict[tuple[Place, Place], list[tuple[_Named, _Named]]] = defaultdict(list)
    for each in drafts:
        for named in each.outputs:
            other, others = first.setdefault(named.path.resolve(), (each, named))
            if other is not each:
                clashes[each.place, other.place].append((named, others))
    for (place, other_place), pairs in clashes.items():
        more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
        by = "more than once from here" if place == other_place else f"from here and from {other_place.label}"
        problems.add(place, f"{pairs[0][0].path}{more} would be written {by}; {_telling_apart(pairs)}")


def _telling_apart(pairs: list[tuple[_Named, _Named]]) -> str:
    """What to do about pairs of renders that write the same output."""
    differing = [
        {name for name in FIELDS if one.fields[name] != other.fields[name] and name not in one.used}
        for one, other in pairs
    ]
    if not all(differing):
        return "no field of a template tells them apart, so give each an output of its own"
    common, every = set.intersection(*differing), set.union(*differing)
    fields = [f"{{{name}}}" for name in FIELDS if name in (common or every)]
    return f"tell them apart with {(' or ' if common else ' and ').join(fields)} in output"
