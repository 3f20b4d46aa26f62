"""Memory in use: what PyTorch holds on a CUDA device; on a CPU what is resident of this process. All in MiB."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def start_peak(device: torch.device) -> None:
    """Forget the peak so far. On a CPU the peak is the process's, from its start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float | None:
    """The most that was in use; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type != "cpu" or sys.platform == "win32":
        return None
    if STATUS.is_file():
        return _status_mib("VmHWM")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def resident_mib(device: torch.device) -> float | None:
    """What is in use now; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return _status_mib("VmRSS") if device.type == "cpu" and STATUS.is_file() else None


def _status_mib(field: str) -> float:
    # Not getrusage where there is a choice: on Linux a process inherits the peak of the one that started it.
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024
