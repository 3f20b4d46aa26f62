import json
from collections.abc import Callable
from pathlib import Path

import check_birefnet
import numpy as np
import pytest
from check_birefnet import Array, drawn_network, own_shapes, picture, watch
from networks import TINY

from vmatte.models.birefnet.network import SWIN_L, SWIN_T

INSIDE = {f"{name}{k}" for name in ("x", "half_x") for k in (1, 2, 3, 4)} | {
    "input",
    "x4_cxt",
    "squeeze",
    "ipt1",
    "dec1",
}
INSIDE |= {f"{name}{k}" for name in ("dec", "gdt_logit", "lat") for k in (4, 3, 2)} | {"ipt5", "ipt4", "ipt3", "ipt2"}
"""All that the vectors name, beside logits and alpha."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files called lite are of a smaller network."""
    monkeypatch.setitem(check_birefnet.BACKBONES, "lite", TINY)


@pytest.fixture(scope="module")
def own() -> dict[str, Array]:
    """What the network itself says of a picture of 64 × 96."""
    return seen(64, 96)


def seen(height: int, width: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    watch(
        drawn_network(TINY, "chgwg"),
        picture(height, width),
        lambda name, tensor: arrays.update({name: tensor.numpy().copy()}),
    )
    return arrays


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Compares a folder that holds these arrays; the exit code and what was printed."""

    def run(**files: dict[str, Array]) -> tuple[int, str]:
        for name, arrays in files.items():
            np.savez(tmp_path / f"{name}.npz", **arrays)
        code = check_birefnet.main([str(tmp_path)])
        return code, capsys.readouterr().out

    return run


@pytest.mark.usefixtures("small")
def test_a_network_passes_its_own_vectors_on_a_large_oblong_map(check: Callable[..., tuple[int, str]]) -> None:
    arrays = seen(512, 384)
    assert arrays.keys() == INSIDE | {"logits", "alpha"}
    assert arrays["x1"].shape == (1, 64, 128, 96)
    assert arrays["half_x1"].shape == (1, 32, 64, 48)
    assert arrays["x4_cxt"].shape == (1, 960, 16, 12)
    assert arrays["logits"].shape == (1, 1, 512, 384)
    np.testing.assert_allclose(arrays["alpha"], 1 / (1 + np.exp(-arrays["logits"])), rtol=0, atol=1e-6)
    code, printed = check(lite_chgwg_512x384=arrays)
    assert code == 0
    assert printed.startswith("lite_chgwg_512x384.npz: as loaded 0.00e+00")
    assert printed.endswith("28 tensors: PASS\n")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["logits", "x1", "x4_cxt", "ipt1", "dec1", "lat4", "gdt_logit3", "half_x2"])
def test_a_tensor_that_differs_is_named(
    name: str, own: dict[str, Array], check: Callable[..., tuple[int, str]]
) -> None:
    moved = own[name].copy()
    moved[..., -1, -1] += 2e-4
    code, printed = check(lite_chgwg_64x96=own | {name: moved})
    assert code == 1
    assert f"as loaded 2.00e-04 ({name}), prepared " in printed
    assert printed.endswith("FAIL\n")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "wrong",
    [{"logits": np.full((1, 1, 64, 96), np.nan)}, {"logits": np.zeros((1, 1, 96, 64))}, {"dec5": np.zeros(1)}],
    ids=["no number", "shape", "unknown name"],
)
def test_what_cannot_be_compared_does_not_pass(
    wrong: dict[str, Array], own: dict[str, Array], check: Callable[..., tuple[int, str]]
) -> None:
    code, printed = check(lite_chgwg_64x96=own | wrong)
    assert code == 1
    assert f"as loaded inf ({next(iter(wrong))}), prepared inf" in printed


@pytest.mark.usefixtures("small")
def test_one_bad_file_fails_the_folder(own: dict[str, Array], check: Callable[..., tuple[int, str]]) -> None:
    # These are the other order's.
    code, printed = check(lite_chgwg_64x96=own, lite_wghgc_64x96={"logits": own["logits"]})
    assert code == 1
    assert [line.rsplit(" ", 1)[1] for line in printed.splitlines()] == ["PASS", "FAIL"]


@pytest.mark.usefixtures("small")
def test_probes_are_compared_value_by_value(
    own: dict[str, Array], tmp_path: Path, check: Callable[..., tuple[int, str]]
) -> None:
    logits = own["logits"]
    # crc32(b"probe:logits") is 0x384C8269.
    places = np.random.RandomState(0x384C8269).randint(0, logits.size, size=8)
    probe = {
        "shape": logits.shape,
        "mean": float(logits.mean()),
        "std": float(logits.std()),
        "absmax": float(abs(logits).max()),
        "values": logits.flatten()[places].tolist(),
    }
    described = {"lite_chgwg_64x96": {"logits": probe, "_info": {"h": 64}}}
    (tmp_path / "probes.json").write_text(json.dumps(described))
    code, printed = check()
    assert (code, printed.split(":")[0]) == (0, "probes.json lite_chgwg_64x96")
    probe["values"][7] += 2e-4
    (tmp_path / "probes.json").write_text(json.dumps(described))
    assert check()[0] == 1


def test_published_names_are_compared(tmp_path: Path, check: Callable[..., tuple[int, str]]) -> None:
    for name, backbone in {"rmbg2": SWIN_L, "birefnet_lite": SWIN_T}.items():
        tensors = {key: [shape, "float32", "param"] for key, shape in own_shapes(backbone).items()}
        if name == "rmbg2":
            tensors["bb.norm0.weight"][0] = (96,)
        (tmp_path / f"manifest_{name}.json").write_text(json.dumps({"tensors": tensors}))
    code, printed = check()
    assert code == 1
    assert "manifest_birefnet_lite.json: 586 tensors, names and shapes are equal: PASS" in printed
    assert "manifest_rmbg2.json: 1 names or shapes differ, such as bb.norm0.weight: FAIL" in printed


def test_an_empty_folder_is_no_success(check: Callable[..., tuple[int, str]]) -> None:
    assert check() == (1, "no vectors such as lite_wghgc_256x256.npz: FAIL\n")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("lite_wghgc_64x96.npz", b"", "lite_wghgc_64x96.npz"),
        ("lite_wghgc_64x96.npz", b"PK\3\4 torn", "lite_wghgc_64x96.npz"),
        ("lite_wghgc_64x90.npz", b"", "lite_wghgc_64x90: both sides must be multiples of 32"),
        ("probes.json", b'{"lite_wghgc_64x96": {"logits": 1}}', "probes.json: not a list of probes"),
        ("probes.json", b"{", "probes.json: not a list of probes"),
        ("manifest_rmbg2.json", b"[]", "manifest_rmbg2.json: not a manifest"),
    ],
)
def test_a_bad_folder_is_told_in_one_line(
    name: str, content: bytes, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert check_birefnet.main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_birefnet.main([str(tmp_path / "vectors")]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path / "vectors") in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_the_stored_vectors_pass(birefnet_vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_birefnet.main([str(birefnet_vectors)]) == 0
    assert capsys.readouterr().out.count("PASS") >= 2
