"""What the predictors of our own networks share: into the network's input, and out of arrays.

A predictor of a family derives from `NetworkPredictor` and adds how it decodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch

from litesam.frames import Frame, fit_longest_side
from litesam.models.folding import fold
from litesam.predictors.base import RgbArray, check_rgb
from litesam.predictors.interrupts import make_interruptible
from litesam.preprocess.resize import resize_rgb
from litesam.types import Embedding

if TYPE_CHECKING:
    from torch import Tensor

    from litesam.models.lite_sam import LiteSAM
    from litesam.models.sam import Sam
    from litesam.types import AnyArray, ModelSpec, PromptBatch

#: Features that are kept in another type than float32. The early feature only refines edges and
#: would be the largest part of an embedding; the pixels of the picture were whole numbers.
_STORED_AS = {"early": torch.float16, "picture": torch.uint8}

NetworkT = TypeVar("NetworkT", bound="Sam | LiteSAM")


class NetworkPredictor(Generic[NetworkT]):
    """A network that encodes an image and decodes SAM's prompts.

    Parameters
    ----------
    spec
        The model.
    network
        Its network with weights; folded for inference (`litesam.models.folding`) and moved to
        ``device``, so it is the predictor's from here on.
    device
        Torch device.
    weights_hash
        Hash of the weights.
    encoder_hash
        Hash of the encoder's weights alone; None: ``weights_hash``.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: NetworkT,
        device: str,
        weights_hash: str,
        encoder_hash: str | None = None,
    ) -> None:
        self.spec = spec
        self.device = device
        self.weights_hash = weights_hash
        self.encoder_hash = weights_hash if encoder_hash is None else encoder_hash
        fold(network).to(device).requires_grad_(False)
        make_interruptible(network)
        self._network = network
        with torch.inference_mode():
            self._positions = self._network.prompt_encoder.dense_positions()  # (1, C, h, w)
            self._mean, self._std = _statistics(spec, device)

    @property
    def _low_res_yx(self) -> tuple[int, int]:
        """Size of whole-frame logits and of mask prompts."""
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
            ``features["image"]`` is (C, h, w) float32; where the model has them,
            ``features["early"]`` is float16 and ``features["picture"]`` uint8.

        Raises
        ------
        ImageError
            If ``rgb`` is not a non-empty (H, W, 3) uint8 array.
        """
        rgb = check_rgb(rgb)
        frame = self.spec.frame((rgb.shape[0], rgb.shape[1]), origin_yx)
        with torch.inference_mode():
            features = self._network.encode(self.preprocess(rgb, frame))
            arrays = {
                # Contiguous (C, h, w): the network works in channels-last memory.
                name: np.ascontiguousarray(self._stored(name, feature[0]).cpu().numpy())
                for name, feature in features.items()
            }
        return Embedding(arrays, frame, self.spec.encoder_name, self.encoder_hash)

    def preprocess(self, rgb: RgbArray, frame: Frame) -> Tensor:
        """Resize, normalise and zero-pad (H, W, 3) uint8 to the network's input (1, 3, S, S)."""
        return network_input(rgb, frame, self.spec, self.device)

    # --------------------------------------------------------------------------- arrays and tensors

    def _stored(self, name: str, feature: Tensor) -> Tensor:
        """Feature in the type that it is kept in; values beyond that type's range become its
        limits.
        """
        dtype = _STORED_AS.get(name, torch.float32)
        if dtype == feature.dtype:
            return feature
        if name == "picture":
            return (feature * self._std[0] + self._mean[0]).round().clamp(0, 255).to(dtype)
        limits = torch.finfo(dtype)
        return feature.clamp(limits.min, limits.max).to(dtype)

    def _image(self, embedding: Embedding) -> Tensor:
        """Image feature (1, C, h, w), channels-last in memory."""
        image = self._tensor(embedding.features["image"])[None]
        return image.contiguous(memory_format=torch.channels_last)

    def _prompt_tensors(
        self, prompts: PromptBatch, frame: Frame
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Points (P, N, 2) and boxes (P, 4) in model pixels, (x, y), with labels and mask prompts.

        In the order points, labels, boxes, masks; None for what is not given.
        """
        points = labels = boxes = masks = None
        if prompts.points is not None and prompts.labels is not None and prompts.points.shape[1]:
            points = self._tensor(frame.points_to_model(prompts.points))
            labels = self._tensor(prompts.labels)
        if prompts.boxes is not None:
            boxes = self._tensor(frame.boxes_to_model(prompts.boxes))
        if prompts.low_res_masks is not None:
            masks = self._tensor(prompts.low_res_masks)
        return points, labels, boxes, masks

    def _tensor(self, array: AnyArray) -> Tensor:
        # Arrays from a store or a caller may be read-only, which torch only accepts as a copy.
        array = array if array.flags.writeable else array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def network_input(
    rgb: RgbArray, frame: Frame, spec: ModelSpec, device: str | torch.device = "cpu"
) -> Tensor:
    """Resize, normalise and zero-pad (H, W, 3) uint8 to a network's input (1, 3, S, S)."""
    side = spec.input_px
    content_yx = frame.content_yx
    if side != spec.frame_px:  # the network sees a smaller picture than prompts refer to
        content_yx = fit_longest_side(frame.size_yx, side).content_yx
    pixels = np.array(resize_rgb(rgb, content_yx))  # a copy: torch wants it writable
    x = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float()
    mean, std = _statistics(spec, device)
    x = (x - mean) / std
    return torch.nn.functional.pad(x, (0, side - content_yx[1], 0, side - content_yx[0]))


def _statistics(spec: ModelSpec, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a model's pixels, (1, 3, 1, 1) each."""
    mean = torch.tensor(spec.pixel_mean, device=device).reshape(1, 3, 1, 1)
    return mean, torch.tensor(spec.pixel_std, device=device).reshape(1, 3, 1, 1)
