"""Networks of one's own in ONNX Runtime: what a file is given, what its answer means, and what does not fit."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest
import torch
from small_onnx import FLOAT16, node, tensor, write_mean_of_channels, write_onnx
from torch import Tensor

from vmatte.clip import BT709, Coding
from vmatte.errors import ModelError
from vmatte.frames import FrameBatch
from vmatte.models.catalogue import MODELS, load_model
from vmatte.models.onnx import open_network
from vmatte.models.placement import Placement
from vmatte.stages.matte import matte, network_input
from vmatte.stopwatch import Stopwatch

IMAGENET = list(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True))
SHADE = 0.6
CODE = 16 + round(219 * SHADE)
GREY = (CODE - 16) / 219
"""What is left of it in limited-range codes."""


def grey_frames(count: int, height: int = 48, width: int = 64) -> FrameBatch:
    luma = torch.full((count, 1, height, width), CODE, dtype=torch.uint8)
    chroma = torch.full((count, 2, height // 2, width // 2), 128, dtype=torch.uint8)
    return FrameBatch(range(count), luma, chroma, Coding(BT709, 8))


def alpha_of_grey(name: str, path: Path) -> Tensor:
    (batch,) = matte([grey_frames(2)], load_model(name, path), 2, Stopwatch())
    return batch.alpha


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("onnx:u2net", sum((GREY - mean) / std for mean, std in IMAGENET) / 3),
        ("onnx:isnet", GREY - 0.5),
        ("onnx:modnet", (GREY - 0.5) / 0.5),
        ("onnx:birefnet", 1 / (1 + math.exp(-sum((GREY - mean) / std for mean, std in IMAGENET) / 3))),
    ],
)
def test_each_style_normalises_as_its_family_and_reads_its_answer_so(
    name: str, expected: float, tmp_path: Path
) -> None:
    alpha = alpha_of_grey(name, write_mean_of_channels(tmp_path / "own.onnx"))
    assert alpha.shape == (2, 1, 48, 64)
    torch.testing.assert_close(alpha, torch.full_like(alpha, expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("onnx:u2net", (320, 320)),
        ("onnx:isnet", (1024, 1024)),
        ("onnx:birefnet", (1024, 1024)),
        ("onnx:modnet", (512, 672)),  # 512 × 4 / 3 = 682.7, the nearest multiple of 32 is 672
    ],
)
def test_each_style_scales_as_its_family(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    model = load_model(name, write_mean_of_channels(tmp_path / "own.onnx"))
    assert network_input(grey_frames(1), model).shape[-2:] == size


def test_a_matte_is_not_stretched_to_its_own_extremes(tmp_path: Path) -> None:
    model = load_model("onnx:isnet", write_mean_of_channels(tmp_path / "own.onnx"))
    answers = torch.tensor([0.2, 0.7, -0.1, 1.3]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    torch.testing.assert_close(model.predict(answers).alpha.flatten(), torch.tensor([0.2, 0.7, 0.0, 1.0]))


def test_a_file_for_one_picture_at_a_time_gets_them_so(tmp_path: Path) -> None:
    one = load_model("onnx:u2net", write_mean_of_channels(tmp_path / "one.onnx", (1, 3, 320, 320)))
    many = load_model("onnx:u2net", write_mean_of_channels(tmp_path / "many.onnx"))
    pictures = torch.rand(3, 3, 320, 320, generator=torch.Generator().manual_seed(2))
    assert torch.equal(one.predict(pictures).alpha, many.predict(pictures).alpha)


def test_a_file_for_pictures_of_another_size_says_both_sizes(tmp_path: Path) -> None:
    own = write_mean_of_channels(tmp_path / "own.onnx", (1, 3, 512, 768))
    with pytest.raises(ModelError, match="takes pictures of 768×512, and onnx:isnet gives it 1024×1024"):
        alpha_of_grey("onnx:isnet", own)


@pytest.mark.parametrize("sides", [(4, 3, 320, 320), (1, 320, 320, 3), ("n", 1, "h", "w")])
def test_a_file_for_other_batches_or_channels_is_refused(sides: Sequence[int | str], tmp_path: Path) -> None:
    own = write_mean_of_channels(tmp_path / "own.onnx", sides)
    with pytest.raises(ModelError, match=r"own\.onnx is no onnx:u2net network: it takes tensor\(float\) \["):
        load_model("onnx:u2net", own)


def test_a_file_for_numbers_of_half_precision_is_refused(tmp_path: Path) -> None:
    own = write_mean_of_channels(tmp_path / "own.onnx", dtype=FLOAT16)
    with pytest.raises(ModelError, match=r"it takes tensor\(float16\)"):
        load_model("onnx:u2net", own)


def test_a_file_with_more_than_one_input_is_refused(tmp_path: Path) -> None:
    sides = ("n", 3, "h", "w")
    inputs = [tensor("picture", sides), tensor("trimap", sides)]
    own = write_onnx(tmp_path / "own.onnx", [node("Add", ["picture", "trimap"], "sum")], inputs, [tensor("sum", sides)])
    with pytest.raises(ModelError, match=r"own\.onnx is no onnx:u2net network: it does not take one batch"):
        load_model("onnx:u2net", own)


def test_an_answer_that_is_no_matte_is_refused(tmp_path: Path) -> None:
    sides = ("n", 3, "h", "w")
    own = write_onnx(
        tmp_path / "own.onnx",
        [node("Identity", ["picture"], "same")],
        [tensor("picture", sides)],
        [tensor("same", sides)],
    )
    with pytest.raises(ModelError, match="what they give is no matte of their input"):
        alpha_of_grey("onnx:u2net", own)


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own.onnx"
    own.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"own\.onnx cannot be loaded as the network onnx:modnet"):
        load_model("onnx:modnet", own)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_network_for_cuda_does_not_drop_to_the_cpu(tmp_path: Path) -> None:
    own = write_mean_of_channels(tmp_path / "own.onnx")
    on_cuda = Placement(torch.device("cuda", 1), torch.float32, compile=False)
    with pytest.raises(ModelError, match=r"onnx:u2net cannot run on cuda:1: .* CUDA libraries; .*use --device cpu"):
        open_network(own, "onnx:u2net", on_cuda)
    assert open_network(own, "onnx:u2net", Placement(torch.device("cpu"), torch.float32, compile=False))


@pytest.mark.weights
@pytest.mark.parametrize(("style", "row"), [("onnx:u2net", "u2netp"), ("onnx:modnet", "modnet")])
def test_a_familys_own_file_gives_the_same_by_its_style(style: str, row: str) -> None:
    from vmatte.models.weights import fetch

    pinned = MODELS[row].weights
    assert pinned is not None
    picture = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(4)) * 2 - 1
    by_row, by_style = load_model(row), load_model(style, fetch(row, pinned))
    assert torch.equal(by_row.predict(picture).alpha, by_style.predict(picture).alpha)
    assert network_input(grey_frames(1), by_row).equal(network_input(grey_frames(1), by_style))


def test_the_runtime_is_told_to_keep_what_it_runs_to_itself() -> None:
    told = "import vmatte, vmatte.models.onnx, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    answer = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "1"
