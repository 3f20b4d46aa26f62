"""Names of files in a job file: what is put into them, and which files a glob means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from pathlib import Path
from string import Formatter

from vmatte.errors import JobError
from vmatte.jobfile.problems import instead

FIELDS = {
    "stem": "the clip's name without its extension",
    "plate": "the name of the plate's file without its extension, or its word without #",
    "shot": "the clip's shot:, or the name of the folder that it lies in",
    "format": "the format's name",
    "suffix": "the format's extension with its dot",
    "model": "the model's name",
    "layer": "cutout, foreground, alpha or composite",
}
"""What an output's name may hold in braces."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(text: str, escape: Callable[[str], str] = str) -> str:
    """`text` with its `${NAME}` and `${NAME:-default}` filled in from the environment, escaped, and with `~`.

    Raises JobError for a variable that is not set, and for what only looks like one.
    """
    parts: list[str] = []
    end = 0
    for found in _VARIABLE.finditer(text):
        parts += [text[end : found.start()], escape(_variable(found[1], found[2]))]
        end = found.end()
    parts.append(text[end:])
    if any("${" in part for part in parts[::2]):
        raise JobError(f"{text!r}: ${{ begins no variable here; write ${{NAME}} or ${{NAME:-default}}")
    expanded = "".join(parts)
    # Not Path.expanduser, which also takes ./~name for a home, and fails where there is none.
    return os.path.expanduser(expanded)


def _variable(name: str, default: str | None) -> str:
    value = os.environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise JobError(f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
    return value


def check_template(text: str) -> frozenset[str]:
    """The fields that an output's name holds. Raises JobError where one is unknown, or a brace is alone."""
    try:
        parts = list(Formatter().parse(expand(text, escape=escape_braces)))
    except ValueError as error:
        raise JobError(f"output {text!r}: {error}; write {{field}}, and {{{{ for a brace itself") from error
    fields = [(name, bool(form or conversion)) for _, name, form, conversion in parts if name is not None]
    for name, has_form in fields:
        if name not in FIELDS:
            raise JobError(f"output {text!r}: unknown field {{{name}}}; {instead(name, FIELDS)}")
        if has_form:
            raise JobError(f"output {text!r}: {{{name}}} takes no format; write {{{name}}} alone")
    return frozenset(name for name, _ in fields)


def escape_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def find_clips(text: str, folder: Path) -> tuple[list[Path], bool]:
    """The files that a name or a glob means, sorted by name, and whether it is a glob.

    A file goes before a glob of its name. Raises JobError where there is none.
    """
    if not text:
        raise JobError("the clip has no name; give a file or a glob")
    path = folder / expand(text)
    if path.is_file():
        return [path], False
    if path.is_dir():
        raise JobError(f"clip {text} is a folder; give its files, such as {text.rstrip('/')}/*.mp4")
    pattern = expand(text, escape=glob.escape)
    if not glob.has_magic(pattern):
        raise JobError(f"clip {text} does not exist; give a file or a glob")
    found = [folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True)]
    # What a render writes beside its output is no clip.
    files = sorted((path for path in found if path.is_file() and path.suffix != ".json"), key=str)
    if not files:
        raise JobError(f"{text} matches {'only folders' if found else 'no file'}; give a glob that matches clips")
    return files, True
