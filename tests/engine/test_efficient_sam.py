"""EfficientSAM: six tokens, labels without embeddings, a position table enlarged once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from litesam.errors import PromptError
from litesam.frames import fit_squash
from litesam.models.efficient_sam import SixTokenPromptEncoder
from litesam.models.encoders.plain_vit import PlainViT, PlainViTSize
from litesam.models.registry import get_spec
from litesam.predictors.base import check_prompt_kinds, make_predictor
from litesam.types import Embedding, PromptBatch
from weights import build_network, fill_network

if TYPE_CHECKING:
    from litesam.predictors.efficient_sam import EfficientSamPredictor

SPEC = get_spec("efficient_sam_vitt")
#: One rounding of float32; embeddings and positional codes are of the order of 1.
CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def predictor() -> EfficientSamPredictor:
    return make_predictor(SPEC, fill_network(build_network(SPEC)), "cpu", "filled")


# --------------------------------------------------------------------------- the prompt encoder


@pytest.fixture(scope="module")
def encoder() -> SixTokenPromptEncoder:
    torch.manual_seed(0)
    return SixTokenPromptEncoder().eval().requires_grad_(False)


POINTS = torch.tensor([[[100.0, 200.0], [30.0, 40.0], [5.0, 6.0]]])
BOXES = torch.tensor([[10.0, 20.0, 30.0, 40.0]])


def test_every_prompt_has_six_tokens_padded_with_a_place_of_their_own(
    encoder: SixTokenPromptEncoder,
) -> None:
    tokens = encoder.sparse_tokens(POINTS, torch.tensor([[1, 0, 1]]), None)
    assert tokens.shape == (1, 6, 256)
    places = encoder.point_positions(POINTS)[0]
    foreground = encoder.point_embeddings.weight[0]
    torch.testing.assert_close(tokens[0, 0], places[0] + foreground, **CLOSE)
    torch.testing.assert_close(tokens[0, 1], places[1], **CLOSE)  # no embedding of background
    padding = encoder.point_positions(torch.tensor([[-1.0, -1.0]])) + encoder.invalid_points.weight
    torch.testing.assert_close(tokens[0, 3:], padding.expand(3, -1), **CLOSE)


def test_box_is_two_points(encoder: SixTokenPromptEncoder) -> None:
    tokens = encoder.sparse_tokens(POINTS, torch.tensor([[1, 1, 1]]), BOXES)
    corners = encoder.point_positions(BOXES.reshape(1, 2, 2))[0]
    top_left = corners[0] + encoder.bbox_top_left_embeddings.weight[0]
    bottom_right = corners[1] + encoder.bbox_bottom_right_embeddings.weight[0]
    torch.testing.assert_close(tokens[0, :2], torch.stack((top_left, bottom_right)), **CLOSE)


def test_points_beyond_the_sixth_token_are_cut(encoder: SixTokenPromptEncoder) -> None:
    many = torch.rand(2, 9, 2) * 1000
    labels = torch.ones(2, 9)
    torch.testing.assert_close(
        encoder.sparse_tokens(many, labels, None),
        encoder.sparse_tokens(many[:, :6], labels[:, :6], None),
    )
    with_box = encoder.sparse_tokens(many[:1], labels[:1], BOXES)
    torch.testing.assert_close(with_box, encoder.sparse_tokens(many[:1, :4], labels[:1, :4], BOXES))


def test_place_of_a_padding_point_does_not_matter(encoder: SixTokenPromptEncoder) -> None:
    padded = torch.cat((POINTS, torch.full((1, 2, 2), 77.0)), dim=1)
    torch.testing.assert_close(
        encoder.sparse_tokens(padded, torch.tensor([[1, 0, 1, -1, -1]]), None),
        encoder.sparse_tokens(POINTS, torch.tensor([[1, 0, 1]]), None),
    )


def test_network_refuses_what_it_has_no_input_for(encoder: SixTokenPromptEncoder) -> None:
    with pytest.raises(ValueError, match="neither points nor boxes"):
        encoder.sparse_tokens(None, None, None)
    with pytest.raises(ValueError, match="mask prompts"):
        encoder.dense_embedding(torch.zeros(1, 256, 256))


# ------------------------------------------------------------------------------------- the encoder


def test_positions_follow_a_loaded_state_dict() -> None:
    size = PlainViTSize(8, 1, 2)
    encoder, other = PlainViT(size, grid_side=6, embed_dim=4), PlainViT(size, 6, 4)
    torch.nn.init.normal_(other.pos_embed)
    assert not encoder.positions.any()
    encoder.load_state_dict(other.state_dict())
    table = other.pos_embed.detach()[:, 1:].reshape(1, 14, 14, 8).permute(0, 3, 1, 2)
    wanted = F.interpolate(table, (6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(encoder.positions[0].T, wanted[0].flatten(1))
    assert "positions" not in encoder.state_dict()
    features = encoder(torch.rand(2, 3, 96, 96))
    assert features["image"].shape == (2, 4, 6, 6)


# ----------------------------------------------------------------------------------- the predictor


def test_picture_is_squashed_without_antialiasing(predictor: EfficientSamPredictor) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (1500, 700, 3), dtype=np.uint8)
    x = predictor.preprocess(rgb, fit_squash((1500, 700), 1024))
    assert x.shape == (1, 3, 1024, 1024)
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255
    image = F.interpolate(image, (1024, 1024), mode="bilinear", align_corners=False)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(x, (image - mean) / std, **CLOSE)


def test_picture_of_the_input_size_is_not_resampled(predictor: EfficientSamPredictor) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    x = predictor.preprocess(rgb, fit_squash((1024, 1024), 1024))
    pixels = torch.tensor(rgb[5, 7], dtype=torch.float32)
    wanted = (pixels - torch.tensor(SPEC.pixel_mean)) / torch.tensor(SPEC.pixel_std)
    torch.testing.assert_close(x[0, :, 5, 7], wanted, **CLOSE)


def _points(count: int, padding: int = 0) -> PromptBatch:
    places = np.arange(2.0 * (count + padding)).reshape(1, -1, 2)
    return PromptBatch(points=places, labels=[[-1] * padding + [1] * count])


@pytest.mark.parametrize(("count", "box", "most"), [(7, False, 6), (5, True, 4)])
def test_too_many_points_are_refused_with_advice(count: int, box: bool, most: int) -> None:
    prompts = _points(count)
    boxes = [[0, 0, 20, 20]] if box else None
    prompts = PromptBatch(points=prompts.points, labels=prompts.labels, boxes=boxes)
    with pytest.raises(PromptError, match=f"{count} points.*{most} at most.*mobile_sam"):
        check_prompt_kinds(prompts, SPEC)
    check_prompt_kinds(prompts, get_spec("mobile_sam"))


def test_mask_prompts_are_refused_with_advice() -> None:
    prompts = PromptBatch(low_res_masks=np.zeros((1, 256, 256)), boxes=[[0, 0, 9, 9]])
    with pytest.raises(PromptError, match=r"earlier mask.*point and box.*mobile_sam"):
        check_prompt_kinds(prompts, SPEC)


def test_padding_points_take_no_place(predictor: EfficientSamPredictor) -> None:
    channels, side, _ = SPEC.feature_shapes["image"]
    feature = np.random.default_rng(0).normal(size=(channels, side, side)).astype(np.float32)
    frame = fit_squash((40, 40), 1024)
    embedding = Embedding({"image": feature}, frame, SPEC.encoder_name, predictor.encoder_hash)
    plain = predictor.decode(embedding, _points(6))
    padded = _points(6, padding=4)
    places = np.concatenate((np.full((1, 4, 2), 30.0), _points(6).points), axis=1)
    shifted = PromptBatch(points=places, labels=padded.labels)
    np.testing.assert_allclose(predictor.decode(embedding, shifted).logits, plain.logits, atol=1e-4)
    with pytest.raises(PromptError, match="7 points"):
        predictor.decode(embedding, _points(7))
