"""What stands in a job file's defaults, clips and matrix, checked piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vmatte.jobfile.document import Node
from vmatte.jobfile.drafts import check_names
from vmatte.jobfile.keys import KEYS, USUAL, Layer, Setting, instead_of_key, read_setting
from vmatte.jobfile.names import find_clips
from vmatte.jobfile.problems import Problems, nearest

CLIP_KEYS = ("clip", "shot")
"""What a clip's mapping has beside the keys of defaults."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of `clips:` and the files that it means."""

    node: Node
    files: list[Path]
    is_glob: bool
    has_settings: bool = False
    shot: str | None = None
    own: Layer = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sections:
    """Reads sections; relative paths lie in `folder`. Files are not looked for where `--set` has another value."""

    folder: Path
    overridden: frozenset[str]
    problems: Problems

    def layer(self, node: Node, name: str, besides: Sequence[str] = ()) -> Layer:
        """The settings of a mapping; what is unknown in it is noted, unless it is among `besides`."""
        if node.content is None:
            return {}
        if not isinstance(node.content, dict):
            self.problems.add(node.place, f"{name} is a mapping; write KEY: VALUE below it")
            return {}
        layer = {word: self._setting(word, value) for word, value in self._known(node.content, besides)}
        for other, value in node.content.items():
            near = None if other in (*USUAL, *besides) else nearest(other, (*USUAL, *besides))
            if near in USUAL:  # most likely meant: nothing is concluded from its absence
                layer.setdefault(USUAL[near], Setting(None, value, self.folder, sound=False))
        return layer

    def matrix(self, node: Node) -> dict[str, list[Setting]]:
        """The values of each key that multiplies the clips."""
        if node.content is None:
            return {}
        if not isinstance(node.content, dict):
            self.problems.add(node.place, "matrix is a mapping; write KEY: [VALUE, VALUE] below it")
            return {}
        axes: dict[str, list[Setting]] = {}
        for word, values in self._known(node.content, ()):
            if not isinstance(values.content, list) or not values.content:
                self.problems.add(values.place, f"{word} in matrix is a list of values; write [VALUE, VALUE]")
                continue
            axes[word] = [self._setting(word, value) for value in values.content]
            seen: set[object] = set()
            for setting in axes[word]:
                if setting.sound and setting.value in seen:
                    self.problems.add(setting.node.place, f"{word} has this value twice in matrix; keep one of them")
                seen.add(setting.value)
        return axes

    def clips(self, node: Node) -> Iterator[Item]:
        """The items of `clips:`, without those that mean no file."""
        if node.empty or node.content == []:
            self.problems.add(node.place, "clips has no value; give a file, a glob, or a list of them")
            return
        for one in node.content if isinstance(node.content, list) else [node]:
            if isinstance(one.content, dict) and one is not node:
                yield from self._clip_with_settings(one, one.content)
            elif isinstance(one.content, str):
                with self.problems.noted(one.place):
                    yield Item(one, *find_clips(one.content, self.folder))
            elif not one.broken:
                mend = "a clip is a file, a glob, or in a list {clip: FILE, KEY: VALUE}; write one of these"
                self.problems.add(one.place, mend)

    def _clip_with_settings(self, node: Node, content: dict[str, Node]) -> Iterator[Item]:
        own = self.layer(node, "a clip", besides=CLIP_KEYS)
        shot = self._shot(content["shot"]) if "shot" in content else None
        if "clip" not in content:
            if not any(nearest(name, (*USUAL, *CLIP_KEYS)) == "clip" for name in content):
                self.problems.add(node.place, "this clip has no file; add clip: FILE")
            return
        clip = content["clip"]
        if isinstance(clip.content, str):
            with self.problems.noted(clip.place):
                files, is_glob = find_clips(clip.content, self.folder)
                yield Item(node, files, is_glob, has_settings=True, shot=shot, own=own)
        elif not clip.broken:
            self.problems.add(clip.place, "clip is a file or a glob; write one, in quotes if it is a number")

    def _shot(self, node: Node) -> str | None:
        name = node.content
        if isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"[/\\]", name):
            return name
        if isinstance(name, str):
            self.problems.add(node.place, f"shot {name!r} cannot be part of a file's name; leave out / and \\")
        elif not node.broken:
            self.problems.add(node.place, "shot is a name; write one, in quotes if it is a number")
        return None

    def _setting(self, word: str, node: Node) -> Setting:
        setting = read_setting(KEYS[word], node, self.folder, self.problems)
        return setting if word in self.overridden else check_names(word, setting, self.problems)

    def _known(self, content: dict[str, Node], besides: Sequence[str]) -> Iterator[tuple[str, Node]]:
        """The usual words of a mapping's keys, with what stands there; unknown keys are noted."""
        seen: dict[str, str] = {}
        for name, node in content.items():
            if name in besides:
                continue
            if name not in USUAL:
                self.problems.add(node.key_place, f"unknown key {name!r}; {instead_of_key(name, (*USUAL, *besides))}")
            elif (word := USUAL[name]) in seen:
                self.problems.add(node.key_place, f"{name} is {seen[word]}, which stands here too; keep one of them")
            else:
                seen[word] = name
                yield word, node
