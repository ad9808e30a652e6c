"""The HQ decoder: what it adds to SAM's, in the plain form of the paper."""

from __future__ import annotations

import pytest
import torch

from litesam.models.mask_decoder_hq import MaskDecoderHQ
from litesam.models.transformer import TwoWayTransformer

CHANNELS, GRID, PROMPTS = 32, 8, 3
#: float32 sums in another order; logits are of the order of 1.
CLOSE = {"rtol": 0.0, "atol": 1e-4}

Inputs = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def decoder() -> MaskDecoderHQ:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(channels=CHANNELS, heads=4, mlp_dim=64)
    return MaskDecoderHQ(transformer, early_channels=12).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def inputs(decoder: MaskDecoderHQ) -> Inputs:
    torch.manual_seed(1)
    image = torch.randn(1, CHANNELS, GRID, GRID)
    return {
        "image": image,
        "details": decoder.details(image, torch.randn(1, 12, GRID, GRID)),
        "image_pe": torch.randn(1, CHANNELS, GRID, GRID),
        "sparse": torch.randn(PROMPTS, 2, CHANNELS),
        "dense": torch.randn(1, CHANNELS, 1, 1),
    }


def _plain(decoder: MaskDecoderHQ, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the four masks (P, 4, h, w) and of the HQ token (P, h, w)."""
    tokens, source = decoder.attend(
        inputs["image"], inputs["image_pe"], inputs["sparse"], inputs["dense"]
    )
    upscaled = decoder.output_upscaling(source)
    masks = torch.stack(
        [
            torch.einsum("pc,pchw->phw", mlp(tokens[:, 1 + index]), upscaled)
            for index, mlp in enumerate(decoder.output_hypernetworks_mlps)
        ],
        dim=1,
    )
    fused = decoder.embedding_maskfeature(upscaled) + inputs["details"]
    return masks, torch.einsum("pc,pchw->phw", decoder.hf_mlp(tokens[:, 5]), fused)


def _predicted_iou(decoder: MaskDecoderHQ, inputs: Inputs) -> torch.Tensor:
    tokens, _ = decoder.attend(
        inputs["image"], inputs["image_pe"], inputs["sparse"], inputs["dense"]
    )
    iou: torch.Tensor = decoder.iou_prediction_head(tokens[:, 0])
    return iou


def test_details_have_four_times_the_side_of_the_embedding(inputs: Inputs) -> None:
    assert inputs["details"].shape == (1, CHANNELS // 8, 4 * GRID, 4 * GRID)


@pytest.mark.parametrize("hq_only", [False, True])
def test_single_mask(decoder: MaskDecoderHQ, inputs: Inputs, hq_only: bool) -> None:
    logits, iou = decoder.decode_hq(**inputs, multimask=False, hq_only=hq_only)
    masks, hq = _plain(decoder, inputs)
    wanted = hq if hq_only else masks[:, 0] + hq
    assert logits.shape == (PROMPTS, 1, 4 * GRID, 4 * GRID)
    torch.testing.assert_close(logits[:, 0], wanted, **CLOSE)
    torch.testing.assert_close(iou, _predicted_iou(decoder, inputs)[:, :1], **CLOSE)


@pytest.mark.parametrize("hq_only", [False, True])
def test_of_three_masks_the_best_is_refined(
    decoder: MaskDecoderHQ, inputs: Inputs, hq_only: bool
) -> None:
    logits, iou = decoder.decode_hq(**inputs, multimask=True, hq_only=hq_only)
    masks, hq = _plain(decoder, inputs)
    estimates = _predicted_iou(decoder, inputs)[:, 1:]
    best = estimates.argmax(dim=1)
    chosen = masks[torch.arange(PROMPTS), 1 + best]
    torch.testing.assert_close(logits[:, 0], hq if hq_only else chosen + hq, **CLOSE)
    torch.testing.assert_close(iou[:, 0], estimates.amax(dim=1), **CLOSE)


def test_best_is_that_of_each_prompt(decoder: MaskDecoderHQ, inputs: Inputs) -> None:
    together, _ = decoder.decode_hq(**inputs, multimask=True, hq_only=False)
    for index in range(PROMPTS):
        one = {**inputs, "sparse": inputs["sparse"][index : index + 1]}
        alone, _ = decoder.decode_hq(**one, multimask=True, hq_only=False)
        torch.testing.assert_close(alone[0], together[index], **CLOSE)
