"""What a predictor is, the checks at its door and `load_predictor`.

A predictor is a network as two calls without state: ``encode`` (a region of an image → `Embedding`)
and ``decode`` (embedding + prompts → `Masks`). numpy at the boundary, torch inside. Families live
in their own modules, named in `_FAMILIES`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from litesam.errors import ConfigError, ImageError, ModelMismatchError, PromptError
from litesam.models.registry import get_spec, list_models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch
    from torch import nn

    from litesam.frames import Frame
    from litesam.types import (
        Embedding,
        HqMode,
        IntArray,
        Masks,
        ModelSpec,
        PromptBatch,
        Proposals,
    )

logger = logging.getLogger(__name__)

RgbArray = npt.NDArray[np.uint8]

#: Predictor class of each model family, ``"module:class"``; built as ``cls(spec, network, device,
#: weights_hash)``.
_FAMILIES = {
    "edge_sam": "litesam.predictors.edge_sam:EdgeSamPredictor",
    "hq_lite_sam": "litesam.predictors.hq_lite_sam:HqLiteSamPredictor",
    "hq_sam": "litesam.predictors.hq_sam:HqSamPredictor",
    "efficient_sam": "litesam.predictors.efficient_sam:EfficientSamPredictor",
    "fast_sam": "litesam.predictors.fast_sam:FastSamPredictor",
    "lite_sam": "litesam.predictors.lite_sam:LiteSamPredictor",
    "sam": "litesam.predictors.sam:SamPredictor",
}


@runtime_checkable
class Predictor(Protocol):
    """A network as two pure calls; stateless, thread-safe and deterministic.

    Attributes
    ----------
    spec
        The model.
    device
        Torch device, such as ``"cpu"`` or ``"cuda"``.
    weights_hash
        Hash of the weights file.
    encoder_hash
        Hash of the encoder's weights alone; part of every embedding's identity. Models with the
        same encoder and the same hash share embeddings.
    """

    spec: ModelSpec
    device: str
    weights_hash: str
    encoder_hash: str

    def encode(self, rgb: RgbArray, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        """Encode one region of an image.

        Parameters
        ----------
        rgb
            (H, W, 3) uint8 pixels of the region.
        origin_yx
            Image pixel of the region's top-left pixel.

        Raises
        ------
        ImageError
            If ``rgb`` is not a non-empty (H, W, 3) uint8 array.
        """
        ...

    def decode(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Decode P prompts against one embedding; logits of the whole frame.

        Parameters
        ----------
        embedding
            Result of `encode` of the same model and weights.
        prompts
            P prompts, (y, x) pixels of the image (not of the region). The order of the points of a
            prompt counts where `ModelSpec.corrects`.
        multimask
            Return M = 3 candidates per prompt instead of M = 1; for single, ambiguous clicks.

        Raises
        ------
        ModelMismatchError
            If the embedding was made by another model or other weights.
        PromptError
            If a prompt lies outside the embedding's region or a mask prompt has the wrong size.
        """
        ...

    def decode_windows(
        self, embedding: Embedding, prompts: PromptBatch, *, multimask: bool = True
    ) -> Masks:
        """Like `decode`, but the logits may be a window per prompt (`Masks.origins`)."""
        ...

    def batches(
        self, embedding: Embedding, prompts: PromptBatch, batch_size: int = 64
    ) -> Iterator[IntArray]:
        """Yield index arrays of prompts that are best decoded together; every prompt once."""
        ...

    def propose(
        self, embedding: Embedding, *, top_n: int, confidence_threshold: float
    ) -> Proposals | None:
        """Return the model's own prompt proposals, or None if it makes none."""
        ...


# ------------------------------------------------------------------------------------------- checks


def check_rgb(rgb: npt.ArrayLike) -> RgbArray:
    """Return ``rgb`` as an array if it is a non-empty (H, W, 3) uint8 image.

    Raises
    ------
    ImageError
        Otherwise.
    """
    array = np.asarray(rgb)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ImageError(
            f"Got an image of shape {array.shape} and type {array.dtype}; (H, W, 3) uint8 is "
            "needed. Convert it with litesam.preprocess.to_rgb."
        )
    if 0 in array.shape:
        raise ImageError(f"The image of shape {array.shape} has no pixels; give a larger region.")
    return array


def check_embedding(embedding: Embedding, spec: ModelSpec, encoder_hash: str) -> None:
    """Refuse an embedding that another encoder or other weights made.

    Raises
    ------
    ModelMismatchError
        If encoder, its weights or the shape of a feature differ.
    """
    if embedding.model != spec.encoder_name:
        raise ModelMismatchError(
            f"The embedding was made by model {embedding.model!r}, this predictor is "
            f"{spec.name!r}; encode the image again or load the other model."
        )
    if embedding.weights != encoder_hash:
        raise ModelMismatchError(
            f"The embedding was made by other weights of {spec.name!r} ({embedding.weights[:12]}…) "
            f"than the loaded ones ({encoder_hash[:12]}…); encode the image again."
        )
    for name, shape in spec.feature_shapes.items():
        feature = embedding.features.get(name)
        got = None if feature is None else feature.shape
        if got != tuple(shape):
            raise ModelMismatchError(
                f"Feature {name!r} of the embedding has shape {got}, {spec.name!r} needs "
                f"{tuple(shape)}; encode the image again."
            )


def check_prompts(
    prompts: PromptBatch, frame: Frame, low_res_yx: tuple[int, int], finer: int = 1
) -> PromptBatch:
    """Return the prompts with boxes clipped to the region, if all of them touch it.

    Parameters
    ----------
    prompts
        P prompts in image pixels.
    frame
        Frame of the embedding; points may lie on [-0.5, size - 0.5] of its region.
    low_res_yx
        Needed size of mask prompts.
    finer
        Pixels of the model's own logits along a side of one of a mask prompt. Mask prompts of the
        size of these logits are averaged.

    Raises
    ------
    PromptError
        If a point (padding points aside) or a whole box lies outside the region, if mask prompts
        have another size or if there are no prompts.
    """
    if len(prompts) == 0:
        raise PromptError("The batch holds no prompts; give at least one.")
    _check_points(prompts, frame)
    masks = prompts.low_res_masks
    fine_yx = tuple(finer * side for side in low_res_yx)
    if masks is not None and finer > 1 and masks.shape[1:] == fine_yx:
        blocks = masks.reshape(len(masks), low_res_yx[0], finer, low_res_yx[1], finer)
        masks = blocks.mean(axis=(2, 4))
        prompts = replace(prompts, low_res_masks=masks)
    if masks is not None and masks.shape[1:] != tuple(low_res_yx):
        raise PromptError(
            f"Mask prompts are {masks.shape[1]}x{masks.shape[2]}; {low_res_yx[0]}x{low_res_yx[1]} "
            "is "
            "needed: the logits of an earlier decode of the same model (Masks.whole().logits)."
        )
    if masks is not None and not np.isfinite(masks).all():
        raise PromptError("Some mask prompts hold NaN or infinite logits; remove them.")
    if prompts.boxes is None:
        return prompts
    return replace(prompts, boxes=_clipped_boxes(prompts.boxes, frame))


def check_prompt_kinds(prompts: PromptBatch, spec: ModelSpec) -> None:
    """Refuse prompts of a kind, or of a number of points, that a model does not take.

    Raises
    ------
    PromptError
        If there are mask prompts and the model has no input for them, or if a prompt has more
        points than it looks at (a box counts as two of them, padding points count as none).
    """
    for kind, given, words in (
        ("point", prompts.points, "points"),
        ("box", prompts.boxes, "boxes"),
        ("mask", prompts.low_res_masks, "an earlier mask"),
    ):
        if given is not None and kind not in spec.prompts:
            raise PromptError(
                f"{spec.title} ({spec.name!r}) does not take {words} as a prompt; it takes "
                f"{' and '.join(spec.prompts)} prompts. Leave them out, or choose a model that "
                "takes them, such as 'mobile_sam'."
            )
    if spec.max_points is None or prompts.labels is None:
        return
    points = np.count_nonzero(prompts.labels != -1, axis=1)
    most = spec.max_points - (0 if prompts.boxes is None else 2)
    wrong = np.flatnonzero(points > most)
    if len(wrong):
        subject = "The prompt" if len(prompts) == 1 else f"Prompt {int(wrong[0])}"
        beside = "" if prompts.boxes is None else " beside a box"
        raise PromptError(
            f"{subject} has {int(points[wrong[0]])} points{beside}; {spec.title} "
            f"({spec.name!r}) looks at {most} at most. Remove some of them, or choose a model "
            "without a limit, such as 'mobile_sam'."
        )


def _region(frame: Frame) -> str:
    """Words for the region of a frame."""
    (oy, ox), (height, width) = frame.origin_yx, frame.size_yx
    return f"the region of {height}x{width} pixels at (y={oy}, x={ox})"


def _check_points(prompts: PromptBatch, frame: Frame) -> None:
    if prompts.points is None or prompts.labels is None:
        return
    inside = prompts.points - np.asarray(frame.origin_yx, dtype=np.float64)
    outside = (inside < -0.5) | (inside > np.asarray(frame.size_yx) - 0.5)
    wrong = np.argwhere(outside.any(axis=-1) & (prompts.labels != -1))
    if len(wrong):
        prompt, number = (int(v) for v in wrong[0])
        y, x = (float(v) for v in prompts.points[prompt, number])
        raise PromptError(
            f"Point {number} of prompt {prompt} at (y={y:g}, x={x:g}) lies outside "
            f"{_region(frame)}; move or remove it. Points are (y, x)."
        )


def _clipped_boxes(boxes: npt.NDArray[np.float32], frame: Frame) -> npt.NDArray[np.float32]:
    low = np.asarray(frame.origin_yx, dtype=np.float32)
    high = low + np.asarray(frame.size_yx, dtype=np.float32)
    clipped = np.concatenate(
        [np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)], axis=1
    )
    wrong = np.flatnonzero((clipped[:, 2:] <= clipped[:, :2]).any(axis=1))
    if len(wrong):
        y0, x0, y1, x1 = (float(v) for v in boxes[wrong[0]])
        raise PromptError(
            f"Box {int(wrong[0])} (y0={y0:g}, x0={x0:g}, y1={y1:g}, x1={x1:g}) lies outside "
            f"{_region(frame)}; move or remove it. Boxes are (y0, x0, y1, x1)."
        )
    return clipped


def plain_batches(count: int, batch_size: int) -> Iterator[IntArray]:
    """Yield the indices 0 … count - 1 in chunks of at most ``batch_size``.

    Raises
    ------
    ConfigError
        If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"A batch size of {batch_size} is not possible; give 1 or more.")
    for start in range(0, count, batch_size):
        yield np.arange(start, min(start + batch_size, count), dtype=np.int64)


# ------------------------------------------------------------------------------------------ loading


def resolve_device(device: str = "auto") -> str:
    """Return the torch device to use: ``"auto"`` is CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    ConfigError
        If a device is asked for that this machine or this torch does not have.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if device == "auto":
        return next(name for name, present in available.items() if present)
    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"Device {device!r} is not known; choose 'auto', 'cpu', 'cuda' or 'mps'."
        ) from error
    if not available.get(parsed.type, False) or (
        parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count()
    ):
        present = [name for name, ok in available.items() if ok]
        raise ConfigError(
            f"Device {device!r} is not available here; choose 'auto' or one of "
            f"{', '.join(map(repr, present))}."
        )
    return str(parsed)


def load_predictor(
    name: str = "lite_sam",
    weights: str | Path | None = None,
    device: str = "auto",
    hq: HqMode = False,
    *,
    encoder_weights: str | Path | None = None,
) -> Predictor:
    """Load a model, ready to encode and decode.

    Parameters
    ----------
    name
        Name of a model, see `litesam.list_models`.
    weights
        A weights file (.safetensors, .pt, .pth); None: the bundled file or the one in the weights
        folder.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` (``"cuda:1"`` …) or ``"mps"``.
    hq
        True: the HQ decoder of the model's encoder (another file; ``weights`` then means that
        file). ``"only"``: the mask of its HQ token alone, not added to SAM's.
    encoder_weights
        For models whose image encoder comes from another file than their decoder (MobileSAMv2):
        that file; None: the one of the encoder's own model.

    Raises
    ------
    UnknownModelError
        If no model has that name.
    ConfigError
        If the device is not available, there is no HQ decoder for the model, the name is that of
        an encoder alone, or a file is given for the encoder of a model with a single file.
    WeightsError
        If the weights are missing, damaged or of another model.
    """
    from litesam.models.hq import hq_spec
    from litesam.models.weights import encoder_hash, files_of, load_network
    from litesam.models.weights_files import files_hash

    spec = hq_spec(get_spec(name), hq)
    _check_loadable(spec, encoder_weights)
    target = resolve_device(device)
    paths = files_of(spec, weights, encoder_weights)
    network = load_network(spec, *paths)
    logger.info("Loaded %s from %s on %s", spec.name, " and ".join(map(str, paths)), target)
    predictor: Predictor = make_predictor(
        spec, network, target, files_hash(paths), encoder_hash(network), hq_only=hq == "only"
    )
    return predictor


def _check_loadable(spec: ModelSpec, encoder_weights: str | Path | None) -> None:
    if spec.family not in _FAMILIES:
        users = [repr(model.name) for model in list_models() if model.encoder_from == spec.name]
        raise ConfigError(
            f"{spec.name!r} is an encoder without a decoder; load {' or '.join(users)}, which uses "
            "it."
        )
    if encoder_weights is not None and spec.encoder_from is None:
        raise ConfigError(
            f"encoder_weights={str(encoder_weights)!r} was given, but {spec.name!r} has its "
            "encoder in the same file as its decoder; give that file as weights."
        )


def as_predictor(
    model: str | Predictor,
    weights: str | Path | None = None,
    device: str = "auto",
    hq: HqMode = False,
) -> Predictor:
    """Return a loaded model as it is, or load the one of that name; see `load_predictor`.

    Raises
    ------
    ConfigError
        If ``hq`` is given for a model that is loaded already; and as `load_predictor` does.
    """
    if isinstance(model, str):
        return load_predictor(model, weights, device, hq)
    if hq:
        raise ConfigError(
            f"hq={hq!r} is for a model given by name; this one ({model.spec.name!r}) is loaded "
            "already. Give its name, or the result of load_predictor(..., hq=...)."
        )
    return model


def make_predictor(
    spec: ModelSpec,
    network: nn.Module,
    device: str | torch.device,
    weights_hash: str,
    encoder_hash: str | None = None,
    *,
    hq_only: bool = False,
) -> Any:
    """Return the predictor of the spec's family around a network that holds its weights already.

    ``encoder_hash`` None: embeddings are this file's alone, not shared with other models.
    ``hq_only`` is for HQ models: the mask of the HQ token alone.
    """
    module, _, attribute = _FAMILIES[spec.family].partition(":")
    predictor = getattr(import_module(module), attribute)
    options = {"hq_only": True} if hq_only else {}
    return predictor(spec, network, str(device), weights_hash, encoder_hash, **options)
