"""What a render's pixels depend on, as one short word: equal words, equal pixels."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def fingerprint(**parts: object) -> str:
    """32 hexadecimal digits of everything that is given, whatever its order."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sha256_of_file(path: Path) -> str:
    """Of a file's bytes; one that keeps its size and its time is read once."""
    state = path.stat()
    return _sha256(path, (state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=4096)
def _sha256(path: Path, state: tuple[int, int]) -> str:  # noqa: ARG001
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_output(path: Path) -> str:
    """Of a file's bytes, or of those of all pictures of a folder in order."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


_COMPUTING = ("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "torch")


@lru_cache(maxsize=1)
def sha256_of_program() -> str:
    """Of vmatte's own code, and of the versions of what computes for it: what others made is not taken for what these
    would make."""
    digest = hashlib.sha256()
    for package in _COMPUTING:
        with suppress(PackageNotFoundError):
            digest.update(f"{package} {version(package)}\0".encode())
    home = Path(__file__).parent
    for file in sorted(home.rglob("*.py")):
        digest.update(str(file.relative_to(home)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
