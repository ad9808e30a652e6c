"""EdgeSAM's candidates are judged by their stability; its files may hold other parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import litesam
from litesam.errors import WeightsError
from litesam.merge import stability_score
from litesam.models.registry import get_spec
from litesam.models.weights import holds_model, load_network
from litesam.types import PromptBatch
from weights import build_network, fill_network

if TYPE_CHECKING:
    from pathlib import Path

    from litesam.predictors.edge_sam import EdgeSamPredictor
    from litesam.types import Embedding

CLICKS = PromptBatch(points=[[[20, 30]], [[50, 70]], [[5, 90]]], labels=[[1], [1], [1]])


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(fill_network(build_network(get_spec("edge_sam"))).state_dict())


@pytest.fixture(scope="module")
def predictor(
    state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> EdgeSamPredictor:
    path = tmp_path_factory.mktemp("weights") / "edge_sam.pth"
    torch.save(state, path)
    return litesam.load_predictor("edge_sam", weights=path, device="cpu")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def embedding(predictor: EdgeSamPredictor) -> Embedding:
    rng = np.random.default_rng(0)
    return predictor.encode(rng.integers(0, 255, (60, 100, 3), dtype=np.uint8))


@pytest.mark.parametrize("multimask", [True, False])
def test_predicted_iou_is_the_stability_of_the_logits(
    predictor: EdgeSamPredictor, embedding: Embedding, multimask: bool
) -> None:
    masks = predictor.decode(embedding, CLICKS, multimask=multimask)
    inner = (masks.logits > 1.0).sum(axis=(-2, -1))
    outer = (masks.logits > -1.0).sum(axis=(-2, -1))
    assert masks.predicted_iou.dtype == np.float32
    np.testing.assert_allclose(masks.predicted_iou, inner / np.maximum(outer, 1), rtol=1e-6)


def test_one_by_one_and_batched_candidates_are_judged_alike(
    predictor: EdgeSamPredictor, embedding: Embedding
) -> None:
    batch = predictor.decode(embedding, CLICKS)
    for index in range(len(CLICKS)):
        single = predictor.decode(embedding, CLICKS.take([index]))
        # A logit next to a threshold may flip when sums are made in another order.
        np.testing.assert_allclose(
            single.predicted_iou[0], batch.predicted_iou[index], rtol=0, atol=2e-3
        )


def test_the_best_candidate_is_the_most_stable_one_not_the_heads_choice(
    predictor: EdgeSamPredictor, embedding: Embedding
) -> None:
    masks = predictor.decode(embedding, CLICKS)
    raw = predictor.decode_with_iou_head(embedding, CLICKS)
    np.testing.assert_array_equal(raw.logits, masks.logits)
    stability = stability_score(masks.logits, 1.0)
    assert (raw.predicted_iou.argmax(axis=1) != stability.argmax(axis=1)).any()
    chosen = masks.best()
    for row, column in enumerate(stability.argmax(axis=1)):
        np.testing.assert_array_equal(chosen.logits[row, 0], masks.logits[row, column])


def test_tensors_of_other_parts_are_left_out(
    state: dict[str, torch.Tensor], predictor: EdgeSamPredictor, tmp_path: Path
) -> None:
    spec = get_spec("edge_sam")
    full = {**state, "rpn_head.conv.weight": torch.ones(3, 3), "epoch": torch.tensor(9)}
    path = tmp_path / "trained.pth"
    torch.save({"model": full}, path)
    assert holds_model(spec, full)
    network = load_network(spec, path)
    assert network.state_dict().keys() == state.keys()
    loaded = litesam.load_predictor("edge_sam", weights=path, device="cpu")
    assert loaded.encoder_hash == predictor.encoder_hash


@pytest.mark.parametrize("name", ["image_encoder.extra.weight", "mask_decoder.hf_token.weight"])
def test_unknown_tensors_of_its_own_parts_are_refused(
    state: dict[str, torch.Tensor], tmp_path: Path, name: str
) -> None:
    spec = get_spec("edge_sam")
    full = {**state, name: torch.ones(3)}
    path = tmp_path / "other.pth"
    torch.save(full, path)
    assert not holds_model(spec, full)
    with pytest.raises(WeightsError, match=f"1 unknown tensors .{name}"):
        load_network(spec, path)


def test_other_models_allow_no_other_parts(tmp_path: Path) -> None:
    spec = get_spec("mobile_sam")
    full = {**build_network(spec).state_dict(), "rpn_head.conv.weight": torch.ones(3, 3)}
    path = tmp_path / "mobile_sam.pt"
    torch.save(full, path)
    assert not holds_model(spec, full)
    with pytest.raises(WeightsError, match="unknown tensors"):
        load_network(spec, path)


def test_the_licence_of_the_weights_is_not_permissive() -> None:
    for name in ("edge_sam", "edge_sam_3x"):
        weights = get_spec(name).weights
        assert not weights.permissive
        assert not weights.bundled
        assert weights.licence_note is not None
        assert "Non-commercial" in weights.licence_note
