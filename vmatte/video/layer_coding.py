"""The coding in which an encoding takes a layer."""

from __future__ import annotations

from dataclasses import replace

from vmatte.clip import LINEAR, RGB_MATRIX, Coding, ColorTags
from vmatte.encodings import Encoding
from vmatte.outputs import AlphaForm, LayerName


def coding_for(encoding: Encoding, layer: LayerName, delivery: Coding, alpha: AlphaForm = "straight") -> Coding:
    """The coding that an encoding takes a layer in, of a clip that is delivered in `delivery`.

    Y'CbCr stays as it is, for the encoder's own format is made from it; where it is premultiplied, or its chroma may
    have to be enlarged, it has as many bits as the encoding, which the numbers between need. RGB and gray have the
    encoding's bits and full range, 32 for float numbers in [0, 1]. A matte is no light: it stays in proportion to
    alpha.
    """
    color = delivery.color
    if encoding.colour == "ycbcr":
        if layer == "alpha" and encoding.pix_fmt_gray is not None:
            return Coding(replace(color, full_range=True), encoding.bits)
        if layer == "alpha":
            return Coding(color, encoding.bits)
        deep = layer == "cutout" and alpha == "premultiplied"
        enlarged = encoding.chroma_steps(layer) == (1, 1)
        return Coding(color, max(delivery.bits, encoding.bits)) if deep or enlarged else delivery
    transfer = LINEAR if encoding.colour == "linear" and layer != "alpha" else color.transfer
    return Coding(ColorTags(RGB_MATRIX, color.primaries, transfer, full_range=True), encoding.bits)
