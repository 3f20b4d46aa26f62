"""Where a render lives until it is whole: a hidden folder beside the output, gone when the render ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmatte.errors import JobError


def check_output(output: Path, inputs: list[Path], *, overwrite: bool, folder: bool) -> None:
    """JobError where `output` may not be written: it is an input, it is there already, or it is of the wrong kind."""
    try:
        _check_place(output, inputs, overwrite=overwrite, folder=folder)
    except OSError as error:
        raise JobError(f"{output} cannot be written: {error.strerror}; give another name") from error


def _check_place(output: Path, inputs: list[Path], *, overwrite: bool, folder: bool) -> None:
    for path in inputs:
        if path.exists() and output.exists() and output.samefile(path):
            raise JobError(f"output {output} is the input itself; give another name")
        if folder and output.resolve() in path.resolve().parents:
            raise JobError(f"folder {output} holds the input {path.name}; give another name")
    if output.parent.exists() and not output.parent.is_dir():
        raise JobError(f"{output.parent} is a file, not a folder; give another name")
    if not output.parent.is_dir():
        raise JobError(f"folder {output.parent} does not exist; make it first")
    if folder:
        _check_folder(output, overwrite=overwrite)
    elif output.is_dir():
        raise JobError(f"output {output} is a folder; give a file name")
    elif output.exists() and not overwrite:
        raise JobError(f"{output} exists; give -y to overwrite it, or another name")


def _check_folder(output: Path, *, overwrite: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise JobError(f"output {output} is a file; a picture sequence needs a folder")
    entries = list(output.iterdir())
    if entries and not overwrite:
        raise JobError(f"folder {output} is not empty; give -y to replace its pictures, or another name")
    strangers = [entry.name for entry in entries if entry.suffix != ".png" or not entry.is_file()]
    if strangers:
        raise JobError(f"folder {output} holds other things than pictures ({strangers[0]}); give another name")


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """A new hidden folder in the output's own: publishing is a rename. It is removed however the render ends."""
    beside = (output.resolve() if output.is_dir() else output.absolute()).parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}.", suffix=".part", dir=beside))
    except OSError as error:
        raise JobError(f"folder {output.parent} cannot be written: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(whole: Path, output: Path, *, overwrite: bool) -> None:
    """Give a finished, verified output its name, in one step. JobError where another file took it in the meantime."""
    try:
        if whole.is_dir():
            output = output.resolve()  # a link to a folder stays one
            replaced = whole.parent / "replaced"
            try:
                if output.exists():
                    _check_folder(output, overwrite=overwrite)
                    output.rename(replaced)
                whole.rename(output)
            except BaseException:
                if replaced.exists() and not output.exists():
                    replaced.rename(output)
                raise
            return
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            os.replace(whole, output)
        else:
            _take_free_name(whole, output)
    except FileExistsError as error:
        raise JobError(f"{output} turned up during the render; give -y to overwrite it, or another name") from error
    except OSError as error:
        raise JobError(f"{output} cannot be written: {error.strerror}") from error


def _take_free_name(whole: Path, output: Path) -> None:
    try:
        os.link(whole, output)  # unlike a rename it fails where the name is taken
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if output.exists():
            raise FileExistsError(output) from None
        os.replace(whole, output)
