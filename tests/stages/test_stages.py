"""What every stage owes: the batch size does not matter, empty and one-frame streams work, leaving early closes all."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from vmatte.clip import BT601, BT709, Coding
from vmatte.frames import DecodedFrames, FrameBatch, LayerBatch, MatteBatch, SubjectBatch
from vmatte.imaging.color import rgb_to_ycbcr
from vmatte.imaging.upsample import upsample
from vmatte.models.catalogue import MODELS, load_model
from vmatte.models.contract import InputSize, ModelSpec, Prediction, State
from vmatte.segments import Segment, plan_segments
from vmatte.stages.compose import Look, compose, cut_out
from vmatte.stages.foreground import foreground
from vmatte.stages.matte import matte
from vmatte.stages.trim import trim
from vmatte.stages.upload import upload
from vmatte.stopwatch import Stopwatch

CPU = torch.device("cpu")
HEIGHT, WIDTH, FRAMES = 24, 32, 7
BT709_8 = Coding(BT709, 8)
DISPLAY = Look("display")


class MeanOfGreen:
    """A network whose answer depends on each frame alone, and which notes the shapes that it is given."""

    def __init__(self) -> None:
        self.spec = ModelSpec(
            name="test",
            purpose="",
            architecture="modnet",
            input_size=InputSize("short_side", 16, multiple=8),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            licence=MODELS["modnet"].licence,
            weights=None,
        )
        self.device = torch.device("cpu")
        self.shapes: set[tuple[int, ...]] = set()

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        self.shapes.add(tuple(rgb.shape))
        return Prediction((rgb[:, 1:2] * 0.5 + 0.5).clamp(0, 1), state=state)


class MeanOfThePast(MeanOfGreen):
    """A recurrent network: the mean of this frame's answer and those of the four before it.

    Its state is those four, zero where there were none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = dataclasses.replace(self.spec, warm_up=4)

    def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
        answers = super().predict(rgb).alpha
        past = list(state or [torch.zeros_like(answers[:1])] * 4)
        alphas = []
        for answer in answers.split(1):
            past.append(answer)
            alphas.append(torch.stack(past[-5:]).mean(0))
        return Prediction(torch.cat(alphas), state=tuple(past[-4:]))


def decoded(frames: range, batch: int) -> Iterator[DecodedFrames]:
    for start in range(frames.start, frames.stop, batch):
        index = range(start, min(start + batch, frames.stop))
        planes = [
            np.random.default_rng(number).integers(16, 236, (3, HEIGHT, WIDTH), dtype=np.uint8) for number in index
        ]
        luma, chroma = np.stack([plane[:1] for plane in planes]), np.stack([plane[1:, ::2, ::2] for plane in planes])
        yield DecodedFrames(index, luma, np.ascontiguousarray(chroma), BT709_8)


def remembered(segment: Segment, batch: int) -> list[tuple[int, bytes]]:
    """Number, and bytes of alpha, of each frame of a segment that a recurrent network has matted."""
    uploaded = upload(decoded(segment.read, batch), BT709_8, CPU)
    mattes = trim(matte(uploaded, MeanOfThePast(), batch, Stopwatch()), [segment])
    found = []
    for item in mattes:
        for t, number in enumerate(item.frames.index):
            found.append((number, item.alpha[t].numpy().tobytes()))
    return found


def plate(_: SubjectBatch) -> tuple[Tensor, Tensor]:
    return torch.full((1, 1, HEIGHT, WIDTH), 80.0), torch.full((1, 2, HEIGHT // 2, WIDTH // 2), 120.0)


def matted(frames: Iterable[FrameBatch], batch: int) -> Iterator[MatteBatch]:
    return matte(frames, MeanOfGreen(), batch, Stopwatch())


def composited(frames: range, batch: int) -> Iterator[LayerBatch]:
    return compose(foreground(matted(upload(decoded(frames, batch), BT709_8, CPU), batch), "estimate"), plate, DISPLAY)


def cut(frames: range, batch: int) -> Iterator[LayerBatch]:
    return cut_out(foreground(matted(upload(decoded(frames, batch), BT709_8, CPU), batch), "estimate"), alpha_bits=10)


def whole(layers: Iterable[LayerBatch]) -> list[tuple[int, bytes]]:
    """(number, bytes of all planes) of each frame."""
    frames = []
    for layer in layers:
        for t, number in enumerate(layer.index):
            planes = [layer.luma[t], layer.chroma[t]] + ([] if layer.alpha is None else [layer.alpha[t]])
            frames.append((number, b"".join(plane.numpy().tobytes() for plane in planes)))
    return frames


@pytest.mark.parametrize("chain", [composited, cut])
@pytest.mark.parametrize("batch", [2, 3, 7, 20])
def test_the_batch_size_does_not_matter(chain: Callable[[range, int], Iterator[LayerBatch]], batch: int) -> None:
    assert whole(chain(range(FRAMES), batch)) == whole(chain(range(FRAMES), 1))


@pytest.mark.parametrize("chain", [composited, cut])
@pytest.mark.parametrize("length", [1, 3, 4])
def test_segments_join_without_a_seam(chain: Callable[[range, int], Iterator[LayerBatch]], length: int) -> None:
    parts = [range(start, min(start + length, FRAMES)) for start in range(0, FRAMES, length)]
    assert [frame for part in parts for frame in whole(chain(part, 2))] == whole(chain(range(FRAMES), 2))


@pytest.mark.parametrize("batch", [1, 2, 3, 20])
@pytest.mark.parametrize("length", [1, 3, 5, None])
def test_segments_of_a_recurrent_network_join_without_a_seam_once_it_is_warm(length: int | None, batch: int) -> None:
    whole_run = remembered(Segment(0, range(12), range(12)), 1)
    segments = plan_segments(12, length, lead=4, tail=0)
    assert [f for segment in segments for f in remembered(segment, batch)] == whole_run


def test_without_its_warm_up_a_recurrent_network_would_show_a_seam() -> None:
    whole_run = remembered(Segment(0, range(12), range(12)), 1)
    assert remembered(Segment(0, range(6, 12), range(3, 12)), 1)[0] != whole_run[6]
    assert remembered(Segment(0, range(6, 12), range(2, 12)), 1) == whole_run[6:]


def test_a_gap_in_a_clip_puts_no_frame_into_a_recurrent_networks_memory() -> None:
    gappy = [*decoded(range(2), 2), *decoded(range(2, 3), 2), *decoded(range(5, 7), 2)]
    one_by_one = [*decoded(range(3), 1), *decoded(range(5, 7), 1)]
    by_batch = [
        torch.cat([item.alpha for item in matte(upload(frames, BT709_8, CPU), MeanOfThePast(), batch, Stopwatch())])
        for frames, batch in ((gappy, 2), (one_by_one, 1))
    ]
    assert torch.equal(*by_batch)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_trimming_leaves_the_wanted_frames_as_they_are(batch: int) -> None:
    every = remembered(Segment(0, range(FRAMES), range(FRAMES)), batch)
    for wanted in (range(7), range(2, 5), range(6, 7), range(3, 20), range(9, 12)):
        assert remembered(Segment(0, wanted, range(FRAMES)), batch) == every[wanted.start : wanted.stop]


@pytest.mark.parametrize("chain", [composited, cut])
def test_empty_and_one_frame_streams_work(chain: Callable[[range, int], Iterator[LayerBatch]]) -> None:
    assert whole(chain(range(0), 4)) == []
    assert [number for number, _ in whole(chain(range(5, 6), 4))] == [5]


@pytest.mark.parametrize("chain", ["compose", "cut_out"])
def test_leaving_early_closes_the_source(chain: str) -> None:
    closed = []

    def source() -> Iterator[DecodedFrames]:
        try:
            yield from decoded(range(FRAMES), 1)
        finally:
            closed.append(True)

    mattes = trim(matted(upload(source(), BT709_8, CPU), 1), plan_segments(FRAMES, None, 0, 0))
    layers = (
        compose(foreground(mattes, "estimate"), plate, DISPLAY)
        if chain == "compose"
        else cut_out(foreground(mattes, "estimate"), 8)
    )
    next(layers)
    layers.close()  # type: ignore[attr-defined]
    del mattes
    assert closed == [True]


def test_a_short_last_batch_is_filled_up_so_that_the_network_sees_one_shape() -> None:
    network = MeanOfGreen()
    list(matte(upload(decoded(range(FRAMES), 4), BT709_8, CPU), network, 4, Stopwatch()))
    assert network.shapes == {(4, 3, 16, 24)}


def test_the_network_sees_normalised_rgb_of_the_frame() -> None:
    rgb = torch.tensor([0.9, 0.3, 0.1]).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH)
    luma, chroma = rgb_to_ycbcr(rgb, BT709_8, (HEIGHT // 2, WIDTH // 2))
    frames = FrameBatch(range(1), luma.round().to(torch.uint8), chroma.round().to(torch.uint8), BT709_8)
    seen: list[Tensor] = []

    class Looking(MeanOfGreen):
        def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
            seen.append(rgb)
            return super().predict(rgb, state)

    (matte_batch,) = matte([frames], Looking(), 1, Stopwatch())
    expected = torch.tensor([0.8, -0.4, -0.8]).view(1, 3, 1, 1).expand(1, 3, 16, 24)
    torch.testing.assert_close(seen[0], expected, atol=0.015, rtol=0)
    assert float(matte_batch.alpha.mean()) == pytest.approx(0.3, abs=0.01)


def test_luma_key_is_bt709_luma() -> None:
    rgb = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    expected = 0.2126 * rgb[:, :1] + 0.7152 * rgb[:, 1:2] + 0.0722 * rgb[:, 2:]
    torch.testing.assert_close(load_model("luma-key").predict(rgb).alpha, expected)


def test_frames_of_another_matrix_are_recoded_to_ten_bits() -> None:
    grey = DecodedFrames(
        range(1), np.full((1, 1, 2, 2), 126, np.uint8), np.full((1, 2, 1, 1), 128, np.uint8), Coding(BT601, 8)
    )
    (frames,) = upload([grey], Coding(BT709, 10), CPU)
    assert frames.luma.dtype == torch.uint16
    assert frames.luma.to(torch.int32).unique().tolist() == [504]
    assert frames.chroma.to(torch.int32).unique().tolist() == [512]


def test_a_cutout_has_the_sources_own_colour_if_asked_and_the_mattes_alpha() -> None:
    (frames,) = upload(decoded(range(1), 1), BT709_8, CPU)
    alpha = torch.linspace(0, 1, HEIGHT * WIDTH).view(1, 1, HEIGHT, WIDTH)
    (layer,) = cut_out(foreground([MatteBatch(frames, alpha)], "source"), alpha_bits=8)
    assert layer.alpha is not None
    assert torch.equal(layer.alpha.float(), (alpha * 255).round())
    assert torch.equal(layer.luma, frames.luma)
    assert torch.equal(layer.chroma, frames.chroma)


def test_the_old_background_is_taken_out_of_soft_edges_alone() -> None:
    alpha = torch.zeros(1, 1, HEIGHT, WIDTH)
    alpha[..., 8:], alpha[..., 4:8] = 1, 0.5
    # A subject of 200 over 40, and some detail where it is solid.
    luma = (40 + 160 * alpha).round().to(torch.uint8)
    luma[..., 20:, 20] = 210
    frames = FrameBatch(range(1), luma, torch.full((1, 2, HEIGHT // 2, WIDTH // 2), 128, dtype=torch.uint8), BT709_8)
    matte_batch = MatteBatch(frames, alpha)
    (layer,) = compose(foreground([matte_batch], "estimate"), plate, DISPLAY)
    assert layer.luma[..., :4].unique().tolist() == [80]
    assert layer.luma[..., 4:8].float().mean() == pytest.approx(140, abs=1)  # half of 200 and half of the plate's 80
    assert torch.equal(layer.luma[..., 8:], luma[..., 8:])
    (layer,) = compose(foreground([matte_batch], "source"), plate, DISPLAY)
    assert layer.luma[..., 4:8].unique().tolist() == [100]


@pytest.mark.parametrize(
    ("luma", "chroma"), [((1, 2, 4, 4), (1, 2, 2, 2)), ((1, 1, 4, 4), (1, 1, 2, 2)), ((2, 1, 4, 4), (2, 2, 2, 2))]
)
def test_planes_of_the_wrong_shape_are_refused(luma: tuple[int, ...], chroma: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="frames need luma"):
        FrameBatch(range(1), torch.zeros(luma), torch.zeros(chroma), BT709_8)


@pytest.mark.parametrize("reach", [0, 4])
def test_a_matte_gets_the_frames_size_as_it_is_told_to(reach: int) -> None:
    class Edge(MeanOfGreen):
        def predict(self, rgb: Tensor, state: State = ()) -> Prediction:
            return Prediction(small.expand(len(rgb), -1, -1, -1), state=state)

    small = torch.zeros(1, 1, 16, 24)
    small[..., 10:] = 1
    network = Edge()
    network.spec = dataclasses.replace(network.spec, edge_reach=reach)
    (frames,) = upload(decoded(range(1), 1), BT709_8, CPU)
    (bilinear,) = matte([frames], network, 1, Stopwatch(), upsampling="bilinear")
    (guided,) = matte([frames], network, 1, Stopwatch(), upsampling="guided")
    assert torch.equal(bilinear.alpha, torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bilinear"))
    assert torch.equal(guided.alpha, upsample(small, frames.luma, frames.chroma, 8, reach))
