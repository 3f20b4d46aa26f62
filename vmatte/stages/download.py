"""Layers come back from the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vmatte.frames import LayerBatch, RenderedBatch


def download(rendered: Iterable[RenderedBatch]) -> Iterator[RenderedBatch]:
    """The same in the host's memory. From CUDA the layers are still on their way when they are yielded: their `ready`
    event tells when they are there."""
    stream: torch.cuda.Stream | None = None
    for batch in rendered:
        device = batch.layers[0].luma.device
        if device.type == "cuda":
            stream = stream or torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            yield _on_its_way(batch, stream)
        else:
            yield _moved(batch, Tensor.cpu)


def _on_its_way(batch: RenderedBatch, stream: torch.cuda.Stream) -> RenderedBatch:
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        moved = _moved(batch, lambda plane: _copied(plane, stream))
        # Waiting for it must not burn the core that the encoder needs.
        ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        ready.record(stream)
    return replace(moved, layers=tuple(replace(layer, ready=ready) for layer in moved.layers))


def _moved(batch: RenderedBatch, move: Callable[[Tensor], Tensor]) -> RenderedBatch:
    moved: dict[int, LayerBatch] = {}
    for layer in batch.layers:  # two encodings may share one
        if id(layer) not in moved:
            alpha = None if layer.alpha is None else move(layer.alpha)
            moved[id(layer)] = LayerBatch(layer.index, move(layer.luma), move(layer.chroma), alpha)
    matte = None if batch.matte is None else move(batch.matte)
    return RenderedBatch(tuple(moved[id(layer)] for layer in batch.layers), matte)


def _copied(plane: Tensor, stream: torch.cuda.Stream) -> Tensor:
    # A copy beside the computing needs page-locked memory; torch keeps such blocks and hands them out again.
    host = torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True)
    host.copy_(plane, non_blocking=True)
    plane.record_stream(stream)
    return host
