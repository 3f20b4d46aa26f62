"""Equal words, equal pixels."""

import hashlib
import os
import time
from pathlib import Path

import pytest

import vmatte
from vmatte import fingerprint as module
from vmatte.fingerprint import fingerprint, sha256_of_file, sha256_of_output, sha256_of_program


def test_the_order_of_the_parts_does_not_count_and_their_values_do() -> None:
    assert fingerprint(clip="a", model="b") == fingerprint(model="b", clip="a")
    assert fingerprint(clip="a", model="b") != fingerprint(clip="b", model="a")
    assert fingerprint(clip="a", plate=None) != fingerprint(clip="a")
    # sha256sum of {"clip": "a"}
    assert fingerprint(clip="a") == hashlib.sha256(b'{"clip": "a"}').hexdigest()[:32]


def test_a_file_edited_in_place_is_noticed(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"one")
    before = sha256_of_file(clip)
    assert before == hashlib.sha256(b"one").hexdigest()
    with clip.open("r+b") as file:
        file.write(b"two")
    os.utime(clip, ns=(0, clip.stat().st_mtime_ns + 1))  # whatever the file system's clock can tell
    assert sha256_of_file(clip) == hashlib.sha256(b"two").hexdigest()


def test_a_large_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"large")
    first = sha256_of_file(clip)
    monkeypatch.setattr(module.hashlib, "file_digest", None)
    assert sha256_of_file(clip) == first


def test_pictures_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, content in (("2.png", b"b"), ("1.png", b"a")):
        (tmp_path / name).write_bytes(content)
    assert sha256_of_output(tmp_path) == hashlib.sha256(b"ab").hexdigest()


def test_a_line_of_code_makes_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fingerprint.py").write_text("one = 1\n")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "fingerprint.py"))
    one = sha256_of_program.__wrapped__()
    (tmp_path / "fingerprint.py").write_text("one = 2\n")
    assert sha256_of_program.__wrapped__() != one


def test_the_program_is_read_in_no_time() -> None:
    sha256_of_program.__wrapped__()
    started = time.process_time()
    sha256_of_program.__wrapped__()
    assert time.process_time() - started < 0.05, f"all of {Path(vmatte.__file__).parent} is hashed before each render"
