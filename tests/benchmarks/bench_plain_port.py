"""Encode time of the networks as they run here against a plain port of the same network.

Plain: channels first, batch normalisation and parallel convolutions unfolded, attention as
``softmax(q @ k.T + bias) @ v`` with the whole matrix of scores. Both have the same made-up weights
and take turns; that they compute the same is checked, too.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from timing import medians, parser, set_threads

from litesam.models.encoders import vit
from litesam.models.folding import fold
from litesam.models.registry import MODELS, get_spec
from weights import build_network, fill_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

#: Above it two copies of the network and its scores no longer fit into 16 GB.
LARGEST = 400_000_000


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, repeats=5)
    arguments.add_argument("--models", nargs="*", help="only these (default: all up to ViT-L)")
    options = arguments.parse_args()
    set_threads(options.threads)
    chosen = options.models or [
        spec.name for spec in MODELS if spec.encoder_name == spec.name and spec.parameters < LARGEST
    ]
    for name in chosen:
        spec = get_spec(name)
        network, plain = (_encoder(fill_network(build_network(spec))) for _ in range(2))
        plain = plain.to(memory_format=torch.contiguous_format)
        network = fold(network)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 3, spec.input_px, spec.input_px, generator=generator)

        def run_plain(plain: nn.Module = plain, x: Tensor = x) -> Any:
            with _plainly():
                return plain(x)

        with torch.inference_mode():
            difference = _difference(network(x), run_plain())
            seconds = medians(
                {"plain": run_plain, "ours": lambda network=network, x=x: network(x)},
                options.repeats,
            )
        print(
            f"{name:24} {1000 * seconds['ours']:8.0f} ms, plain {1000 * seconds['plain']:8.0f} ms: "
            f"{seconds['plain'] / seconds['ours']:.2f} x as fast; "
            f"largest relative difference {difference:.1e}",
            flush=True,
        )
        del network, plain, run_plain
        gc.collect()


def _encoder(network: nn.Module) -> nn.Module:
    """The part that encodes images; of FastSAM the whole network."""
    encoder: nn.Module = getattr(network, "image_encoder", network)
    return encoder.eval().requires_grad_(False)


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    if is_dataclass(output):
        output = [getattr(output, field.name) for field in fields(output)]
    if isinstance(output, (tuple, list)):
        return [tensor for part in output for tensor in _tensors(part)]
    return []


def _difference(ours: Any, plain: Any) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(_tensors(ours), _tensors(plain), strict=True)
    )


@contextmanager
def _plainly() -> Iterator[None]:
    """Run networks without what makes them fast: channels-last memory and fused attention."""
    contiguous = torch.Tensor.contiguous

    def keep_order(x: Tensor, memory_format: Any = torch.contiguous_format) -> Tensor:
        return x if memory_format is torch.channels_last else contiguous(x)

    with (
        patch.object(torch.Tensor, "contiguous", keep_order),
        patch.object(F, "scaled_dot_product_attention", _attend),
        patch.object(vit, "_blockwise_attention", _attend_with_positions),
    ):
        yield


def _attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(dim=-1) @ v


def _attend_with_positions(
    q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor
) -> Tensor:
    side = rows.shape[-1]
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    placed = scores.unflatten(-1, (side, side)) + rows[..., :, None] + columns[..., None, :]
    return placed.flatten(-2).softmax(dim=-1) @ v


if __name__ == "__main__":
    main()
