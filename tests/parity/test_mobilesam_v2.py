"""MobileSAMv2, put together from two files, computes what its official code computes.

The reference values are those of the conformance kit; for strangers a part of them is committed.
Its TinyViT and its decoder are those of MobileSAM, whose values are compared elsewhere, so the part
is of its EfficientViT-L2, which shrinks the input by itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import litesam
from litesam.models.registry import get_spec
from parity.goldens import DATA, KIT, Goldens
from parity.variants import SMALL
from weights import build_network, fill_network, official_content

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.predictors import Predictor
    from litesam.types import Embedding

COMPLETE = Goldens(KIT / "mobilesamv2", KIT / "images")
COMMITTED = Goldens(SMALL / "mobilesamv2", DATA)
#: Model by the name of its encoder in the kit, and how its encoder's file is laid out.
MODELS = {
    "tiny_vit": ("mobilesamv2", "model", "image_encoder."),
    "efficientvit_l2": ("mobilesamv2_efficientvit_l2", "state_dict", ""),
}
#: Float32 sums in another order: about ten times what other variants of the kit move by when all
#: weights are changed in their last bit.
ATOL = {"embedding": 3e-4, "embedding_channel_mean": 3e-4, "low_res": 5e-3, "iou": 1e-4}


class Loaded:
    """One model, and image b encoded by it."""

    def __init__(self, encoder: str, folder: Path) -> None:
        name, container, prefix = MODELS[encoder]
        spec = get_spec(name)
        state = fill_network(build_network(spec)).state_dict()
        torch.save(official_content(spec, state), folder / "decoder.pt")
        part = {
            key.removeprefix(prefix): tensor
            for key, tensor in state.items()
            if key.startswith("image_encoder.")
        }
        torch.save({container: part}, folder / "encoder.pt")
        self.encoder = encoder
        self.predictor: Predictor = litesam.load_predictor(
            name,
            weights=folder / "decoder.pt",
            encoder_weights=folder / "encoder.pt",
            device="cpu",
        )
        self.embedding: Embedding = self.predictor.encode(COMMITTED.rgb("b"))


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return Loaded(request.param, tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("goldens", [COMMITTED, COMPLETE], ids=["small", "kit"])
def test_embedding_and_masks_of_boxes(loaded: Loaded, goldens: Goldens) -> None:
    if not goldens.present:
        pytest.skip("the conformance kit is not beside the checkout")
    prefix = f"{loaded.encoder}."
    names = [name for name in goldens.index["arrays"] if name.startswith(prefix)]
    if not names:
        pytest.skip("compared through MobileSAM")
    masks = loaded.predictor.decode(
        loaded.embedding, goldens.prompts("b", "boxes4"), multimask=False
    )
    image = loaded.embedding.features["image"]
    ours = {
        "embedding": image,
        "embedding_channel_mean": image.mean(axis=(1, 2), dtype=np.float64),
        "low_res": masks.logits,
        "iou": masks.predicted_iou,
    }
    for name in names:
        what = name.rpartition(".")[2]
        if what == "mask":
            wanted = goldens.mask(name)
            mask = masks.to_image()[: len(wanted)]
            assert (mask & wanted).sum() / (mask | wanted).sum() > 0.99
            continue
        np.testing.assert_allclose(
            goldens.cut(name, ours[what]),
            goldens.arrays[name],
            rtol=0,
            atol=ATOL[what],
            err_msg=name,
        )


def test_file_of_the_decoder_equals_the_manifest() -> None:
    path = COMPLETE.folder / "manifest.json"
    if not path.is_file():
        pytest.skip("the conformance kit is not beside the checkout")
    official = {name: tuple(shape) for name, shape, _ in json.loads(path.read_text())["tensors"]}
    spec = get_spec("mobilesamv2")
    content = official_content(spec, build_network(spec).state_dict())
    ours = {
        f"{part}.{name}": tuple(tensor.shape)
        for part, state in content.items()
        for name, tensor in state.items()
    }
    assert ours == official
