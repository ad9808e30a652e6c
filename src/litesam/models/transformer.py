"""SAM's two-way transformer between prompt tokens and image tokens.

Source: Kirillov et al. 2023, "Segment Anything", Appendix A ("Lightweight mask decoder"); module
names are those of the official checkpoints (Apache-2.0), code is our own.

What is different, exactly (only rounding changes): an object has few tokens (7 or so) and many
image tokens, so the projections of the image side are folded into the token side. With H heads and
T tokens the scores of the cross attentions are ``x (W_k^h)^T q_h``: instead of projecting N image
tokens from C to C/2 channels, the H·T token vectors are projected from C/2 to C and multiplied with
the image tokens directly; likewise for the values. That is cheaper while ``H * T < C / 2``, i.e.
for fewer than 16 tokens; beyond that the ordinary form is used.

Attention that was trained is sharp: a few per cent of its weights lie below 1e-38, and products
with these cost a CPU a hundred times as much. `softmax_of_normals` has none of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


#: Scores that lie further than this below the largest one count as if they lay so far: their weight
#: is 9e-27, which no sum of float32 can tell from any smaller one.
_LOWEST_SCORE = -60.0


def softmax_of_normals(scores: Tensor, dim: int) -> Tensor:
    """Softmax without weights below 1e-38 (subnormal numbers), which slow all that follows."""
    top = scores.detach().amax(dim, keepdim=True)  # a shift: the gradient does not see it
    return (scores - top).clamp_min(_LOWEST_SCORE).softmax(dim)


class Attention(nn.Module):
    """Multi-head attention with an inner width that may be smaller than the token width."""

    def __init__(self, channels: int, heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.inner = channels // downsample_rate
        self.heads = heads
        self.q_proj = nn.Linear(channels, self.inner)
        self.k_proj = nn.Linear(channels, self.inner)
        self.v_proj = nn.Linear(channels, self.inner)
        self.out_proj = nn.Linear(self.inner, channels)

    def _split(self, x: Tensor) -> Tensor:
        # (B, N, H*D) -> (B, H, N, D)
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend; (B, Nq, C), (B, Nk, C), (B, Nk, C) -> (B, Nq, C)."""
        out = F.scaled_dot_product_attention(
            self._split(self.q_proj(q)), self._split(self.k_proj(k)), self._split(self.v_proj(v))
        )
        projected: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return projected

    def _per_head(self, weight: Tensor) -> Tensor:
        # (H*D, C) -> (H, D, C)
        return torch.unflatten(weight, 0, (self.heads, -1))

    def tokens_from_image(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from few tokens (P, T, C) to many image tokens; k and v are (P or 1, N, C)."""
        if q.shape[1] * self.heads >= self.inner:
            count = q.shape[0]
            return self.forward(q, k.expand(count, -1, -1), v.expand(count, -1, -1))
        tokens = self._split(self.q_proj(q)) / math.sqrt(self.inner // self.heads)  # (P, H, T, D)
        # The key bias adds the same number to all scores of a row: softmax ignores it.
        folded = (tokens @ self._per_head(self.k_proj.weight)).flatten(1, 2)  # (P, H*T, C)
        weights = softmax_of_normals(folded @ k.transpose(1, 2), -1)  # (P, H*T, N)
        mixed = torch.unflatten(weights @ v, 1, (self.heads, -1))  # (P, H, T, C)
        values = mixed @ self._per_head(self.v_proj.weight).transpose(1, 2)  # (P, H, T, D)
        # Weights of a row add up to one, so the value bias passes through unchanged.
        projected: Tensor = self.out_proj(values.transpose(1, 2).flatten(2) + self.v_proj.bias)
        return projected

    def image_from_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from many image tokens q (P or 1, N, C) to few tokens k, v (P, T, C)."""
        if k.shape[1] * self.heads >= self.inner:
            return self.forward(q.expand(k.shape[0], -1, -1), k, v)
        keys = self._split(self.k_proj(k)) / math.sqrt(self.inner // self.heads)  # (P, H, T, D)
        folded = (keys @ self._per_head(self.q_proj.weight)).flatten(1, 2)  # (P, H*T, C)
        bias = keys @ torch.unflatten(self.q_proj.bias, 0, (self.heads, -1, 1))  # (P, H, T, 1)
        # Image tokens last: a softmax over a short last axis would take three times as long.
        scores = torch.unflatten(folded @ q.transpose(1, 2), 1, (self.heads, -1)) + bias
        weights = softmax_of_normals(scores, 2).flatten(1, 2)  # (P, H*T, N)
        outputs = torch.unflatten(self.out_proj.weight, 1, (self.heads, -1))  # (C, H, D)
        outputs = outputs.permute(1, 2, 0)  # (H, D, C)
        values = (self._split(self.v_proj(v)) @ outputs).flatten(1, 2)  # (P, H*T, C)
        return torch.baddbmm(self.out_proj.bias, weights.transpose(1, 2), values)


class TransformerMLP(nn.Module):
    """Two linear layers with ReLU between them; names as upstream (``lin1``, ``lin2``)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to the last axis."""
        result: Tensor = self.lin2(F.relu(self.lin1(x)))
        return result


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of the tokens, tokens → image, MLP, image → tokens."""

    def __init__(
        self,
        channels: int,
        heads: int,
        mlp: nn.Module,
        *,
        skip_first_layer_pe: bool,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = mlp
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, heads, downsample_rate=2)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update (P, T, C) tokens and (P or 1, N, C) image tokens."""
        tokens = self.norm1(self.attend_tokens(tokens, token_pe))
        placed = image + image_pe
        tokens = tokens + self.cross_attn_token_to_image.tokens_from_image(
            tokens + token_pe, placed, image
        )
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = image + self.cross_attn_image_to_token.image_from_tokens(
            placed, tokens + token_pe, tokens
        )
        return tokens, self.norm4(image)

    def attend_tokens(self, tokens: Tensor, token_pe: Tensor) -> Tensor:
        """Let the tokens (P, T, C) attend to each other."""
        if self.skip_first_layer_pe:  # the tokens are their own positions, and are replaced
            replaced: Tensor = self.self_attn(tokens, tokens, tokens)
            return replaced
        q = tokens + token_pe
        added: Tensor = tokens + self.self_attn(q, q, tokens)
        return added


class TwoWayTransformer(nn.Module):
    """Decoder of SAM: ``depth`` two-way blocks and a final attention of the tokens to the image.

    Parameters
    ----------
    depth, channels, heads
        Number of blocks, width of the tokens, attention heads.
    mlp_dim
        Hidden width of the MLP of a block.
    mlp
        Makes that MLP from width and hidden width.
    block
        Class of the blocks.
    """

    def __init__(
        self,
        depth: int = 2,
        channels: int = 256,
        heads: int = 8,
        mlp_dim: int = 2048,
        mlp: Callable[[int, int], nn.Module] = TransformerMLP,
        block: type[TwoWayAttentionBlock] = TwoWayAttentionBlock,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.ModuleList(
            block(channels, heads, mlp(channels, mlp_dim), skip_first_layer_pe=index == 0)
            for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(channels, heads, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(self, image: Tensor, image_pe: Tensor, token_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Run the decoder.

        Parameters
        ----------
        image
            Image tokens (P or 1, N, C); one row serves all prompts.
        image_pe
            Their positional encoding (P or 1, N, C).
        token_pe
            Prompt tokens (P, T, C); they are their own positional encoding.

        Returns
        -------
        tuple
            Tokens (P, T, C) and image tokens (P, N, C).
        """
        tokens = token_pe
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        attended = self.final_attn_token_to_image.tokens_from_image(
            tokens + token_pe, image + image_pe, image
        )
        return self.norm_final_attn(tokens + attended), image
