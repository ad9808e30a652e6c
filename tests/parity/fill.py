"""Deterministic weights for SAM-like state dicts; numpy only.

A tensor depends only on its name, shape and type: standard normal numbers of the legacy generator
seeded by the CRC-32 of the name, scaled by the kind of layer so that activations neither vanish nor
explode and masks vary with image and prompt. The same rule made the committed reference values, so
the numbers here must never change.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

Array = npt.NDArray[np.generic]

#: Gain of weights with two or more axes: the first pattern that is found in the name.
GAINS: tuple[tuple[str, float], ...] = (
    # mask decoders
    (r"(output_hypernetworks_mlps\.\d+|hf_mlp)\.(layers\.2|fc)\.weight$", 4.0),
    (r"(output_upscaling\.3|final_output_upscaling_layers\.1\.0)\.weight$", 2.5),
    (r"iou_prediction_head\.(layers\.2|fc)\.weight$", 0.3),
    (r"mask_decoder\..*self_attn.*\.[qk]_proj\.weight$", 1.5),
    (r"mask_decoder\..*attn.*\.[qk]_proj\.weight$", 2.0),
    # attention of the image encoders
    (r"attn\.qkv\.weight$", 2.0),
    (r"attn\.proj\.weight$", 0.3),
    # EfficientViT
    (r"stages\.[1-9]\.op_list\.0\.main\.(conv2|point_conv)\.conv\.weight$", 1.3),
    (r"context_module\.main\.proj\.conv\.weight$", 0.25),
    (r"main\.(conv2|point_conv)\.conv\.weight$", 0.45),
    (r"main\.(conv1|spatial_conv|inverted_conv|depth_conv)\.conv\.weight$", 1.6),
    # RepViT
    (r"features\.0\.2\.c\.weight$", 1.6),
    (r"token_mixer\.0\.conv1?\.c\.weight$", 0.5),
    (r"channel_mixer\.m\.0\.c\.weight$", 1.4),
    (r"channel_mixer\.m\.2\.c\.weight$", 0.6),
    (r"token_mixer\.\d\.c\.weight$", 1.4),
    # TinyViT
    (r"layers\.\d\.(blocks\.\d|downsample)\.conv[123]\.c\.weight$", 1.6),
    # YOLOv8
    (r"^model\.0\.conv\.weight$", 1.0),
    (r"^model\.22\.cv2\.\d\.2\.weight$", 1.5),
    (r"^model\.22\.cv3\.\d\.2\.weight$", 1.0),
    (r"^model\.22\.cv4\.\d\.2\.weight$", 1.5),
    (r"^model\.\d+\.m\.\d+\.cv2\.conv\.weight$", 0.7),
    (r"^model\.(9|1\d|2\d)\..*weight$", 1.5),
    (r"^model\.\d+\..*weight$", 2.0),
)
#: Offset and spread of single tensors: the first pattern that is found in the name.
SPREADS: tuple[tuple[str, float, float], ...] = (
    (r"running_mean$", 0.0, 0.1),
    (r"gaussian_matrix", 0.0, 1.0),
    (r"(^|\.)pos_embed$", 0.0, 0.2),
    (r"(^|\.)rel_pos_[hw]$", 0.0, 0.1),
    (r"(^|\.)attention_biases$", 0.0, 0.5),
    (r"no_mask_embed\.weight$", 0.0, 0.3),
    (
        r"(_tokens?|point_embeddings(\.\d+)?|not_a_point_embed|invalid_points|"
        r"bbox_top_left_embeddings|bbox_bottom_right_embeddings)\.weight$",
        0.0,
        1.0,
    ),
    (r"iou_prediction_head\.(layers\.2|fc)\.bias$", 0.85, 0.05),
    (r"output_hypernetworks_mlps\.\d+\.(layers\.2|fc)\.bias$", -0.3, 0.05),
    (r"^model\.22\.cv3\.\d\.2\.bias$", -2.5, 0.05),
)
_CROSS_KEYS = re.compile(r"mask_decoder\..*(cross_attn|final_attn)[a-z_]*\.k_proj\.weight$")


def _normal(name: str, shape: tuple[int, ...], salt: int) -> npt.NDArray[np.float64]:
    seed = (zlib.crc32(name.encode()) ^ salt) & 0xFFFFFFFF
    return np.asarray(np.random.RandomState(seed).standard_normal(shape))


def _weight(
    name: str, shape: tuple[int, ...], n: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Scale a weight of two or more axes."""
    if name.startswith("mask_decoder.") and shape[2:] == (2, 2):
        # Transposed convolutions enlarge mostly smoothly; their inputs are centred.
        n = 0.95 * 2.0 * n.mean(axis=(2, 3), keepdims=True) + 0.15 * n
        n = n - n.mean(axis=0, keepdims=True)
    elif shape[1] >= 3 and name != "model.0.conv.weight":
        # Centred rows: constant offsets do not add up from layer to layer.
        n = n - n.mean(axis=tuple(range(1, n.ndim)), keepdims=True)
    if shape[1] == 3:  # the layer that sees the pixels
        n = 3.0 * n
    gain = next((gain for pattern, gain in GAINS if re.search(pattern, name)), 1.0)
    return gain * n / np.sqrt(np.prod(shape[1:]))


def fill_tensor(
    name: str, shape: tuple[int, ...], dtype: str = "float32", salt: int = 0
) -> npt.NDArray[np.generic]:
    """Return the array of one state-dict entry."""
    shape = tuple(shape)
    if not np.issubdtype(np.dtype(dtype), np.floating):
        return np.zeros(shape, dtype)
    if name.endswith("dfl.conv.weight"):  # fixed: the distances 0, 1, … that bins stand for
        return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    n = _normal(name, shape, salt)
    if _CROSS_KEYS.search(name):  # correlated with the query projection: prompts act locally
        n = 0.8 * _normal(name.replace("k_proj", "q_proj"), shape, salt) + 0.6 * n
    spread = next(((a, b) for pattern, a, b in SPREADS if re.search(pattern, name)), None)
    if name.endswith("running_var"):
        values = 1.0 + 0.1 * np.abs(n)
    elif spread is not None:
        values = spread[0] + spread[1] * n
    elif n.ndim <= 1:
        values = 1.0 + 0.1 * n if name.endswith("weight") else 0.05 * n
    else:
        values = _weight(name, shape, n)
    if re.match(r"model\.\d+\.", name):  # YOLOv8 files hold half precision
        values = values.astype(np.float16)
    return np.asarray(values, dtype=np.float64).astype(dtype)


def fill_state_dict(
    tensors: Iterable[tuple[str, tuple[int, ...], str]], salt: int = 0
) -> dict[str, Array]:
    """Return all arrays of ``(name, shape, dtype)`` entries."""
    return {name: fill_tensor(name, shape, dtype, salt) for name, shape, dtype in tensors}
