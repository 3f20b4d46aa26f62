"""The baseline, judged by transformers' own class, numpy and OpenCV. Its weights are at random."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSemanticSegmentation, MobileNetV2Config, MobileNetV2ForSemanticSegmentation

from vmatte.errors import ModelError
from vmatte.models.catalogue import MODELS, load_model

# The twenty classes of PASCAL VOC (Everingham et al. 2010) in their own order, after the background.
VOC = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = MobileNetV2Config(output_stride=8, id2label=dict(enumerate(VOC)))
    network = MobileNetV2ForSemanticSegmentation(config)
    for weight in network.parameters():
        if weight.ndim == 4:  # as they come, nothing of the picture reaches the end
            torch.nn.init.kaiming_normal_(weight)
    path = tmp_path_factory.mktemp("hub")
    network.save_pretrained(path)
    return path


def test_alpha_is_the_probability_of_a_person(folder: Path) -> None:
    pictures = torch.randn(2, 3, 97, 129, generator=torch.Generator().manual_seed(1))
    alpha = load_model("deeplabv3", folder, device="cpu").predict(pictures).alpha

    reference = AutoModelForSemanticSegmentation.from_pretrained(folder)
    with torch.inference_mode():
        logits = reference(pictures).logits.double().numpy()
    assert logits.shape == (2, 21, 13, 17)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    person = (exponents / exponents.sum(axis=1, keepdims=True))[:, VOC.index("person")]
    expected = np.stack([cv2.resize(p, (129, 97), interpolation=cv2.INTER_LINEAR) for p in person])

    assert (alpha.shape, alpha.dtype) == ((2, 1, 97, 129), torch.float32)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(alpha[:, 0].numpy(), expected, atol=1e-5)


def test_random_weights_are_always_the_same_and_leave_the_generator_alone() -> None:
    pictures = torch.zeros(1, 3, 65, 65)
    torch.manual_seed(5)
    first = load_model("deeplabv3", "random", device="cpu").predict(pictures).alpha
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    torch.manual_seed(6)
    assert torch.equal(load_model("deeplabv3", "random", device="cpu").predict(pictures).alpha, first)


def test_a_file_of_another_network_is_told(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"does not hold this network: missing: mobilenet_v2\..*unknown: conv\.weight"):
        load_model("deeplabv3", tmp_path, device="cpu")


def test_the_short_side_is_the_one_it_was_trained_with() -> None:
    assert MODELS["deeplabv3"].input_size.of(1080, 1920) == (513, 912)
    assert MODELS["deeplabv3"].input_size.of(1920, 1080) == (912, 513)
