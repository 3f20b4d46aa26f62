"""Layers in their encodings' codings, against the standards' own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vmatte.clip import BT709, FLOAT_BITS, Coding, ColorTags
from vmatte.encodings import ENCODINGS
from vmatte.frames import LayerBatch
from vmatte.imaging.compositing import matte_planes
from vmatte.outputs import AlphaForm
from vmatte.stages.recode import recode
from vmatte.video.layer_coding import coding_for

SDR = Coding(BT709, 8)
# ITU-R BT.709-6: R', G', B' of 75 % bars, and their codes in 8 bits.
BARS = {(0.75, 0.75, 0.75): (180, 128, 128), (0.75, 0, 0): (51, 109, 212), (0, 0.75, 0): (133, 63, 52)}


def layer(planes: tuple[int, int, int], alpha: float | None = None, bits: int = 8, frames: int = 1) -> LayerBatch:
    """Flat frames of 4 × 6 pixels, in 4:2:0."""
    kind = torch.uint8 if bits == 8 else torch.uint16
    luma = torch.full((frames, 1, 4, 6), planes[0]).to(kind)
    chroma = torch.tensor(planes[1:]).view(1, 2, 1, 1).expand(frames, 2, 2, 3).to(kind)
    share = None if alpha is None else torch.full((frames, 1, 4, 6), alpha)
    return LayerBatch(range(frames), luma, chroma, share)


def recoded(made: LayerBatch, name: str, delivery: Coding = SDR, form: AlphaForm = "straight") -> LayerBatch:
    row = ENCODINGS[name]
    coding = coding_for(row, "composite" if made.alpha is None else "cutout", delivery, form)
    (batch,) = recode([made], delivery, coding, row, form)
    return batch


@pytest.mark.parametrize(("rgb", "codes"), BARS.items())
def test_bars_come_to_rgb_in_the_order_green_blue_red(
    rgb: tuple[float, float, float], codes: tuple[int, int, int]
) -> None:
    batch = recoded(layer(codes), "png")
    red, green, blue = (255 * part for part in rgb)
    # The bars' own codes are rounded: that is up to one code of RGB.
    assert abs(batch.luma.float() - green).max() <= 1.5
    assert abs(batch.chroma.float() - torch.tensor([blue, red]).view(1, 2, 1, 1)).max() <= 1.5
    assert batch.luma.dtype == torch.uint8
    assert batch.chroma.shape == (1, 2, 4, 6)


def test_sixteen_bits_hold_what_eight_would_round() -> None:
    batch = recoded(layer((100, 128, 128)), "png16")
    assert batch.luma.dtype == torch.uint16
    assert (batch.luma.to(torch.int32) == round(65535 * (100 - 16) / 219)).all()


def test_alpha_of_sixteen_bits_is_rounded_once() -> None:
    made = layer((100, 128, 128), alpha=0.0)
    codes = torch.tensor([0, 1, 128, 129, 32768, 65535], dtype=torch.int32).to(torch.uint16).expand(1, 1, 4, 6)
    batch = LayerBatch(made.index, made.luma, made.chroma, codes.contiguous())
    for name, highest in (("png", 255), ("prores4444", 1023), ("png16", 65535)):
        alpha = recoded(batch, name).alpha
        assert alpha is not None
        wanted = np.round(np.array([0, 1, 128, 129, 32768, 65535]) / 65535 * highest)
        assert (alpha[0, 0].to(torch.int32).numpy() == wanted).all()
    exact = recoded(batch, "exr").alpha
    assert exact is not None
    np.testing.assert_allclose(exact[0, 0, 0].numpy(), np.array([0, 1, 128, 129, 32768, 65535]) / 65535, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.4, 1.0])
def test_premultiplied_codes_lie_between_black_and_the_colour(alpha: float) -> None:
    """In limited range black is 16, and no colour 128; with as many bits as the encoding's alpha."""
    batch = recoded(layer((120, 110, 150), alpha), "prores4444", form="premultiplied")
    share = round(alpha * 1023) / 1023
    assert (batch.luma.to(torch.int32) == round(4 * (16 + 104 * share))).all()
    wanted = [round(4 * (128 - 18 * share)), round(4 * (128 + 22 * share))]
    assert (batch.chroma.to(torch.int32) == torch.tensor(wanted).view(1, 2, 1, 1)).all()


def test_a_colour_that_no_screen_has_is_not_brighter_than_its_alpha() -> None:
    """BT.709 decodes 180, 90, 200 to R' 1.26: shown, and so multiplied, as 1. Where it is solid its codes stay."""
    for alpha in (0.5, 1.0):
        batch = recoded(layer((180, 90, 200), alpha), "prores4444", form="premultiplied")
        luma = (float(batch.luma[0, 0, 0, 0]) / 4 - 16) / 219
        red = luma + 1.5748 * (float(batch.chroma[0, 1, 0, 0]) / 4 - 128) / 224
        assert red == pytest.approx(alpha if alpha < 1 else 1.255, abs=0.004)


def test_openexr_multiplies_light_with_alpha() -> None:
    """BT.709's curve: 0.5 is ((0.5 + 0.099) / 1.099) ^ (1 / 0.45) = 0.2596 of light."""
    middle = round(64 + 0.5 * 876)
    batch = recoded(layer((middle, 512, 512), 0.5, bits=10), "exr", Coding(BT709, 10))
    light = (((middle - 64) / 876 + 0.0992968) / 1.0992968) ** (1 / 0.45)
    np.testing.assert_allclose(batch.luma.numpy(), light / 2, atol=1e-6)
    display = recoded(layer((middle, 512, 512), 0.5, bits=10), "exr-display", Coding(BT709, 10))
    np.testing.assert_allclose(display.luma.numpy(), (middle - 64) / 876 / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("transfer", "signal", "light"),
    # ITU-R BT.2408, table 1: reference white is 58 % of PQ and 75 % of HLG. BT.2100: HLG's middle is a twelfth of its
    # greatest light, whose ratio to white is 1 / 0.265; PQ's top is 10000 cd/m².
    [(16, 0.5807, 1.0), (16, 1.0, 10000 / 203), (18, 0.75, 1.0), (18, 0.5, 1 / 12 / 0.26496), (18, 1.0, 1 / 0.26496)],
)
def test_hdr_is_light_in_units_of_its_reference_white(transfer: int, signal: float, light: float) -> None:
    coding = Coding(ColorTags(matrix=9, primaries=9, transfer=transfer, full_range=False), 10)
    batch = recoded(layer((round(64 + signal * 876), 512, 512), bits=10), "exr-float", coding)
    np.testing.assert_allclose(batch.luma.numpy(), light, rtol=0.006)


def test_what_is_right_already_passes_untouched() -> None:
    made = layer((100, 90, 200))
    batch = recoded(made, "prores422hq")
    assert batch.luma is made.luma
    assert batch.chroma is made.chroma


def test_strips_and_batches_do_not_matter() -> None:
    """Frames taller than a strip, at once and one by one."""
    random = torch.Generator().manual_seed(0)
    luma = torch.randint(16, 236, (3, 1, 150, 34), generator=random).to(torch.uint8)
    chroma = torch.randint(16, 241, (3, 2, 75, 17), generator=random).to(torch.uint8)
    alpha = torch.rand((3, 1, 150, 34), generator=random)
    whole = recoded(LayerBatch(range(3), luma, chroma, alpha), "tiff16", form="premultiplied")
    for t in range(3):
        one = LayerBatch(range(t, t + 1), *(planes[t : t + 1] for planes in (luma, chroma, alpha)))
        batch = recoded(one, "tiff16", form="premultiplied")
        assert torch.equal(batch.luma[0].to(torch.int32), whole.luma[t].to(torch.int32))
        assert torch.equal(batch.chroma[0].to(torch.int32), whole.chroma[t].to(torch.int32))
    assert list(recode([], SDR, SDR, ENCODINGS["mp4"])) == []


@pytest.mark.parametrize("name", ["mp4", "prores4444", "ffv1", "png", "png16", "exr"])
def test_a_matte_alone_runs_from_black_to_white(name: str) -> None:
    coding = coding_for(ENCODINGS[name], "alpha", SDR)
    luma, chroma = matte_planes(torch.tensor([0, 0.5, 1]).view(1, 1, 1, 3), coding, (1, 2))
    ends = {"mp4": (16, 235), "prores4444": (64, 940), "ffv1": (0, 65535), "png": (0, 255), "png16": (0, 65535)}
    black, white = ends.get(name, (0, 1))
    seen = luma[0, 0, 0].to(torch.float64).tolist()
    assert (seen[0], seen[2]) == (black, white)
    assert seen[1] == pytest.approx((black + white) / 2, abs=0.51 if coding.bits != FLOAT_BITS else 1e-6)
    if name == "mp4":
        assert (chroma == 128).all()
