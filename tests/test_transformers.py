"""The lines that people write, after one import; and what that import leaves as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from birefnet_folder import PUBLISHED_CONFIG, plain_logits, write_folder
from clips import gray, write_clip
from small_onnx import write_mean_of_channels
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageSegmentation,
    AutoModelForSemanticSegmentation,
    MobileNetV2Config,
    MobileNetV2ForSemanticSegmentation,
    PretrainedConfig,
)

import vmatte.transformers as ours
from vmatte.models.birefnet import pretrained
from vmatte.models.birefnet.network import SWIN_T, Backbone
from vmatte.models.birefnet.pretrained import BiRefNetConfig, BiRefNetForImageSegmentation

TINY = Backbone(width=32, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), window=7)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("folders") / "any name", TINY)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(pretrained.BACKBONES, "tiny", TINY)
    ours.register()
    yield
    ours.unregister()


def in_a_fresh_python(code: str, **environment: str) -> str:
    """What a script prints, warnings being errors."""
    fresh = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    ended = subprocess.run(command, env=fresh, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


PUBLISHED_LINES = """
import sys
import torch
import vmatte.transformers
from transformers import AutoModelForImageSegmentation

birefnet = AutoModelForImageSegmentation.from_pretrained("ZhengPeng7/BiRefNet_lite", patch_order="wghgc")
birefnet.to("cpu")
birefnet.eval()
input_images = torch.load(sys.argv[1])
with torch.no_grad():
    preds = birefnet(input_images)[-1].sigmoid().cpu()
torch.save(preds, sys.argv[1])
print(type(birefnet).__module__, birefnet.config.backbone)
"""


def test_the_published_lines_work_off_the_network_without_trust(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--ZhengPeng7--BiRefNet_lite"
    snapshot = write_folder(repository / "snapshots" / commit, SWIN_T)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    torch.save(pictures, tmp_path / "pictures.pt")

    code = PUBLISHED_LINES.replace("sys.argv[1]", repr(str(tmp_path / "pictures.pt")))
    said = in_a_fresh_python(code, HF_HUB_CACHE=str(tmp_path / "hub"))

    assert said.split() == ["vmatte.models.birefnet.pretrained", "swin-t"]
    alpha = torch.load(tmp_path / "pictures.pt")
    expected = plain_logits(snapshot, SWIN_T, "wghgc", pictures).sigmoid()
    assert expected.std() > 0.01
    torch.testing.assert_close(alpha, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("trust", [None, False, True])
def test_a_folder_of_any_name_loads_and_the_code_in_it_is_never_run(trust: bool | None, published: Path) -> None:
    model = AutoModelForImageSegmentation.from_pretrained(published, patch_order="chgwg", trust_remote_code=trust)
    assert isinstance(model, BiRefNetForImageSegmentation)
    assert (model.config.backbone, model.config.patch_order) == ("tiny", "chgwg")


@torch.inference_mode()
def test_what_save_pretrained_wrote_loads_by_the_auto_class(published: Path, tmp_path: Path) -> None:
    half = AutoModelForImageSegmentation.from_pretrained(published, patch_order="chgwg", dtype=torch.float16)
    half.save_pretrained(tmp_path)
    again = AutoModelForImageSegmentation.from_pretrained(tmp_path)
    assert again.dtype == torch.float16
    assert again.config.patch_order == "chgwg"
    before, after = half.state_dict(), again.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@torch.inference_mode()
def test_a_config_alone_makes_a_network_that_was_never_trained() -> None:
    model = AutoModelForImageSegmentation.from_config(BiRefNetConfig(backbone="tiny", patch_order="chgwg")).eval()
    assert model(torch.zeros(1, 3, 32, 32))[-1].shape == (1, 1, 32, 32)


def test_auto_config_reads_a_published_folder(published: Path) -> None:
    config = AutoConfig.from_pretrained(published)
    assert isinstance(config, BiRefNetConfig)
    assert (config.backbone, config.patch_order) == (None, None)
    assert AutoConfig.from_pretrained(published, patch_order="wghgc").patch_order == "wghgc"


# What is left as it was


def is_as_published(config: dict[str, object]) -> bool:
    # Some versions of transformers add what they know of the commit.
    return "model_type" not in config and all(config[key] == value for key, value in PUBLISHED_CONFIG.items())


def test_other_models_load_as_before(tmp_path: Path) -> None:
    MobileNetV2ForSemanticSegmentation(MobileNetV2Config(depth_multiplier=0.1)).save_pretrained(tmp_path)
    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    assert type(model) is MobileNetV2ForSemanticSegmentation
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForImageSegmentation.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {**PUBLISHED_CONFIG, "architectures": ["BriaRMBG"]},
        {**PUBLISHED_CONFIG, "architectures": ["BiRefNet", "Other"]},
    ],
)
def test_code_of_others_is_still_not_run_without_trust(config: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="custom code"):
        AutoModelForImageSegmentation.from_pretrained(tmp_path, trust_remote_code=False)


def test_other_auto_classes_do_not_take_it(published: Path) -> None:
    for auto in (AutoModel, AutoModelForSemanticSegmentation):
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            auto.from_pretrained(published)


def test_a_config_class_of_someone_elses_reads_the_file_as_it_is(published: Path) -> None:
    class Code(PretrainedConfig):  # as in the code beside the weights
        model_type = "SegformerForSemanticSegmentation"

    found, _ = Code.get_config_dict(published)
    assert is_as_published(found)


def test_unregister_leaves_transformers_as_it_was_and_register_is_idempotent(published: Path) -> None:
    for _ in range(2):
        ours.register()
    assert isinstance(AutoConfig.from_pretrained(published), BiRefNetConfig)
    for _ in range(2):
        ours.unregister()
    with pytest.raises(ValueError, match="custom code"):
        AutoConfig.from_pretrained(published, trust_remote_code=False)
    found, _ = PretrainedConfig.get_config_dict(published)
    assert is_as_published(found)


RENDER = """
import sys
from vmatte import cli

try:
    cli.main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(sorted(name for name in ("torch", "transformers") if name in sys.modules))
"""


def test_a_render_with_modnet_does_not_wait_for_transformers(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [gray(np.full((64, 64), 128))] * 2)
    network = write_mean_of_channels(tmp_path / "modnet.onnx")
    words = [
        "run",
        clip,
        "--model",
        "modnet",
        "--weights",
        network,
        "-o",
        tmp_path / "out.mov",
        "--device",
        "cpu",
        "-q",
    ]
    code = f"import sys; sys.argv = {['vmatte', *map(str, words)]!r}{RENDER}"
    assert in_a_fresh_python(code).strip() == "['torch']"
    assert (tmp_path / "out.mov").is_file()
