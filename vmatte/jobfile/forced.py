"""What `--set KEY=VALUE` gives: it goes before all that the file says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmatte.jobfile.document import Node, parse
from vmatte.jobfile.drafts import check_names
from vmatte.jobfile.keys import KEYS, USUAL, Key, Layer, Setting, instead_of_key, read_setting
from vmatte.jobfile.problems import Place, Problems, instead


@dataclass(frozen=True, slots=True)
class Forced:
    """Whole values, and parts of values that are mappings, such as `smooth.radius`."""

    values: Layer = field(default_factory=dict)
    parts: list[tuple[Key, str, Node]] = field(default_factory=list)

    def applied(self, layer: Layer, problems: Problems) -> Layer:
        """The layer with all of these; a part that has no place in the value it meets is noted."""
        layer = {**layer, **self.values}
        for key, part, node in self.parts:
            before = layer.get(key.word)
            if before is not None and not before.sound:
                continue
            content = {} if part == "method" else _as_mapping(key, before, node.place)
            if content is None:
                shown = None if before is None else before.value
                problems.add(node.place, f"{key.word} is {shown!r} there, which has no {part}; set {key.word} too")
                continue
            folder = Path.cwd() if before is None or part == "path" else before.folder
            whole = Node({**content, part: node}, node.place, node.place)
            layer[key.word] = read_setting(key, whole, folder, problems)
        return layer


def _as_mapping(key: Key, setting: Setting | None, place: Place) -> dict[str, Node] | None:
    """A value as the mapping that it stands for; None where it stands for none."""
    if setting is None or setting.value is None:
        return {}
    if isinstance(setting.node.content, dict):
        return setting.node.content
    word = str(setting.value).lower()
    return {"method": Node(word, place, place)} if word in key.methods() else None


def read_forced(settings: Sequence[str], problems: Problems) -> Forced:
    """`settings` are `KEY=VALUE`; the later ones go before the earlier, and the folder of a file is the current one."""
    forced = Forced()
    for number, setting in enumerate(settings):
        name, equals, text = setting.partition("=")
        place = Place(sys.maxsize, number, f"--set {name}")
        word, dot, part = name.partition(".")
        if word not in USUAL:
            problems.add(place, f"unknown key {word!r}; {instead_of_key(word, list(USUAL))}")
            continue
        key = KEYS[USUAL[word]]
        if dot and not key.options:
            problems.add(place, f"{word} has no keys of its own; write --set {word}=VALUE")
            continue
        if dot and part not in key.option_keys():
            known = [f"{word}.{option}" for option in key.option_keys()]
            problems.add(place, f"unknown key {name!r}; {instead(name, known)}")
            continue
        if not equals or not text.strip():
            problems.add(place, f"no value is given; write --set {name}=VALUE")
            continue
        node = _value(text, place, problems)
        if node is None:
            continue
        if dot:
            forced.parts.append((key, part, node))
        else:
            whole = read_setting(key, node, Path.cwd(), problems)
            forced.values[key.word] = check_names(key.word, whole, problems)
            # What was set within the value that this one replaces is gone.
            forced.parts[:] = [each for each in forced.parts if each[0] is not key]
    return forced


def _value(text: str, place: Place, problems: Problems) -> Node | None:
    if text.startswith("#"):  # a colour: on the command line nobody comments
        return Node(text, place, place)
    return parse(text, lambda *_: place, problems)
