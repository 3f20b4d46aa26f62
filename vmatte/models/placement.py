"""Where a network runs: which device, in which precision, compiled or as it is."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from vmatte.errors import JobError
from vmatte.models.contract import ONNX, MattingModel, ModelSpec

if TYPE_CHECKING:  # a network alone, as the bench measures it, needs nothing but torch
    from vmatte.job import Precision, Runtime

CUDA_PRECISION = torch.float16
"""What `auto` means on CUDA."""

_NAMES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MOST_AT_ONCE = 8
"""Frames that `auto` puts through a network at once, at most: with more, a GPU that is busy already gains nothing."""
_SHARE_OF_MEMORY = 0.6
"""Of the memory that is free on a GPU, what frames may take: the rest is for fragments, and for who else uses it."""
# While a frame is worked on: subject and plate as light, R'G'B' each, and their mixture (36), planes at full size (12),
# alpha (4), chroma brought up (8), and about as much again between two steps of it: by counting, 120. While it is
# copied: its codes and its layer's, 10 bits in 4:2:0 (3 + 3), and alpha's (2). Four batches may be on their way at
# once: the queue lets one be made while two wait and one is encoded.
_BYTES_A_PIXEL = 120 + 4 * (3 + 3 + 2)
"""What a frame takes at its own size, before and after the network."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a network computes."""

    device: torch.device
    precision: torch.dtype
    compile: bool

    def __str__(self) -> str:
        where = "the CPU" if self.device.type == "cpu" else str(self.device)
        if self.device.type == "cuda":
            where += f" ({torch.cuda.get_device_name(self.device)})"
        name = next(name for name, dtype in _NAMES.items() if dtype == self.precision)
        return f"{where}, {name}{', compiled' if self.compile else ''}"


def frames_device(spec: ModelSpec, placement: Placement) -> torch.device:
    """Where frames are matted and composed: by the network, but ONNX Runtime takes its own from the host's memory."""
    return torch.device("cpu") if spec.architecture in ONNX else placement.device


def place(device: str, precision: Precision, compile: bool, spec: ModelSpec) -> tuple[Placement, str]:
    """Where the network of a row runs for these words of a Runtime, and why there ("" where it was asked for).

    Raises JobError for a device that is not there, and for what the network cannot do on it.
    """
    found, why = find_device(device)
    onnx = spec.architecture in ONNX
    if onnx and found.type != "cpu" and (obstacle := _onnx_obstacle(found)):
        if device != "auto":
            raise JobError(f"{spec.name} cannot run on {device}: {obstacle}; leave out the device, or give cpu")
        found, why = torch.device("cpu"), obstacle
    if not is_torch_network(spec):
        if precision not in ("auto", "fp32"):
            raise JobError(f"{spec.name} computes in fp32 only, not in {precision}")
        if compile:
            raise JobError(f"{spec.name} is no PyTorch network: there is nothing to compile")
        return Placement(found, torch.float32, compile), why
    if found.type == "cpu" and precision == "fp16":
        raise JobError("fp16 is slower than fp32 on a CPU, not faster; leave the precision out, or give fp32")
    if precision != "auto":
        return Placement(found, _NAMES[precision], compile), why
    return Placement(found, CUDA_PRECISION if found.type == "cuda" else torch.float32, compile), why


def is_torch_network(spec: ModelSpec) -> bool:
    """Whether a row's network is computed by PyTorch, on PyTorch's threads."""
    return spec.architecture not in ONNX and not spec.is_key


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch's memory ended. CUDA's libraries, MPS and the CPU each have their own words for it."""
    text = str(error)
    words = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "DefaultCPUAllocator")
    return isinstance(error, torch.OutOfMemoryError) or any(word in text for word in words)


def find_device(word: str) -> tuple[torch.device, str]:
    """The device that a word means, and for `auto` why it is this one. JobError where it is not there."""
    match = re.fullmatch(r"(auto|cpu|mps|cuda)|cuda:(\d{1,3})", word)
    if match is None:
        raise JobError(f"no device is called {word!r}; there are: auto, cuda, cuda:1 and so on, mps, cpu")
    kind, number = match[1] or "cuda", int(match[2] or 0)
    if kind == "auto":
        return _best_device()
    if kind == "cuda":
        _check_cuda(number)
        return torch.device("cuda", number), ""
    if kind == "mps" and not torch.backends.mps.is_available():
        raise JobError("there is no MPS device: it needs a Mac with Apple's own processor and a recent macOS")
    return torch.device(kind), ""


def frames_at_once(runtime: Runtime, model: MattingModel, frame_size: tuple[int, int]) -> int:
    """How many frames (height, width) go through the network at once for this runtime.

    `auto` is one on a CPU, where more gain nothing and cost memory; on CUDA what fits, for which one frame is tried.
    A compiled network would be compiled twice for that: it gets four.
    """
    if runtime.batch != "auto":
        return runtime.batch
    if model.device.type != "cuda":
        return 1
    return 4 if runtime.compile else _frames_that_fit(model, frame_size)


def _frames_that_fit(model: MattingModel, frame_size: tuple[int, int]) -> int:
    """A power of two: kernels like it."""
    height, width = frame_size
    free, _ = torch.cuda.mem_get_info(model.device)
    torch.cuda.reset_peak_memory_stats(model.device)
    before = torch.cuda.memory_allocated(model.device)
    model.predict(torch.zeros(1, 3, *model.spec.input_size.of(height, width), device=model.device))
    by_network = torch.cuda.max_memory_allocated(model.device) - before
    fitting = int(free * _SHARE_OF_MEMORY / (by_network + height * width * _BYTES_A_PIXEL))
    return max(1, min(MOST_AT_ONCE, 1 << (fitting.bit_length() - 1) if fitting else 1))


def _best_device() -> tuple[torch.device, str]:
    if torch.cuda.is_available():
        return torch.device("cuda", 0), "torch finds CUDA"
    if torch.backends.mps.is_available():
        return torch.device("mps"), "torch finds MPS and no CUDA"
    return torch.device("cpu"), f"{_build()} is a build for CPUs" if _is_cpu_build() else "torch finds no GPU"


def _check_cuda(number: int) -> None:
    if not torch.cuda.is_available():
        if sys.platform == "darwin":
            raise JobError("there is no CUDA on a Mac; give mps or cpu, or leave out the device")
        if _is_cpu_build():
            raise JobError(
                f"there is no CUDA: {_build()} is a build for CPUs; uninstall torch, install its CUDA build "
                "(README, Install: the extra `cuda`), or leave out the device"
            )
        raise JobError(f"there is no CUDA: {_build()} finds no device; see what `nvidia-smi` says")
    count = torch.cuda.device_count()
    if number >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise JobError(f"there is no cuda:{number}: this machine has {there}")


def _build() -> str:
    return f"torch {torch.__version__}"


def _is_cpu_build() -> bool:
    # On a Mac every build is without CUDA, which says nothing.
    return torch.version.cuda is None and torch.version.hip is None and sys.platform != "darwin"


def _onnx_obstacle(device: torch.device) -> str | None:
    """Why ONNX Runtime cannot use a device other than the CPU; None where it can."""
    if device.type != "cuda":
        return "ONNX Runtime runs on the CPU here"
    import onnxruntime  # a second that only its own networks need

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return None
    return "this ONNX Runtime has no CUDA (the extra `onnx-gpu` brings it)"
