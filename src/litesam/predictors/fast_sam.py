"""Predictor of FastSAM: all instances are found once, at encoding; prompts choose among them.

Source: Zhao et al. 2023, "Fast Segment Anything", Sec. 3.3 (prompt-guided selection), and reference
outputs; no code of FastSAM was used. What differs from its behaviour, where that is an error or
says nothing:

* Several boxes that cover the whole picture each become the full picture (there: a failure).
* Points with a box choose among the instances that contain the points; there a prompt is one or the
  other.
* Three candidates for an ambiguous click; there is one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from litesam.models.folding import fold
from litesam.predictors.base import (
    RgbArray,
    check_embedding,
    check_prompt_kinds,
    check_prompts,
    check_rgb,
    plain_batches,
)
from litesam.predictors.instances import Choice, Instances, InstanceSettings, choose_instances
from litesam.predictors.interrupts import make_interruptible
from litesam.preprocess.letterbox import letterbox_rgb
from litesam.types import OUTSIDE_LOGIT, Embedding, Masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litesam.frames import Frame
    from litesam.models.yolov8_seg import RawInstances, YoloSeg
    from litesam.types import IntArray, ModelSpec, PromptBatch, Proposals

#: Prompts decoded together: their logits have the size of the region, up to 2.4 MB for a candidate.
_CHUNK = 16
#: Candidates of an ambiguous prompt.
_CANDIDATES = 3
#: Cells around a box whose logits reach into it when they are resampled.
_MARGIN = 2


class FastSamPredictor:
    """FastSAM as two pure calls; see `litesam.predictors.base.Predictor`.

    Parameters
    ----------
    spec
        The model.
    network
        Its network with weights; folded for inference and moved to ``device``, so it is the
        predictor's from here on.
    device
        Torch device.
    weights_hash
        Hash of the weights.
    encoder_hash
        Hash of the network's tensors; None: ``weights_hash``. The settings are joined to it.
    settings
        How instances are chosen.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: YoloSeg,
        device: str,
        weights_hash: str,
        encoder_hash: str | None = None,
        settings: InstanceSettings | None = None,
    ) -> None:
        self.spec = spec
        self.device = device
        self.weights_hash = weights_hash
        self.settings = settings or InstanceSettings()
        identity = f"{encoder_hash or weights_hash} {self.settings!r}"
        self.encoder_hash = hashlib.sha256(identity.encode()).hexdigest()
        fold(network).to(device).requires_grad_(False)
        make_interruptible(network)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # --------------------------------------------------------------------------------------- encode

    def encode(self, rgb: RgbArray, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        """Find all instances of one region of an image.

        Parameters
        ----------
        rgb
            (H, W, 3) uint8.
        origin_yx
            Image pixel of the region's top-left pixel.

        Returns
        -------
        Embedding
            ``features["prototypes"]`` (K, h, w); for N instances, the most confident first,
            ``"boxes"`` (N, 4) (x0, y0, x1, y1) model pixels, ``"scores"`` (N,) and
            ``"coefficients"`` (N, K); all float32. N may be 0.

        Raises
        ------
        ImageError
            If ``rgb`` is not a non-empty (H, W, 3) uint8 array.
        """
        rgb = check_rgb(rgb)
        frame = self.spec.frame((rgb.shape[0], rgb.shape[1]), origin_yx)
        raw = self.look(rgb, frame)
        if raw.prototypes is None:
            raise ValueError("the network has no prototypes")
        features = choose_instances(
            raw.boxes[0].cpu().numpy(),
            raw.scores[0].cpu().numpy(),
            raw.coefficients[0].cpu().numpy(),
            frame.input_yx,
            self.settings,
        )
        features["prototypes"] = np.ascontiguousarray(raw.prototypes[0].cpu().numpy())
        return Embedding(features, frame, self.spec.encoder_name, self.encoder_hash)

    def look(self, rgb: RgbArray, frame: Frame) -> RawInstances:
        """Return what the network says about every cell of a region."""
        pixels = torch.from_numpy(letterbox_rgb(rgb, frame)).to(self.device)
        x = pixels.permute(2, 0, 1)[None].float() / 255.0
        with torch.inference_mode():
            raw: RawInstances = self._network(x.contiguous(memory_format=torch.channels_last))
        return raw

    # --------------------------------------------------------------------------------------- decode

    def instances(self, embedding: Embedding) -> Masks:
        """Return all instances of an embedding as masks.

        Parameters
        ----------
        embedding
            Result of `encode` of the same model and weights.

        Returns
        -------
        Masks
            P instances, the most confident first, M = 1: low-resolution logits (P, 1, h, w) in the
            model frame with ``limits``, the boxes that they are cut to; predicted IoU is the
            confidence. P may be 0.

        Raises
        ------
        ModelMismatchError
            If the embedding was made by another model or other weights.
        """
        check_embedding(embedding, self.spec, self.encoder_hash)
        found = Instances(embedding)
        height, width = found.prototypes.shape[1:]
        logits = np.full((len(found), 1, height, width), OUTSIDE_LOGIT, dtype=np.float32)
        for index in range(len(found)):
            rows, columns = found.cells(index, _MARGIN)
            logits[index, 0, rows, columns] = found.low_res(index, rows, columns)
        return Masks(
            logits,
            found.scores[:, None].copy(),
            embedding.frame,
            (height, width),
            limits=found.boxes[:, None].copy(),
        )

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Choose instances for P prompts.

        Parameters
        ----------
        embedding
            Result of `encode` of the same model and weights.
        prompts
            P prompts, (y, x) pixels of the image.

            *Points*: from the largest to the smallest instance, one that contains a foreground
            point is added to the mask, and the pixels of one that contains a background point are
            removed (point after point, so the last one decides where an instance contains both).
            *A box*: the instance of highest IoU between mask and box. *Both*: the same among the
            instances that contain all foreground and no background points, if any of these touches
            the box.
        multimask
            Return M = 3 candidates. Points: the smallest, the largest and the most confident of the
            instances that contain all foreground and no background points (completed by the next
            confident), from small to large; without any, the mask of the single mode. A box: the
            three of highest IoU, none with a higher predicted IoU than the first.

        Returns
        -------
        Masks
            Logits (P, M, H, W) float32 of the region's own size, mask = logits > 0; predicted IoU
            (P, M), the confidence of the (most confident chosen) instance. Where there is nothing
            the mask is empty and its predicted IoU 0.

        Raises
        ------
        ModelMismatchError
            If the embedding was made by another model or other weights.
        PromptError
            If a prompt lies outside the embedding's region, or there are mask prompts.
        """
        check_embedding(embedding, self.spec, self.encoder_hash)
        frame = embedding.frame
        check_prompt_kinds(prompts, self.spec)
        prompts = check_prompts(prompts, frame, frame.size_yx)
        found = Instances(embedding)
        candidates = _CANDIDATES if multimask else 1
        shape = (len(prompts), candidates)
        logits = np.full((*shape, *frame.size_yx), OUTSIDE_LOGIT, dtype=np.float32)
        iou = np.zeros(shape, dtype=np.float32)
        for row in range(len(prompts)):
            choose = Choice(found, prompts, row)
            for candidate, chosen in enumerate(choose.candidates(candidates)):
                iou[row, candidate] = choose.paint(chosen, logits[row, candidate])
            if prompts.boxes is not None:
                np.minimum(iou[row], iou[row, 0], out=iou[row])
        return Masks(logits, iou, frame, frame.size_yx)

    def decode_windows(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Return what `decode` returns."""
        return self.decode(embedding, prompts, multimask=multimask)

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[IntArray]:
        """Yield index arrays of at most ``batch_size`` prompts, in order."""
        return plain_batches(len(prompts), min(batch_size, _CHUNK))

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals | None:
        """Return None: this family finds instances, see `instances`."""
        return None
