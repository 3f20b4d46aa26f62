"""A job from the words that a user gives."""

from pathlib import Path

import pytest
import typer
from PIL import ImageColor
from pydantic import ValidationError

from vmatte import cli
from vmatte.encodings import ENCODINGS
from vmatte.errors import JobError
from vmatte.job import PARTS, JobWords, RenderJob, Runtime, make_job, make_runtime, parse_background, parse_smoothing
from vmatte.models.catalogue import MODELS
from vmatte.options import (
    BlurPlate,
    ColorPlate,
    Edges,
    FilePlate,
    GaussianSmoothing,
    MotionSmoothing,
    NoPlate,
    NoSmoothing,
    Subject,
)
from vmatte.pipeline import smoothing_for


def test_every_css_colour_is_known() -> None:
    for name in ImageColor.colormap:
        assert parse_background(name) == ColorPlate(rgb=ImageColor.getrgb(name)[:3])


@pytest.mark.parametrize(
    ("word", "background"),
    [
        (None, NoPlate()),
        ("none", NoPlate()),
        ("None", NoPlate()),
        ("blur", BlurPlate()),
        ("#00b140", ColorPlate(rgb=(0, 177, 64))),
        ("navy", ColorPlate(rgb=(0, 0, 128))),
        ("hsl(120, 100%, 25%)", ColorPlate(rgb=(0, 128, 0))),
    ],
)
def test_a_word_becomes_a_background(word: str | None, background: object) -> None:
    assert parse_background(word) == background


@pytest.mark.parametrize("name", ["navy", "#00b140", "red.png"])
def test_a_file_goes_before_a_colour_of_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert parse_background(name) == FilePlate(path=Path(name))


@pytest.mark.parametrize("word", ["", "blurple", "#12", "#gggggg", "rgb(1, 2)", "rgb(300, 0, 0)", "studio.png", "a/b"])
def test_what_is_no_background_is_a_job_error(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError):
        parse_background(word)


@pytest.mark.parametrize(
    ("background", "output", "encoding", "row", "path"),
    [
        (None, None, None, "prores4444", "talk_cutout.mov"),
        (None, None, "webm", "webm", "talk_cutout.webm"),
        (None, None, "png", "png", "talk_cutout"),
        ("navy", None, None, "mp4", "talk_composite.mp4"),
        ("navy", None, "prores4444", "prores4444", "talk_composite.mov"),
        ("navy", "a.mp4", None, "mp4", "a.mp4"),
        ("navy", "a.M4V", None, "mp4", "a.M4V"),
        ("navy", "a.mov", None, "prores4444", "a.mov"),
        (None, "a.webm", None, "webm", "a.webm"),
        (None, "frames", "png", "png", "frames"),
        (None, "frames.v2", "png", "png", "frames.v2"),
    ],
)
def test_the_output_and_its_encoding_follow_from_each_other(
    background: str | None, output: str | None, encoding: str | None, row: str, path: str
) -> None:
    output = None if output is None else f"shots/{output}"
    job = make_job("shots/talk.mp4", background=background, output=output, encoding=encoding)
    assert job.outputs[0].row is ENCODINGS[row]
    assert job.output == Path("shots") / path
    assert job.outputs[0].layer == ("cutout" if background is None else "composite")


@pytest.mark.parametrize(
    ("background", "output", "encoding"),
    [
        (None, "a.mp4", None),
        (None, None, "mp4"),
        ("navy", "a.avi", None),
        ("navy", "frames", None),
        ("navy", "a.mov", "mp4"),
        ("navy", "a.avi", "mp4"),
        ("navy", "frames", "webm"),
        ("navy", "a.mp4", "png"),
        ("navy", "a.mp4", "h266"),
    ],
)
def test_an_output_that_cannot_be_is_a_job_error(
    background: str | None, output: str | None, encoding: str | None
) -> None:
    with pytest.raises(JobError):
        make_job("talk.mp4", background=background, output=output, encoding=encoding)


def test_equal_words_make_equal_jobs_and_survive_json() -> None:
    job = make_job("talk.mp4", background="navy")
    assert job == make_job(Path("talk.mp4"), background=ColorPlate(rgb=(0, 0, 128)))
    assert RenderJob.model_validate_json(job.model_dump_json()) == job


def test_a_job_is_frozen_and_takes_no_unknown_field() -> None:
    job = make_job("talk.mp4", background="navy")
    with pytest.raises(ValidationError):
        job.model = "u2netp"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        RenderJob.model_validate({**job.model_dump(), "backgroud": "navy"})
    with pytest.raises(ValidationError):
        Runtime(batch=0)


def test_words_that_are_left_out_leave_the_defaults() -> None:
    assert make_runtime() == Runtime()
    assert make_job("talk.mp4").model == "auto"


def test_the_words_of_a_runtime_are_what_a_file_would_say() -> None:
    made = make_runtime(device="cuda:1", precision="fp16", compile=True, batch="8", licence_guard="permissive")
    assert made == Runtime(device="cuda:1", precision="fp16", compile=True, batch=8, licence_guard="permissive")
    assert Runtime.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"precision": "fp8"}, "precision cannot be 'fp8'; give auto, fp32, fp16"),
        ({"batch": "many"}, "batch cannot be 'many'; give auto, or how many frames: 1 to 1024"),
        ({"batch": "0"}, "batch cannot be '0'"),
        ({"batch": -1}, "batch cannot be -1"),
        ({"licence_guard": "gpl"}, "licence guard cannot be 'gpl'; give commercial or permissive"),
    ],
)
def test_a_word_that_means_nothing_is_a_job_error(words: dict[str, object], says: str) -> None:
    with pytest.raises(JobError, match=says):
        make_runtime(**words)  # type: ignore[arg-type]


# Smoothing


@pytest.mark.parametrize(
    ("method", "strength", "smoothing"),
    [
        (None, None, None),
        ("off", None, NoSmoothing()),
        ("gaussian", None, GaussianSmoothing(radius=2)),
        ("motion", None, MotionSmoothing(strength="medium")),
        ("motion", "low", MotionSmoothing(strength="low")),
        (None, "high", MotionSmoothing(strength="high")),
    ],
)
def test_two_words_become_a_smoothing(method: str | None, strength: str | None, smoothing: object) -> None:
    assert parse_smoothing(method, strength) == smoothing
    job = make_job("talk.mp4", smooth=method, strength=strength)
    assert job.smoothing == smoothing
    assert RenderJob.model_validate_json(job.model_dump_json()) == job


@pytest.mark.parametrize(
    ("method", "strength", "says"),
    [
        ("median", None, "no smoothing is called 'median'; there are: motion, gaussian, off"),
        ("", None, "no smoothing is called ''; there are: motion, gaussian, off"),
        ("motion", "strong", "no smoothing is 'strong' strong; there are: low, medium, high"),
        (None, "strong", "no smoothing is 'strong' strong; there are: low, medium, high"),
        ("off", "low", "smoothing by off has no strength; leave out 'low'"),
        ("gaussian", "low", "smoothing by gaussian has no strength; leave out 'low'"),
    ],
)
def test_a_smoothing_that_cannot_be_is_a_job_error(method: str | None, strength: str | None, says: str) -> None:
    with pytest.raises(JobError, match=says):
        parse_smoothing(method, strength)
    with pytest.raises(JobError, match=says):
        make_job("talk.mp4", smooth=method, strength=strength)


def test_a_matte_is_guided_to_the_frames_size_unless_a_job_says_otherwise() -> None:
    assert make_job("talk.mp4").upsample == make_job("talk.mp4", upsample="guided").upsample == "guided"
    assert make_job("talk.mp4", upsample="bilinear").upsample == "bilinear"
    with pytest.raises(JobError, match="upsample cannot be 'cubic': it should be 'guided' or 'bilinear'"):
        make_job("talk.mp4", upsample="cubic")


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [("luma-key", NoSmoothing()), ("modnet", MotionSmoothing()), ("rvm", MotionSmoothing())],
)
def test_a_network_is_smoothed_unless_a_job_says_otherwise_and_a_key_is_not(name: str, smoothing: object) -> None:
    assert smoothing_for(None, MODELS[name]) == smoothing
    for wanted in (NoSmoothing(), GaussianSmoothing(radius=5), MotionSmoothing(strength="high")):
        assert smoothing_for(wanted, MODELS[name]) == wanted


@pytest.mark.parametrize(
    ("smoothing", "reach"),
    [(NoSmoothing(), 0), (GaussianSmoothing(radius=3), 4), (MotionSmoothing(strength="low"), 3)],
)
def test_a_smoothing_reaches_one_frame_further_than_it_averages(
    smoothing: NoSmoothing | GaussianSmoothing | MotionSmoothing, reach: int
) -> None:
    assert smoothing.reach == reach


def test_a_radius_has_bounds() -> None:
    for radius in (0, 9):
        with pytest.raises(ValidationError):
            GaussianSmoothing(radius=radius)


def test_the_help_shows_the_defaults_that_the_option_classes_have() -> None:
    shown = {each.name: each.show_default for each in typer.main.get_command(cli.app).commands["run"].params}  # type: ignore[attr-defined]
    compared = set()
    for word in JobWords.__annotations__:
        record, name = PARTS.get(word, (RenderJob, word))
        default = None if name not in record.model_fields else record.model_fields[name].default
        if isinstance(default, Subject):
            default = default.keep
        if isinstance(default, str | int | float) and shown.get(word):
            assert shown[word].split(":")[0] == (default if isinstance(default, str) else f"{default:g}"), word
            compared.add(word)
    assert {*Edges.model_fields, "upsample", "crop", "subject", "subject_y", "despill", "blend", "rate"} <= compared


def test_a_speed_is_the_job_s_unless_an_output_has_its_own() -> None:
    job = make_job("talk.mp4", output=["a.webm", "b.webm,best"], speed="fast")
    assert [output.speed for output in job.outputs] == ["fast", "best"]
    assert [output.row.codec_options["cpu-used"] for output in job.outputs] == ["8", "2"]
    assert make_job("talk.mp4", output="a.webm").outputs[0].row is ENCODINGS["webm"]
    with pytest.raises(JobError, match="no speed is called 'slow'; there are: fast, good, best"):
        make_job("talk.mp4", speed="slow")


def test_a_stacked_file_holds_a_cutout_alone() -> None:
    assert make_job("talk.mp4", output="a.mp4", encoding="stacked").outputs[0].layer == "cutout"
    with pytest.raises(JobError, match="stacked cannot hold a composite; choose one of: mp4"):
        make_job("talk.mp4", output="a.mp4,composite", encoding="stacked", background="navy")
