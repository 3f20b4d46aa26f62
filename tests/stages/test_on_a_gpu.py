"""The chain on a CUDA device gives what it gives on the CPU."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vmatte.analysis import Grade, Grain
from vmatte.canvas import place_on
from vmatte.clip import HDR_TRANSFERS, Coding, ColorTags
from vmatte.frames import DecodedFrames, FrameBatch, LayerBatch, MatteBatch, RenderedBatch, SubjectBatch
from vmatte.imaging.blur import blur_around
from vmatte.imaging.color import ycbcr_to_rgb
from vmatte.imaging.grain import LEVELS
from vmatte.imaging.tonemap import ToneMap, tone_mapped
from vmatte.models.catalogue import load_model
from vmatte.options import ContactShadow, LightWrap, Subject
from vmatte.stages.branch import Shared, in_step
from vmatte.stages.compose import Look, PlatePlanes, compose, cut_out
from vmatte.stages.download import download
from vmatte.stages.foreground import foreground
from vmatte.stages.matte import matte
from vmatte.stages.place import place
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch

HEIGHT, WIDTH, FRAMES = 90, 161, 6
BT709 = ColorTags(matrix=1, primaries=1, transfer=1, full_range=False)
LOOK = Look(
    "linear",
    LightWrap(strength=0.5),
    ContactShadow(strength=0.5),
    grade_of=lambda _: Grade((1.1, 0.9, 0.9), 0.02, (0.01, -0.01)),
    grain=Grain((0.02,) * LEVELS),
)
BT601 = ColorTags(matrix=6, primaries=6, transfer=6, full_range=True)

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def decoded(color: ColorTags) -> Iterator[DecodedFrames]:
    for start in range(0, FRAMES, 2):
        random = np.random.default_rng(start)
        luma = random.integers(16, 236, (2, 1, HEIGHT, WIDTH), dtype=np.uint8)
        chroma = random.integers(16, 241, (2, 2, HEIGHT // 2, WIDTH // 2 + 1), dtype=np.uint8)
        yield DecodedFrames(range(start, start + 2), luma, chroma, Coding(color, 8))


def plate(subject: SubjectBatch) -> tuple[torch.Tensor, torch.Tensor]:
    frames: FrameBatch = subject.source.frames
    return torch.full_like(frames.luma, 80).float()[:1], torch.full_like(frames.chroma, 90).float()[:1]


def made(chain: str, mattes: Iterator[MatteBatch], plate: PlatePlanes, look: Look) -> Iterator[RenderedBatch]:
    subjects = Shared(foreground(mattes, "estimate"))
    layers = compose(subjects.read(), plate, look) if chain == "compose" else cut_out(subjects.read(), alpha_bits=10)
    return in_step(subjects.read(), [layers])


def rendered(device: str, chain: str, color: ColorTags) -> list[LayerBatch]:
    model = load_model("luma-key", device=device)
    coding = Coding(BT709, 8 if color is BT709 else 10)
    mattes = matte(upload(decoded(color), coding, model.device), model, 2, Stopwatch())
    layers = list(download(made(chain, mattes, plate, Look("linear"))))
    for batch in layers:
        batch.wait()
    return [batch.layers[0] for batch in layers]


@gpu
@needs_cuda
@pytest.mark.parametrize("chain", ["compose", "cut_out"])
@pytest.mark.parametrize("color", [BT709, BT601])
def test_layers_from_cuda_are_those_of_the_cpu(chain: str, color: ColorTags) -> None:
    for ours, theirs in zip(rendered("cuda", chain, color), rendered("cpu", chain, color), strict=True):
        assert ours.index == theirs.index
        for one, other in ((ours.luma, theirs.luma), (ours.chroma, theirs.chroma), (ours.alpha, theirs.alpha)):
            if one is None or other is None:
                assert one is other
                continue
            assert one.device.type == "cpu"
            # A code apart where the last bit of a float tips the rounding; of ten bits, four make one of eight.
            assert int((one.int() - other.int()).abs().max()) <= 1


def blurred(subject: SubjectBatch) -> tuple[torch.Tensor, torch.Tensor]:
    frames, alpha = subject.source.frames, subject.alpha
    return blur_around(frames.luma, alpha, 7.5), blur_around(frames.chroma, alpha, 7.5)


@gpu
@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("chain", ["compose", "cut_out"])
@pytest.mark.parametrize("color", [BT709, BT601])
def test_after_the_first_batch_nothing_waits_for_the_device(chain: str, color: ColorTags) -> None:
    model = load_model("luma-key", device="cuda")
    coding = Coding(BT709, 8 if color is BT709 else 10)
    mattes = matte(upload(decoded(color), coding, model.device), model, 2, Stopwatch())
    layers = iter(download(made(chain, mattes, blurred, LOOK)))
    next(layers)
    torch.cuda.set_sync_debug_mode("error")
    try:
        second = next(layers)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    second.wait()
    assert second.index == range(2, 4)


@gpu
@needs_cuda
def test_a_subject_is_placed_on_cuda_where_it_is_on_the_cpu() -> None:
    placement = place_on(Subject(scale=0.7, x="37%"), (WIDTH, HEIGHT), (240, 120))
    assert placement is not None
    made = []
    for device in ("cuda", "cpu"):
        model = load_model("luma-key", device=device)
        mattes = matte(upload(decoded(BT709), Coding(BT709, 8), model.device), model, 2, Stopwatch())
        made.append(list(place(foreground(mattes, "estimate"), placement)))
    for ours, theirs in zip(*made, strict=True):
        torch.testing.assert_close(ours.alpha.cpu(), theirs.alpha, atol=1e-5, rtol=0)
        for one, other in ((ours.luma, theirs.luma), (ours.chroma, theirs.chroma)):
            assert float(((one.cpu().int() - other.int()).abs() <= 1).float().mean()) > 0.9999


@gpu
@needs_cuda
@pytest.mark.parametrize("chroma_size", [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2 + 1)], ids=["444", "420"])
def test_ten_bits_on_cuda_are_the_colours_of_the_cpu(chroma_size: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    planes = [
        torch.from_numpy(random.integers(64, 941, (2, count, *size), dtype=np.uint16))
        for count, size in ((1, (HEIGHT, WIDTH)), (2, chroma_size))
    ]
    coding = Coding(BT709, 10)
    on_cuda = ycbcr_to_rgb(*(plane.cuda() for plane in planes), coding)
    torch.testing.assert_close(on_cuda.cpu(), ycbcr_to_rgb(*planes, coding), atol=1e-5, rtol=0)


@gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_birefnet_on_cuda_is_within_two_levels_of_the_cpu(precision: str) -> None:
    rgb = torch.randn(2, 3, 256, 192, generator=torch.Generator().manual_seed(1))
    on_cpu = load_model("birefnet-lite", "random", device="cpu").predict(rgb).alpha
    on_cuda = load_model("birefnet-lite", "random", device="cuda", precision=precision).predict(rgb.cuda()).alpha.cpu()
    apart = (on_cpu - on_cuda).abs() * 255
    assert float((apart <= 2).float().mean()) >= 0.999


def test_on_a_cpu_download_gives_what_it_gets() -> None:
    layer = LayerBatch(range(1), torch.zeros(1, 1, 4, 4), torch.ones(1, 2, 2, 2), None)
    (batch,) = download([RenderedBatch((layer, layer))])
    batch.wait()
    same, again = batch.layers
    assert again is same
    assert same.luma.data_ptr() == layer.luma.data_ptr()
    assert same.chroma.data_ptr() == layer.chroma.data_ptr()
    assert same.alpha is None


@gpu
@needs_cuda
@pytest.mark.parametrize("transfer", HDR_TRANSFERS)
def test_tone_mapping_on_cuda_is_that_of_the_cpu(transfer: int) -> None:
    tone = ToneMap(Coding(ColorTags(matrix=9, primaries=9, transfer=transfer, full_range=False), 10))
    random = np.random.default_rng(7)
    luma = torch.from_numpy(random.integers(64, 941, (2, 1, HEIGHT, WIDTH), dtype=np.uint16))
    chroma = torch.from_numpy(random.integers(400, 625, (2, 2, HEIGHT // 2, WIDTH // 2 + 1), dtype=np.uint16))
    on_cuda = tone_mapped(luma.cuda(), chroma.cuda(), tone)
    for ours, theirs in zip(on_cuda, tone_mapped(luma, chroma, tone), strict=True):
        assert int((ours.cpu().int() - theirs.int()).abs().max()) <= 1
