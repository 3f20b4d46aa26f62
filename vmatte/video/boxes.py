"""What an mp4 or mov file itself says, apart from its pictures."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO


def has_color_box(path: Path) -> bool:
    """Whether the file has a `colr` box with code points (ISO/IEC 14496-12, 12.1.5; in QuickTime `nclc`)."""
    with path.open("rb") as file:
        movie = _movie(file)
    return b"colrnclx" in movie or b"colrnclc" in movie


def _movie(file: BinaryIO) -> bytes:
    """The bytes of the `moov` box."""
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        read = 8
        if size == 1:  # a long one
            size, read = int.from_bytes(file.read(8), "big"), 16
        if kind == b"moov":
            return file.read(max(size - read, 0))
        if size < read:
            break
        file.seek(size - read, 1)
    return b""
