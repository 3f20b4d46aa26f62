"""Reads safetensors files: what one holds, and all of it as the tensors of a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from vmatte.errors import ModelError

Shapes = dict[str, tuple[int, ...]]
"""By the tensor's name."""


def read(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, in the precision of `expected`, whose names and shapes they must have.

    Raises ModelError for a file that cannot be read, and for one that holds anything more, less or else.
    """
    with _opened(path) as file:
        _check(path, _shapes(file), {name: tuple(tensor.shape) for name, tensor in expected.items()})
        for name, like in expected.items():
            kind = str(file.get_slice(name).get_dtype())
            if like.dtype.is_floating_point and not kind.startswith(("F", "BF")):
                raise ModelError(f"{path} holds {name} as {kind}: quantised weights are not for this network")
        # Files in float16 gain nothing and lose nothing by float32, in which norms are folded.
        return {name: file.get_tensor(name).to(like.dtype) for name, like in expected.items()}


def shapes(path: Path) -> Shapes:
    """What a file holds; none of it is read. Raises ModelError for one that cannot be."""
    with _opened(path) as file:
        return _shapes(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open  # random weights, for the bench, need nothing but torch

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read as a safetensors file: {error}") from error


def _shapes(file: Any) -> Shapes:
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _check(path: Path, found: Shapes, expected: Shapes) -> None:
    if found == expected:
        return
    differences = [
        _listed("missing", (name for name in expected if name not in found)),
        _listed("unknown", (name for name in found if name not in expected)),
        _listed(
            "of another shape",
            (
                f"{name} {found[name]}, not {shape}"
                for name, shape in expected.items()
                if found.get(name, shape) != shape
            ),
        ),
    ]
    raise ModelError(f"{path} does not hold this network: {'; '.join(filter(None, differences))}")


def _listed(what: str, names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - 3} more" if len(every) > 3 else ""
    return f"{what}: {', '.join(every[:3])}{more}" if every else ""
