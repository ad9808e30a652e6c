"""The folded attention of the decoder is the plain one, and one image row serves all prompts."""

from __future__ import annotations

import pytest
import torch

from litesam.models.transformer import Attention, TwoWayTransformer, softmax_of_normals

#: Sums in another order; inputs are float64 of the order of 1.
CLOSE = {"rtol": 0.0, "atol": 1e-10}
#: 8 heads, inner width 128: folded below 16 tokens, plain from there on.
TOKENS = [1, 7, 15, 16, 20]
CELLS = 30


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(256, heads=8, downsample_rate=2).double()


def _explicit(attention: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> list:
    """Attention head by head and prompt by prompt, as it is written in books."""
    outputs = []
    for row in range(q.shape[0]):
        queries, keys = attention.q_proj(q[row]), attention.k_proj(k[row])
        values = attention.v_proj(v[row])
        width = attention.inner // attention.heads
        heads = []
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            scores = queries[:, part] @ keys[:, part].T / width**0.5
            heads.append(scores.softmax(dim=1) @ values[:, part])
        outputs.append(attention.out_proj(torch.cat(heads, dim=1)))
    return outputs


@pytest.mark.parametrize("count", TOKENS)
def test_tokens_from_image(attention: Attention, count: int) -> None:
    q, k, v = _random(3, count, 256), _random(3, CELLS, 256, seed=1), _random(3, CELLS, 256, seed=2)
    folded = attention.tokens_from_image(q, k, v)
    assert folded.shape == (3, count, 256)
    torch.testing.assert_close(folded, torch.stack(_explicit(attention, q, k, v)), **CLOSE)
    torch.testing.assert_close(folded, attention(q, k, v), **CLOSE)


@pytest.mark.parametrize("count", TOKENS)
def test_image_from_tokens(attention: Attention, count: int) -> None:
    q, k, v = _random(3, CELLS, 256), _random(3, count, 256, seed=1), _random(3, count, 256, seed=2)
    folded = attention.image_from_tokens(q, k, v)
    assert folded.shape == (3, CELLS, 256)
    torch.testing.assert_close(folded, torch.stack(_explicit(attention, q, k, v)), **CLOSE)
    torch.testing.assert_close(folded, attention(q, k, v), **CLOSE)


@pytest.mark.parametrize("count", TOKENS)
def test_one_image_row_serves_all_prompts(attention: Attention, count: int) -> None:
    tokens, others = _random(3, count, 256), _random(3, count, 256, seed=1)
    row, positions = _random(1, CELLS, 256, seed=2), _random(1, CELLS, 256, seed=3)
    torch.testing.assert_close(
        attention.tokens_from_image(tokens, positions, row),
        attention(tokens, positions.expand(3, -1, -1), row.expand(3, -1, -1)),
        **CLOSE,
    )
    torch.testing.assert_close(
        attention.image_from_tokens(row, tokens, others),
        attention(row.expand(3, -1, -1), tokens, others),
        **CLOSE,
    )


@pytest.mark.parametrize("count", [7, 20])
def test_transformer_with_one_row_is_that_with_a_row_per_prompt(count: int) -> None:
    torch.manual_seed(0)
    transformer = TwoWayTransformer(mlp_dim=64).double().eval()
    image, positions = _random(1, CELLS, 256), _random(1, CELLS, 256, seed=1)
    tokens = _random(3, count, 256, seed=2)
    with torch.inference_mode():
        shared = transformer(image, positions, tokens)
        own = transformer(image.expand(3, -1, -1), positions.expand(3, -1, -1), tokens)
        single = transformer(image, positions, tokens[1:2])
    assert shared[0].shape == (3, count, 256)
    assert shared[1].shape == (3, CELLS, 256)
    for one, many, alone in zip(shared, own, single, strict=True):
        torch.testing.assert_close(one, many, **CLOSE)
        torch.testing.assert_close(one[1:2], alone, **CLOSE)


def test_gradients_are_those_of_the_plain_form(attention: Attention) -> None:
    q, k, v = _random(2, 7, 256), _random(2, CELLS, 256, seed=1), _random(2, CELLS, 256, seed=2)
    weights = [p for name, p in attention.named_parameters() if name != "k_proj.bias"]
    for folded, plain in (
        (attention.tokens_from_image(q, k, v), attention(q, k, v)),
        (attention.image_from_tokens(k, q, q), attention(k, q, q)),
    ):
        ours = torch.autograd.grad(folded.square().sum(), weights)
        theirs = torch.autograd.grad(plain.square().sum(), weights)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 2])
def test_softmax_has_no_subnormal_weights(dim: int) -> None:
    scores = (_random(4, 50, 60) * 40).float().requires_grad_()
    tiny = torch.finfo(torch.float32).tiny

    def subnormal(weights: torch.Tensor) -> int:
        return int(((weights > 0) & (weights < tiny)).sum())

    plain, weights = scores.softmax(dim), softmax_of_normals(scores, dim)
    assert subnormal(plain) > 100
    assert subnormal(weights) == 0
    torch.testing.assert_close(weights, plain, rtol=1e-6, atol=1e-20)
    torch.testing.assert_close(weights.sum(dim), torch.ones_like(weights.sum(dim)))
    direction = _random(4, 50, 60, seed=1).float()
    (expected,) = torch.autograd.grad((plain * direction).sum(), scores)
    (gradient,) = torch.autograd.grad((weights * direction).sum(), scores)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)
