"""MobileSAM computes what the official code computes, from the image to the mask.

The reference values are outputs of the official code. They move by at most ``sensitivity`` when
every weight is changed in its last bit; ten times that is taken as the noise of float32 sums in
another order.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from litesam.frames import fit_longest_side
from litesam.models.registry import get_spec
from litesam.models.weights import load_network
from litesam.preprocess.resize import resize_rgb
from parity.goldens import COMMITTED, COMPLETE, DATA, Goldens, mobile_sam_state, read_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from litesam.models.sam import Sam
    from litesam.predictors.sam import SamPredictor
    from litesam.types import Embedding

    Embed = Callable[[Goldens, str], Embedding]

NOISE = 10.0
SETS = {"committed": COMMITTED, "complete": COMPLETE}


def _names(goldens: Goldens, ending: str) -> list[str]:
    if not goldens.present:
        return [""]
    return [name for name in goldens.index["arrays"] if name.endswith(ending)]


def _cases(ending: str) -> list[pytest.ParameterSet]:
    """``(set, array name)`` of both sets; one skipped case where the complete set is absent."""
    skip = pytest.mark.skipif(
        not COMPLETE.present, reason="the conformance kit is not beside the checkout"
    )
    return [
        pytest.param(goldens, name, id=f"{key}-{name}", marks=skip if key == "complete" else ())
        for key, goldens in SETS.items()
        for name in _names(goldens, ending)
    ]


def _tolerance(goldens: Goldens, what: str) -> float:
    return NOISE * float(goldens.index["sensitivity"][what])


@pytest.fixture(scope="module")
def network(mobile_sam_file: Path) -> Sam:
    """The network as it is loaded; the predictor's is folded for inference."""
    return load_network(get_spec("mobile_sam"), mobile_sam_file)  # type: ignore[return-value]


def test_state_dict_has_exactly_the_entries_of_the_official_file(network: Sam) -> None:
    ours = {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in network.state_dict().items()
    }
    official = {name: (shape, dtype) for name, shape, dtype in read_names(DATA / "state_dict.tsv")}
    assert len(official) == 439
    assert ours == official


def test_parameter_counts_are_the_published_ones(network: Sam) -> None:
    counted = sum(p.numel() for p in network.parameters())
    positions = network.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.numel()
    assert sum(p.numel() for p in network.image_encoder.parameters()) == 6_065_532
    # The official table counts parameters; the random positions are a buffer.
    assert positions == 256
    assert counted == get_spec("mobile_sam").parameters


@pytest.mark.parametrize(("goldens", "name"), _cases(".preprocessed"))
def test_network_input(goldens: Goldens, name: str, predictor: SamPredictor) -> None:
    image = name.split(".")[0]
    rgb = goldens.rgb(image)
    frame = fit_longest_side(rgb.shape[:2], 1024)
    facts = goldens.index["images"][image]
    assert frame.content_yx == tuple(facts["resized_hw"])
    # Pillow's resampling is integer arithmetic: every byte is the same.
    assert zlib.crc32(resize_rgb(rgb, frame.content_yx).tobytes()) == facts["resized_uint8_crc32"]
    ours = predictor.preprocess(rgb, frame)[0].numpy()
    # One subtraction and one division of float32: a few units in the last place.
    np.testing.assert_allclose(goldens.cut(name, ours), goldens.arrays[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("goldens", "name"), _cases(".embedding"))
def test_embedding(goldens: Goldens, name: str, embed: Embed) -> None:
    image = name.split(".")[0]
    embedding = embed(goldens, image).features["image"]
    assert embedding.dtype == np.float32
    atol = _tolerance(goldens, "embedding")
    np.testing.assert_allclose(
        goldens.cut(name, embedding), goldens.arrays[name], rtol=0, atol=atol
    )
    for statistic in ("mean", "std"):
        whole = getattr(embedding, statistic)(axis=(1, 2), dtype=np.float64)
        wanted = goldens.arrays[f"{image}.embedding_channel_{statistic}"]
        np.testing.assert_allclose(whole, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize(("goldens", "name"), _cases(".low_res"))
def test_logits_and_predicted_iou(
    goldens: Goldens, name: str, predictor: SamPredictor, embed: Embed
) -> None:
    image, prompt, mode, _ = name.split(".")
    masks = predictor.decode(
        embed(goldens, image), goldens.prompts(image, prompt), multimask=mode == "multi"
    )
    assert masks.logits.dtype == masks.predicted_iou.dtype == np.float32
    iou_name = f"{image}.{prompt}.{mode}.iou"
    batched = len(goldens.index["arrays"][iou_name]["full_shape"]) == 2
    logits = masks.logits if batched else masks.logits[0]
    iou = masks.predicted_iou if batched else masks.predicted_iou[0]
    np.testing.assert_allclose(
        goldens.cut(name, logits),
        goldens.arrays[name],
        rtol=0,
        atol=_tolerance(goldens, "low_res"),
    )
    np.testing.assert_allclose(
        iou, goldens.arrays[iou_name], rtol=0, atol=_tolerance(goldens, "iou")
    )
    # All pixels by their share of positive logits; one in a thousand may flip.
    shares = goldens.index["arrays"][name].get("fraction_positive")
    if shares is not None:
        ours = (logits > 0).mean(axis=(-2, -1))
        np.testing.assert_allclose(np.ravel(ours), np.ravel(shares), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("goldens", "name"), _cases(".full_logits"))
def test_logits_of_the_original_image_size(
    goldens: Goldens, name: str, predictor: SamPredictor, embed: Embed
) -> None:
    image, prompt, mode, _ = name.split(".")
    embedding = embed(goldens, image)
    masks = predictor.decode(embedding, goldens.prompts(image, prompt), multimask=mode == "multi")
    rows, columns = embedding.frame.resampling(masks.low_res_yx)
    full = np.stack([rows @ logits @ columns.T for logits in masks.logits[0]])
    # Interpolation averages: no more noise than the logits have.
    np.testing.assert_allclose(
        goldens.cut(name, full),
        goldens.arrays[name],
        rtol=0,
        atol=_tolerance(goldens, "low_res"),
    )


@pytest.mark.parametrize(("goldens", "name"), _cases(".mask"))
def test_masks_of_the_original_image_size(
    goldens: Goldens, name: str, predictor: SamPredictor, embed: Embed
) -> None:
    image, prompt, mode, _ = name.split(".")
    masks = predictor.decode(
        embed(goldens, image), goldens.prompts(image, prompt), multimask=mode == "multi"
    )
    ours = masks.to_image()[0, :1]
    wanted = goldens.mask(name)
    assert ours.shape == wanted.shape
    overlap = (ours & wanted).sum() / (ours | wanted).sum()
    # A logit next to 0 may flip; more of them lie at the border where the image was resampled.
    scale = 1024 / max(wanted.shape[1:])
    assert overlap > (0.999 if scale == 1 else 0.99)


@pytest.mark.skipif(not COMPLETE.present, reason="the conformance kit is not beside the checkout")
def test_prompt_encoder(predictor: SamPredictor) -> None:
    encoder = predictor._network.prompt_encoder
    frame = fit_longest_side(COMPLETE.rgb("b").shape[:2], 1024)
    arrays = COMPLETE.arrays
    with torch.inference_mode():
        three = COMPLETE.prompts("b", "points3")
        box = COMPLETE.prompts("b", "box")
        points = torch.from_numpy(frame.points_to_model(three.points))
        labels = torch.from_numpy(three.labels)
        sparse = encoder.sparse_tokens(points, labels, None)
        corners = encoder.sparse_tokens(
            None, None, torch.from_numpy(frame.boxes_to_model(box.boxes))
        )
        grid = encoder.dense_positions()
        dense = encoder.dense_embedding(torch.from_numpy(arrays["b.mask_input"]).float())
    # Angles of up to about 25 radians in float32 are known to 2e-6 only.
    close = {"rtol": 0.0, "atol": 2e-5}
    np.testing.assert_allclose(sparse[0].numpy(), arrays["b.points3.sparse"], **close)
    np.testing.assert_allclose(corners[0].numpy(), arrays["b.box.sparse"], **close)
    cut = COMPLETE.cut("dense_pe", grid[0].numpy())
    np.testing.assert_allclose(cut, arrays["dense_pe"], **close)
    cut = COMPLETE.cut("b.mask_input.dense", dense[0].numpy())
    np.testing.assert_allclose(cut, arrays["b.mask_input.dense"], **close)


def test_attention_biases_follow_weights_loaded_after_eval(predictor: SamPredictor) -> None:
    """The official module caches expanded biases in ``eval()`` and ignores weights loaded later."""
    from litesam.models.sam import build_mobile_sam

    network: Sam = build_mobile_sam(predictor.spec).eval()
    attention = network.image_encoder.layers[1].blocks[0].attn
    x = torch.ones((1, 49, 128))
    x[0, 7] = torch.linspace(-1, 1, 128)
    x[0, 8] = torch.linspace(1, -2, 128)
    network.load_state_dict(mobile_sam_state(), strict=True)
    with torch.inference_mode():
        loaded = attention(x)
        attention.attention_biases.zero_()
        without = attention(x)
    assert attention.bias_index.shape == (49, 49)
    assert not torch.allclose(loaded, without, atol=1e-3)


def test_official_container_and_wrappers_load_the_same(network: Sam, mobile_sam_file: Path) -> None:
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in mobile_sam_state().items())
    assert mobile_sam_file.stat().st_size > 40e6
