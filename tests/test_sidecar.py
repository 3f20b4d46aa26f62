"""Beside each output lies what it was made of, and how it was proven."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import vmatte
from vmatte.batch.plan import problems
from vmatte.errors import JobError
from vmatte.job import Words, job_words, make_job, make_runtime, runtime_words
from vmatte.jobfile import read_jobs
from vmatte.planning import check_outputs
from vmatte.render import run
from vmatte.watch import watch


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(6):
            picture = np.full((48, 64, 3), 30 * number, "u1")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def said_of(output: Path) -> dict[str, Any]:
    return dict(json.loads(output.with_name(f"{output.name}.json").read_bytes()))


def test_a_sidecar_says_what_its_output_was_made_of(clip: Path, tmp_path: Path) -> None:
    plate = tmp_path / "plate.png"
    Image.new("RGB", (64, 48), "navy").save(plate)
    outputs = [tmp_path / "comp.mp4", tmp_path / "cut.mov"]
    run(clip, output=outputs, background=plate, model="luma-key", shadow=0.25, verify="full")
    comp, cut = map(said_of, outputs)
    assert comp["source"] == {"name": "clip.mp4", "sha256": sha256(clip)}
    assert comp["other_inputs"] == [{"name": "plate.png", "sha256": sha256(plate)}]
    assert (comp["made_by"], comp["version"]) == ("vmatte", vmatte.__version__)
    assert comp["model"]["name"] == "luma-key"
    assert comp["model"]["weights_sha256"] is None
    assert comp["options"]["shadow"]["strength"] == 0.25
    assert comp["options"]["background"]["path"] == "plate.png"
    assert comp["output"] == {
        "name": "comp.mp4",
        "sha256": sha256(outputs[0]),
        "layer": "composite",
        "encoding": "mp4",
        "alpha": None,
        "frames": 6,
        "lost": 0,
        "duration_s": 0.24,
        "rate": "25",
        "size": [64, 48],
        "color": {"matrix": 1, "primaries": 1, "transfer": 1, "full_range": False},
    }
    assert (cut["output"]["layer"], cut["output"]["alpha"]) == ("cutout", "straight")
    proof = cut["verified"]
    assert (proof["frames_decoded"], proof["alphas_compared"], proof["alpha_max_error"]) == (6, 6, 0)
    assert comp["verified"]["alpha_max_error"] is None
    assert comp["software"]["av"] == av.__version__
    assert datetime.fromisoformat(comp["created"]).utcoffset() is not None
    assert str(tmp_path) not in (tmp_path / "comp.mp4.json").read_text()


def test_all_of_a_sidecar_but_its_time_is_the_same_again(clip: Path, tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        run(clip, output=tmp_path / "cut.mov", model="luma-key", overwrite=True)
        said.append(said_of(tmp_path / "cut.mov"))
    for each in said:
        del each["created"]
    assert said[0] == said[1]


def test_a_folder_of_pictures_has_its_sidecar_beside_it(clip: Path, tmp_path: Path) -> None:
    report = run(clip, output=tmp_path / "pictures", encoding="png", model="luma-key")
    assert said_of(tmp_path / "pictures")["output"]["sha256"] == report.sha256
    assert {path.suffix for path in (tmp_path / "pictures").iterdir()} == {".png"}


def test_no_sidecar_is_written_that_nobody_wants(clip: Path, tmp_path: Path) -> None:
    run(clip, output=tmp_path / "cut.mov", model="luma-key", sidecar=False)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "cut.mov"}


def test_a_strangers_file_is_not_overwritten_and_an_old_sidecar_is(clip: Path, tmp_path: Path) -> None:
    output, beside = tmp_path / "cut.mov", tmp_path / "cut.mov.json"
    beside.write_text('{"notes": "of the director"}')
    with pytest.raises(
        JobError, match=r"cut\.mov\.json, where cut\.mov's sidecar goes, is a file of another kind; give"
    ):
        run(clip, output=output, model="luma-key")
    assert beside.read_text() == '{"notes": "of the director"}'
    assert not output.exists()
    run(clip, output=output, model="luma-key", overwrite=True)
    old = said_of(output)
    output.unlink()
    run(clip, output=output, model="luma-key", gamma=1.5)  # what is left of the old one is no obstacle
    assert old["options"]["edges"]["gamma"] != said_of(output)["options"]["edges"]["gamma"] == 1.5
    assert said_of(output)["output"]["sha256"] == sha256(output)


def test_a_sidecar_goes_with_the_output_that_is_replaced(clip: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "cut.mov", tmp_path / "comp.mp4"]
    run(clip, output=outputs, background="navy", model="luma-key")
    outputs[1].with_name("comp.mp4.json").write_text('{"notes": "of the director"}')
    run(clip, output=outputs, background="red", model="luma-key", overwrite=True, sidecar=False)
    assert {path.name for path in tmp_path.glob("*.json")} == {"comp.mp4.json"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_cannot_have_the_name_of_a_sidecar(
    clip: Path, tmp_path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = ["c.mov", f"{tmp_path}/c.mov.json,png"]
    with pytest.raises(
        JobError, match=r"c\.mov\.json is an output, and c\.mov's sidecar goes there; give another name"
    ):
        run(clip, output=outputs, model="luma-key", overwrite=overwrite)
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text("clips: clip.mp4\ndefaults: {model: luma-key, output: [c.mov, {path: c.mov.json, format: png}]}")
    (problem,) = problems(read_jobs(jobs))
    assert "c.mov's sidecar goes there" in problem.error
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "jobs.yaml"}
    run(clip, output=outputs, model="luma-key", sidecar=False)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "jobs.yaml", "c.mov", "c.mov.json"}


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("background", "background"),
        ("garbage", "garbage"),
        ("hold_out", "hold-out"),
        ("clean_plate", "clean plate"),
        ("weights", "weights"),
        ("c2pa", "signer"),
    ],
)
def test_a_sidecar_never_overwrites_what_the_render_reads(clip: Path, tmp_path: Path, role: str, name: str) -> None:
    words: Words = {role: tmp_path / "cut.mov.json", "output": tmp_path / "cut.mov", "overwrite": True}  # type: ignore[misc]
    (tmp_path / "cut.mov.json").write_text("{}")
    job, runtime = make_job(clip, **job_words(words)), make_runtime(**runtime_words(words))
    with pytest.raises(JobError, match=rf"cut\.mov's sidecar goes, is the {name} itself; give another name"):
        check_outputs(job, set(), runtime)


def test_a_clip_under_a_sidecars_name_stays(clip: Path, tmp_path: Path) -> None:
    odd = clip.rename(tmp_path / "cut.mov.json")
    before = odd.read_bytes()
    (tmp_path / "link.mp4").symlink_to(odd)
    for path in (odd, tmp_path / "link.mp4"):
        with pytest.raises(JobError, match=r"cut\.mov's sidecar goes, is the clip itself"):
            run(path, output=tmp_path / "cut.mov", model="luma-key", overwrite=True)
    assert odd.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"cut.mov.json", "link.mp4"}


def test_no_sidecar_is_taken_for_a_clip(clip: Path, tmp_path: Path) -> None:
    run(clip, output=tmp_path / "cut.mov", model="luma-key")
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text('clips: "c*"\ndefaults: {bg: navy, output: "out_{stem}.mp4"}')
    assert [entry.job.clip.name for entry in read_jobs(jobs)] == ["clip.mp4", "cut.mov"]
    taken: list[Path] = []

    def render(path: Path) -> list[Path]:
        taken.append(path)
        return []

    assert watch(tmp_path, tmp_path / "out", render, poll_s=0.05, once=True) == (2, 0)
    assert [path.name for path in taken] == ["clip.mp4", "cut.mov"]
