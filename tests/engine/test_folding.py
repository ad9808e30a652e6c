"""Folded networks compute what unfolded ones compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from litesam.models import folding, layers
from litesam.models.encoders import efficient_vit, rep_vit
from litesam.models.folding import Foldable, fold, fold_conv_bn, fold_parallel
from litesam.models.registry import get_spec
from litesam.models.weights import encoder_hash
from litesam.predictors import make_predictor
from weights import build_network, fill_network

#: float64 and inputs of the order of 1: sums in another order.
CLOSE = {"rtol": 0.0, "atol": 1e-10}
FAMILIES = ["mobile_sam", "edge_sam", "efficientvit_sam_l0"]


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _stirred(module: nn.Module) -> nn.Module:
    """The module in float64 with random weights and running statistics, for inference."""
    module = module.double().eval().requires_grad_(False)
    for seed, (name, tensor) in enumerate(module.state_dict().items()):
        if tensor.is_floating_point():
            values = 0.3 * _random(*tensor.shape, seed=seed)
            tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return module


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("stride", "padding", "groups"), [(1, 1, 1), (2, 1, 1), (2, 0, 8), (1, 1, 8)]
)
def test_batch_norm_becomes_part_of_the_convolution(
    bias: bool, stride: int, padding: int, groups: int
) -> None:
    conv = _stirred(nn.Conv2d(8, 16, 3, stride, padding, groups=groups, bias=bias))
    bn = _stirred(nn.BatchNorm2d(16, eps=1e-2))
    x = _random(2, 8, 9, 10)
    torch.testing.assert_close(fold_conv_bn(conv, bn)(x), bn(conv(x)), **CLOSE)


def test_batch_norm_without_learned_scale() -> None:
    conv, bn = _stirred(nn.Conv2d(4, 4, 1)), _stirred(nn.BatchNorm2d(4, affine=False))
    x = _random(1, 4, 5, 5)
    torch.testing.assert_close(fold_conv_bn(conv, bn)(x), bn(conv(x)), **CLOSE)


def test_batch_norm_that_keeps_no_statistics_is_refused() -> None:
    bn = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(ValueError, match="running statistics"):
        fold_conv_bn(nn.Conv2d(4, 4, 1), bn)


@pytest.mark.parametrize("identity", [True, False])
def test_parallel_depthwise_convolutions_become_one(identity: bool) -> None:
    convs = [
        _stirred(nn.Conv2d(6, 6, side, padding=side // 2, groups=6, bias=side != 1))
        for side in (5, 3, 1)
    ]
    x = _random(2, 6, 9, 7)
    wanted = sum(conv(x) for conv in convs) + (x if identity else 0)
    torch.testing.assert_close(fold_parallel(convs, identity=identity)(x), wanted, **CLOSE)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_folded_weights_keep_memory_format_and_type(order: torch.memory_format) -> None:
    conv = nn.Conv2d(8, 16, 3).to(memory_format=order)
    folded = fold_conv_bn(conv, nn.BatchNorm2d(16))
    assert folded.weight.is_contiguous(memory_format=order)
    assert folded.weight.dtype == torch.float32
    assert not folded.weight.requires_grad


@pytest.mark.parametrize(
    "layer",
    [
        layers.ConvBN(8, 8, kernel=3, groups=8),
        layers.ConvBN(8, 8, kernel=3, stride=2),
        rep_vit.RepDepthwise(8),
        efficient_vit.ConvLayer(8, 8, kernel=3, act=True),
        efficient_vit.ConvLayer(8, 8, kernel=3),
        efficient_vit.ConvLayer(8, 8, norm=False, bias=True, act=True),
    ],
    ids=lambda layer: f"{type(layer).__module__.rpartition('.')[2]}.{type(layer).__name__}",
)
def test_every_foldable_layer_has_an_equal(layer: nn.Module) -> None:
    layer = _stirred(layer)
    x = _random(1, 8, 12, 12)
    wanted = layer(x)
    torch.testing.assert_close(fold(layer)(x), wanted, **CLOSE)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_encoder_keeps_a_batch_norm_and_all_compute_the_same(name: str) -> None:
    encoder = fill_network(build_network(get_spec(name))).image_encoder
    encoder = encoder.double().eval().requires_grad_(False)
    x = _random(1, 3, 128, 128)
    wanted = encoder(x)["image"]
    batch_norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert batch_norms
    assert fold(encoder) is encoder
    left = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == []
    # Up to a hundred layers, one after the other.
    torch.testing.assert_close(encoder(x)["image"], wanted, rtol=0.0, atol=1e-8)


def test_folding_twice_changes_nothing() -> None:
    encoder = fold(_stirred(rep_vit.RepViT()))
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    fold(encoder)
    after = encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_networks_without_foldable_layers_stay_as_they_are() -> None:
    network = build_network(get_spec("lite_sam"))
    assert not any(isinstance(module, Foldable) for module in network.modules())
    names = list(network.state_dict())
    assert list(fold(network).state_dict()) == names


def test_predictors_fold_their_network_after_its_hash_was_taken() -> None:
    spec = get_spec("edge_sam")
    network = fill_network(build_network(spec))
    digest = encoder_hash(network)
    predictor = make_predictor(spec, network, "cpu", "file", digest)
    assert predictor.encoder_hash == digest
    assert not any(isinstance(m, nn.BatchNorm2d) for m in predictor._network.modules())
    assert folding.fold(predictor._network) is predictor._network
