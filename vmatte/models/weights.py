"""Find, fetch and verify weights: every path given out has the bytes its row in MODELS pins."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from vmatte.errors import ModelError
from vmatte.models.contract import HuggingFace, LocalFile, Source, Weights
from vmatte.models.sources import FetchError, Report, bring, describe

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""What is being fetched, bytes so far, bytes in all."""

_LFS_POINTER = b"version https://git-lfs"
_SHOWN = 8  # names of a folder, in an error


def cache_folder() -> Path:
    """Where vmatte keeps what it fetched: `$VMATTE_CACHE`, or the platform's cache folder for the user."""
    chosen = os.environ.get("VMATTE_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("vmatte")


def cached(weights: Weights) -> Path | None:
    """The file in the cache, or None where it is missing or its bytes are not the pinned ones.

    Raises ModelError if it is there and cannot be read.
    """
    path = _place(weights)
    try:
        found = _sha256(path) if path.is_file() else None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); mend that or set VMATTE_CACHE") from error
    if found is None:
        return None
    if found != weights.sha256:
        logger.warning("%s is damaged and will be fetched again", path)
        return None
    return path


def in_cache(weights: Weights) -> bool:
    """Whether a file of the right size is in the cache. Its bytes are verified when it is used: that takes a second."""
    try:
        return _place(weights).stat().st_size == weights.size_bytes
    except OSError:
        return False


def fetch(model: str, weights: Weights, progress: Progress | None = None, ways_out: str | None = None) -> Path:
    """The verified weights file: from the cache, or else from the first source that gives it.

    `model` is the name by which the error tells the user what to try next; `ways_out` says it in other words.
    Raises ModelError, with each source's reason, if none gives the pinned bytes, and if the cache cannot be written.
    """
    if (path := cached(weights)) is not None:
        return path

    def report(so_far: int, in_all: int) -> None:
        if progress is not None:
            progress(weights.file_name, so_far, in_all)

    reasons = []
    for source in weights.sources:
        try:
            path = _take(source, weights, report)
        except FetchError as error:
            reasons.append(f"{describe(source)}: {error}")
        else:
            for reason in reasons:  # told only here: where no source gives the file, the error has them all
                logger.warning("%s is not taken from %s", weights.file_name, reason)
            logger.info("%s: taken from %s", weights.file_name, describe(source))
            return path
    ways_out = ways_out or (
        f"Check the network, the proxy or the mirror and run `vmatte models pull {model}`, "
        "or name a file of your own with `--weights PATH`"
    )
    why = "; ".join(reasons) or "no source is known"
    raise ModelError(f"{model}: {weights.file_name} cannot be fetched ({why}). {ways_out}")


def own_file(model: str, name: str | None, path: Path) -> Path:
    """The weights file that a user's path means: that file, or the one of this `name` in a folder, such as a clone.

    Raises ModelError where there is none; the file itself is taken as it is, so a network trained further fits in.
    """
    try:
        if path.is_dir():
            path = _in_folder(model, name, path)
        if not path.is_file():
            raise ModelError(f"{model}: the weights file {path} does not exist")
        with path.open("rb") as file:
            pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError as error:
        raise ModelError(f"{model}: {path} cannot be read ({error.strerror})") from error
    if pointer:
        raise ModelError(f"{path} is only Git LFS's pointer to the weights; run `git lfs pull` in {path.parent}")
    return path


def _in_folder(model: str, name: str | None, folder: Path) -> Path:
    if name is not None and (folder / name).is_file():
        return folder / name
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    missing = f"holds no {name}" if name else "is no file"
    raise ModelError(f"{model}: the folder {folder} {missing}; in it: {', '.join(names[:_SHOWN]) or 'nothing'}{more}")


def sha256_of(path: Path) -> str:
    """The sha256 of a user's own file; ModelError where it cannot be read."""
    try:
        return _sha256(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})") from error


def _place(weights: Weights) -> Path:
    # The folder is named by content: a new pin of the same file name never meets the old file.
    return cache_folder() / "weights" / weights.sha256[:12] / weights.file_name


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _take(source: Source, weights: Weights, report: Report) -> Path:
    """The verified file as one source gives it: in its place in the cache, or a LocalFile where it lies."""
    if isinstance(source, LocalFile):
        path = Path(source.path).expanduser()
        if not path.is_file():
            raise FetchError("there is no such file")
        _verify(path, weights)
        return path
    if not isinstance(source, HuggingFace) and _offline():  # the hub may still have it in its own cache
        raise FetchError("offline mode is on (HF_HUB_OFFLINE)")
    place = _place(weights)
    with _temporary_folder() as folder:
        arrival = Path(folder) / "arrival"
        bring(source, arrival, weights.size_bytes, report)
        _verify(arrival, weights)
        try:
            place.parent.mkdir(exist_ok=True)
            os.replace(arrival, place)
        except OSError as error:
            raise _unwritable(error) from error
    return place


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    # Inside the cache, so that the last step is a rename within one file system.
    parent = cache_folder() / "weights"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".fetch-", dir=parent)
    except OSError as error:
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> ModelError:
    return ModelError(
        f"the cache folder {cache_folder()} cannot be written ({error.strerror}); set VMATTE_CACHE to a folder that can"
    )


def _verify(path: Path, weights: Weights) -> None:
    found = _sha256(path)
    if found != weights.sha256:
        raise FetchError(f"wrong file: its sha256 is {found}, not {weights.sha256}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
