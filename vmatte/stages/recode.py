"""Layers come to the coding that their encoding takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vmatte.clip import FLOAT_BITS, HDR_TRANSFERS, LINEAR, RGB_MATRIX, Coding
from vmatte.encodings import Encoding
from vmatte.frames import LayerBatch
from vmatte.imaging.color import black, downsample_chroma, gamut_change, rounded, strips, upsample_chroma, ycbcr_to_rgb
from vmatte.imaging.compositing import alpha_codes
from vmatte.imaging.light import curve_of
from vmatte.imaging.tonemap import hdr_light
from vmatte.outputs import AlphaForm


def recode(
    layers: Iterable[LayerBatch], source: Coding, target: Coding, encoding: Encoding, form: AlphaForm = "straight"
) -> Iterator[LayerBatch]:
    """Layers of codes in `source`, in the coding that `coding_for` names: Y'CbCr, R'G'B', or light.

    Alpha comes as float32 in [0, 1] or as codes of 16 bits, 65535 is opaque, and leaves as the encoding's own codes.
    Premultiplied colour is that of the codes that are written: what an editor divides by alpha is the subject's own
    again. Light is multiplied as light. Colour and alpha are rounded once, at the end.
    """
    for layer in layers:
        alpha, shares = None, None
        if layer.alpha is not None:
            alpha = _alpha_for(layer.alpha, encoding.alpha_bits)
            if form == "premultiplied" or encoding.premultiplied:
                shares = _share(alpha, encoding.alpha_bits)
        if target.color.matrix == RGB_MATRIX and source.color.matrix != RGB_MATRIX:
            luma, chroma = _as_rgb(layer, source, target, shares)
        elif shares is not None or target.bits != source.bits:
            # Chroma of full size is multiplied at full size: hair is thinner than a pixel of half size.
            fine = shares is not None and "444" in (encoding.pix_fmt_alpha or "")
            luma, chroma = _darkened(_fine(layer) if fine else layer, source, target, shares)
        else:
            luma, chroma = layer.luma, layer.chroma
        yield replace(layer, luma=luma, chroma=chroma, alpha=alpha)


def with_chroma_for(layers: Iterable[LayerBatch], steps: tuple[int, int], bits: int) -> Iterator[LayerBatch]:
    """Layers with a sample of chroma for `steps` rows and columns of luma, where theirs lie: FFmpeg's scaler would move
    chroma by half a pixel, for it takes it to lie between two columns."""
    for layer in layers:
        height, width = layer.luma.shape[-2:]
        size = -(-height // steps[0]), -(-width // steps[1])
        if tuple(layer.chroma.shape[-2:]) != size:
            layer = replace(layer, chroma=_scaled_chroma(layer.chroma, size, bits))
        yield layer


def _scaled_chroma(chroma: Tensor, size: tuple[int, int], bits: int) -> Tensor:
    finer = size[0] > chroma.shape[-2] or size[1] > chroma.shape[-1]
    scale = upsample_chroma if finer else downsample_chroma
    return rounded(scale(chroma.to(torch.float32), size), bits)


def _alpha_for(alpha: Tensor, bits: int) -> Tensor:
    """Alpha as it is written: codes of `bits` bits."""
    if alpha.dtype == torch.uint16 and bits == 16:
        return alpha
    shares = alpha if alpha.is_floating_point() else _share(alpha, 16)
    return shares if bits == FLOAT_BITS else alpha_codes(shares, bits)


def _share(codes: Tensor, bits: int) -> Tensor:
    return codes if bits == FLOAT_BITS else codes.to(torch.float32).mul_(1 / (2**bits - 1))


def _fine(layer: LayerBatch) -> LayerBatch:
    """With chroma of full size, unrounded."""
    size = layer.luma.shape[-2:]
    if layer.chroma.shape[-2:] == size:
        return layer
    return replace(layer, chroma=upsample_chroma(layer.chroma.to(torch.float32), size))


def _as_rgb(layer: LayerBatch, source: Coding, target: Coding, shares: Tensor | None) -> tuple[Tensor, Tensor]:
    """G, and B and R, at full size."""
    chroma = _fine(layer).chroma
    kind = {8: torch.uint8, FLOAT_BITS: torch.float32}.get(target.bits, torch.uint16)
    green = torch.empty_like(layer.luma, dtype=kind, memory_format=torch.contiguous_format)
    others = green.new_empty((len(green), 2, *green.shape[-2:]))
    for rows in strips(layer.luma):
        rgb = ycbcr_to_rgb(layer.luma[rows], chroma[rows], source)
        if target.color.transfer == LINEAR != source.color.transfer:
            rgb = _scene_light(rgb, source.color.transfer)
        if shares is not None:
            rgb *= shares[rows]
        codes = rgb if target.bits == FLOAT_BITS else rounded(rgb.mul_(2**target.bits - 1), target.bits)
        green[rows], others[rows] = codes[:, 1:2], codes[:, [2, 0]]
    return green, others


def _scene_light(rgb: Tensor, transfer: int) -> Tensor:
    """Light of R'G'B' (T, 3, H, W) in [0, 1]; computed, for half floats show less than a table's step. That of HDR goes
    beyond 1, which is its reference white."""
    if transfer in HDR_TRANSFERS:
        return hdr_light(rgb, transfer)
    curve = curve_of(transfer)
    return rgb if curve is None else curve.exact_light(rgb)


def _darkened(layer: LayerBatch, source: Coding, target: Coding, shares: Tensor | None) -> tuple[Tensor, Tensor]:
    """Y'CbCr of limited range between black and itself, with the target's bits."""
    finer = 2 ** (target.bits - source.bits)
    if shares is None:
        return _finer(layer.luma, finer), _finer(layer.chroma, finer)
    planes = []
    colors = _shown(layer, source, shares)
    for codes, zero in zip(colors, black(source), strict=True):
        share = shares
        if codes.shape[-2:] != shares.shape[-2:]:
            share = downsample_chroma(shares, (int(codes.shape[-2]), int(codes.shape[-1])))
        darkened = torch.empty_like(
            codes, dtype=torch.uint8 if target.bits == 8 else torch.uint16, memory_format=torch.contiguous_format
        )
        for rows in strips(codes):
            values = codes[rows].to(torch.float32).sub_(zero).mul_(share[rows])
            darkened[rows] = rounded(values.add_(zero).mul_(finer), target.bits)
        planes.append(darkened)
    return planes[0], planes[1]


def _finer(codes: Tensor, times: int) -> Tensor:
    """Codes in steps so many times finer, of 9 to 15 bits: exact, in whole numbers."""
    signed = codes.view(torch.int16) if codes.dtype == torch.uint16 else codes.to(torch.int16)  # uint16 has no product
    return (signed * times).view(torch.uint16)


def _shown(layer: LayerBatch, coding: Coding, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Luma and chroma as a decoder of the straight colours shows them: where alpha is soft the estimated colour may lie
    outside R'G'B', and multiplied it would come out brighter than its alpha."""
    change = gamut_change(layer.luma, layer.chroma, coding).mul_(shares < 1)
    small = int(layer.chroma.shape[-2]), int(layer.chroma.shape[-1])
    luma = layer.luma.to(torch.float32).add_(change[:, :1])
    return luma, layer.chroma.to(torch.float32).add_(downsample_chroma(change[:, 1:], small))
