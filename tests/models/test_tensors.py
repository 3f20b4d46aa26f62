"""Safetensors files, written by safetensors itself, as the tensors of a network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vmatte.errors import ModelError
from vmatte.models.tensors import read, shapes

WRITTEN = {"weight": torch.tensor([[1.0, 2.5, -3.0]], dtype=torch.float16), "count": torch.tensor(7)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(WRITTEN, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_file_tells_its_names_and_shapes(file: Path) -> None:
    assert shapes(file) == {"weight": (1, 3), "count": ()}


def test_tensors_arrive_in_the_precision_that_is_expected(file: Path) -> None:
    found = read(file, {"weight": torch.zeros(1, 3), "count": torch.tensor(0)})
    assert (found["weight"].dtype, found["weight"].tolist()) == (torch.float32, [[1.0, 2.5, -3.0]])
    assert (found["count"].dtype, found["count"].item()) == (torch.int64, 7)


def test_a_network_on_no_device_can_be_expected(file: Path) -> None:
    with torch.device("meta"):
        expected = {"weight": torch.zeros(1, 3, dtype=torch.float64), "count": torch.tensor(0)}
    assert read(file, expected)["weight"].tolist() == [[1.0, 2.5, -3.0]]


def test_another_network_s_file_is_refused_with_the_first_of_what_differs(file: Path) -> None:
    expected = {"weight": torch.zeros(3, 1), **{f"bias{k}": torch.zeros(1) for k in range(5)}}
    told = (
        r"does not hold this network: missing: bias0, bias1, bias2 and 2 more; unknown: count; "
        r"of another shape: weight \(1, 3\), not \(3, 1\)$"
    )
    with pytest.raises(ModelError, match=told):
        read(file, expected)


@pytest.mark.parametrize("content", [None, b"", b"no tensors at all"])
def test_what_is_no_safetensors_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    if content is not None:
        path.write_bytes(content)
    for look in (shapes, lambda path: read(path, {})):
        with pytest.raises(ModelError, match=r"broken\.safetensors cannot be read as a safetensors file"):
            look(path)


def test_weights_that_were_made_whole_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "int8.safetensors"
    save_file({"a": torch.ones(2, dtype=torch.int8)}, path)
    with pytest.raises(ModelError, match="holds a as I8: quantised"):
        read(path, {"a": torch.zeros(2)})
