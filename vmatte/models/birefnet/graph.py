"""A network as a CUDA graph: its thousand small launches become one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UP_RUNS = 3
"""What a network does only at first (choosing kernels, filling caches, compiling) must not be captured."""

Network = Callable[[Tensor], Tensor]


class Graphed:
    """The same network, captured once for each shape of its input and then replayed. Every answer is a new tensor."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._captured: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, pictures: Tensor) -> Tensor:
        shape = tuple(pictures.shape)
        if shape not in self._captured:
            self._captured[shape] = self._capture(pictures)
        graph, given, answer = self._captured[shape]
        given.copy_(pictures)
        graph.replay()
        return answer.clone()

    def _capture(self, pictures: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = pictures.clone()
        computing = torch.cuda.current_stream(given.device)
        aside = torch.cuda.Stream(given.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(computing)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP_RUNS):
                self._network(given)
        computing.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # On `aside`: left to itself a capture takes a stream of the first device, whichever the network is on. Other
        # threads go on pinning memory meanwhile, which a capture would otherwise take for its own mistake.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            answer = self._network(given)
        return graph, given, answer
