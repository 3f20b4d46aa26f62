"""Layers come back from the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
            alpha = None if layer.alpha is None else layer.alpha.cpu()
            yield LayerBatch(layer.index, layer.luma.cpu(), layer.chroma.cpu(), alpha)


def _on_its_way(layer: LayerBatch, stream: torch.cuda.Stream) -> LayerBatch:
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        luma, chroma = _copied(layer.luma, stream), _copied(layer.chroma, stream)
        alpha = None if layer.alpha is None else _copied(layer.alpha, stream)
        ready = stream.record_event()
    return LayerBatch(layer.index, luma, chroma, alpha, ready)


def _copied(plane: Tensor, stream: torch.cuda.Stream) -> Tensor:
    # A copy beside the computing needs page-locked memory; torch keeps such blocks and hands them out again.
    host = torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True)
    host.copy_(plane, non_blocking=True)
    plane.record_stream(stream)
    return host
