"""Predictor of the SAM family: SAM's own semantics of prompts, one encoder and one decoder call.

Source: Kirillov et al. 2023, "Segment Anything", and the behaviour of its reference predictor
(Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from litesam.frames import Frame, fit_longest_side
from litesam.predictors.base import (
    RgbArray,
    check_embedding,
    check_prompts,
    check_rgb,
    plain_batches,
)
from litesam.preprocess.resize import resize_rgb
from litesam.types import AnyArray, Embedding, IntArray, Masks, ModelSpec, PromptBatch, Proposals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litesam.models.sam import Sam

#: Prompts that go through the decoder at once; bounds the memory of large batches (about 17 MB a
#: prompt).
_CHUNK = 32


class SamPredictor:
    """A SAM-like network as two pure calls; see `litesam.predictors.base.Predictor`.

    Parameters
    ----------
    spec
        The model.
    network
        Its network with weights; moved to ``device`` and switched to evaluation mode.
    device
        Torch device.
    weights_hash
        Hash of the weights.
    """

    def __init__(self, spec: ModelSpec, network: Sam, device: str, weights_hash: str) -> None:
        self.spec = spec
        self.device = device
        self.weights_hash = weights_hash
        self._network = network.to(device).eval().requires_grad_(False)
        with torch.inference_mode():
            self._positions = self._network.prompt_encoder.dense_positions()  # (1, C, h, w)
            self._mean = torch.tensor(spec.pixel_mean, device=device).reshape(1, 3, 1, 1)
            self._std = torch.tensor(spec.pixel_std, device=device).reshape(1, 3, 1, 1)

    @property
    def _low_res_yx(self) -> tuple[int, int]:
        side = self._network.prompt_encoder.mask_side
        return (side, side)

    # --------------------------------------------------------------------------------------- encode

    def encode(self, rgb: RgbArray, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        """Encode one region of an image.

        Parameters
        ----------
        rgb
            (H, W, 3) uint8.
        origin_yx
            Image pixel of the region's top-left pixel.

        Returns
        -------
        Embedding
            ``features["image"]`` is (C, h, w) float32.

        Raises
        ------
        ImageError
            If ``rgb`` is not a non-empty (H, W, 3) uint8 array.
        """
        rgb = check_rgb(rgb)
        frame = fit_longest_side((rgb.shape[0], rgb.shape[1]), self.spec.input_px, origin_yx)
        with torch.inference_mode():
            features = self._network.encode(self.preprocess(rgb, frame))
            arrays = {
                # Contiguous (C, h, w): the network works in channels-last memory.
                name: np.ascontiguousarray(feature[0].float().cpu().numpy())
                for name, feature in features.items()
            }
        return Embedding(arrays, frame, self.spec.name, self.weights_hash)

    def preprocess(self, rgb: RgbArray, frame: Frame) -> Tensor:
        """Resize, normalise and zero-pad (H, W, 3) uint8 to the network's input (1, 3, S, S)."""
        pixels = np.array(resize_rgb(rgb, frame.content_yx))  # a copy: torch wants it writable
        x = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].float()
        x = (x - self._mean) / self._std
        bottom, right = (
            side - content for side, content in zip(frame.input_yx, frame.content_yx, strict=True)
        )
        return torch.nn.functional.pad(x, (0, right, 0, bottom))

    # --------------------------------------------------------------------------------------- decode

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts against one embedding.

        Parameters
        ----------
        embedding
            Result of `encode` of the same model and weights.
        prompts
            P prompts, (y, x) pixels of the image; moved to the model frame here.
        multimask
            Return M = 3 candidates per prompt instead of M = 1. Use for single, ambiguous clicks.

        Returns
        -------
        Masks
            Logits (P, M, 4h, 4w) float32, mask = logits > 0; predicted IoU (P, M).

        Raises
        ------
        ModelMismatchError
            If the embedding was made by another model or other weights.
        PromptError
            If a prompt lies outside the embedding's region or a mask prompt has the wrong size.
        """
        check_embedding(embedding, self.spec, self.weights_hash)
        prompts = check_prompts(prompts, embedding.frame, self._low_res_yx)
        parts = []
        with torch.inference_mode():
            image = self._tensor(embedding.features["image"])[None]
            image = image.contiguous(memory_format=torch.channels_last)
            for indices in plain_batches(len(prompts), _CHUNK):
                chunk = prompts.take(indices)
                logits, iou = self._decode_chunk(image, chunk, embedding.frame, multimask)
                parts.append((logits.cpu().numpy(), iou.cpu().numpy()))
        return Masks(
            logits=np.concatenate([logits for logits, _ in parts]),
            predicted_iou=np.concatenate([iou for _, iou in parts]),
            frame=embedding.frame,
            low_res_yx=self._low_res_yx,
        )

    def _decode_chunk(
        self, image: Tensor, prompts: PromptBatch, frame: Frame, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        points = labels = boxes = masks = None
        if prompts.points is not None and prompts.labels is not None and prompts.points.shape[1]:
            points = self._tensor(frame.points_to_model(prompts.points))
            labels = self._tensor(prompts.labels)
        if prompts.boxes is not None:
            boxes = self._tensor(frame.boxes_to_model(prompts.boxes))
        if prompts.low_res_masks is not None:
            masks = self._tensor(prompts.low_res_masks)
        return self._network.decode(
            image, self._positions, points, labels, boxes, masks, multimask=multimask
        )

    def _tensor(self, array: AnyArray) -> Tensor:
        # Arrays from a store or a caller may be read-only, which torch only accepts as a copy.
        array = array if array.flags.writeable else array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def decode_windows(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Return what `decode` returns: this family always looks at the whole frame."""
        return self.decode(embedding, prompts, multimask=multimask)

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[IntArray]:
        """Yield index arrays of at most ``batch_size`` prompts, in order."""
        return plain_batches(len(prompts), batch_size)

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals | None:
        """Return None: this family has no proposals of its own."""
        return None
