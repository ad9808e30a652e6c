"""What an encoder gives, and what it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from litesam.frames import Frame
from litesam.types.arrays import AnyArray


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """What an embedding depends on; two equal keys mean the same features.

    Attributes
    ----------
    model
        Name of the encoder.
    weights
        Hash of the encoder's weights.
    preprocessing
        Fingerprint of the intensity mapping, contrast limits included.
    content
        Hash of the pixels of *this tile* after preprocessing.
    region
        Padded tile (y0, x0, y1, x1) in its plane.
    """

    model: str
    weights: str
    preprocessing: str
    content: str
    region: tuple[int, int, int, int]

    def digest(self) -> str:
        """Return the key as 32 hexadecimal digits, usable as a file name."""
        parts = (self.model, self.weights, self.preprocessing, self.content, *map(str, self.region))
        return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Embedding:
    """Encoder output of one region.

    Attributes
    ----------
    features
        Named arrays; ``features["image"]`` is (C, h, w) float32 in SAM-like models. Models with
        an HQ decoder add ``features["early"]``, (C', h, w) float16, or ``features["picture"]``,
        the pixels that the network saw, (3, S, S) uint8.
    frame
        Where the region lies in the image and in the model's input.
    model, weights
        Name and weights hash of the encoder that made it; models with another encoder refuse it.
    """

    features: Mapping[str, AnyArray]
    frame: Frame
    model: str
    weights: str

    @property
    def nbytes(self) -> int:
        """Bytes of all features."""
        return sum(int(array.nbytes) for array in self.features.values())
