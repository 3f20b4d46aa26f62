"""YAML text becomes a tree of nodes that know where they stand.

Scalars are read as YAML 1.2 has them, as editors do: `off` and `yes` are words, only `true` and `false` are booleans.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from vmatte.errors import JobError
from vmatte.jobfile.problems import Place, Problems

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]

MOST_BYTES = 1 << 20
"""A file's size: PyYAML takes seconds for more."""
_MOST_EXPANDED = 4 << 20
"""Characters that aliases may come to, where each node counts as 16 more."""
_DEEPEST = 16

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value of the file. `key_place` is where the key stands that it belongs to, or the value's own place."""

    content: Scalar | list[Node] | dict[str, Node]
    place: Place
    key_place: Place
    empty: bool = False
    """Nothing is written where the value should stand, not even `null`."""
    broken: bool = False
    """It could not be read, which a problem says already."""

    def plain(self) -> Plain:
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        return self.content


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own class attribute, emptied of YAML 1.1)


for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), list(_first))


def load(path: Path, problems: Problems) -> Node | None:
    """The file's tree; None, and a problem, where it is no YAML file."""

    def at(line: int, column: int) -> Place:
        return Place(line, column, f"{path}:{line}:{column}")

    try:
        if path.stat().st_size > MOST_BYTES:
            problems.add(Place(0, 0, str(path)), "is larger than a job file can be (1 MiB); name the clips with a glob")
            return None
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        problems.add(at(line, error.start - (before.rfind(b"\n") + 1) + 1), "this is not UTF-8; save the file as UTF-8")
        return None
    except OSError as error:
        problems.add(Place(0, 0, str(path)), f"cannot be read: {error.strerror}; give a job file")
        return None
    return parse(text, at, problems)


def parse(text: str, at: Callable[[int, int], Place], problems: Problems) -> Node | None:
    """The tree of one YAML document; None, and a problem, where it is none or where it is empty."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = at(1, 1) if mark is None else at(mark.line + 1, mark.column + 1)
        tab = "; indent with spaces" if "'\\t'" in (error.problem or "") else ""
        reasons = [reason for reason in (error.context, error.problem) if reason]
        problems.add(place, f"this is no YAML: {', '.join(reasons)}{tab or '; mend it, quotes may be missing'}")
        return None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = at(before.count("\n") + 1, error.position - before.rfind("\n"))
        problems.add(place, f"character {error.character!r} cannot stand in YAML; remove it")
        return None
    except RecursionError:
        problems.add(at(1, 1), "this is nested too deeply for a job file; write it flat")
        return None
    if root is None:
        problems.add(at(1, 1), "nothing stands here; a job file has at least clips:")
        return None
    try:
        return _Growing(at, problems).grow(root, ())
    except JobError as error:
        problems.add(at(root.start_mark.line + 1, root.start_mark.column + 1), str(error))
        return None


@dataclass(slots=True)
class _Growing:
    """Turns PyYAML's graph, where aliases share nodes, into a tree of bounded size."""

    at: Callable[[int, int], Place]
    problems: Problems
    left: int = field(default=_MOST_EXPANDED)

    def place(self, node: yaml.Node) -> Place:
        return self.at(node.start_mark.line + 1, node.start_mark.column + 1)

    def grow(self, node: yaml.Node, above: tuple[yaml.Node, ...], key_place: Place | None = None) -> Node:
        place = self.place(node)
        self.left -= 16 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self.left < 0:
            raise JobError("its aliases come to more than a job file can hold; write fewer")
        if any(node is one for one in above) or len(above) > _DEEPEST:
            raise JobError("it is nested too deeply, or holds itself by an alias; write it flat")
        empty = isinstance(node, yaml.ScalarNode) and node.value == "" and node.tag == f"{_TAG}null"
        before = len(self.problems.found)
        content = self.content(node, (*above, node), place)
        broken = isinstance(node, yaml.ScalarNode) and len(self.problems.found) > before
        return Node(None if broken else content, place, key_place or place, empty, broken)

    def content(
        self, node: yaml.Node, above: tuple[yaml.Node, ...], place: Place
    ) -> Scalar | list[Node] | dict[str, Node]:
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, place)
        if node.tag not in (f"{_TAG}seq", f"{_TAG}map"):
            self.problems.add(place, f"tag {_shown(node.tag)} means nothing in a job file; remove it")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, above)
        return [self.grow(item, above) for item in node.value]

    def scalar(self, node: yaml.ScalarNode, place: Place) -> Scalar:
        text: str = node.value
        if not text.isprintable() and any(0xD800 <= ord(char) < 0xE000 or char < " " for char in text):
            self.problems.add(place, "a control character stands in this value; remove it")
            return ""
        try:
            match node.tag.removeprefix(_TAG):
                case "str" | "merge":
                    return text
                case "bool" if text.lower() in ("true", "false"):
                    return text.lower() == "true"
                case "null":
                    return None
                case "int":
                    return int(text, 0 if text[:2] in ("0o", "0x") else 10)
                case "float":
                    return float(text)
        except ValueError:
            self.problems.add(place, "this is no number that can be read; write a smaller one, or put it in quotes")
            return text
        self.problems.add(place, f"tag {_shown(node.tag)} means nothing in a job file; remove it")
        return text

    def mapping(self, node: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            place = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(place, "a key is one word; a list or a mapping cannot be one")
            elif key.tag == f"{_TAG}merge":
                for part in self.merged(value, above):
                    merged = part | merged  # of several, the first one goes before the others
            elif key.value in own:
                self.problems.add(place, f"{key.value!r} stands here twice; keep one of them")
            else:
                own[key.value] = self.grow(value, above, place)
        return merged | own

    def merged(self, value: yaml.Node, above: tuple[yaml.Node, ...]) -> Iterator[dict[str, Node]]:
        """The mappings that `<<:` brings in: one, or a list of them."""
        for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            grown = self.grow(part, above)
            if isinstance(grown.content, dict):
                yield grown.content
            else:
                self.problems.add(grown.place, "<< brings in mappings; give it an alias of one, such as *name")


def _shown(tag: str) -> str:
    return tag.replace(_TAG, "!!")
