"""LiteViT: its budget, its embedding, and the mixer that is poolings in one convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from litesam.models.encoders.lite_vit import LiteViT, LocalContrast
from litesam.models.lite_sam import LiteSAM, build
from litesam.models.pooling_mixer import MultiScalePooling
from litesam.models.registry import get_spec
from weights import fill_network


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def encoder() -> LiteViT:
    return fill_network(LiteViT()).eval()  # type: ignore[return-value]


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_budgets() -> None:
    network = build(get_spec("lite_sam"))
    # The published sizes of the encoder and of the whole.
    assert _count(network.image_encoder) == pytest.approx(1.16e6, rel=0.02)
    assert _count(network) == pytest.approx(4.2e6, rel=0.02)
    assert _count(network) == pytest.approx(get_spec("lite_sam").parameters, rel=0.02)


def test_spec_and_network_agree() -> None:
    spec = get_spec("lite_sam")
    network = build(spec)
    assert isinstance(network, LiteSAM)
    assert network.input_px == spec.input_px
    channels, height, width = spec.feature_shapes["image"]
    assert (network.grid_side, network.grid_side) == (height, width)
    assert network.prompt_encoder.embed_dim == channels
    assert network.stride == 8


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 192), (512, 512)])
def test_stride_eight(encoder: LiteViT, height: int, width: int) -> None:
    with torch.inference_mode():
        embedding = encoder(_random(1, 3, height, width))
    assert embedding.shape == (1, 256, height // 8, width // 8)
    assert torch.isfinite(embedding).all()
    # No channel and no place is the same everywhere.
    assert (embedding.std(dim=(0, 2, 3)) > 1e-4).all()


def test_images_of_a_batch_do_not_mix(encoder: LiteViT) -> None:
    x = _random(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(x)[1:], encoder(x[1:]), rtol=0, atol=1e-4)


def test_memory_format_does_not_matter(encoder: LiteViT) -> None:
    x = _random(1, 3, 64, 64)
    with torch.inference_mode():
        last = encoder(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(encoder(x), last, rtol=0, atol=1e-4)


def test_every_weight_learns() -> None:
    encoder = LiteViT().train()
    encoder(_random(2, 3, 64, 64)).square().mul(_random(2, 256, 8, 8, seed=1)).sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert without == []


# -------------------------------------------------------------------------------------------- mixer


def test_mixer_is_a_weighted_sum_of_poolings_minus_the_input() -> None:
    mixer = MultiScalePooling(6, windows=(3, 5, 7))
    weight = _random(6, 4)
    mixer.weight.data.copy_(weight)
    x = _random(2, 6, 12, 17, seed=1)
    pooled = [
        F.avg_pool2d(x, window, stride=1, padding=window // 2, count_include_pad=True)
        for window in (3, 5, 7)
    ]
    parts = torch.stack([*pooled, -x])  # (4, B, C, h, w)
    expected = (parts * weight.T[:, None, :, None, None]).sum(dim=0)
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)


def test_mixer_starts_as_the_mean_of_the_poolings_minus_the_input() -> None:
    mixer = MultiScalePooling(3)
    x = _random(1, 3, 11, 11)
    pooled = [F.avg_pool2d(x, window, stride=1, padding=window // 2) for window in (3, 5, 7)]
    expected = sum(pooled) / 3 - x
    torch.testing.assert_close(mixer(x), expected, rtol=1e-4, atol=1e-5)


def test_mixer_finds_nothing_in_a_flat_image() -> None:
    mixed = MultiScalePooling(2)(torch.full((1, 2, 20, 20), 3.0))
    torch.testing.assert_close(mixed[..., 3:-3, 3:-3], torch.zeros(1, 2, 14, 14), rtol=0, atol=1e-5)


# ----------------------------------------------------------------------------------------- contrast


def test_contrast_keeps_the_pixels_and_adds_channels() -> None:
    x = _random(2, 3, 64, 64)
    out = LocalContrast(cells=(8, 32))(x)
    assert out.shape == (2, 5, 64, 64)
    torch.testing.assert_close(out[:, :3], x, rtol=0, atol=0)


def test_contrast_of_a_flat_image_is_zero() -> None:
    out = LocalContrast()(torch.full((1, 3, 64, 64), 1.7))
    # Rounding of the means (1e-5), divided by the floor.
    torch.testing.assert_close(out[:, 3:], torch.zeros(1, 2, 64, 64), rtol=0, atol=1e-3)


def test_contrast_does_not_depend_on_brightness_and_hardly_on_gain() -> None:
    contrast = LocalContrast()
    x = _random(1, 3, 64, 64)
    plain = contrast(x)[:, 3:]
    torch.testing.assert_close(contrast(x + 1.0)[:, 3:], plain, rtol=0, atol=1e-3)
    # The floor under the standard deviation keeps noise of flat places small.
    gain = contrast(3.0 * x)[:, 3:]
    assert torch.corrcoef(torch.stack((gain.flatten(), plain.flatten())))[0, 1] > 0.999


def test_contrast_stands_out_from_its_surroundings() -> None:
    x = torch.zeros(1, 3, 128, 128)
    x[..., 60:68, 60:68] = 0.3
    out = LocalContrast()(x)[0, 3:]
    for channel in out:
        assert channel[64, 64] > 1.0
        assert channel[64, 64] == channel.max()
        assert abs(float(channel[10, 10])) < 0.05  # far away
