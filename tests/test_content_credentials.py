"""A manifest that the official library reads back says which clip an output was made of, and how."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from vmatte.batch.plan import problems
from vmatte.errors import JobError
from vmatte.jobfile import read_jobs
from vmatte.render import run
from vmatte.version import __version__

try:
    import c2pa
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("c2pa-python is missing; pip install 'vmatte[c2pa]'", allow_module_level=True)

_EXTENSIONS = """
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
[signer]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=emailProtection
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip, a plate, and a signer of its own: ES256, a chain of two certificates."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "ext.cnf").write_text(_EXTENSIONS)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("root", "signer"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/C=DE/O=Test studio/CN={name}", "-out", f"{name}.csr")
        by = (
            ["-signkey", "root.key"] if name == "root" else ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"]
        )
        extensions = ["-extfile", "ext.cnf", "-extensions", name]
        openssl("x509", "-req", "-in", f"{name}.csr", *by, *extensions, "-days", "30", "-out", f"{name}.pem")
    (folder / "chain.pem").write_bytes((folder / "signer.pem").read_bytes() + (folder / "root.pem").read_bytes())
    settings = {"alg": "es256", "sign_cert": "chain.pem", "private_key": "signer.key"}
    (folder / "c2pa.json").write_text(json.dumps(settings))
    Image.new("RGB", (64, 48), "navy").save(folder / "plate.png")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(6):
            picture = np.full((48, 64, 3), 30 * number, "u1")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return folder


def read(path: Path) -> tuple[dict[str, Any], str]:
    """An output's manifest, and what the library says of it."""
    with c2pa.Reader(str(path)) as reader:
        found = json.loads(reader.json())
        state = str(reader.get_validation_state())
    problems = {status["code"] for status in found.get("validation_status", [])}
    assert problems <= {"signingCredential.untrusted"}  # nobody trusts the certificate of a test
    return found["manifests"][found["active_manifest"]], state


@pytest.mark.parametrize(
    ("name", "plate", "source_type", "deeds"),
    [
        ("out.mp4", "plate.png", "composite", ["c2pa.opened", "c2pa.edited", "c2pa.placed"]),
        ("out.mov", None, "algorithmicallyEnhanced", ["c2pa.opened", "c2pa.edited"]),
    ],
)
def test_a_signed_output_is_read_back(
    name: str, plate: str | None, source_type: str, deeds: list[str], studio: Path, tmp_path: Path
) -> None:
    output = tmp_path / name
    background = None if plate is None else studio / plate
    report = run(studio / "clip.mp4", output=output, background=background, model="luma-key", c2pa=studio / "c2pa.json")
    manifest, state = read(output)
    assert state == "Valid"
    assert manifest["title"] == name
    generator = manifest["claim_generator_info"][0]
    assert (generator["name"], generator["version"]) == ("vmatte", __version__)
    assert manifest["signature_info"]["issuer"] == "Test studio"
    made_of = [(each["title"], each["relationship"]) for each in manifest["ingredients"]]
    assert made_of == [("clip.mp4", "parentOf"), ("plate.png", "componentOf")][: len(made_of)]
    assert len(made_of) == len(deeds) - 1
    (actions,) = [each["data"]["actions"] for each in manifest["assertions"] if "actions" in each["label"]]
    assert [action["action"] for action in actions] == deeds
    assert actions[1]["digitalSourceType"].endswith(f"/{source_type}")
    # What is verified, and hashed, is the signed file.
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    assert report.sha256 == digest
    assert json.loads((tmp_path / f"{name}.json").read_bytes())["output"]["sha256"] == digest
    assert report.outputs[0].verified.frames_decoded == 3
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.json"}


def test_a_changed_byte_breaks_the_seal(studio: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    run(studio / "clip.mp4", output=output, background="navy", model="luma-key", c2pa=studio / "c2pa.json")
    content = bytearray(output.read_bytes())
    content[-3] ^= 1  # the pictures come last
    output.write_bytes(content)
    with c2pa.Reader(str(output)) as reader:
        assert reader.get_validation_state() == "Invalid"
        codes = {status["code"] for status in json.loads(reader.json())["validation_status"]}
    assert "assertion.bmffHash.mismatch" in codes


def test_the_key_may_stand_in_the_environment(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "c2pa.json"
    settings.write_text('{"alg": "es256"}')
    output = tmp_path / "out.mp4"
    with pytest.raises(JobError, match="has no sign_cert, and C2PA_SIGN_CERT is not set"):
        run(studio / "clip.mp4", output=output, background="navy", model="luma-key", c2pa=settings)
    monkeypatch.setenv("C2PA_SIGN_CERT", (studio / "chain.pem").read_text())
    monkeypatch.setenv("C2PA_PRIVATE_KEY", (studio / "signer.key").read_text())
    run(studio / "clip.mp4", output=output, background="navy", model="luma-key", c2pa=settings)
    assert read(output)[1] == "Valid"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ("nonsense", "Invalid JSON"),
        ('{"algorithm": "es256"}', "algorithm: Extra inputs are not permitted; its words are alg, sign_cert"),
        ('{"sign_cert": "gone.pem"}', r"sign_cert gone\.pem cannot be read"),
        ('{"alg": "es256", "sign_cert": "c2pa.json", "private_key": "c2pa.json"}', "do not make a signer"),
    ],
)
def test_a_signer_that_cannot_sign_is_told_before_the_render(
    settings: str, what: str, studio: Path, tmp_path: Path
) -> None:
    (tmp_path / "c2pa.json").write_text(settings)
    with pytest.raises(JobError, match=what):
        run(studio / "clip.mp4", output=tmp_path / "o.mov", model="luma-key", c2pa=tmp_path / "c2pa.json")


_SIGNS_NOTHING = [
    ({"sign_cert": "root.pem", "private_key": "root.key"}, "self-signed"),
    ({"sign_cert": "chain.pem", "private_key": "root.key"}, "does not match"),
    # Port 9 discards what it gets, and nobody listens there.
    (
        {"sign_cert": "chain.pem", "private_key": "signer.key", "ta_url": "http://127.0.0.1:9/"},
        r"http://127\.0\.0\.1:9/",
    ),
]


@pytest.mark.parametrize(("settings", "what"), _SIGNS_NOTHING)
def test_a_signer_whose_signature_fails_is_told_before_the_render(
    settings: dict[str, str], what: str, studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, jobs = studio / f"{tmp_path.name}.json", tmp_path / "jobs.yaml"
    signer.write_text(json.dumps({"alg": "es256", **settings}))
    said = rf"{signer.name}: nothing can be signed with it: .*({what})"
    monkeypatch.setattr("vmatte.render.render_segments", None)  # a render would fail in another way
    with pytest.raises(JobError, match=said):
        run(studio / "clip.mp4", output=tmp_path / "o.mov", model="luma-key", c2pa=signer)
    assert list(tmp_path.iterdir()) == []
    jobs.write_text(f"clips: {studio}/clip.mp4\ndefaults: {{model: luma-key, c2pa: {signer}, output: o.mov}}")
    (problem,) = problems(read_jobs(jobs))
    assert re.search(said, problem.error)


def test_an_output_that_no_manifest_can_be_bound_to_goes_without(
    studio: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output, signer = tmp_path / "out.webm", studio / "self-signed.json"
    signer.write_text('{"sign_cert": "root.pem", "private_key": "root.key"}')
    with caplog.at_level(logging.WARNING, "vmatte"):
        run(
            studio / "clip.mp4", output=output, model="luma-key", c2pa=signer
        )  # nothing is tried, for nothing is signed
    assert f"{output}: webm has no place for a C2PA manifest, it goes without" in caplog.text
    assert output.exists()
