"""BiRefNet as a model of transformers, judged by the plain network on the same weights. The backbone is a small one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from birefnet_folder import PUBLISHED_CONFIG, plain_logits, random_weights, write_folder
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vmatte.errors import ModelError
from vmatte.models.birefnet import pretrained
from vmatte.models.birefnet.network import Backbone
from vmatte.models.birefnet.pretrained import BiRefNetConfig, BiRefNetForImageSegmentation, recognised
from vmatte.models.catalogue import MODELS
from vmatte.models.contract import HuggingFace, PatchOrder

TINY = Backbone(width=32, depths=(2, 1, 2, 1), heads=(1, 2, 4, 8), window=7)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("hub") / "published", TINY)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pretrained.BACKBONES, "tiny", TINY)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def load(folder: Path | str, **options: Any) -> BiRefNetForImageSegmentation:
    model = BiRefNetForImageSegmentation.from_pretrained(folder, **options)
    assert isinstance(model, BiRefNetForImageSegmentation)
    return model


def copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def pin(monkeypatch: pytest.MonkeyPatch, row: str, **changes: Any) -> None:
    """Let the weights of a row of MODELS be others."""
    weights = MODELS[row].weights
    assert weights is not None
    changed = dataclasses.replace(weights, **changes)
    monkeypatch.setitem(MODELS, row, dataclasses.replace(MODELS[row], weights=changed))


def pin_bytes(monkeypatch: pytest.MonkeyPatch, row: str, file: Path) -> None:
    content = file.read_bytes()
    pin(monkeypatch, row, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


# The network


@pytest.mark.parametrize("order", ["wghgc", "chgwg"])
@torch.inference_mode()
def test_the_logits_are_the_plain_networks(order: PatchOrder, published: Path, pictures: torch.Tensor) -> None:
    answer = load(published, patch_order=order)(pictures)
    expected = plain_logits(published, TINY, order, pictures)
    assert expected.std() > 0.1
    assert answer[-1].shape == (2, 1, 64, 96)
    torch.testing.assert_close(answer[-1], expected, atol=5e-4, rtol=1e-4)
    assert answer.logits is answer[-1]


@torch.inference_mode()
def test_the_patch_order_matters(published: Path, pictures: torch.Tensor) -> None:
    one, other = (load(published, patch_order=order)(pictures)[-1] for order in ("wghgc", "chgwg"))
    assert (one - other).abs().max() > 0.1


@torch.inference_mode()
def test_without_a_dict_the_answer_is_a_tuple(published: Path, pictures: torch.Tensor) -> None:
    answer = load(published, patch_order="chgwg")(pictures, return_dict=False)
    assert [type(answer), len(answer), answer[-1].shape] == [tuple, 1, (2, 1, 64, 96)]


def test_sides_and_training_that_cannot_be_are_refused(published: Path, pictures: torch.Tensor) -> None:
    model = load(published, patch_order="chgwg")
    assert not model.training
    with pytest.raises(ValueError, match="multiples of 32, not 64 × 80"):
        model(pictures[..., :80])
    with pytest.raises(ValueError, match=r"for inference; call \.eval\(\)"):
        model.train()(pictures)


@torch.inference_mode()
def test_half_precision_is_of_the_numbers_not_of_the_indices(published: Path, pictures: torch.Tensor) -> None:
    full, half = (load(published, patch_order="wghgc", dtype=dtype) for dtype in (torch.float32, torch.float16))
    kinds = {name: tensor.dtype for name, tensor in half.state_dict().items()}
    whole = {name for name, kind in kinds.items() if kind == torch.int64}
    assert set(kinds.values()) == {torch.int64, torch.float16}
    assert whole == {n for n in kinds if n.endswith(("relative_position_index", "num_batches_tracked"))}
    difference = half(pictures)[-1].float() - full(pictures)[-1]  # the pictures are float32 both times
    assert difference.abs().mean() < 0.02 * full(pictures)[-1].std()


def test_a_file_in_half_precision_is_taken_as_it_is(published: Path, tmp_path: Path) -> None:
    folder = copy(published, tmp_path / "half")
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in random_weights(TINY).items()
    }
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder, patch_order="wghgc").dtype == torch.float16
    assert load(folder, patch_order="wghgc", dtype=torch.float32).dtype == torch.float32


# Saved again


def test_a_saved_folder_has_the_published_tensors_and_loads_without_a_word(
    published: Path, tmp_path: Path, pictures: torch.Tensor
) -> None:
    load(published, patch_order="chgwg").save_pretrained(tmp_path / "saved")
    before, after = (load_file(folder / "model.safetensors") for folder in (published, tmp_path / "saved"))
    assert {n: (t.dtype, t.shape) for n, t in after.items()} == {n: (t.dtype, t.shape) for n, t in before.items()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())

    again = load(tmp_path / "saved")
    assert (again.config.backbone, again.config.patch_order) == ("tiny", "chgwg")
    with torch.inference_mode():
        expected = plain_logits(published, TINY, "chgwg", pictures)
        torch.testing.assert_close(again(pictures)[-1], expected, atol=5e-4, rtol=1e-4)


def test_a_saved_config_names_no_code_and_no_other_repository(published: Path, tmp_path: Path) -> None:
    load(published, patch_order="chgwg").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "vmatte_birefnet"
    assert not {"auto_map", "custom_pipelines", "_name_or_path"} & set(config)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}  # by which other tools know the order of axes


# The patch order


def test_the_bytes_of_a_row_tell_the_order_whatever_the_folder_is_called(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(published, tmp_path / "BiRefNet")  # a row of this name has the other order
    pin_bytes(monkeypatch, "birefnet-hr", folder / "model.safetensors")
    assert MODELS["birefnet-hr"].patch_order == "chgwg"
    assert MODELS["birefnet"].patch_order == "wghgc"
    assert load(folder).config.patch_order == "chgwg"
    assert load(folder, patch_order="wghgc").config.patch_order == "wghgc"


def test_bytes_that_nobody_knows_are_an_error_that_asks(published: Path) -> None:
    with pytest.raises(ModelError) as refusal:
        load(published)
    said = str(refusal.value)
    assert said.startswith(f"{published}: it is not known in which order")
    assert "patch_order='wghgc' or patch_order='chgwg'" in said


def test_a_file_of_a_rows_size_with_other_bytes_is_not_that_row(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, "birefnet-hr", size_bytes=(published / "model.safetensors").stat().st_size)
    with pytest.raises(ModelError, match="it is not known in which order"):
        load(published)


def in_hub_cache(cache: Path, repository: str, folder: Path) -> Path:
    """The folder as the hub's own cache keeps it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = cache / f"models--{repository.replace('/', '--')}"
    copy(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    return cache


def test_a_repository_of_a_row_with_other_bytes_gets_its_order_and_a_warning(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = in_hub_cache(tmp_path, "someone/network", published)
    pin(monkeypatch, "birefnet-hr", sources=(HuggingFace("Someone/Network", "model.safetensors", "main"),))
    with pytest.warns(UserWarning, match=r"someone/network: .* are taken to have the same patch order, chgwg"):
        model = load("someone/network", cache_dir=cache, local_files_only=True)
    assert model.config.patch_order == "chgwg"


def test_a_repository_of_a_row_with_its_own_bytes_is_taken_in_silence(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = in_hub_cache(tmp_path, "someone/network", published)
    pin_bytes(monkeypatch, "birefnet-hr", published / "model.safetensors")
    assert load("someone/network", cache_dir=cache, local_files_only=True).config.patch_order == "chgwg"


def test_a_repository_of_no_row_is_an_error_that_asks(published: Path, tmp_path: Path) -> None:
    cache = in_hub_cache(tmp_path, "someone/network", published)
    with pytest.raises(ModelError, match="someone/network: it is not known in which order"):
        load("someone/network", cache_dir=cache, local_files_only=True)
    model = load("someone/network", cache_dir=cache, local_files_only=True, patch_order="wghgc", revision="main")
    assert model.config.patch_order == "wghgc"


@pytest.mark.parametrize("order", ["wghcg", "", "CHGWG"])
def test_an_order_that_is_none_is_refused(order: str, published: Path) -> None:
    with pytest.raises(ModelError):
        load(published, patch_order=order)


# Weights that are not this network's


@pytest.mark.parametrize(
    ("gone", "new", "said"),
    [
        ("bb.norm2.bias", None, r"missing: bb\.norm2\.bias"),
        ("bb.layers.0.blocks.0.attn.relative_position_index", None, "missing: .*relative_position_index"),
        (None, "refiner.conv.weight", r"unknown: refiner\.conv\.weight"),
    ],
)
def test_a_tensor_too_few_or_too_many_is_an_error(
    gone: str | None, new: str | None, said: str, published: Path, tmp_path: Path
) -> None:
    folder = copy(published, tmp_path / "folder")
    weights = load_file(published / "model.safetensors")
    if gone is not None:
        del weights[gone]
    if new is not None:
        weights[new] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"does not hold this network: {said}"):
        load(folder, patch_order="chgwg")


def test_counters_of_the_norms_may_be_missing_for_they_are_not_read(
    published: Path, tmp_path: Path, pictures: torch.Tensor
) -> None:
    folder = copy(published, tmp_path / "folder")
    weights = load_file(published / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with torch.inference_mode():
        expected = plain_logits(published, TINY, "chgwg", pictures)
        torch.testing.assert_close(load(folder, patch_order="chgwg")(pictures)[-1], expected, atol=5e-4, rtol=1e-4)


def test_weights_of_something_else_are_told_before_they_are_loaded(published: Path, tmp_path: Path) -> None:
    folder = copy(published, tmp_path / "folder")
    save_file({"conv.weight": torch.zeros(3)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="holds no BiRefNet with one of the backbones swin-l, swin-t"):
        load(folder, patch_order="chgwg")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="cannot be read as a safetensors file"):
        load(folder, patch_order="chgwg")


def test_a_folder_without_safetensors_is_transformers_own_error(published: Path, tmp_path: Path) -> None:
    folder = copy(published, tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        load(folder, patch_order="chgwg")


# Configs


def test_the_published_configs_are_recognised() -> None:
    rmbg = {**PUBLISHED_CONFIG, "torch_dtype": "float32", "transformers_version": "4.42.4"}
    for config in (PUBLISHED_CONFIG, rmbg):
        assert recognised(config)["model_type"] == "vmatte_birefnet"
        assert "model_type" not in config
    assert recognised(rmbg)["torch_dtype"] == "float32"


def test_a_config_that_the_published_code_wrote_again_is_recognised() -> None:
    coded = {
        "architectures": ["BiRefNet"],
        "auto_map": {"AutoConfig": "ZhengPeng7/BiRefNet--BiRefNet_config.BiRefNetConfig"},
        "model_type": "SegformerForSemanticSegmentation",
    }
    assert recognised(coded) == {"architectures": ["BiRefNet"], "model_type": "vmatte_birefnet"}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": None},
        {"architectures": ["BriaRMBG"], "auto_map": {"AutoConfig": "MyConfig.RMBGConfig"}},
        {"architectures": ["BertModel"], "model_type": "bert"},
        {"architectures": ["BiRefNet"], "model_type": "birefnet"},
        {"architectures": ["BiRefNet"], "model_type": "other", "auto_map": {"AutoConfig": "code.OtherConfig"}},
        {"architectures": ["BiRefNetForImageSegmentation"], "model_type": "vmatte_birefnet", "patch_order": "chgwg"},
    ],
)
def test_other_configs_stay_as_they_are(config: dict[str, Any]) -> None:
    assert recognised(config) is config


def test_a_config_must_be_whole_before_a_network_is_made_of_it() -> None:
    with pytest.raises(ModelError, match="BiRefNet needs backbone, one of 'swin-l', 'swin-t'"):
        BiRefNetForImageSegmentation(BiRefNetConfig(patch_order="chgwg"))
    with pytest.raises(ModelError, match="BiRefNet needs patch_order, one of 'wghgc', 'chgwg'; it has None"):
        BiRefNetForImageSegmentation(BiRefNetConfig(backbone="tiny"))
