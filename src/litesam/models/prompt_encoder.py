"""SAM's prompt encoder: points, boxes and mask prompts → tokens.

Source: Kirillov et al. 2023, "Segment Anything", Sec. 3 and Appendix A; module names are those of
the official checkpoints (facebookresearch/segment-anything, Apache-2.0), code is our own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from litesam.models.layers import LayerNorm2d


class RandomFourierPositions(nn.Module):
    """Random Fourier features of (x, y) positions scaled to [0, 1] (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int = 128, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer(
            "positional_encoding_gaussian_matrix", scale * torch.randn((2, features))
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Encode (..., 2) positions in [0, 1], (x, y), as (..., 2 * features)."""
        angles = (2.0 * positions - 1.0) @ self.positional_encoding_gaussian_matrix
        angles = 2.0 * math.pi * angles
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def grid(self, size_hw: tuple[int, int]) -> Tensor:
        """Encode the cell centres of an (h, w) grid as (1, C, h, w)."""
        height, width = size_hw
        matrix = self.positional_encoding_gaussian_matrix
        y = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) / height
        x = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) / width
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        encoded: Tensor = self(torch.stack((xx, yy), dim=-1))
        return encoded.permute(2, 0, 1)[None]


class PointEncoder(nn.Module):
    """What the prompt encoders of SAM-like networks share: positions in a square input.

    Parameters
    ----------
    embed_dim
        Number of channels C.
    input_px
        Side of the frame of the prompts, model pixels; positions are divided by it.
    grid_side
        Side of the image embedding.
    """

    def __init__(self, embed_dim: int, input_px: int, grid_side: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.input_px = input_px
        self.grid_side = grid_side
        self.pe_layer = RandomFourierPositions(embed_dim // 2)

    @property
    def mask_side(self) -> int:
        """Side of low-resolution masks: four logits per embedding cell."""
        return 4 * self.grid_side

    def dense_positions(self) -> Tensor:
        """Positional encoding of the image embedding, (1, C, grid, grid)."""
        return self.pe_layer.grid((self.grid_side, self.grid_side))

    def point_positions(self, points: Tensor) -> Tensor:
        """Positional encoding (..., C) of (..., 2) (x, y) model pixels; integer = pixel centre."""
        encoded: Tensor = self.pe_layer((points + 0.5) / self.input_px)
        return encoded

    def sparse_tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
    ) -> Tensor | None:
        """Encode points and boxes as (P, T, C) tokens."""
        raise NotImplementedError

    def dense_embedding(self, masks: Tensor | None) -> Tensor:
        """Encode (P, 4h, 4w) mask logits, broadcastable to (P, C, h, w)."""
        raise NotImplementedError


class PromptEncoder(PointEncoder):
    """Points, boxes and low-resolution masks of P objects → sparse tokens and a dense embedding.

    Parameters
    ----------
    embed_dim
        Number of channels C.
    input_px
        Side of the network's input, model pixels; positions are divided by it.
    grid_side
        Side of the image embedding.
    mask_channels
        Width of the mask prompt's network.
    """

    def __init__(
        self,
        embed_dim: int = 256,
        input_px: int = 1024,
        grid_side: int = 64,
        mask_channels: int = 16,
    ) -> None:
        super().__init__(embed_dim, input_px, grid_side)
        # 0 background point, 1 foreground point, 2 first box corner, 3 second box corner
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def sparse_tokens(
        self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
    ) -> Tensor | None:
        """Encode points and boxes.

        Parameters
        ----------
        points
            (P, N, 2) (x, y) model pixels, integer = pixel centre; or None.
        labels
            (P, N) 1 foreground, 0 background, -1 padding.
        boxes
            (P, 4) (x0, y0, x1, y1) model pixels, or None.

        Returns
        -------
        Tensor or None
            (P, T, C); points first, then one padding token where there is no box, then the two
            corners of the box.
        """
        tokens = []
        if points is not None and labels is not None:
            tokens.append(self._point_tokens(points, labels, pad=boxes is None))
        if boxes is not None:
            tokens.append(self._box_tokens(boxes))
        return torch.cat(tokens, dim=1) if tokens else None

    def _kind(self, index: int) -> Tensor:
        """Learned embedding (1, C) of a kind of point."""
        return self.point_embeddings.get_parameter(f"{index}.weight")

    def _point_tokens(self, points: Tensor, labels: Tensor, *, pad: bool) -> Tensor:
        if pad:
            points = torch.cat((points, points.new_zeros((len(points), 1, 2))), dim=1)
            labels = torch.cat((labels, labels.new_full((len(labels), 1), -1)), dim=1)
        tokens = self.point_positions(points)
        kinds = labels[..., None]
        tokens = torch.where(kinds == -1, self.not_a_point_embed.weight, tokens)
        tokens = torch.where(kinds == 0, tokens + self._kind(0), tokens)
        return torch.where(kinds == 1, tokens + self._kind(1), tokens)

    def _box_tokens(self, boxes: Tensor) -> Tensor:
        corners = self.point_positions(boxes.reshape(-1, 2, 2))  # (P, 2, C)
        kinds = torch.cat((self._kind(2), self._kind(3)))
        return corners + kinds

    def dense_embedding(self, masks: Tensor | None) -> Tensor:
        """Encode (P, 4h, 4w) mask logits as (P, C, h, w); without masks a (1, C, 1, 1) constant."""
        if masks is None:
            return self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        embedded: Tensor = self.mask_downscaling(masks[:, None])
        return embedded
