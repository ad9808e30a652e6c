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
    (r"output_hypernetworks_mlps\.\d+\.layers\.2\.weight$", 4.0),
    (r"output_upscaling\.3\.weight$", 2.5),
    (r"iou_prediction_head\.layers\.2\.weight$", 0.3),
    (r"mask_decoder\..*self_attn.*\.[qk]_proj\.weight$", 1.5),
    (r"mask_decoder\..*attn.*\.[qk]_proj\.weight$", 2.0),
    (r"attn\.qkv\.weight$", 2.0),
    (r"attn\.proj\.weight$", 0.3),
    (r"layers\.\d\.(blocks\.\d|downsample)\.conv[123]\.c\.weight$", 1.6),
)
#: Offset and spread of single tensors: the first pattern that is found in the name.
SPREADS: tuple[tuple[str, float, float], ...] = (
    (r"running_mean$", 0.0, 0.1),
    (r"gaussian_matrix", 0.0, 1.0),
    (r"(^|\.)attention_biases$", 0.0, 0.5),
    (r"no_mask_embed\.weight$", 0.0, 0.3),
    (r"(_tokens?|point_embeddings(\.\d+)?|not_a_point_embed)\.weight$", 0.0, 1.0),
    (r"iou_prediction_head\.layers\.2\.bias$", 0.85, 0.05),
    (r"output_hypernetworks_mlps\.\d+\.layers\.2\.bias$", -0.3, 0.05),
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
    elif shape[1] >= 3:
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
    return np.asarray(values, dtype=np.float64).astype(dtype)


def fill_state_dict(
    tensors: Iterable[tuple[str, tuple[int, ...], str]], salt: int = 0
) -> dict[str, Array]:
    """Return all arrays of ``(name, shape, dtype)`` entries."""
    return {name: fill_tensor(name, shape, dtype, salt) for name, shape, dtype in tensors}
