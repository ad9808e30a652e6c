"""Fold batch normalisation and parallel convolutions into single convolutions for inference.

In evaluation mode a batch normalisation is a scale and a shift per channel, hence part of the
convolution before it; convolutions of the same input whose outputs are added are one convolution
with the sum of their kernels (re-parameterisation, Ding et al. 2021, "RepVGG", Sec. 3.3). Both are
exact: only rounding changes. A layer that can be replaced says so with a method ``folded``.
Networks are built and loaded unfolded, so that official files load strictly; `fold` runs after
loading.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@runtime_checkable
class Foldable(Protocol):
    """A layer with a cheaper equivalent in evaluation mode."""

    def folded(self) -> nn.Module:
        """Return the equivalent; the layer itself stays as it is."""
        ...


def fold(network: nn.Module) -> nn.Module:
    """Replace, in place, every layer of a network that has an equivalent for inference.

    Parameters
    ----------
    network
        A network with its final weights. Afterwards it can neither be trained nor take the tensors
        of an official file. Networks without foldable layers, and folded ones, stay as they are.

    Returns
    -------
    nn.Module
        The network, or its equivalent if it is itself a foldable layer; in evaluation mode.
    """
    if isinstance(network, Foldable):
        return network.folded().eval()
    for name, child in network.named_children():
        network.add_module(name, fold(child))
    return network.eval()


def fold_conv_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution that computes ``bn(conv(x))`` in evaluation mode.

    The weights are multiplied in float64 and rounded once. Padding stays exact because it is added
    before the convolution.

    Raises
    ------
    ValueError
        If the batch normalisation keeps no running statistics.
    """
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("Batch normalisation without running statistics cannot be folded.")
    scale = (_exact(bn.running_var) + bn.eps).rsqrt()  # (C_out)
    if bn.weight is not None:
        scale = scale * _exact(bn.weight)
    shift = -_exact(bn.running_mean) * scale
    if bn.bias is not None:
        shift = shift + _exact(bn.bias)
    if conv.bias is not None:
        shift = shift + _exact(conv.bias) * scale
    return _conv_like(conv, _exact(conv.weight) * scale[:, None, None, None], shift)


def fold_parallel(convs: list[nn.Conv2d], *, identity: bool = False) -> nn.Conv2d:
    """Return one depthwise convolution that computes the sum of several, of stride 1.

    Parameters
    ----------
    convs
        Depthwise convolutions of the same channels and of odd kernels with "same" padding, the
        first one with the largest kernel.
    identity
        Add the input as well.
    """
    first = convs[0]
    side = first.kernel_size[0]
    weight = torch.zeros(first.weight.shape, dtype=torch.float64)
    bias = torch.zeros(first.out_channels, dtype=torch.float64)
    for conv in convs:
        margin = (side - conv.kernel_size[0]) // 2
        weight += F.pad(_exact(conv.weight), (margin,) * 4)
        if conv.bias is not None:
            bias += _exact(conv.bias)
    if identity:
        weight[:, :, side // 2, side // 2] += 1.0
    return _conv_like(first, weight, bias)


def _exact(tensor: Tensor) -> Tensor:
    """In float64 on the CPU: not every device has the type."""
    return tensor.detach().cpu().double()


def _conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a convolution of the same geometry, type, device and memory format."""
    made = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # any length of tuple, says torch
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        device="meta",  # no memory and no random numbers for weights that are replaced
    )
    last = conv.weight.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    made.weight = nn.Parameter(weight.to(conv.weight).contiguous(memory_format=order))
    made.bias = nn.Parameter(bias.to(conv.weight))
    return made.requires_grad_(False)
