"""What comes of a render: words become outputs, and one matting pass feeds them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import clips
import numpy as np
import pytest
from test_resume import SEGMENT, make_clip

import vmatte
from vmatte import delivery, render
from vmatte.errors import EncodeError, JobError, JobFileError
from vmatte.fingerprint import sha256_of_output
from vmatte.frames import LayerBatch
from vmatte.job import make_job
from vmatte.jobfile import read_jobs
from vmatte.models.catalogue import build_model
from vmatte.models.contract import MattingModel
from vmatte.outputs import OutputWords, parse_output

Tool = Callable[..., bytes]


def layers_of(*outputs: str, bg: str | None = None) -> list[tuple[str, str, str]]:
    job = make_job("talk.mp4", output=list(outputs), background=bg)
    return [(output.encoding, output.layer, output.alpha) for output in job.outputs]


@pytest.mark.parametrize(
    ("text", "path", "encoding", "layer", "alpha"),
    [
        ("cut.mov", "cut.mov", None, None, None),
        ("cut.mov,premultiplied", "cut.mov", None, None, "premultiplied"),
        ("m.mov,alpha,prores4444", "m.mov", "prores4444", "alpha", None),
        ("one, two.mov", "one, two.mov", None, None, None),
        ("a,b,foreground", "a,b", None, "foreground", None),
    ],
)
def test_words_behind_a_name_are_no_part_of_it(
    text: str, path: str, encoding: str | None, layer: str | None, alpha: str | None
) -> None:
    expected = OutputWords.model_validate({"path": path, "format": encoding, "layer": layer, "alpha": alpha})
    assert parse_output(text) == expected


def test_of_several_outputs_each_gets_the_layer_that_its_name_and_format_suggest() -> None:
    assert layers_of("cut.mov", "web.webm", "comp.mp4", "shot_matte.mp4", bg="navy") == [
        ("prores4444", "cutout", "straight"),
        ("webm", "cutout", "straight"),
        ("mp4", "composite", "straight"),
        ("mp4", "alpha", "straight"),
    ]
    assert layers_of("cut.mov,premultiplied", "fill.mp4,foreground") == [
        ("prores4444", "cutout", "premultiplied"),
        ("mp4", "foreground", "straight"),
    ]
    assert layers_of("web.webm", bg="navy") == [("webm", "composite", "straight")]
    assert layers_of("web.webm,cutout", bg="navy") == [("webm", "cutout", "straight")]


@pytest.mark.parametrize(
    ("outputs", "bg", "says"),
    [
        (["a.mov", "./a.mov"], None, "twice"),
        (["a.mov,alpha,cutout"], None, "two words"),
        (["a.mp4,composite"], None, "no background is given"),
        (["a.mp4,cutout"], "navy", "cannot hold a cutout; choose one of: prores4444"),
        (["a.mov,alpha,premultiplied"], None, "no alpha to be premultiplied"),
        ([",alpha"], None, "no name"),
        (["frames,png", "frames/cut.mov"], None, "lies in a folder that is an output itself"),
        (["a.mov", "../x/../" + Path.cwd().name + "/a.mov"], None, "twice"),
        (["a.mp4,cutout"], None, "mp4 cannot hold a cutout; choose one of: prores4444"),
        (["a.webm,premultiplied"], None, "whoever opens webm takes it for straight"),
        (["frames%04d.png"], None, "pictures go into a folder; name that, and the format: -o frames,png"),
        (["b.webm,bogus"], None, "'bogus' is no word for an output; there are cutout"),
    ],
)
def test_outputs_that_cannot_be_are_told(outputs: list[str], bg: str | None, says: str) -> None:
    with pytest.raises(JobError, match=says):
        make_job("talk.mp4", output=outputs, background=bg)


def test_one_format_cannot_be_that_of_several_outputs() -> None:
    with pytest.raises(JobError, match=r"write it behind its name, as in cut\.mov,prores4444"):
        make_job("talk.mp4", output=["a.mov", "b.mov"], encoding="prores4444")


FOUR = ("cut.mov,cutout", "web.webm,cutout", "comp.mp4,composite", "key.mp4,alpha")


def test_several_outputs_are_byte_for_byte_those_of_a_render_each_and_the_network_runs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 40)
    built = []

    def counted(*how: object) -> MattingModel:
        built.append(how)
        return build_model(*how)  # type: ignore[arg-type]

    monkeypatch.setattr(render, "build_model", counted)
    words = {"background": "navy", "model": "luma-key", "segment_frames": SEGMENT, "cache": False}
    (tmp_path / "together").mkdir()
    report = vmatte.run(clip, output=[str(tmp_path / "together" / name) for name in FOUR], **words)  # type: ignore[arg-type]
    assert len(built) == 1
    assert [output.layer for output in report.outputs] == ["cutout", "cutout", "composite", "alpha"]
    names = {name.partition(",")[0] for name in FOUR}
    there = {path.name for path in (tmp_path / "together").iterdir()}
    assert there == names | {f"{name}.json" for name in names}
    for output, text in zip(report.outputs, FOUR, strict=True):
        alone = vmatte.run(clip, output=f"{tmp_path}/{text}", **words)  # type: ignore[arg-type]
        assert output.sha256 == alone.sha256 == sha256_of_output(output.path)


def test_the_matte_alone_is_the_cutouts_alpha_from_black_to_white(tmp_path: Path, run_ffmpeg: Tool) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 40)
    vmatte.run(clip, output=[f"{tmp_path}/cut,png", f"{tmp_path}/key.mov,alpha"], model="luma-key", smooth="off")
    raw = run_ffmpeg("-i", tmp_path / "key.mov", "-f", "rawvideo", "-pix_fmt", "yuv444p12le", "-")
    luma = np.frombuffer(raw, "<u2").reshape(-1, 3, 48, 64)[:, 0].astype(float)
    seen = (luma / 16 - 16) / 219 * 255
    raw = run_ffmpeg("-i", tmp_path / "cut" / "%06d.png", "-f", "rawvideo", "-pix_fmt", "rgba", "-")
    alpha = np.frombuffer(raw, "u1").reshape(-1, 48, 64, 4)[..., 3].astype(float)
    assert np.ptp(alpha) > 150
    # Noise through a lossy codec, whose luma has 219 steps here.
    assert np.abs(seen - alpha).mean() < 2


def test_an_encoder_that_fails_ends_the_others_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, encode = make_clip(tmp_path / "clip.mkv", 40), render.encode

    def failing(layers: Iterator[LayerBatch], path: Path, *rest: object, **how: bool) -> list[int]:
        if path.suffix == ".webm":
            next(layers)
            raise EncodeError("the disk is full")
        return encode(layers, path, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(render, "encode", failing)
    (tmp_path / "out").mkdir()
    with pytest.raises(EncodeError, match="the disk is full"):
        vmatte.run(clip, output=[f"{tmp_path}/out/a.mov", f"{tmp_path}/out/b.webm"], model="luma-key")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_kill_between_two_names_costs_nothing_and_disturbs_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, publish = make_clip(tmp_path / "clip.mkv", 40), delivery.publish
    first, second = tmp_path / "a.mov", tmp_path / "b.webm"

    class Killed(BaseException):
        pass

    def once(whole: Path, output: Path, *, overwrite: bool) -> None:
        if output == second:
            raise Killed
        publish(whole, output, overwrite=overwrite)

    words = {"output": [first, second], "model": "luma-key", "segment_frames": SEGMENT}
    monkeypatch.setattr(delivery, "publish", once)
    with pytest.raises(Killed):
        vmatte.run(clip, **words)  # type: ignore[arg-type]
    assert [first.exists(), second.exists()] == [True, False]
    monkeypatch.setattr(delivery, "publish", publish)
    monkeypatch.setattr(render, "encode", lambda *_: pytest.fail("nothing is encoded twice"))
    report = vmatte.run(clip, **words)  # type: ignore[arg-type]
    assert [output.sha256 for output in report.outputs] == [sha256_of_output(path) for path in (first, second)]
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"clip.mkv", "a.mov", "a.mov.json", "b.webm", "b.webm.json"}


def test_an_output_that_exists_stops_the_render_whichever_it_is(tmp_path: Path) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 2)
    (tmp_path / "b.webm").write_text("mine")
    with pytest.raises(JobError, match=r"b\.webm exists; give -y"):
        vmatte.run(clip, output=[tmp_path / "a.mov", tmp_path / "b.webm"], model="luma-key")
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "b.webm"}


def test_openexr_is_premultiplied_without_a_word_and_never_straight() -> None:
    assert layers_of("frames,exr", "gray,exr,alpha") == [
        ("exr", "cutout", "premultiplied"),
        ("exr", "alpha", "straight"),
    ]
    with pytest.raises(JobError, match="whoever opens exr takes it for premultiplied"):
        make_job("talk.mp4", output="frames,exr,straight")


def test_a_failed_proof_names_the_output_and_not_where_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clips.black_clip(tmp_path / "clip.mp4", 2)

    def failing(path: Path, *_: object, **__: object) -> None:
        raise EncodeError(f"{path}: frame 0 is damaged")

    monkeypatch.setattr(delivery, "verify", failing)
    with pytest.raises(EncodeError, match=rf"^{tmp_path}/a\.mov: frame 0 is damaged$"):
        vmatte.run(clip, output=tmp_path / "a.mov", model="luma-key")


def test_a_job_file_lists_outputs_each_with_its_own_fields(tmp_path: Path) -> None:
    clips.black_clip(tmp_path / "talk.mp4", 2)
    (tmp_path / "j.yaml").write_text(
        "defaults:\n"
        "  bg: navy\n"
        "  outputs:\n"
        "    - 'out/{stem}_{layer}{suffix},prores4444,cutout'\n"
        "    - {path: 'out/{stem}_{format}{suffix}', format: webm, layer: cutout, speed: best}\n"
        "    - out/{plate}.mp4\n"
        "clips: talk.mp4\n"
    )
    (entry,) = read_jobs(tmp_path / "j.yaml")
    assert [(output.path.name, output.layer, output.speed) for output in entry.job.outputs] == [
        ("talk_cutout.mov", "cutout", "good"),
        ("talk_webm.webm", "cutout", "best"),
        ("navy.mp4", "composite", "good"),
    ]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ("[]", "an empty list"),
        ("[a.mov, {path: b.mov, layer: alpa}]", "did you mean 'alpha'"),
        ("[a.mov, {layer: alpha}]", r"output\.path is missing"),
        ("[a.mov, a.mov]", "twice"),
        ("[a.mov, 'x{y}.mov']", r"unknown field \{y\}"),
    ],
)
def test_what_is_wrong_with_a_list_of_outputs_is_told(outputs: str, says: str, tmp_path: Path) -> None:
    clips.black_clip(tmp_path / "talk.mp4", 2)
    (tmp_path / "j.yaml").write_text(f"defaults:\n  outputs: {outputs}\nclips: talk.mp4\n")
    with pytest.raises(JobFileError, match=says):
        read_jobs(tmp_path / "j.yaml")
