"""Layers come back from the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vmatte.frames import LayerBatch


def download(layers: Iterable[LayerBatch]) -> Iterator[LayerBatch]:
    """The same layers in the host's memory. From CUDA they are still on their way when they are yielded: their `ready`
    event tells when they are there."""
    stream: torch.cuda.Stream | None = None
    for layer in layers:
        device = layer.luma.device
        if device.type == "cuda":
            stream = stream or torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            yield _on_its_way(layer, stream)
        else:
            yield _moved(layer, Tensor.cpu)


def _on_its_way(layer: LayerBatch, stream: torch.cuda.Stream) -> LayerBatch:
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        moved = _moved(layer, lambda plane: _copied(plane, stream))
        # Waiting for it must not burn the core that the encoder needs.
        ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        ready.record(stream)
    return replace(moved, ready=ready)


def _moved(layer: LayerBatch, move: Callable[[Tensor], Tensor]) -> LayerBatch:
    alpha, matte = (None if plane is None else move(plane) for plane in (layer.alpha, layer.matte))
    return LayerBatch(layer.index, move(layer.luma), move(layer.chroma), alpha, matte)


def _copied(plane: Tensor, stream: torch.cuda.Stream) -> Tensor:
    # A copy beside the computing needs page-locked memory; torch keeps such blocks and hands them out again.
    host = torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True)
    host.copy_(plane, non_blocking=True)
    plane.record_stream(stream)
    return host
