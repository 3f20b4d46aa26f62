"""`vmatte image`: many pictures, what it writes where, and how it ends."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from conftest import Ended
from PIL import Image
from typer.models import OptionInfo

from vmatte.errors import JobError, ModelError
from vmatte.image_cli import image
from vmatte.job import Words
from vmatte.options import Edges, FilePlate, Screen, Subject
from vmatte.stills.plan import find_layers, plan_stills
from vmatte.stills.run import WORDS

Command = Callable[..., Ended]
KEY = ("--model", "luma-key")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures, one of them in a folder below, and what is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.jpg", "more/c.webp"]):
        Image.new("RGB", (40, 30), (80 * number + 60,) * 3).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_becomes_a_folder_with_its_pictures_in_their_places(
    photos: Path, tmp_path: Path, vmatte_command: Command
) -> None:
    ended = vmatte_command("image", photos, "-o", tmp_path / "out", *KEY)
    assert ended.code == 0
    assert files(tmp_path / "out") == {"a.png", "b.png", "more/c.png"}
    assert re.fullmatch(r"3 pictures in \d+\.\d s\n", ended.out)
    assert "model luma-key" in ended.err
    assert "[3/3]" in ended.err
    with Image.open(tmp_path / "out" / "a.png") as cut:
        assert cut.mode == "RGBA"
        assert cut.getpixel((5, 5)) == (60, 60, 60, 60)


def test_one_bad_picture_does_not_stop_the_others(photos: Path, tmp_path: Path, vmatte_command: Command) -> None:
    (photos / "broken.jpg").write_text("no picture")
    ended = vmatte_command("image", photos, "-o", tmp_path / "out", *KEY)
    assert ended.code == 5
    assert files(tmp_path / "out") == {"a.png", "b.png", "more/c.png"}
    assert f"vmatte: {photos / 'broken.jpg'} is no picture that vmatte reads" in ended.err
    assert ended.err.splitlines()[-1] == "vmatte: 1 of 4 pictures could not be made"


def test_a_model_that_cannot_be_had_ends_the_run_at_once(
    photos: Path, tmp_path: Path, vmatte_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refused(*_: object) -> None:
        asked.append(1)
        raise ModelError("no weights today")

    monkeypatch.setattr("vmatte.stills.matting.build_model", refused)
    ended = vmatte_command("image", photos, "-o", tmp_path / "out", *KEY)
    assert (ended.code, len(asked)) == (2, 1)
    assert ended.err.splitlines()[-1] == "vmatte: no weights today"


def test_exit_codes_tell_all_failed_and_a_single_ones_mistake(tmp_path: Path, vmatte_command: Command) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no picture")
    assert vmatte_command("image", tmp_path / "a.jpg", tmp_path / "b.jpg", "-o", tmp_path / "out", *KEY).code == 6
    single = vmatte_command("image", tmp_path / "a.jpg", "-o", tmp_path / "a.png", *KEY)
    assert single.code == 2
    assert single.err.splitlines()[-1].startswith(f"vmatte: {tmp_path / 'a.jpg'} is no picture")


def test_nothing_is_overwritten_without_a_word_and_the_picture_itself_never(
    photos: Path, vmatte_command: Command
) -> None:
    before = (photos / "a.png").read_bytes()
    for more in ([], ["-y"]):
        ended = vmatte_command("image", photos / "a.png", "-o", photos / "a.png", *KEY, *more)
        assert ended.code == 2
        assert "is the input itself" in ended.err
    assert (photos / "a.png").read_bytes() == before
    # In a folder over itself, one picture would become another one's file.
    (photos / "b.png").write_bytes(b"mine")
    assert vmatte_command("image", photos / "b.jpg", "-o", photos / "b.png", *KEY).code == 2
    assert (photos / "b.png").read_bytes() == b"mine"
    assert vmatte_command("image", photos / "b.jpg", "-o", photos / "b.png", *KEY, "-y").code == 0
    assert (photos / "b.png").read_bytes()[:4] == b"\x89PNG"


def test_nothing_half_written_stays(photos: Path, tmp_path: Path, vmatte_command: Command) -> None:
    Image.new("RGB", (16400, 2)).save(photos / "wide.png")
    ended = vmatte_command("image", photos, "-o", tmp_path / "out", "--format", "webp", *KEY)
    assert ended.code == 5
    assert f"{tmp_path / 'out' / 'wide.webp'}: webp has at most 16383 pixels" in ended.err
    assert files(tmp_path / "out") == {"a.webp", "b.webp", "more/c.webp"}


def test_what_is_there_can_be_skipped(photos: Path, tmp_path: Path, vmatte_command: Command) -> None:
    vmatte_command("image", photos / "a.png", "-o", tmp_path / "out", *KEY)
    made = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    ended = vmatte_command("image", photos, "-o", tmp_path / "out", *KEY, "--skip-existing")
    assert ended.code == 0
    assert f"{photos / 'a.png'}: done already" in ended.err
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == made
    assert files(tmp_path / "out") == {"a.png", "b.png", "more/c.png"}


def test_layers_get_a_file_each(photos: Path, tmp_path: Path, vmatte_command: Command) -> None:
    layers = ("--layer", "alpha", "--layer", "composite", "--layer", "cutout")
    ended = vmatte_command("image", photos / "a.png", "-o", tmp_path / "out", "--bg", "navy", *layers, *KEY, "--json")
    assert ended.code == 0
    assert files(tmp_path / "out") == {"a_alpha.png", "a_composite.jpg", "a_cutout.png"}
    with Image.open(tmp_path / "out" / "a_alpha.png") as matte:
        assert (matte.mode, matte.getpixel((0, 0))) == ("L", 60)
    told = json.loads(ended.out)
    assert told["failed"] == 0
    assert {Path(path).name for path in told["pictures"][0]["outputs"]} == files(tmp_path / "out")


def test_a_look_that_comes_to_nothing_is_told(photos: Path, tmp_path: Path, vmatte_command: Command) -> None:
    ended = vmatte_command("image", photos / "a.png", "-o", tmp_path / "a.png", *KEY, "--shadow", 1, "--grain", 1)
    assert "no layer has a background: nothing comes of shadow, grain" in ended.err


def test_without_an_output_it_lies_beside_the_picture(photos: Path, vmatte_command: Command) -> None:
    assert vmatte_command("image", photos / "b.jpg", "--bg", "navy", *KEY).code == 0
    assert (photos / "b_composite.jpg").is_file()


def test_a_pattern_is_understood_where_the_shell_leaves_it(photos: Path, tmp_path: Path) -> None:
    jobs = plan_stills([photos / "*.*g"], tmp_path / "out", ("cutout",), None)
    assert [job.picture.name for job in jobs] == ["a.png", "b.jpg"]


def test_an_output_inside_the_folder_is_not_read_again(photos: Path, vmatte_command: Command) -> None:
    for _ in range(2):
        assert vmatte_command("image", photos, "-o", photos / "out", *KEY, "-y").code == 0
    assert files(photos / "out") == {"a.png", "b.png", "more/c.png"}


@pytest.mark.parametrize(
    ("output", "layers", "form", "words"),
    [
        ("one.png", ("cutout", "alpha"), None, "give a folder"),
        ("one.jpg", ("cutout",), None, "jpg has no alpha"),
        ("one.png", ("cutout",), "webp", "is no webp"),
        ("out", ("cutout",), "gif", "no picture format is called 'gif'"),
        ("x.bmp", ("cutout",), None, r"x\.bmp: bmp is not written; png, webp, tiff or jpg"),
        ("yy.gif", ("cutout", "alpha"), None, r"yy\.gif: gif is not written; png, webp, tiff or jpg"),
        ("x.png,alpha", ("cutout",), None, r"give -o x\.png --layer alpha"),
        ("nodir/x.png", ("cutout",), None, "folder nodir does not exist; make it first"),
        ("x" * 300 + ".png", ("cutout",), None, "cannot be written: File name too long"),
        ("nodir/out/", ("cutout",), None, "folder nodir does not exist; make it first"),
    ],
)
def test_mistakes_in_what_is_written_are_told_before_anything_is_read(
    output: str, layers: tuple[str, ...], form: str | None, words: str
) -> None:
    with pytest.raises(JobError, match=words):
        plan_stills([Path("missing.jpg")], Path(output), layers, form)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["out", "day.1/", "x.bmp/", "x.png,alpha/", "there.gif"])
def test_a_folder_is_there_or_has_no_extension_or_ends_in_a_slash(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.gif").mkdir()
    (job,) = plan_stills([Path("missing.jpg")], f"{tmp_path}/{name}", ("cutout",), None)
    assert job.writings[0].path == tmp_path / name / "missing.png"


def test_what_is_not_written_becomes_no_folder(photos: Path, tmp_path: Path, vmatte_command: Command) -> None:
    before = files(tmp_path)
    ended = vmatte_command("image", photos / "b.jpg", "-o", tmp_path / "x.bmp", *KEY)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"{tmp_path / 'x.bmp'}: bmp is not written; png, webp, tiff or jpg" in ended.err
    assert not (tmp_path / "x.bmp").exists()
    assert vmatte_command("image", photos / "b.jpg", "-o", f"{tmp_path}/x.bmp/", *KEY).code == 0
    assert files(tmp_path) - before == {"x.bmp/b.png"}


def test_two_pictures_that_would_become_one_file_are_refused(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(photos / "a.jpg")
    with pytest.raises(JobError, match="would both become"):
        plan_stills([photos], tmp_path / "out", ("cutout",), None)


def test_a_composite_needs_a_plate() -> None:
    assert find_layers([], plate=False) == ("cutout",)
    assert find_layers([], plate=True) == ("composite",)
    with pytest.raises(JobError, match="needs a background"):
        find_layers(["composite"], plate=False)
    with pytest.raises(JobError, match="no layer is called"):
        find_layers(["matte"], plate=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sheet", "a4"], "give --id-photo too"),
        (["--quality", "80"], "only jpg and webp have a quality"),
        (["--id-photo", "1inch", "--size", "100x100"], "leave out size"),
        (["--id-photo", "1inch", "--bg", "none"], "needs a background"),
        (["--id-photo", "9inch"], "no ID photo is called"),
        (["--id-photo", "1inch", "--sheet", "big"], "no sheet is called"),
    ],
)
def test_words_that_do_not_belong_together_are_told(
    photos: Path, vmatte_command: Command, arguments: list[str], words: str
) -> None:
    ended = vmatte_command("image", photos / "a.png", *KEY, *arguments)
    assert ended.code == 2
    assert words in ended.err


def test_the_help_shows_the_defaults_that_the_classes_have() -> None:
    shown = {
        name: option.show_default
        for name, hint in get_type_hints(image, include_extras=True).items()
        for option in get_args(hint)
        if isinstance(option, OptionInfo) and inspect.signature(image).parameters[name].default is None
    }
    for record in (Edges, Screen, Subject, FilePlate):
        for name, field in record.model_fields.items():
            word = f"subject_{name}" if record is Subject and name != "keep" else "subject" if name == "keep" else name
            if word in shown and not field.is_required() and word not in ("screen", "clean_plate"):
                assert shown[word] == (
                    f"{field.default:g}" if isinstance(field.default, float | int) else field.default
                )


def test_the_command_has_every_word_that_a_picture_can_have() -> None:
    options = set(inspect.signature(image).parameters) - {"bg"} | {"background"}
    own = {"pictures", "output", "form", "layer", "quality", "id_photo", "sheet", "skip_existing", "quiet", "as_json"}
    assert options - own == WORDS
    assert set(Words.__annotations__) >= WORDS


def test_its_help_imports_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["vmatte", "image", "--help"]
from vmatte.cli import main
try:
    main()
finally:
    heavy = {"torch", "ray", "transformers", "onnxruntime", "cv2", "av", "numpy", "PIL"} & set(sys.modules)
    print("imported", sorted(heavy), file=sys.stderr)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0
    assert process.stderr.splitlines()[-1] == "imported []"
    for size in ("1inch", "us-visa", "--id-photo", "--sheet", "--layer"):
        assert size in process.stdout


def test_a_terminal_gets_a_bar(photos: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vmatte", "image", str(photos), "-o", str(tmp_path / "out"), *KEY]
    process = subprocess.run(
        command, stderr=theirs, stdout=subprocess.PIPE, timeout=120, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the end, on Linux
        pass
    os.close(ours)
    assert process.returncode == 0
    assert "3/3" in shown.decode()
    assert "━" in shown.decode()


def test_16_bits_of_a_file_stay_16_bits(
    tmp_path: Path, vmatte_command: Command, run_ffmpeg: Callable[..., bytes]
) -> None:
    codes = np.random.default_rng(2).integers(20000, 65536, (30, 40, 3)).astype("<u2")
    (tmp_path / "raw").write_bytes(codes.tobytes())
    run_ffmpeg(
        "-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "40x30", "-i", tmp_path / "raw",
        "-pix_fmt", "rgb48be", tmp_path / "deep.png",
    )  # fmt: skip
    arguments = ("--foreground", "source", "-o", tmp_path / "out.tif")
    assert vmatte_command("image", tmp_path / "deep.png", *KEY, *arguments).code == 0
    seen = np.frombuffer(run_ffmpeg("-i", tmp_path / "out.tif", "-f", "rawvideo", "-pix_fmt", "rgba64le", "-"), "<u2")
    cut = seen.reshape(30, 40, 4).astype(int)
    assert np.abs(cut[..., :3] - codes).max() <= 2
    assert np.abs(cut[..., 3] - codes @ [0.2126, 0.7152, 0.0722]).max() <= 3
