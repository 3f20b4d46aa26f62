"""A job file becomes jobs. Of its defaults, its matrix, each clip's own settings and `--set`, the later one counts.

Nothing stops at the first mistake: what is wrong is noted, and what is sound is read on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vmatte.job import RenderJob, Runtime, at_home, make_runtime
from vmatte.jobfile.document import Node, load
from vmatte.jobfile.drafts import Draft, draft, without_clashes
from vmatte.jobfile.forced import Forced, read_forced
from vmatte.jobfile.keys import RUNTIME_KEYS, USUAL, Layer, Setting
from vmatte.jobfile.problems import Problems, instead, nearest
from vmatte.jobfile.sections import Item, Sections

SECTIONS = ("defaults", "clips", "matrix")
MOST_ENTRIES = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One render that a job file asks for. `where` is its clip's place: `jobs.yaml:12:5`."""

    job: RenderJob
    runtime: Runtime
    where: str


def read_jobs(path: Path, settings: Sequence[str] = (), clip: Path | None = None) -> list[Entry]:
    """All renders of a job file, in its order; `settings` are `KEY=VALUE`, as `--set` takes them.

    With a `clip` they are of it, instead of the clips that the file names. Relative paths lie in the file's folder,
    those of `settings` in the current one. Raises JobFileError with all that is wrong.
    """
    problems = Problems()
    forced = read_forced(settings, problems)
    root = load(path, problems)
    drafts = [] if root is None else _drafts(root, path.absolute().parent, forced, clip, problems)
    problems.check()
    entries: list[Entry] = []
    for each in drafts:
        assert each.job is not None  # else a problem says why not
        entries.append(Entry(each.job, each.runtime, each.place.label))
    return entries


def _drafts(root: Node, folder: Path, forced: Forced, clip: Path | None, problems: Problems) -> list[Draft]:
    if not isinstance(root.content, dict):
        problems.add(root.place, f"a job file is a mapping; begin with {', '.join(f'{name}:' for name in SECTIONS)}")
        return []
    content = root.content
    for name, node in content.items():
        if name not in SECTIONS:
            mend = "it goes under defaults:" if name in USUAL else instead(name, SECTIONS)
            problems.add(node.key_place, f"unknown key {name!r}; {mend}")
    sections = Sections(folder, frozenset(forced.values), problems)
    defaults = sections.layer(content["defaults"], "defaults") if "defaults" in content else {}
    axes = sections.matrix(content["matrix"]) if "matrix" in content else {}
    if clip is None and "clips" not in content:
        if not any(nearest(name, SECTIONS) == "clips" for name in content):
            problems.add(root.place, "there is no clips:; add the clips to render")
        return []
    items = list(sections.clips(content["clips"])) if clip is None else [Item(root, [clip.absolute()], is_glob=False)]
    # A clip's own value and that of --set are not multiplied.
    combined = [
        (item, {word: axes[word] for word in axes if word not in item.own and word not in forced.values})
        for item in _without_repeats(items)
    ]
    count = sum(len(item.files) * math.prod(len(values) for values in own_axes.values()) for item, own_axes in combined)
    if count > MOST_ENTRIES:
        problems.add(root.place, f"clips and matrix come to {count} renders, more than {MOST_ENTRIES}; split the file")
        return []
    drafts = [each for item, own_axes in combined for each in _renders(item, own_axes, defaults, forced, problems)]
    return without_clashes(drafts, problems)


def _renders(
    item: Item, axes: dict[str, list[Setting]], defaults: Layer, forced: Forced, problems: Problems
) -> list[Draft]:
    """Each file of an item, with each combination of the axes."""
    drafts: list[Draft] = []
    for clip, values in itertools.product(item.files, itertools.product(*axes.values())):
        layer = {**defaults, **dict(zip(axes, values, strict=True)), **item.own}
        layer = forced.applied(layer, problems)
        shot = clip.parent.name if item.shot is None else item.shot
        drafts.append(draft(clip, shot, item.node.place, item.is_glob, layer, _runtime(layer), problems))
    return drafts


def _runtime(layer: Layer) -> Runtime:
    """The runtime of an entry; what cannot be used in the layer is a problem already, and is left out."""
    words: dict[str, object] = {
        key.parameter: layer[key.word].value for key in RUNTIME_KEYS if key.word in layer and layer[key.word].sound
    }
    if words.get("c2pa") is not None:
        words["c2pa"] = layer["c2pa"].folder / at_home(str(words["c2pa"]))
    return make_runtime(**words)  # type: ignore[arg-type]


def _without_repeats(items: list[Item]) -> list[Item]:
    """The items, each glob without the files that another item has.

    A file that is named goes before all globs, a glob with settings before one without, the first before the others.
    """
    found = [[(file.resolve(), file) for file in item.files] for item in items]
    ranks = [(item.is_glob, item.is_glob and not item.has_settings, number) for number, item in enumerate(items)]
    owners: dict[Path, tuple[bool, bool, int]] = {}
    for rank, files in zip(ranks, found, strict=True):
        for one, _ in files:
            owners[one] = min(rank, owners.get(one, rank))
    kept: list[Item] = []
    for item, rank, files in zip(items, ranks, found, strict=True):
        if item.is_glob:
            names = dict(reversed(files))  # of two links to one file the first
            mine = [file for one, file in files if owners[one] == rank and names[one] == file]
            item = replace(item, files=mine)
        kept.append(item)
    return kept
