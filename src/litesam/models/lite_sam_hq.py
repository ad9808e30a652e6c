"""Lite-SAM with an HQ token: SAM's mask refined by what the first layers see of the picture.

After Ke et al. 2023, "Segment Anything in High Quality", Sec. 3.2: an HQ output token, whose
weights are multiplied with fine features that join an early feature of the encoder, its last one
and those of the mask decoder. What differs, because Lite-SAM decodes objects in windows and has a
decoder that is a tenth as dear as SAM's (``docs/decisions/0006-hq-for-lite-sam.md``):

* The early feature is that of LiteViT's first layer, of half the picture's side, with the local
  contrast of the pixels below it: the embedding holds the layers after it already. It is computed
  from the picture, which is a fifth of its size and lies in the embedding. A few blocks of its own
  tell lines from noise.
* What depends on the picture alone is computed once; windows are cut from it.
* The HQ token is added to the mask decoder's own token of the mask that is refined, after the
  transformer, instead of going through it: there every token costs 6 % of a decode. So the mask
  before stays exactly what it is without HQ, and the token knows which of three it refines.
* The HQ token's logits are not added to those of the mask before, see `LiteSAMHQ.join`, and they
  replace that mask only where they are likely better, see `LiteSAMHQ.choose`.
* The features of the mask decoder are mixed by one small product for each pixel instead of two
  3×3 convolutions, which alone would cost most of a decode.
* The token has four sets of weights, one for each pixel of the picture in a place of the fine
  features, so that its masks have the resolution of the network's input, twice that of SAM's: lines
  thinner than two pixels are lost in those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litesam.models.layers import MLP, LayerNorm2d
from litesam.models.lite_sam import WINDOWS, LiteSAM, cut_windows
from litesam.models.mask_decoder import pixel_products

if TYPE_CHECKING:
    from litesam.models.prompt_maps import WindowPrompts
    from litesam.types import ModelSpec


#: Pixels of an HQ mask along a side of one of SAM's.
FINER = 2
#: Predicted IoU below which the HQ token takes over; in the largest window it always does. Chosen
#: on training images, see decision 6.
DOUBTFUL_IOU = 0.5


class _ContextBlock(nn.Module):
    """Residual block: 5 × 5 for each channel by itself, then a network for each pixel by itself.

    After Liu et al. 2022, "A ConvNet for the 2020s", Sec. 2, in a small form.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel_size=5, padding=2, groups=channels)
        self.norm = LayerNorm2d(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, kernel_size=1)
        self.reduce = nn.Conv2d(2 * channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y: Tensor = self.reduce(F.gelu(self.expand(self.norm(self.depthwise(x)))))
        return x + y


class WindowHQ(nn.Module):
    """The HQ token and its fine features.

    Parameters
    ----------
    channels
        Width C of the embedding; the mask decoder's pixels have C / 8.
    early_channels
        Width of the encoder's early feature.
    width
        Width F of the fused features.
    context_channels, context_blocks
        Of the features that see a line as a whole, at half of the early feature's resolution.
    """

    def __init__(
        self,
        channels: int = 256,
        early_channels: int = 32,
        width: int = 16,
        context_channels: int = 32,
        context_blocks: int = 3,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(1, channels)
        self.mlp = MLP(channels, channels, FINER**2 * (width + 1), 3)
        self.early = nn.Sequential(
            nn.Conv2d(early_channels, 2 * width, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * width, 2 * width, kernel_size=3, padding=1, groups=2 * width),
            nn.GELU(),
        )
        self.narrow = nn.Conv2d(2 * width, width, kernel_size=1)
        self.context = nn.Sequential(
            nn.Conv2d(2 * width, context_channels, kernel_size=3, stride=2, padding=1),
            *(_ContextBlock(context_channels) for _ in range(context_blocks)),
            nn.Conv2d(context_channels, width, kernel_size=1),
        )
        self.late = nn.Sequential(
            nn.ConvTranspose2d(channels, 2 * width, kernel_size=2, stride=2),
            LayerNorm2d(2 * width),
            nn.GELU(),
            nn.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2),
        )
        self.mix = nn.Linear(channels // 8, width, bias=False)
        # The training starts from logits of 0, and without what lies around.
        for last in (self.mlp.layers[-1], self.context[-1]):
            assert isinstance(last, nn.Linear | nn.Conv2d)  # for mypy
            nn.init.zeros_(last.weight)
            assert last.bias is not None  # for mypy
            nn.init.zeros_(last.bias)

    def details(self, image: Tensor, early: Tensor) -> Tensor:
        """Fine features of images, the same for all prompts.

        Parameters
        ----------
        image
            Embeddings (B, C, h, w).
        early
            `LiteViT.early` (B, C', 4h, 4w).

        Returns
        -------
        Tensor
            (B, F, 4h, 4w), channels-last in memory.
        """
        shallow: Tensor = self.early(early)
        around = F.interpolate(
            self.context(shallow), scale_factor=2, mode="bilinear", align_corners=False
        )
        details: Tensor = self.narrow(shallow) + around + self.late(image)
        return details.contiguous(memory_format=torch.channels_last)

    def forward(self, upscaled: Tensor, details: Tensor, token: Tensor) -> Tensor:
        """Logits (P, 1, 2s, 2s) of the HQ token.

        Parameters
        ----------
        upscaled
            The mask decoder's pixels (P, C/8, s, s).
        details
            `details` of the same windows (P, F, s, s).
        token
            The mask decoder's token of the mask that is refined (P, C).
        """
        weights: Tensor = self.mlp(token + self.token.weight)
        weights = torch.unflatten(weights, 1, (FINER**2, -1))  # (P, 4, F + 1): and a constant
        mixed = pixel_products(upscaled, self.mix.weight[None])
        fused = F.relu_(mixed.add_(details))
        # Few rows times many columns: a third of the time of `pixel_products`.
        pixels = fused.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
        logits = torch.baddbmm(weights[..., -1:], weights[..., :-1], pixels)
        return F.pixel_shuffle(torch.unflatten(logits, -1, fused.shape[-2:]), FINER)


class LiteSAMHQ(LiteSAM):
    """Lite-SAM with `WindowHQ` beside its mask decoder; ``details`` once, then decode windows."""

    def __init__(self, input_px: int = 512, grid_side: int = 64, mlp_dim: int = 1024) -> None:
        super().__init__(input_px, grid_side, mlp_dim)
        self.hq = WindowHQ()

    def details(self, image: Tensor, picture: Tensor) -> Tensor:
        """Fine features (B, F, S/2, S/2) of embeddings (B, C, h, w) and their pictures.

        ``picture`` is the network's input (B, 3, S, S).
        """
        picture = picture.contiguous(memory_format=torch.channels_last)
        return self.hq.details(image, self.image_encoder.early(picture))

    @staticmethod
    def join(plain: Tensor, refined: Tensor) -> Tensor:
        """Logits of the mask with HQ, from those of `decode_parts`: the HQ token's alone.

        Where Lite-SAM sees nothing it is far too sure of that for a sum as in HQ-SAM: added, even
        limited to ± 0.3, its logits take back what the token has found of thin structures.
        """
        del plain
        return refined

    @staticmethod
    def choose(plain: Tensor, refined: Tensor, iou: Tensor) -> Tensor:
        """Logits with HQ in use: the HQ token's for large objects and for doubtful ones.

        Parameters
        ----------
        plain, refined, iou
            Result of `decode_parts`; the windows tell how large the objects are.

        Returns
        -------
        Tensor
            (P, 1, 2s, 2s): ``refined`` in the largest window, and for objects whose predicted IoU
            is below `DOUBTFUL_IOU`; ``plain``, enlarged, for the others, which the token would only
            make worse.
        """
        if plain.shape[-1] == 4 * WINDOWS[-1]:
            return refined
        return torch.where((iou < DOUBTFUL_IOU)[..., None, None], refined, enlarge(plain))

    def decode_parts(
        self,
        embedding: Tensor,
        details: Tensor,
        positions: Tensor,
        origins: Tensor,
        side: int,
        prompts: WindowPrompts,
        *,
        multimask: bool,
        images: Tensor | None = None,
        offset_xy: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode P prompts to one mask each, in windows.

        Parameters
        ----------
        embedding, positions, origins, side, prompts, images, offset_xy
            As in `LiteSAM.decode_windows`.
        details
            Result of `details` of the same images.
        multimask
            Refine the mask of the tokens 1–3 with the highest predicted IoU instead of that of
            token 0.

        Returns
        -------
        tuple
            Logits (P, 1, 4 * side, 4 * side) of SAM's mask, those of the HQ token
            (P, 1, 8 * side, 8 * side), and the predicted IoU (P, 1) of SAM's mask.
        """
        windows, window_positions, sparse, dense = self.window_inputs(
            embedding, positions, origins, side, prompts, images, offset_xy
        )
        decoder = self.mask_decoder
        tokens, source = decoder.attend(windows, window_positions, sparse, dense)
        upscaled = decoder.upscale(source)
        masks = slice(1, 4) if multimask else slice(0, 1)
        iou: Tensor = decoder.iou_prediction_head(tokens[:, 0])[:, masks]
        best = iou.argmax(dim=1, keepdim=True)  # (P, 1)
        rows = torch.arange(len(best), device=best.device)
        weights = decoder.mask_weights(tokens, masks)[rows[:, None], best]  # (P, 1, C/8)
        fine = details  # one window: shared by all prompts
        if details.shape[0] > 1 or details.shape[-1] > 4 * side:
            fine = cut_windows(details, 4 * origins, 4 * side, images)
        refined: Tensor = self.hq(upscaled, fine, tokens[rows, 1 + masks.start + best[:, 0]])
        return pixel_products(upscaled, weights), refined, iou.gather(1, best)


def enlarge(plain: Tensor) -> Tensor:
    """Bring logits (P, M, s, s) of SAM's masks to the resolution of HQ's: (P, M, 2s, 2s)."""
    return F.interpolate(plain, scale_factor=FINER, mode="bilinear", align_corners=False)


def build(spec: ModelSpec | None = None) -> LiteSAMHQ:
    """Build the network with random weights, as the registry's spec says or with the defaults."""
    if spec is None:
        return LiteSAMHQ()
    return LiteSAMHQ(input_px=spec.input_px, grid_side=spec.feature_shapes["image"][1])
