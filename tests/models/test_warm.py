"""The last network stays loaded for the next job, and only where it is the same one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vmatte.models.catalogue import MODELS, build_model
from vmatte.models.contract import MattingModel
from vmatte.models.luma_key import LumaKey
from vmatte.models.placement import Placement
from vmatte.models.warm import forget_models, keep_last_model, warm_model

SPEC = MODELS["luma-key"]
CPU = Placement(torch.device("cpu"), torch.float32, compile=False)


@pytest.fixture
def _keeping() -> Iterator[None]:
    keep_last_model()
    yield
    forget_models()


def test_a_process_that_does_not_ask_for_it_keeps_nothing() -> None:
    assert build_model(SPEC, None, CPU) is not build_model(SPEC, None, CPU)


@pytest.mark.usefixtures("_keeping")
def test_the_same_network_is_built_once_and_another_one_takes_its_place() -> None:
    first = build_model(SPEC, None, CPU)
    assert build_model(SPEC, None, CPU) is first
    other = build_model(replace(SPEC, name="another"), None, CPU)
    assert other.spec.name == "another"
    assert build_model(SPEC, None, CPU) is not first
    compiled = replace(CPU, compile=True)
    assert build_model(SPEC, None, compiled) is not build_model(SPEC, None, CPU)


@pytest.mark.usefixtures("_keeping")
def test_weights_that_were_trained_further_are_loaded_again(tmp_path: Path) -> None:
    weights = tmp_path / "own.onnx"
    built: list[MattingModel] = []

    def build() -> MattingModel:
        built.append(LumaKey(SPEC, CPU.device))
        return built[-1]

    for content, count in (("one", 1), ("one", 1), ("further", 2)):
        if not weights.exists() or weights.read_text() != content:
            weights.write_text(content)
        assert warm_model(SPEC, weights, CPU, build) is built[-1]
        assert len(built) == count
