"""Measures a network, case by case: on a CPU each in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import gc
import logging
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal, TypeVar

import torch
from torch import Tensor

from vmatte.benchmark.memory import peak_mib, resident_mib, start_peak
from vmatte.benchmark.plain_loop import PlainBiRefNetLoop, frame_1080p
from vmatte.benchmark.work import gflop_of
from vmatte.errors import VmatteError
from vmatte.models.contract import ONNX, MattingModel, ModelSpec
from vmatte.models.placement import Placement, is_out_of_memory

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "tf32", "fp16", "bf16"]
"""`fp32` is that and nothing less; `tf32` lets CUDA round the factors of its matrix products to 10 bits."""
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
T = TypeVar("T")
ROUNDS = 5
"""Timings of a case on a GPU; the median counts."""


@dataclass(frozen=True, slots=True)
class NetworkCase:
    """A network as vmatte runs it: from normalised frames on its device to alpha on its device."""

    size: tuple[int, int]
    """(height, width) of its input."""
    batch: int
    precision: Precision
    compile: bool = False


@dataclass(frozen=True, slots=True)
class PlainLoopCase:
    """The loop that published examples show, frame by frame; see `plain_loop`."""

    size: tuple[int, int]


Case = NetworkCase | PlainLoopCase


@dataclass(frozen=True, slots=True)
class Subject:
    """What all cases of a bench share."""

    spec: ModelSpec
    device: torch.device
    weights: Path | None = None
    """None: random weights for a network in PyTorch, which cost the same."""
    threads: int | None = None
    """PyTorch's threads on a CPU; None leaves the choice to it."""
    seconds: float = 5.0
    """How long a case is repeated; each runs at least twice, and the first run is not counted."""
    product_side: int = 4096
    """Side of the matrices whose product shows what the device can do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far alpha lies from the same network's in fp32 on the same device, in steps of 1/255."""

    most: float
    quantile_999: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast matrices are multiplied."""

    tflops: float
    """By the wall clock."""
    cpu_tflops: float | None
    """By CPU time, of all threads together; None on a GPU."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a case costs. Times are those of a frame, not of a batch."""

    ms: float
    cpu_ms: float | None
    """CPU time of all threads; None on a GPU."""
    first_s: float
    """Seconds of the first run: compiling, choosing kernels."""
    peak_mib: float | None
    """CUDA: memory that PyTorch had in use. CPU: resident memory of the process, Python and PyTorch included."""
    network_mib: float | None
    """What was in use more once the network was there: its weights."""
    gflop: float | None
    """Work for a frame; None where it is not known."""
    product: Rate | None = None
    difference: Difference | None = None

    @property
    def fps(self) -> float:
        return 1000 / self.ms

    @property
    def tflops(self) -> float | None:
        return None if self.gflop is None else self.gflop / self.ms

    @property
    def of_product(self) -> float | None:
        """The network's TFLOP/s as a share of torch.mm's, both by the wall clock."""
        return None if self.tflops is None or self.product is None else self.tflops / self.product.tflops

    @property
    def of_product_cpu(self) -> float | None:
        """The same by CPU time, which other programs on the machine hardly disturb."""
        if self.gflop is None or self.cpu_ms is None or self.product is None or self.product.cpu_tflops is None:
            return None
        return self.gflop / self.cpu_ms / self.product.cpu_tflops


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case could not be measured."""

    reason: str
    """One line."""

    @classmethod
    def of(cls, error: Exception) -> Failure:
        if is_out_of_memory(error):
            return cls("out of memory")
        told = str(error) if isinstance(error, VmatteError) else f"{type(error).__name__}: {error}"
        return cls(told.splitlines()[0])


def build(subject: Subject, placement: Placement) -> MattingModel:
    """The network that is measured; the only place that knows how to make one."""
    spec = subject.spec
    if subject.weights is None and spec.patch_order is not None:
        from vmatte.models.birefnet.load import load

        return load(spec, None, placement)
    from vmatte.models.catalogue import build_model  # it needs more than PyTorch

    return build_model(spec, subject.weights, placement)


def measure_apart(subject: Subject, case: Case) -> Cost | Failure:
    """`Meter.measure` in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="vmatte-bench-") as folder:
        # Not through stdout, on which any library may print.
        answer = Path(folder) / "outcome.pickle"
        command = [sys.executable, "-m", "vmatte.benchmark", str(answer)]
        ended = subprocess.run(command, input=pickle.dumps((subject, case)), stdout=subprocess.DEVNULL)
        if ended.returncode != 0:
            return Failure(_end(ended.returncode))
        outcome = pickle.loads(answer.read_bytes())
    assert isinstance(outcome, (Cost, Failure))
    return outcome


def _end(code: int) -> str:
    """What became of a process that left no answer."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    if code == -9:
        return "killed, most likely for want of memory"
    names = {int(number): number.name for number in signal.Signals}
    return f"its process ended with exit code {code}, by {names.get(-code, 'a signal')}"


class Meter:
    """Measures one case after another in this process; a network stays loaded for as long as it serves."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._key: tuple[Placement, NetworkCase | None] | None = None
        self._model: MattingModel | None = None
        self._network_mib: float | None = None
        self._fp32_alphas: dict[tuple[int, int], Tensor | None] = {}
        self._products: dict[Precision, Rate] = {}
        if subject.threads is not None:
            torch.set_num_threads(subject.threads)

    def measure(self, case: Case) -> Cost | Failure:
        """What a case costs; a Failure where it cannot be run, whatever the reason: the next one may."""
        return self._attempt(lambda: self._measure(case))

    def _measure(self, case: Case) -> Cost:
        subject = self.subject
        if isinstance(case, PlainLoopCase):
            with tensor_cores(subject.device, allowed=True):  # as RMBG-2.0's own example does
                return self._costs(self._plain_loop(case), 1, case.size, "tf32")
        truth = None if case.precision == "fp32" and not case.compile else self._fp32_alpha(case.size)
        with tensor_cores(subject.device, allowed=case.precision != "fp32"):
            model = self.loaded(case)
            frames = pictures(subject.spec, case.size, case.batch).to(model.device)
            cost = self._costs(lambda: model.predict(frames), case.batch, case.size, case.precision)
            alpha = model.predict(frames).alpha[0].float().cpu()
        if truth is not None:
            return replace(cost, difference=difference(alpha, truth))
        if case.precision == "fp32" and not case.compile:
            self._fp32_alphas[case.size] = alpha
        return cost

    def _costs(self, run: Callable[[], object], frames: int, size: tuple[int, int], precision: Precision) -> Cost:
        spec, device = self.subject.spec, self.subject.device
        start_peak(device)
        first_s, _ = timed(run, 1, device)
        seconds, cpu_seconds = repeated(run, device, self.subject.seconds)
        peak = None if spec.architecture in ONNX and device.type != "cpu" else peak_mib(device)
        gflop = gflop_of(spec, size)
        return Cost(
            ms=seconds * 1000 / frames,
            cpu_ms=cpu_seconds * 1000 / frames if device.type == "cpu" else None,
            first_s=first_s,
            peak_mib=peak,
            network_mib=self._network_mib,
            gflop=gflop,
            product=None if gflop is None else self._product(precision),
        )

    def _plain_loop(self, case: PlainLoopCase) -> Callable[[], object]:
        self._forget()
        device = self.subject.device
        before = resident_mib(device)
        loop = PlainBiRefNetLoop(self.subject.spec, case.size, device)
        self._network_mib = _more(resident_mib(device), before)
        frame = frame_1080p()
        return lambda: loop(frame)

    def _fp32_alpha(self, size: tuple[int, int]) -> Tensor | None:
        """The first frame's matte in fp32, on the CPU; None where there is none, as where memory does not suffice."""
        if size not in self._fp32_alphas:
            alpha = self._attempt(lambda: self._alpha(NetworkCase(size, 1, "fp32")))
            self._fp32_alphas[size] = None if isinstance(alpha, Failure) else alpha
        return self._fp32_alphas[size]

    def _alpha(self, case: NetworkCase) -> Tensor:
        with tensor_cores(self.subject.device, allowed=False):
            model = self.loaded(case)
            frames = pictures(self.subject.spec, case.size, 1).to(model.device)
            return model.predict(frames).alpha[0].float().cpu()

    def _attempt(self, run: Callable[[], T]) -> T | Failure:
        try:
            return run()
        except Exception as error:
            logger.debug("a case failed", exc_info=True)
            failure = Failure.of(error)
        # Only out here, where the error no longer holds the run's tensors, can their memory be given back.
        self._forget()
        return failure

    def loaded(self, case: NetworkCase) -> MattingModel:
        """The network, placed; it is loaded anew where the last one will not do."""
        placement = Placement(self.subject.device, DTYPES[case.precision], case.compile)
        # What is compiled is compiled for one shape, and its graphs keep their memory.
        key = (placement, case if case.compile else None)
        if self._model is None or key != self._key:
            self._forget()
            before = resident_mib(self.subject.device)
            self._model, self._key = build(self.subject, placement), key
            self._network_mib = _more(resident_mib(self.subject.device), before)
        return self._model

    def _forget(self) -> None:
        if self._key is not None and self._key[1] is not None:
            torch.compiler.reset()
        self._model, self._key, self._network_mib = None, None, None
        gc.collect()
        if self.subject.device.type == "cuda":
            torch.cuda.empty_cache()

    def _product(self, precision: Precision) -> Rate:
        if precision not in self._products:
            self._products[precision] = product_rate(self.subject, precision)
        return self._products[precision]


def _more(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def product_rate(subject: Subject, precision: Precision) -> Rate:
    """How fast torch.mm multiplies two square matrices, with the same threads and in the same precision."""
    side, device = subject.product_side, subject.device
    left, right = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(left)

    def multiply() -> object:
        return torch.mm(left, right, out=out)

    with tensor_cores(device, allowed=precision != "fp32"):
        timed(multiply, 1, device)
        seconds, cpu_seconds = repeated(multiply, device, min(subject.seconds, 10.0))
    tflop = 2 * side**3 / 1e12
    return Rate(tflop / seconds, tflop / cpu_seconds if device.type == "cpu" else None)


def repeated(run: Callable[[], object], device: torch.device, seconds: float) -> tuple[float, float]:
    """Wall and CPU seconds of a run: medians over rounds that fill `seconds`, and one at least.

    On a GPU a round is many runs, and only its end is waited for, as a pipeline does it.
    """
    runs, spent = 1, 0.0
    rounds: list[tuple[float, float]] = []
    if device.type != "cpu":
        once, _ = timed(run, 1, device)
        runs = max(1, round(seconds / ROUNDS / max(once, 1e-6)))
    while spent < seconds or not rounds:
        wall, cpu = timed(run, runs, device)
        rounds.append((wall / runs, cpu / runs))
        spent += wall
    return median(wall for wall, _ in rounds), median(cpu for _, cpu in rounds)


def timed(run: Callable[[], object], times: int, device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of so many runs one after the other, until the device is done."""
    wait(device)
    started, cpu_started = time.perf_counter(), time.process_time()
    for _ in range(times):
        run()
    wait(device)
    return time.perf_counter() - started, time.process_time() - cpu_started


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def tensor_cores(device: torch.device, *, allowed: bool) -> Iterator[None]:
    """Whether CUDA may compute float32 in TensorFloat-32."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def pictures(spec: ModelSpec, size: tuple[int, int], count: int) -> Tensor:
    """A soft disc before a gradient, with grain, `count` times: normalised, (count, 3, h, w)."""
    height, width = size
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    disc = torch.sigmoid(20 * (0.6 - torch.hypot(y, x)))
    behind = torch.stack([0.5 + 0.3 * x + 0 * y, 0.4 + 0.2 * y + 0 * x, 0.5 - 0.2 * x * y])
    skin = torch.tensor([0.8, 0.6, 0.5]).view(3, 1, 1)
    grain = 0.02 * torch.randn(behind.shape, generator=torch.Generator().manual_seed(0))
    rgb = (skin * disc + behind * (1 - disc) + grain).clamp_(0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return rgb.sub_(mean).div_(std).repeat(count, 1, 1, 1)


def difference(alpha: Tensor, truth: Tensor) -> Difference:
    """Between two mattes in [0, 1]."""
    steps = (alpha - truth).abs().flatten().mul_(255)
    place = max(1, -(-len(steps) * 999 // 1000))
    return Difference(most=float(steps.max()), quantile_999=float(steps.kthvalue(place).values))
