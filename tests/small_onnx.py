"""ONNX files of a few nodes, written field by field as onnx.proto numbers them: no package is needed for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FLOAT, FLOAT16 = 1, 10
"""TensorProto.DataType."""
_IR_VERSION, _OPSET = 8, 13
_INTS = 7  # AttributeProto.Type

Sides = Sequence[int | str]


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Sequence[int]) -> bytes:
    """A NodeProto with one output; attributes are lists of integers."""
    fields = [_field(1, name) for name in inputs] + [_field(2, output), _field(4, operator)]
    for name, numbers in attributes.items():
        values = b"".join(_field(8, number) for number in numbers)
        fields.append(_field(5, _field(1, name) + values + _field(20, _INTS)))
    return b"".join(fields)


def tensor(name: str, sides: Sides, dtype: int = FLOAT) -> bytes:
    """A ValueInfoProto; a side may be a number, or a name for any number."""
    shape = b"".join(_field(1, _field(1 if isinstance(side, int) else 2, side)) for side in sides)
    return _field(1, name) + _field(2, _field(1, _field(1, dtype) + _field(2, shape)))


def write_onnx(path: Path, nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> Path:
    """A ModelProto of one graph."""
    graph = b"".join(_field(1, part) for part in nodes) + _field(2, "small")
    graph += b"".join(_field(11, part) for part in inputs) + b"".join(_field(12, part) for part in outputs)
    path.write_bytes(_field(1, _IR_VERSION) + _field(8, _field(1, "") + _field(2, _OPSET)) + _field(7, graph))
    return path


def write_mean_of_channels(path: Path, sides: Sides = ("n", 3, "h", "w"), dtype: int = FLOAT) -> Path:
    """A network whose answer is the mean of the three normalised channels."""
    mean = node("ReduceMean", ["picture"], "mean", axes=[1])
    return write_onnx(path, [mean], [tensor("picture", sides, dtype)], [tensor("mean", ["n", 1, "h", "w"], dtype)])


def _field(number: int, content: int | str | bytes) -> bytes:
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    content = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    septets = bytearray()
    while number > 127:
        septets.append(number & 127 | 128)
        number >>= 7
    return bytes([*septets, number])
