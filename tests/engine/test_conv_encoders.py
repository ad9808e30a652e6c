"""What is particular to the encoders of EfficientViT-SAM and EdgeSAM."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from litesam.models.encoders.efficient_vit import (
    CONFIGS,
    EfficientViT,
    LiteMLA,
    linear_attention,
    quadratic_attention,
)
from litesam.models.encoders.rep_vit import STAGES, RepViT, SqueezeExcite
from litesam.models.registry import MODELS, get_spec
from weights import build_network

EFFICIENTVIT = [spec.name for spec in MODELS if spec.name.startswith("efficientvit_sam")]


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _on_meta(name: str) -> nn.Module:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build_network(get_spec(name))


# --------------------------------------------------------------------------------- EfficientViT-SAM


@pytest.mark.parametrize("name", EFFICIENTVIT)
def test_every_norm_has_the_same_eps_the_decoder_included(name: str) -> None:
    network = _on_meta(name)
    norms = {
        key: module.eps
        for key, module in network.named_modules()
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm))
    }
    assert set(norms.values()) == {1e-6}
    assert any("mask_decoder.transformer.layers.0.norm1" in key for key in norms)
    assert any("image_encoder.backbone" in key for key in norms)


def test_eps_of_other_families_is_untouched() -> None:
    norm = _on_meta("mobile_sam").mask_decoder.transformer.layers[0].norm1
    assert norm.eps == 1e-5


@pytest.mark.parametrize("pixels", [1, 20, 32, 33, 100])
def test_forms_of_the_attention_agree(pixels: int) -> None:
    q, k = (_random(2, 3, pixels, 32, seed=seed).relu() for seed in (0, 1))
    v = _random(2, 3, pixels, 32, seed=2)
    # float64, sums of up to a hundred products in another order.
    torch.testing.assert_close(
        linear_attention(q, k, v), quadratic_attention(q, k, v), rtol=0.0, atol=1e-12
    )


@pytest.mark.parametrize("attend", [linear_attention, quadratic_attention])
def test_attention_without_any_positive_query_is_zero(attend: object) -> None:
    zeros, v = torch.zeros(1, 1, 4, 32), torch.ones(1, 1, 4, 32)
    assert torch.equal(attend(zeros, zeros, v), zeros)  # type: ignore[operator]


@pytest.mark.parametrize(("side", "form"), [(5, "quadratic"), (6, "linear")])
def test_few_pixels_take_the_quadratic_form(
    side: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from litesam.models.encoders import efficient_vit

    taken = []
    for name in ("linear", "quadratic"):
        original = getattr(efficient_vit, f"{name}_attention")

        def spy(*tensors: torch.Tensor, name: str = name, original: object = original) -> object:
            taken.append(name)
            return original(*tensors)  # type: ignore[operator]

        monkeypatch.setattr(efficient_vit, f"{name}_attention", spy)
    with torch.inference_mode():
        LiteMLA(64, aggregation=3).eval()(torch.ones(1, 64, side, side))
    assert taken == [form]


def test_attention_is_computed_in_float32_in_a_network_of_half_precision() -> None:
    """Sums over all pixels of large activations overflow in half precision."""
    layer = LiteMLA(64, aggregation=3).eval().requires_grad_(False)
    x = 60.0 * torch.randn((1, 64, 32, 32), generator=torch.Generator().manual_seed(0)).abs()
    single, half = layer(x), layer.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.isfinite(half).all()
    # Eight bits of mantissa.
    assert (half.float() - single).abs().mean() < 0.05 * single.abs().mean()


@pytest.mark.parametrize(
    ("size", "side", "grid"), [("l0", 128, 16), ("l0", 128, 64), ("xl0", 128, 8)]
)
def test_embedding_has_the_size_of_the_grid(size: str, side: int, grid: int) -> None:
    with torch.device("meta"):
        encoder = EfficientViT(CONFIGS[size], grid_side=grid).eval()
        embedding = encoder(torch.empty(1, 3, side, side))["image"]
    assert embedding.shape == (1, 256, grid, grid)


# ------------------------------------------------------------------------------------------- RepViT


def test_stages_have_the_published_blocks() -> None:
    encoder = RepViT()
    assert [len(stage.excite) for stage in STAGES] == [3, 4, 16, 3]
    assert len(encoder.features) == 27
    assert encoder.fused_at == 23
    excited = [
        index
        for index, block in enumerate(encoder.features)
        if any(isinstance(module, SqueezeExcite) for module in block.modules())
    ]
    assert excited == [1, 5, 9, 11, 13, 15, 17, 19, 21, 25]


def test_repvit_embeds_at_stride_16() -> None:
    with torch.device("meta"):
        encoder = RepViT().eval()
        assert encoder(torch.empty(1, 3, 192, 128))["image"].shape == (1, 256, 12, 8)
