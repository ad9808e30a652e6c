"""What an embedding depends on, as a key.

The content hash is taken of *one tile's* pixels after preprocessing: no key ever reads a whole
volume, and a changed region makes only its own tiles stale.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import numpy.typing as npt

from litesam.errors import ImageError
from litesam.types import EmbeddingKey, ModelSpec, Tile


class EncoderIdentity(Protocol):
    """What a key needs to know of a predictor."""

    spec: ModelSpec
    encoder_hash: str


class PixelPlane(Protocol):
    """What a key needs to know of a plane: `litesam.preprocess.Plane`."""

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Height and width."""
        ...

    def region(self, rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
        """Return a part, (h, w, 3) uint8."""
        ...

    @property
    def fingerprint(self) -> str:
        """Text that fixes the intensity mapping."""
        ...


def content_hash(pixels: npt.NDArray[np.uint8]) -> str:
    """Hash shape and pixels (uint8); BLAKE2b, 128 bits, hexadecimal."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels, dtype=np.uint8).data)
    return digest.hexdigest()


def tile_key(predictor: EncoderIdentity, plane: PixelPlane, tile: Tile) -> EmbeddingKey:
    """Return the key of the embedding of one tile.

    It changes with the encoder, its weights, the way it takes pixels (input size, resize rule,
    largest enlargement, mean, standard deviation), the intensity mapping, the tile's place and its
    pixels. It does not change with the device, nor with the decoder.

    Raises
    ------
    ImageError
        If the tile does not lie in the plane.
    """
    box = tile.padded
    height, width = plane.shape_yx
    if not (0 <= box.y0 < box.y1 <= height and 0 <= box.x0 < box.x1 <= width):
        raise ImageError(
            f"Tile {box} does not lie in the plane of {height} × {width} px; make the tiles for "
            "this plane."
        )
    spec = predictor.spec
    taken: tuple[object, ...] = (spec.input_px, spec.frame_px, spec.resize)
    taken += (spec.pixel_mean, spec.pixel_std)
    if spec.max_enlargement is not None:
        taken += (spec.max_enlargement,)
    return EmbeddingKey(
        model=spec.encoder_name,
        weights=predictor.encoder_hash,
        preprocessing=f"{plane.fingerprint};{taken!r}",
        content=content_hash(plane.region(*box.slices)),
        region=(box.y0, box.x0, box.y1, box.x1),
    )
