"""Job files: what they come to, and what is said of mistakes. Positions and outputs are worked by hand."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from conftest import Ended

import vmatte.jobfile
from vmatte import cli
from vmatte.encodings import ENCODINGS
from vmatte.errors import JobFileError
from vmatte.job import Runtime, make_job, make_runtime
from vmatte.jobfile import Entry, read_jobs, schema
from vmatte.jobfile.keys import KEYS, USUAL
from vmatte.options import BlurPlate, ColorPlate, FilePlate, GaussianSmoothing, MotionSmoothing, NoPlate, NoSmoothing

CONFIGS = [path for path in sorted((Path(__file__).parent.parent / "configs").glob("*.yaml")) if path.stem != "cluster"]
"""Job files; the other one is Ray's."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with clips in two folders and a plate."""
    monkeypatch.chdir(tmp_path)
    for name in ("raw/day-1/a.mp4", "raw/day-1/b.mp4", "raw/day-2/a.mp4", "studio.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def read(text: str, *settings: str) -> list[Entry]:
    Path("jobs.yaml").write_text(text)
    return read_jobs(Path("jobs.yaml"), settings)


def mistakes(text: str, *settings: str) -> list[str]:
    with pytest.raises(JobFileError) as raised:
        read(text, *settings)
    assert str(raised.value) == "\n".join(raised.value.problems)
    return list(raised.value.problems)


def outputs(entries: list[Entry]) -> list[str]:
    return [str(entry.job.output.relative_to(Path.cwd())) for entry in entries]


# Keys


def options_of_run() -> list[list[str]]:
    """The long names of each option of `vmatte run`, as the parser has them; without how it is presented."""
    command = typer.main.get_command(cli.app).commands["run"]  # type: ignore[attr-defined]
    named = [[name[2:] for name in each.opts if name.startswith("--")] for each in command.params]
    return [names for names in named if names and names[0] not in ("quiet", "json", "preview", "help")]


def test_the_keys_are_the_options_of_run() -> None:
    options = options_of_run()
    assert {name for names in options for name in names} == set(USUAL)
    assert sorted(sorted(names) for names in options) == sorted(sorted(key.words) for key in KEYS.values())


def test_an_entry_is_what_the_same_words_give_on_the_command_line(folder: Path) -> None:
    (folder / "own.onnx").touch()
    (entry,) = read("""
clips: raw/day-1/a.mp4
defaults:
  bg: navy
  output: o.webm
  format: webm
  model: onnx:modnet
  weights: own.onnx
  smooth: motion
  smooth-strength: low
  device: cuda:1
  precision: fp16
  compile: true
  batch: 4
  segment-frames: 100
  cache: false
  license-guard: permissive
  overwrite: true
""")
    assert entry.job == make_job(
        folder / "raw/day-1/a.mp4",
        background="navy",
        output=folder / "o.webm",
        encoding="webm",
        model="onnx:modnet",
        weights=folder / "own.onnx",
        smooth="motion",
        strength="low",
        segment_frames=100,
    )
    assert entry.runtime == make_runtime(
        device="cuda:1",
        precision="fp16",
        compile=True,
        batch=4,
        cache=False,
        licence_guard="permissive",
        overwrite=True,
    )
    assert entry.where == "jobs.yaml:2:8"


def test_a_bare_clip_is_a_cutout_beside_it(folder: Path) -> None:
    (entry,) = read("clips: raw/day-1/a.mp4")
    assert entry.job == make_job(folder / "raw/day-1/a.mp4")
    assert entry.runtime == Runtime()
    assert outputs([entry]) == ["raw/day-1/a_cutout.mov"]


@pytest.mark.parametrize(
    ("written", "smoothing"),
    [
        ("off", NoSmoothing()),
        ("gaussian", GaussianSmoothing()),
        ("{method: gaussian, radius: 3}", GaussianSmoothing(radius=3)),
        ("{method: motion, strength: high}", MotionSmoothing(strength="high")),
        ("{strength: low}", MotionSmoothing(strength="low")),
        ("null", None),
    ],
)
def test_smooth_is_a_word_or_a_mapping(written: str, smoothing: object) -> None:
    (entry,) = read(f"clips: raw/day-1/a.mp4\ndefaults: {{smooth: {written}}}")
    assert entry.job.smoothing == smoothing


@pytest.mark.parametrize(
    ("written", "background", "name"),
    [
        ("studio.png", FilePlate(path=Path("studio.png")), "studio"),
        ("'#00b140'", ColorPlate(rgb=(0, 177, 64)), "00b140"),
        ("navy", ColorPlate(rgb=(0, 0, 128)), "navy"),
        ("blur", BlurPlate(), "blur"),
        ("none", NoPlate(), "none"),
        ("{method: file, path: ./studio.png}", FilePlate(path=Path("studio.png")), "studio"),
        ("{method: color, rgb: [0, 177, 64]}", ColorPlate(rgb=(0, 177, 64)), "00b140"),
        ("{method: blur, radius: 0.03}", BlurPlate(radius=0.03), "blur"),
        ("{radius: 0.03}", BlurPlate(radius=0.03), "blur"),
    ],
)
def test_bg_is_a_word_or_a_mapping(folder: Path, written: str, background: object, name: str) -> None:
    (entry,) = read(f"clips: raw/day-1/a.mp4\ndefaults: {{bg: {written}, output: 'o/{{plate}}{{suffix}}'}}")
    if isinstance(background, FilePlate):
        background = FilePlate(path=folder / background.path)
    assert entry.job.background == background
    assert entry.job.output.stem == name


# What goes before what


def test_set_goes_before_a_clip_before_the_matrix_before_the_defaults() -> None:
    text = """
defaults: {bg: navy, model: modnet, batch: 2, smooth: {method: motion, strength: high}, output: "{stem}_{model}.mp4"}
clips:
  - raw/day-1/b.mp4
  - {clip: raw/day-1/a.mp4, model: rvm, batch: 3}
matrix: {model: [u2netp, birefnet]}
"""
    entries = read(text)
    assert [(entry.job.clip.stem, entry.job.model, entry.runtime.batch) for entry in entries] == [
        ("b", "u2netp", 2),
        ("b", "birefnet", 2),
        ("a", "rvm", 3),
    ]
    entries = read(text, "model=luma-key", "batch=auto", "smooth.radius=3", "bg=#102030")
    assert [(entry.job.clip.stem, entry.job.model, entry.runtime.batch) for entry in entries] == [
        ("b", "luma-key", "auto"),
        ("a", "luma-key", "auto"),
    ]
    assert {entry.job.smoothing for entry in entries} == {MotionSmoothing(strength="high", radius=3)}
    assert {entry.job.background for entry in entries} == {ColorPlate(rgb=(16, 32, 48))}


@pytest.mark.parametrize(
    ("settings", "smoothing"),
    [
        (["smooth.radius=3"], GaussianSmoothing(radius=3)),
        (["smooth.method=motion", "smooth.strength=low"], MotionSmoothing(strength="low")),
        (["smooth=motion", "smooth.radius=5"], MotionSmoothing(radius=5)),
        (["smooth.radius=5", "smooth=off"], NoSmoothing()),
        (["smooth={method: motion, radius: 2}"], MotionSmoothing(radius=2)),
    ],
)
def test_set_reaches_into_a_mapping(settings: list[str], smoothing: object) -> None:
    (entry,) = read("clips: raw/day-1/a.mp4\ndefaults: {smooth: gaussian}", *settings)
    assert entry.job.smoothing == smoothing


def test_a_set_path_lies_in_the_current_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/jobs.yaml").write_text("clips: ../raw/day-1/a.mp4\ndefaults: {bg: missing.png}")
    (entry,) = read_jobs(Path("sub/jobs.yaml"), ["bg=studio.png", "output=o/{stem}.mp4"])
    assert entry.job.background == FilePlate(path=folder / "studio.png")
    assert outputs([entry]) == ["o/a.mp4"]


def test_null_takes_a_default_back() -> None:
    (entry,) = read("clips: [{clip: raw/day-1/a.mp4, license-guard: null}]\ndefaults: {license-guard: commercial}")
    assert entry.runtime.licence_guard is None


def test_set_mistakes_stand_behind_those_of_the_file() -> None:
    settings = ["smooth.radus=3", "modle=rvm", "model.x=1", "batch=three", "bg", "smooth=[", "weights=no.onnx"]
    assert mistakes("clips: none.mp4", *settings) == [
        "jobs.yaml:1:8: clip none.mp4 does not exist; give a file or a glob",
        "--set smooth.radus: unknown key 'smooth.radus'; did you mean 'smooth.radius'?",
        "--set modle: unknown key 'modle'; did you mean 'model'?",
        "--set model.x: model has no keys of its own; write --set model=VALUE",
        "--set batch: batch is 'three'; it should be a whole number or 'auto'",
        "--set bg: no value is given; write --set bg=VALUE",
        "--set smooth: this is no YAML: while parsing a flow node, expected the node content, but found "
        "'<stream end>'; mend it, quotes may be missing",
        "--set weights: weights no.onnx do not exist; give a file, or its folder",
    ]


# Outputs


def test_a_matrix_is_the_product_of_its_lists() -> None:
    entries = read("""
defaults: {output: "o/{shot}/{stem}_{plate}_{layer}_{model}{suffix}", model: "onnx:modnet"}
clips:
  - raw/*/a.mp4
  - {clip: raw/day-1/b.mp4, shot: closing}
matrix: {bg: [studio.png, none], format: [webm, png]}
""")
    clips = ["day-1/a", "day-2/a", "closing/b"]
    renders = itertools.product(clips, ["studio_composite", "none_cutout"], [".webm", ""])
    assert outputs(entries) == [f"o/{clip}_{plate}_onnx-modnet{suffix}" for clip, plate, suffix in renders]


def test_the_format_follows_from_the_extension_or_the_layer() -> None:
    clip = "clips: raw/day-1/a.mp4\ndefaults: "
    assert read(f'{clip}{{output: "{{stem}}.webm"}}')[0].job.outputs[0].encoding == "webm"
    (entry,) = read(f'{clip}{{output: "{{format}}_{{stem}}{{suffix}}"}}')
    assert (outputs([entry]), entry.job.outputs[0].encoding) == (["prores4444_a.mov"], "prores4444")
    assert outputs(read(f'{clip}{{bg: navy, output: "{{stem}}.{{format}}"}}')) == ["a.mp4"]


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{stam}.mp4", "unknown field {stam}; did you mean 'stem'?"),
        ("{}.mp4", "unknown field {}; there are: stem, plate, shot, format, suffix, model, layer"),
        ("{stem.x}.mp4", "unknown field {stem.x}; did you mean 'stem'?"),
        ("{stem:>9}.mp4", "{stem} takes no format; write {stem} alone"),
        ("{stem!r}.mp4", "{stem} takes no format; write {stem} alone"),
        ("{stem.mp4", "expected '}' before end of string; write {field}, and {{ for a brace itself"),
    ],
)
def test_a_template_that_cannot_be_filled_is_told(template: str, what: str) -> None:
    found = mistakes(f'clips: raw/day-1/a.mp4\ndefaults: {{bg: navy, output: "{template}"}}')
    assert found == [f"jobs.yaml:2:30: output {template!r}: {what}"]


def test_braces_can_be_part_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", "{stem}")
    text = 'clips: raw/day-1/a.mp4\ndefaults: {bg: navy, output: "${ODD}_{{x}}_{stem}.mp4"}'
    assert outputs(read(text)) == ["{stem}_{x}_a.mp4"]


def test_renders_that_would_write_one_file_name_each_other(folder: Path) -> None:
    text = "clips:\n  - {}\n  - {}\ndefaults: {{bg: navy, output: {}}}\nmatrix: {}"
    one, other = "raw/day-1/a.mp4", "raw/day-2/a.mp4"
    path = folder / "o.mp4"
    assert mistakes(text.format(one, other, "'o.mp4'", "{}")) == [
        f"jobs.yaml:3:5: {path} would be written from here and from jobs.yaml:2:5; "
        "tell them apart with {shot} in output"
    ]
    assert mistakes(text.format(one, "raw/day-1/b.mp4", "'{stem}.mp4'", "{bg: [blur, navy]}")) == [
        f"jobs.yaml:{line}:5: {folder / name} would be written more than once from here; "
        "tell them apart with {plate} in output"
        for line, name in ((2, "a.mp4"), (3, "b.mp4"))
    ]
    assert mistakes(text.format(one, one, "'{stem}.mp4'", "{}")) == [
        f"jobs.yaml:3:5: {folder / 'a.mp4'} would be written from here and from jobs.yaml:2:5; "
        "no field of a template tells them apart, so give each an output of its own"
    ]


def test_an_output_that_is_an_input_is_told(folder: Path) -> None:
    (folder / "plate.mp4").touch()
    text = "clips: [raw/day-1/a.mp4, raw/day-1/b.mp4]\ndefaults: {{bg: plate.mp4, output: '{}'}}"
    a, b = folder / "raw/day-1/a.mp4", folder / "raw/day-1/b.mp4"
    assert mistakes(text.format("raw/day-1/{stem}.mp4")) == [
        f"jobs.yaml:1:9: the output {a} is the clip itself; give another output",
        f"jobs.yaml:1:26: the output {b} is the clip itself; give another output",
    ]
    assert mistakes(text.format("plate.mp4"))[0] == (
        f"jobs.yaml:1:9: the output {folder / 'plate.mp4'} is a background; give another output"
    )


def test_results_beside_the_clips_are_no_clips_when_the_batch_is_run_again() -> None:
    text = "clips: raw/day-1/*.mp4\ndefaults: {bg: navy}"
    first = read(text)
    assert outputs(first) == ["raw/day-1/a_composite.mp4", "raw/day-1/b_composite.mp4"]
    for entry in first:
        entry.job.output.touch()
    assert read(text) == first


# Clips and paths


def test_a_glob_means_files_sorted_by_name(folder: Path) -> None:
    (folder / "raw/c.mp4").mkdir()
    assert [str(entry.job.clip.relative_to(folder / "raw")) for entry in read("clips: raw/**/*.mp4")] == [
        "day-1/a.mp4",
        "day-1/b.mp4",
        "day-2/a.mp4",
    ]
    assert mistakes("clips: [raw/c*, raw/*.mov, raw, '']") == [
        "jobs.yaml:1:9: raw/c* matches only folders; give a glob that matches clips",
        "jobs.yaml:1:17: raw/*.mov matches no file; give a glob that matches clips",
        "jobs.yaml:1:28: clip raw is a folder; give its files, such as raw/*.mp4",
        "jobs.yaml:1:33: the clip has no name; give a file or a glob",
    ]


def test_a_tilde_that_is_no_home_is_part_of_a_name(folder: Path) -> None:
    for name in ("~nobody-of-that-name.mp4", "~.png"):
        (folder / name).touch()
    (entry,) = read("clips: ~nobody-of-that-name.mp4\ndefaults: {bg: ./~.png}")
    assert entry.job.clip == folder / "~nobody-of-that-name.mp4"
    assert entry.job.background == FilePlate(path=folder / "~.png")


def test_a_file_goes_before_a_glob_of_its_name(folder: Path) -> None:
    (folder / "take[1].mp4").touch()
    (folder / "take1.mp4").touch()
    assert [entry.job.clip.name for entry in read("clips: take[1].mp4")] == ["take[1].mp4"]


def test_the_more_specific_item_keeps_a_clip(folder: Path) -> None:
    (folder / "raw/day-2/link.mp4").symlink_to(folder / "raw/day-2/a.mp4")
    entries = read("""
clips:
  - raw/**/*.mp4
  - {clip: raw/*/a.mp4, model: rvm}
  - raw/day-2/*.mp4
  - {clip: raw/day-1/a.mp4, model: modnet}
""")
    assert [(entry.where, str(entry.job.clip.relative_to(folder / "raw")), entry.job.model) for entry in entries] == [
        ("jobs.yaml:3:5", "day-1/b.mp4", "auto"),
        ("jobs.yaml:4:5", "day-2/a.mp4", "rvm"),
        ("jobs.yaml:6:5", "day-1/a.mp4", "modnet"),
    ]


def test_paths_are_relative_to_the_file_and_know_variables_and_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "[x]").mkdir()
    (folder / "[x]/c.mp4").touch()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("ODD", str(folder / "[x]"))
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    (folder / "sub").mkdir()
    (folder / "sub/jobs.yaml").write_text("""
clips: ["${ODD}/*.mp4", "~/raw/day-1/b.mp4", "${UNSET:-../raw}/day-2/a.mp4"]
defaults: {bg: "${EMPTY:-..}/studio.png", output: "~/o/$HOME/{stem}_{shot}.mp4", model: "${UNSET}"}
""")
    entries = read_jobs(folder / "sub/jobs.yaml")
    assert outputs(entries) == ["o/$HOME/c_[x].mp4", "o/$HOME/b_day-1.mp4", "o/$HOME/a_day-2.mp4"]
    assert {entry.job.model for entry in entries} == {"${UNSET}"}
    assert all(entry.job.background.path.samefile(folder / "studio.png") for entry in entries)  # type: ignore[union-attr]
    assert mistakes('clips: "${UNSET}/a.mp4"\ndefaults: {bg: "${A B}"}') == [
        "jobs.yaml:1:8: the variable UNSET is not set; set it, or write ${UNSET:-default}",
        "jobs.yaml:2:16: '${A B}': ${ begins no variable here; write ${NAME} or ${NAME:-default}",
    ]


# Mistakes


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(folder: Path) -> None:
    found = mistakes("""\
defaults:
  modle: rvm
  bg: stduio.png
  batch: 0
  compile: yes
  output: out/{stem}.mp4
  smooth: {method: motion, strenth: high, radius: 99}
clips:
  - raw/*/a.mp4
  - raw/missing.mp4
  - {clip: raw/nothing.mp4, shot: 7, bgg: navy}
  - {shot: x}
  - 3
matrix:
  device: cpu
  format: [mp4, wbem]
  smooth: [off, off]
hello: 1
""")
    assert found == [
        "jobs.yaml:2:3: unknown key 'modle'; did you mean 'model'?",
        "jobs.yaml:3:7: background stduio.png does not exist; give a picture or a video",
        "jobs.yaml:4:10: batch is 0; it should be greater than or equal to 1 or 'auto'",
        "jobs.yaml:5:12: compile is 'yes'; it should be true or false",
        "jobs.yaml:7:28: unknown key 'strenth' in smooth by motion; did you mean 'strength'?",
        "jobs.yaml:7:51: smooth.radius is 99; it should be less than or equal to 8",
        f"jobs.yaml:9:5: {folder / 'out/a.mp4'} (and 2 more) would be written more than once from here; "
        "no field of a template tells them apart, so give each an output of its own",
        "jobs.yaml:10:5: clip raw/missing.mp4 does not exist; give a file or a glob",
        "jobs.yaml:11:12: clip raw/nothing.mp4 does not exist; give a file or a glob",
        "jobs.yaml:11:35: shot is a name; write one, in quotes if it is a number",
        "jobs.yaml:11:38: unknown key 'bgg'; did you mean 'bg'?",
        "jobs.yaml:12:5: this clip has no file; add clip: FILE",
        "jobs.yaml:13:5: a clip is a file, a glob, or in a list {clip: FILE, KEY: VALUE}; write one of these",
        "jobs.yaml:15:11: device in matrix is a list of values; write [VALUE, VALUE]",
        "jobs.yaml:16:17: format: 'wbem' is none; did you mean 'webm'?",
        "jobs.yaml:17:17: smooth has this value twice in matrix; keep one of them",
        "jobs.yaml:18:1: unknown key 'hello'; there are: defaults, clips, matrix",
    ]


def test_a_misspelt_key_breeds_no_further_mistakes() -> None:
    text = "clips: raw/day-1/*.mp4\ndefaults: {bgg: navy, output: '{stem}.mp4'}"
    assert mistakes(text) == ["jobs.yaml:2:12: unknown key 'bgg'; did you mean 'bg'?"]


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("bg:", "2:15: bg has no value; a colour with # needs quotes; give one, or leave the key out"),
        ("bg: [a, b]", "2:16: bg is ['a', 'b']; it should be a string; a list of choices belongs under matrix:"),
        ("bg: 111111", "2:16: bg is 111111; it should be a string; put it in quotes"),
        ("bg: {}", "2:16: bg has no method; add one of: file, color, gradient, blur, none"),
        ("bg: {method: blurr}", "2:25: no method of bg is called 'blurr'; did you mean 'blur'?"),
        ("bg: {method: file}", "2:16: bg.path is missing, or is not complete; write it"),
        ("bg: {path: studio.png, start: 2, end: 1}", "2:16: bg: end (1) is not after start (2)"),
        ("screen: {color: [255, 0, 0]}", "2:20: screen: a screen is green or blue"),
        ("bg: {method: file, path: x.png}", "2:37: background x.png is no file that exists; give a picture or a video"),
        ("model: {a: 1}", "2:19: model is {'a': 1}; it should be a string"),
        ("smooth: sideways", "2:20: smooth: 'sideways' is none; there are: off, gaussian, motion"),
        (
            "smooth: {method: gaussian, strength: low}",
            "2:39: unknown key 'strength' in smooth by gaussian; it belongs to motion; leave it out",
        ),
        (
            "smooth: gaussian, smooth-strength: low",
            "2:47: smoothing by gaussian has no strength; leave out 'low', or smooth by motion",
        ),
        (
            "smooth: {radius: 2}, smooth-strength: low",
            "2:50: smooth is a mapping, where strength: says this; write it there",
        ),
        ("precision: fp61", "2:23: precision is 'fp61'; it should be 'auto', 'fp32' or 'fp16'; did you mean 'fp16'?"),
        (
            "license-guard: permissive, licence-guard: permissive",
            "2:39: licence-guard is license-guard, which stands here too; keep one of them",
        ),
        (
            "format: mp4",
            "2:20: mp4 has no alpha, and no background is given; choose --bg, or one of: "
            + ", ".join(name for name, row in ENCODINGS.items() if row.pix_fmt_alpha),
        ),
    ],
)
def test_a_wrong_value_is_told_where_it_stands(written: str, what: str) -> None:
    assert mistakes(f"clips: raw/day-1/a.mp4\ndefaults: {{{written}}}") == [f"jobs.yaml:{what}"]


def test_a_matrix_beyond_measure_is_told() -> None:
    thousand = list(range(1, 1001))
    found = mistakes(f"clips: raw/day-1/a.mp4\nmatrix: {{batch: {thousand}, segment-frames: {thousand}}}")
    assert found == ["jobs.yaml:1:1: clips and matrix come to 1000000 renders, more than 100000; split the file"]


# YAML


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "1:1: nothing stands here; a job file has at least clips:"),
        ("- a", "1:1: a job file is a mapping; begin with defaults:, clips:, matrix:"),
        ("defaults: {}", "1:1: there is no clips:; add the clips to render"),
        ("clips:", "1:7: clips has no value; give a file, a glob, or a list of them"),
        ("clips: []", "1:8: clips has no value; give a file, a glob, or a list of them"),
        ("clips: {clip: a}", "1:8: a clip is a file, a glob, or in a list {clip: FILE, KEY: VALUE}; write one of "
         "these"),
        ("clips: a.mp4\ndefaults:\n\tbg: navy", "3:1: this is no YAML: while scanning for the next token, found "
         "character '\\t' that cannot start any token; indent with spaces"),
        ("clips: &a [*a]", "1:1: it is nested too deeply, or holds itself by an alias; write it flat"),
        ("[" * 5000, "1:1: this is nested too deeply for a job file; write it flat"),
        ("clips: !include x", "1:8: tag !include means nothing in a job file; remove it"),
        ("clips: !!python/object/apply:os.getcwd x", "1:8: tag !!python/object/apply:os.getcwd means nothing in a job "
         "file; remove it"),
        ('clips: "\\ud800"', "1:8: a control character stands in this value; remove it"),
        ("clips: \x07", "1:8: character 7 cannot stand in YAML; remove it"),
        ("clips: *x", "1:8: this is no YAML: found undefined alias 'x'; mend it, quotes may be missing"),
        ("clips: studio.png\nclips: studio.png", "2:1: 'clips' stands here twice; keep one of them"),
        ("clips: studio.png\n? [a]\n: 1", "2:3: a key is one word; a list or a mapping cannot be one"),
        ("clips: studio.png\ndefaults: {<<: 3}", "2:16: << brings in mappings; give it an alias of one, such as *name"),
    ],
)  # fmt: skip
def test_what_is_no_job_file_is_one_clear_line(text: str, what: str) -> None:
    assert mistakes(text) == [f"jobs.yaml:{what}"]


def test_a_file_that_cannot_be_read_is_one_clear_line() -> None:
    for name, what in (("none.yaml", "No such file or directory"), ("raw", "Is a directory")):
        with pytest.raises(JobFileError) as raised:
            read_jobs(Path(name))
        assert raised.value.problems == (f"{name}: cannot be read: {what}; give a job file",)
    Path("latin.yaml").write_bytes("clips: a\n# caf\xe9".encode("latin-1"))
    with pytest.raises(JobFileError, match=r"^latin.yaml:2:6: this is not UTF-8; save the file as UTF-8$"):
        read_jobs(Path("latin.yaml"))


def test_aliases_that_grow_without_end_are_refused_soon() -> None:
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 15))]
    long = "x" * 100_000
    started = time.process_time()
    for text in ("\n".join(lines), f"clips: [&x {long}, {', '.join(['*x'] * 10_000)}]"):
        assert mistakes(text) == ["jobs.yaml:1:1: its aliases come to more than a job file can hold; write fewer"]
    assert time.process_time() - started < 20


def test_anchors_aliases_and_merge_keys_work(folder: Path) -> None:
    entries = read("""
clips:
  - &wide {clip: raw/day-1/a.mp4, bg: &plate studio.png, model: rvm, batch: 2}
  - {<<: *wide, clip: raw/day-1/b.mp4, model: modnet}
  - {<<: [{batch: 7}, *wide], clip: raw/day-2/a.mp4, output: x.mp4}
""")
    assert [(entry.job.clip.stem, entry.job.model, entry.runtime.batch) for entry in entries] == [
        ("a", "rvm", 2),
        ("b", "modnet", 2),
        ("a", "rvm", 7),
    ]
    assert {entry.job.background for entry in entries} == {FilePlate(path=folder / "studio.png")}


def test_a_byte_order_mark_and_windows_lines_change_no_place() -> None:
    Path("jobs.yaml").write_bytes(b"\xef\xbb\xbfclips: raw/day-1/a.mp4\r\ndefaults:\r\n  smoth: off\r\n")
    with pytest.raises(JobFileError, match=r"^jobs.yaml:3:3: unknown key 'smoth'; did you mean 'smooth'\?$"):
        read_jobs(Path("jobs.yaml"))


# The schema, and the examples


@pytest.fixture(scope="module")
def judge() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def test_the_schema_knows_and_describes_every_key() -> None:
    sections: dict[str, Any] = schema()["properties"]  # type: ignore[assignment]
    for section in ("defaults", "matrix"):
        described = {name: each["description"] for name, each in sections[section]["properties"].items()}
        assert set(described) == set(USUAL)
        assert all(len(text) > 10 for text in described.values())


@pytest.mark.parametrize(
    ("key", "values", "wrong"),
    [
        ("bg", ["navy", "studio.png", None], [3, ["navy"], True]),
        (
            "bg",
            [{"method": "blur", "radius": 0.03}, {"radius": 0.03}],
            [{"radius": 3}, {"method": "blur", "radius": 3}, {}],
        ),
        ("bg", [{"method": "color", "rgb": [0, 1, 2]}], [{"method": "color", "rgb": [0, 1]}, {"method": "glow"}]),
        ("format", ["webm"], ["avi", 4]),
        ("smooth", ["off", {"strength": "low"}, {"method": "gaussian", "radius": 8}], ["on", {"radius": 9}, False]),
        ("smooth", [{"radius": 3}], [{"method": "off", "radius": 3}, {"strenght": "low"}]),
        ("smooth-strength", ["high"], ["huge"]),
        ("precision", ["fp16"], ["fp8"]),
        ("compile", [True], ["true", 1]),
        ("batch", [1, 1024, "auto"], [0, 1025, "4", True, 1.5]),
        ("segment-frames", [1, None], [0, "all"]),
        ("license-guard", ["commercial"], ["all"]),
        ("modle", [], ["rvm"]),
    ],
)
def test_schema_and_reader_agree(
    judge: jsonschema.Draft202012Validator, key: str, values: list[object], wrong: list[object]
) -> None:
    for value, is_right in [*((value, True) for value in values), *((value, False) for value in wrong)]:
        # JSON is YAML.
        file = {"clips": "raw/day-1/a.mp4", "defaults": {"output": "o.webm", key: value}}
        assert judge.is_valid(file) == is_right
        if is_right:
            read(json.dumps(file))
        else:
            mistakes(json.dumps(file))


@pytest.mark.parametrize("file", [{}, {"clips": []}, {"clips": [{"shot": "a"}]}, {"clips": "a", "matrix": {"bg": "b"}}])
def test_the_schema_refuses_what_is_no_job_file(judge: jsonschema.Draft202012Validator, file: object) -> None:
    assert not judge.is_valid(file)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_example_is_read_and_fits_the_schema(path: Path, judge: jsonschema.Draft202012Validator) -> None:
    judge.validate(yaml.safe_load(path.read_text()))
    entries = read_jobs(path)
    assert entries
    assert {entry.job.clip.resolve().name for entry in entries} == {"avatar.mp4"}
    assert all("out" in entry.job.output.resolve().parts for entry in entries)
    assert max(map(len, path.read_text().splitlines())) <= 120


def test_the_examples_are_those_that_the_docs_name() -> None:
    named = (Path(__file__).parent.parent / "docs/batch.md").read_text()
    assert [path.name for path in CONFIGS if f"`{path.name}`" not in named] == []
    assert len(CONFIGS) == 6


def test_the_matrix_example_makes_the_renders_that_it_promises() -> None:
    (path,) = (path for path in CONFIGS if path.stem == "batch-matrix")
    names = [f"{entry.job.output.parent.name}/{entry.job.output.name}" for entry in read_jobs(path)]
    plates = ["studio", "1d2b53", "blur"]
    assert names == [f"avatar/{plate}{suffix}" for plate in plates for suffix in (".mp4", ".webm")]


# The command line


def test_vmatte_schema_prints_the_schema(vmatte_command: Callable[..., Ended]) -> None:
    ended = vmatte_command("schema")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == schema()


def test_each_problem_is_a_line_on_stderr(
    vmatte_command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise JobFileError(("jobs.yaml:1:1: one\nin two lines", "jobs.yaml:2:1: two"))

    monkeypatch.setattr(vmatte.jobfile, "schema", fail)
    ended = vmatte_command("schema")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "vmatte: jobs.yaml:1:1: one in two lines\nvmatte: jobs.yaml:2:1: two\n"


def test_reading_imports_no_torch() -> None:
    Path("jobs.yaml").write_text("clips: raw/day-1/a.mp4")
    code = """
import sys, pathlib, vmatte.jobfile
vmatte.jobfile.read_jobs(pathlib.Path("jobs.yaml"))
print({"torch", "av", "numpy"} & set(sys.modules))
"""
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=where)
    assert (process.stdout, process.stderr) == ("set()\n", "")


def test_every_problem_says_where() -> None:
    found = mistakes("clips: [no.mp4, x*]\ndefaults: {a: 1, batch: x}\nmatrix: {b: 2}")
    assert len(found) == 5
    assert all(re.fullmatch(r"jobs\.yaml:\d+:\d+: \S.*[;?].*", problem) for problem in found)


@pytest.mark.parametrize(
    ("written", "seconds"), [("2.5", "2.5"), ("3", "3"), ("120f", "120f"), ("'0:02.5'", "0:02.5"), ("00:01:12", "72")]
)
def test_a_part_of_a_clip_is_given_as_on_the_command_line(folder: Path, written: str, seconds: str) -> None:
    (entry,) = read(f"clips:\n- clip: raw/day-1/a.mp4\n  start: {written}\n  end: 9:30.25")
    clip = folder / "raw/day-1/a.mp4"
    assert entry.job.end in ("9:30.25", "570.25")  # YAML 1.1 reads the former as a number to base 60
    assert entry.job.start in (seconds, written)
    assert entry.job == make_job(clip, start=entry.job.start, end=entry.job.end)


def test_a_part_of_a_clip_that_is_no_time_is_told_with_its_place() -> None:
    assert mistakes("clips:\n- clip: raw/day-1/a.mp4\n  start: soon") == [
        "jobs.yaml:2:3: start cannot be 'soon'; give a frame (120f), seconds (2.5) or a time (00:00:02.500)"
    ]
