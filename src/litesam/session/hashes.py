"""Short names of masks and labels: equal if, and as good as only if, all pixels are equal."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from litesam.types import MaskRecord


def mask_hash(record: MaskRecord) -> str:
    """Return 16 hexadecimal digits that stand for the pixels of a mask and their place."""
    box = record.box
    digest = hashlib.blake2b(digest_size=8)
    if record.crop.any():
        digest.update(np.array([box.y0, box.x0, box.y1, box.x1], dtype="<i8").tobytes())
        digest.update(np.packbits(record.crop).tobytes())
    return digest.hexdigest()


def labels_hash(labels: Any) -> str:
    """Return the SHA-256 of a label array: of its shape and its values, whatever their type."""
    digest = hashlib.sha256(repr(tuple(int(size) for size in labels.shape)).encode())
    for index in np.ndindex(*labels.shape[:-2]):
        plane = np.asarray(labels[index] if index else labels[...])
        digest.update(np.ascontiguousarray(plane, dtype="<i8").tobytes())
    return digest.hexdigest()
