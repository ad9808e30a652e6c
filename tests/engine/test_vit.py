"""SAM's vision transformer against the textbook form of its attention, in small sizes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from litesam.models.encoders import vit
from litesam.models.encoders.vit import RelativeAttention, ViT, ViTSize

SMALL = ViTSize(channels=32, depth=3, heads=4, global_blocks=(1, 2))
#: float32 sums in another order; values are of the order of 1.
CLOSE = {"rtol": 0.0, "atol": 2e-5}


def _random(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The module with normal parameters, the tables of positions included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return module.eval().requires_grad_(False)


def _textbook(attention: RelativeAttention, x: torch.Tensor) -> torch.Tensor:
    """Attention with relative positions, one query and one key at a time; (side, side, C)."""
    side, heads = attention.side, attention.heads
    q, k, v = attention.qkv(x).reshape(side, side, 3, heads, -1).unbind(2)
    out = torch.zeros_like(q)
    places = [(y, x) for y in range(side) for x in range(side)]
    for head in range(heads):
        for qy, qx in places:
            query = q[qy, qx, head]
            scores = [
                query @ k[ky, kx, head] / query.numel() ** 0.5
                + query @ attention.rel_pos_h[qy - ky + side - 1]
                + query @ attention.rel_pos_w[qx - kx + side - 1]
                for ky, kx in places
            ]
            weights = torch.stack(scores).softmax(0)
            out[qy, qx, head] = weights @ v[:, :, head].flatten(0, 1)
    return out.flatten(2)


@pytest.mark.parametrize("block_bytes", [1, 100, 700, 10**9])
def test_attention_in_blocks_is_the_textbook_attention(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "_CPU_BLOCK_BYTES", block_bytes)
    attention = _random(RelativeAttention(12, heads=2, side=3))
    grids = torch.randn((2, 3, 3, 12), generator=torch.Generator().manual_seed(1))
    ours = attention.attend(attention.qkv(grids))
    for grid, got in zip(grids, ours, strict=True):
        torch.testing.assert_close(got, _textbook(attention, grid), **CLOSE)


def test_padding_of_windows_takes_part_as_zeros() -> None:
    block = _random(vit.Block(32, heads=4, grid_side=16, window=14))
    x = torch.randn((1, 16, 16, 32), generator=torch.Generator().manual_seed(2))
    padded = F.pad(block.norm1(x), (0, 0, 0, 12, 0, 12))  # zeros after the norm
    wanted = torch.empty_like(padded)
    for y in (0, 14):
        for x0 in (0, 14):
            window = padded[:, y : y + 14, x0 : x0 + 14]
            wanted[:, y : y + 14, x0 : x0 + 14] = block.attn.attend(block.attn.qkv(window))
    after = x + block.attn.proj(wanted[:, :16, :16])
    after = after + block.mlp(block.norm2(after))
    torch.testing.assert_close(block(x), after, **CLOSE)


def test_early_feature_is_the_output_of_the_first_global_block() -> None:
    encoder = _random(ViT(SMALL, grid_side=16, embed_dim=8))
    seen: list[torch.Tensor] = []
    encoder.blocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
    features = encoder(torch.randn((1, 3, 256, 256), generator=torch.Generator().manual_seed(3)))
    assert features["image"].shape == (1, 8, 16, 16)
    assert features["early"].shape == (1, 32, 16, 16)
    torch.testing.assert_close(features["early"], seen[0].permute(0, 3, 1, 2), rtol=0, atol=0)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    encoder = _random(ViT(SMALL, grid_side=16, embed_dim=8))
    images = torch.randn((2, 3, 256, 256), generator=torch.Generator().manual_seed(4))
    both = encoder(images)
    for index in (0, 1):
        alone = encoder(images[index : index + 1])
        for name in ("image", "early"):
            torch.testing.assert_close(both[name][index], alone[name][0], rtol=0, atol=1e-4)
