"""A bench from the words of `vmatte bench`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from vmatte.benchmark.measure import (
    DTYPES,
    Case,
    Meter,
    NetworkCase,
    PlainLoopCase,
    Precision,
    Subject,
    measure_apart,
)
from vmatte.benchmark.report import Line, Report, device_name
from vmatte.errors import JobError
from vmatte.job import make_runtime
from vmatte.models.birefnet.network import SIDE_MULTIPLE
from vmatte.models.catalogue import RANDOM, fetch_weights, find_model, own_weights
from vmatte.models.contract import ModelSpec
from vmatte.models.placement import find_device, place
from vmatte.models.weights import Progress

FRAME = (1080, 1920)
"""(height, width) of the frame whose matte is wanted, where no size is given."""


def bench(
    model: str,
    *,
    device: str | None = None,
    sizes: str | None = None,
    batches: str = "1",
    precisions: str | None = None,
    compile: bool = False,
    weights: str | None = None,
    threads: int | None = None,
    seconds: float | None = None,
    on_line: Callable[[Line], None] | None = None,
    on_weights: Progress | None = None,
) -> Report:
    """Measure a network in every size, batch and precision that the comma-separated words name.

    Raises JobError for words that mean nothing or ask for what cannot be, ModelError for weights that are not there.
    """
    spec = find_model(model)
    sides = _sizes(sizes, spec)
    counts = [_count(word) for word in batches.split(",")]
    found, cases = _cases(spec, device, sides, counts, precisions, compile)
    file, told = _weights(spec, weights, on_weights)
    if threads is not None and spec.patch_order is None:
        raise JobError(f"{spec.name} does not run in PyTorch: how many threads it takes is not for the bench to say")
    subject = Subject(spec, found, file, threads)
    if seconds is not None:
        subject = replace(subject, seconds=seconds)
    measure = Meter(subject).measure if found.type != "cpu" else lambda case: measure_apart(subject, case)
    lines = []
    for case in cases:
        lines.append(Line(case, measure(case)))
        if on_line is not None:
            on_line(lines[-1])
    shown_threads = (threads or torch.get_num_threads()) if found.type == "cpu" and spec.patch_order else None
    return Report(spec.name, told, device_name(found), torch.__version__, shown_threads, tuple(lines))


def _cases(
    spec: ModelSpec,
    device: str | None,
    sizes: list[tuple[int, int]],
    batches: list[int],
    precisions: str | None,
    compile: bool,
) -> tuple[torch.device, list[Case]]:
    """Where they run, and the cases: the plain loop first, then for each precision all batches."""
    words = make_runtime(device=device)
    kinds: list[Precision] = []
    placement, _ = place(words.device, "auto", compile, spec)
    if precisions is None:
        kinds = [name for name in get_args(Precision) if DTYPES[name] == placement.precision][:1]
    else:
        kinds = [_precision(word.strip(), find_device(words.device)[0]) for word in precisions.split(",")]
    for kind in kinds:
        _check_precision(kind, words.device, compile, spec)
    cases: list[Case] = []
    for size in sizes:
        if spec.patch_order is not None:
            cases.append(PlainLoopCase(size))
        cases += [NetworkCase(size, batch, kind, compile) for kind in kinds for batch in batches]
    return placement.device, cases


def _check_precision(kind: Precision, device: str, compile: bool, spec: ModelSpec) -> None:
    """JobError where a device or a network is not for this precision. A Runtime knows neither tf32 nor bf16, which
    only a bench has: tf32 is a way to compute in fp32, and bf16 is refused wherever fp16 is."""
    if kind != "bf16":
        place(device, "fp16" if kind == "fp16" else "fp32", compile, spec)
        return
    try:
        place(device, "fp16", compile, spec)
    except JobError as error:
        raise JobError(f"bf16 is refused where fp16 is, and here {error}") from error


def _precision(word: str, device: torch.device) -> Precision:
    for known in get_args(Precision):
        if word == known and (word != "tf32" or device.type == "cuda"):
            kind: Precision = known
            return kind
    if word == "tf32":
        raise JobError("tf32 is a precision of CUDA devices; give fp32")
    raise JobError(f"precision cannot be {word!r}; give {', '.join(get_args(Precision))}, separated by commas")


def _sizes(words: str | None, spec: ModelSpec) -> list[tuple[int, int]]:
    """(height, width) of each `1024` or `1920x1080`; without words the network's own for a 1080p frame."""
    if words is None:
        return [spec.input_size.of(*FRAME)]
    found = []
    for word in words.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", word.strip())
        if match is None:
            raise JobError(f"size cannot be {word!r}; give a side like 1024, or width and height like 2560x1440")
        width, height = int(match[1]), int(match[2] or match[1])
        multiple = SIDE_MULTIPLE if spec.patch_order is not None else spec.input_size.multiple
        if min(height, width) == 0 or height % multiple or width % multiple:
            raise JobError(f"{spec.name} cannot run at {width}×{height}: its sides are multiples of {multiple}")
        found.append((height, width))
    return found


def _count(word: str) -> int:
    if re.fullmatch(r"\s*[1-9]\d{0,3}\s*", word) is None:
        raise JobError(f"batch cannot be {word!r}; give numbers of frames, 1 or more, separated by commas")
    return int(word)


def _weights(spec: ModelSpec, word: str | None, on_weights: Progress | None) -> tuple[Path | None, str]:
    """The file, None for random ones, and what the report says of them."""
    if spec.patch_order is not None and word in (None, RANDOM):
        return None, "random weights"
    if word == RANDOM:
        raise JobError(f"{spec.name} is no PyTorch network: it cannot have random weights; leave them out")
    if word is not None:
        file = own_weights(spec, Path(word).expanduser())
        return file, f"weights {file}"
    if spec.weights is None:
        return None, "no weights"
    return fetch_weights(spec, on_weights), "its published weights"
