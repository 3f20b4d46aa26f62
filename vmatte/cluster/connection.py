"""The way to a Ray cluster, and what it offers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vmatte.errors import JobError

AUTO = "auto"
"""The word for the cluster that RAY_ADDRESS names, as Ray's own commands set it, or else for a Ray of one's own on this
machine. Not for whatever Ray runs here, as Ray takes the word: that may be somebody's who is about to stop it."""
_CORES = 4
"""For a worker without a GPU: with more threads a network on a CPU gains little."""
_ANSWER_S = 10
"""How long a cluster may take to answer."""
_STORE_BYTES = 100_000_000
"""Of memory, for what a Ray of one's own passes on: plans, nothing larger."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to `auto` or HOST:PORT; a program that is connected already stays so.

    Raises JobError where Ray is not installed and where nobody answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    with _signals_kept():
        _connect(ray, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def import_ray() -> Any:
    """Ray, told to keep to itself. JobError where it is not installed."""
    # Ray tells its maker what it is used for, and says so at length, unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it each actor without a GPU warns that Ray will one day leave its CUDA_VISIBLE_DEVICES alone.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # It prints each worker's death on stdout, in a dozen lines; the driver says it in one of its own.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise JobError('rendering on a cluster needs Ray: pip install "vmatte[ray]"') from error
    return ray


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS", AUTO)
    if address == AUTO:
        ray.init(address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise JobError(f"{address!r} is no address of a Ray cluster; give {AUTO}, or HOST:PORT of its head")
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()  # Ray itself would try for a minute
        ray.init(address=address, **quiet)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise JobError(
            f"no Ray cluster can be used at {address}: {reason}; `ray status` on one of its nodes says how it "
            "is, and on one of them vmatte has to run"
        ) from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes over SIGTERM when it connects; whoever had it wants to clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True, slots=True)
class Share:
    """What each worker gets of its node."""

    gpus: int
    """1 or 0."""
    cores: int

    def fitting(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """How many workers the nodes have room for."""
        if self.gpus:
            return sum(int(node.get("GPU", 0)) for node in nodes)
        return sum(int(node.get("CPU", 0)) // self.cores for node in nodes)


def share(nodes: Sequence[Mapping[str, float]], wanted: int | None, *, gpus: bool) -> Share:
    """What each of `wanted` workers gets; None: one worker for each GPU where there are some and they are of use, else
    one for each four cores. `nodes` is what each node has, in Ray's words.

    Raises JobError where there is nothing to work with.
    """
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if gpus and with_gpu:
        return Share(1, max(1, min(int(node.get("CPU", 0)) // int(node["GPU"]) for node in with_gpu)))
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if not cores:
        raise JobError("the Ray cluster has neither GPUs nor cores; `ray start` says what a node offers")
    return Share(0, max(1, min(*cores, _CORES if wanted is None else sum(cores) // wanted)))


def nodes_of(ray: Any) -> list[Mapping[str, float]]:
    """What each living node has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
