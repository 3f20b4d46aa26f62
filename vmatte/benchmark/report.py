"""What a bench found, as JSON and as a Markdown table."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from vmatte.benchmark.measure import Case, Cost, Failure, NetworkCase, PlainLoopCase

_MOST_IN_CELL = 80


@dataclass(frozen=True, slots=True)
class Line:
    """A case and what came of it."""

    case: Case
    outcome: Cost | Failure

    def __str__(self) -> str:
        told = self.outcome.reason if isinstance(self.outcome, Failure) else f"{self.outcome.ms:.1f} ms/frame"
        return f"{', '.join(_case_cells(self.case))}: {told}"


@dataclass(frozen=True, slots=True)
class Report:
    """The cases of a bench, and what they ran on."""

    model: str
    weights: str
    device: str
    torch_version: str
    threads: int | None
    """PyTorch's on a CPU; None on a GPU and for ONNX Runtime, which decides by itself."""
    lines: tuple[Line, ...]

    @property
    def failed(self) -> Failure | None:
        """Why the network could not be measured at all; None where one of its cases was."""
        outcomes = [line.outcome for line in self.lines if isinstance(line.case, NetworkCase)]
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        return failures[0] if failures and len(failures) == len(outcomes) else None

    def speedup(self, line: Line) -> float | None:
        """How many times as fast as the plain loop at the same size; None where that was not measured."""
        if isinstance(line.outcome, Failure) or isinstance(line.case, PlainLoopCase):
            return None
        for other in self.lines:
            plain = isinstance(other.case, PlainLoopCase) and other.case.size == line.case.size
            if plain and isinstance(other.outcome, Cost):
                return other.outcome.ms / line.outcome.ms
        return None

    def as_json(self) -> str:
        """One JSON object; `lines` holds one for each case, with `failure` where it could not be measured."""
        facts = {name: getattr(self, name) for name in ("model", "weights", "device", "torch_version", "threads")}
        return json.dumps({**facts, "lines": [self._line_json(line) for line in self.lines]}, indent=1)

    def _line_json(self, line: Line) -> dict[str, object]:
        case, outcome = line.case, line.outcome
        kind = "network" if isinstance(case, NetworkCase) else "plain loop"
        facts: dict[str, object] = {"kind": kind, **dataclasses.asdict(case)}
        if isinstance(outcome, Failure):
            return {**facts, "failure": outcome.reason}
        shares = {name: getattr(outcome, name) for name in ("fps", "tflops", "of_product", "of_product_cpu")}
        return {**facts, **dataclasses.asdict(outcome), **shares, "speedup": self.speedup(line)}

    def as_markdown(self) -> str:
        """A heading, a table, and what its columns mean; a column that no case fills is left out."""
        cells = [
            ["size", "batch", "precision", *(title for title, _ in _COLUMNS), "× plain loop"],
            *(self._row(line) for line in self.lines),
        ]
        kept = [column for column in zip(*cells, strict=True) if any(column[1:]) or column[0] in ("size", "ms/frame")]
        widths = [max(map(len, column)) for column in kept]
        rows = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
            for row in zip(*kept, strict=True)
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        titles = [column[0] for column in kept]
        notes = "".join(f"- {note}\n" for title, note in _NOTES.items() if title in titles)
        threads = "" if self.threads is None else f", {self.threads} thread{'s'[: self.threads != 1]}"
        heading = f"**{self.model}** ({self.weights}) on {self.device}, torch {self.torch_version}{threads}"
        return "\n".join([heading, "", rows[0], rule, *rows[1:], "", notes])

    def _row(self, line: Line) -> list[str]:
        row, outcome = _case_cells(line.case), line.outcome
        if isinstance(outcome, Failure):
            return [*row, short(outcome.reason)] + [""] * len(_COLUMNS)
        speedup = self.speedup(line)
        return [*row, *(cell(outcome) for _, cell in _COLUMNS), "" if speedup is None else f"{speedup:.2f}"]


def _case_cells(case: Case) -> list[str]:
    size = f"{case.size[1]}×{case.size[0]}"
    if isinstance(case, PlainLoopCase):
        return [size, "1", "plain loop"]
    return [size, str(case.batch), case.precision + (", compiled" if case.compile else "")]


def short(text: str) -> str:
    """As much of a line as fits a cell of a table."""
    cell = text.replace("|", "/")
    return cell if len(cell) <= _MOST_IN_CELL else f"{cell[: _MOST_IN_CELL - 1]}…"


def device_name(device: torch.device) -> str:
    """What its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.is_file():
        names = [line.partition(":")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        return " ".join(names[0].split()) if names else platform.machine()
    return device.type if device.type != "cpu" else platform.processor() or platform.machine()


def _number(form: str, value: Callable[[Cost], float | None]) -> Callable[[Cost], str]:
    def cell(cost: Cost) -> str:
        found = value(cost)
        return "" if found is None else format(found, form)

    return cell


_COLUMNS: tuple[tuple[str, Callable[[Cost], str]], ...] = (
    ("ms/frame", _number(".1f", lambda cost: cost.ms)),
    ("frames/s", _number(".2f", lambda cost: cost.fps)),
    ("CPU ms/frame", _number(".0f", lambda cost: cost.cpu_ms)),
    ("TFLOP/s", _number(".3g", lambda cost: cost.tflops)),
    ("of torch.mm", _number(".2f", lambda cost: cost.of_product)),
    ("by CPU time", _number(".2f", lambda cost: cost.of_product_cpu)),
    ("peak MiB", _number(".0f", lambda cost: cost.peak_mib)),
    ("network MiB", _number(".0f", lambda cost: cost.network_mib)),
    ("first run s", _number(".1f", lambda cost: cost.first_s)),
    ("alpha, most", _number(".3f", lambda cost: None if cost.difference is None else cost.difference.most)),
    ("99.9 %", _number(".3f", lambda cost: None if cost.difference is None else cost.difference.quantile_999)),
)

_NOTES = {
    "CPU ms/frame": "CPU ms: of all threads together; other programs on the machine hardly disturb it.",
    "TFLOP/s": "TFLOP/s: the published network's work at 1024² and 2048² (whatever a rewrite saves), at other sizes "
    "what is counted in the network as it is.",
    "of torch.mm": "of torch.mm: TFLOP/s as a share of what torch.mm reaches on matrices of 4096² beside it, with the "
    "same threads and precision, by the wall clock.",
    "by CPU time": "by CPU time: the same share by CPU time; of several threads, those that spin as they wait count.",
    "peak MiB": "peak: on CUDA what PyTorch had in use, on a CPU the whole process, in one of its own for each case.",
    "alpha, most": "alpha: the most that it differs from the same network in fp32, and the 99.9 % quantile, in steps "
    "of 1/255; with random weights that says little of trained ones.",
    "× plain loop": "× plain loop: the network alone, against one frame after another through Pillow, the network in "
    "float32 with unfolded norms (TensorFloat-32 on CUDA), `.cpu()` and Pillow, from and to 1080p.",
}
