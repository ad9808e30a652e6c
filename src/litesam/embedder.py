"""The first half of the pipe: plane → tiles → encode → store, on demand and resumable.

One tile is encoded at a time. What was computed is kept in a store; a store that fails costs time,
never a result.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import OrderedDict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from litesam.errors import Cancelled, StoreError
from litesam.frames import Frame
from litesam.predictors.interrupts import interruptible
from litesam.store import EmbeddingStore, Entry, MemoryStore, tile_key
from litesam.types import Embedding, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litesam.predictors import Predictor
    from litesam.preprocess import AnyPlane
    from litesam.types import EmbeddingKey, IsCancelled, OnProgress, Tile

logger = logging.getLogger(__name__)

#: Embeddings that are kept as objects, so that clicks on one tile read no store: about 32 of 256 ×
#: 64 × 64 float32.
_RECENT_BYTES = 128 * 2**20


class Embedder:
    """Gives embeddings of tiles: from the store, or encoded now and stored.

    Safe to use from several threads: one tile is encoded at a time, the same tile once; tiles that
    are in the store never wait for the encoder.

    Parameters
    ----------
    predictor
        The model. Only ``encode``, ``spec`` and ``encoder_hash`` are used.
    store
        Where embeddings are kept; several embedders may share one. None: a `MemoryStore` of its
        own.
    """

    def __init__(self, predictor: Predictor, store: EmbeddingStore | None = None) -> None:
        self.predictor = predictor
        self.store: EmbeddingStore = MemoryStore() if store is None else store
        self._recent: OrderedDict[EmbeddingKey, Embedding] = OrderedDict()
        self._recent_lock = threading.Lock()
        self._encode_lock = threading.Lock()
        self._store_failing = False
        #: Why an embedding could not be kept, the newest reason; None: all could.
        self.store_error: StoreError | None = None

    def with_predictor(self, predictor: Predictor) -> Embedder:
        """Return an embedder for another model on the same store and memory.

        Models of the same encoder with the same encoder weights share embeddings: what was encoded
        for one is not encoded again for the other. Otherwise every tile is encoded anew.
        """
        own = self.predictor
        other = copy.copy(self)
        other.predictor = predictor
        if predictor.spec.encoder_name != own.spec.encoder_name:
            reason = "another encoder"
        elif predictor.encoder_hash != own.encoder_hash:
            reason = "other weights of the encoder"
        else:
            return other
        logger.info(
            "%s has %s than %s; images are encoded again for it.",
            predictor.spec.title,
            reason,
            own.spec.title,
        )
        return other

    def embed(self, plane: AnyPlane, tile: Tile) -> Embedding:
        """Return the embedding of one tile.

        Parameters
        ----------
        plane
            The plane, see `litesam.preprocess.to_rgb`.
        tile
            One of its tiles; the pixels of ``tile.padded`` are encoded.

        Returns
        -------
        Embedding
            ``frame.origin_yx`` is the top-left pixel of ``tile.padded``. Treat its arrays as
            read-only: it may be shared with other callers.

        Raises
        ------
        ImageError
            If the tile does not lie in the plane.
        """
        key = tile_key(self.predictor, plane, tile)
        found = self._find(key)
        return self._encode(key, plane, tile) if found is None else found

    def embed_all(
        self,
        plane: AnyPlane,
        tiles: Sequence[Tile],
        *,
        on_progress: OnProgress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> None:
        """Make sure that all tiles are in the store; those that are there, complete and unchanged,
        are skipped.

        Parameters
        ----------
        plane, tiles
            The plane and its tiles.
        on_progress
            Called before the first tile and after each one.
        cancelled
            Asked before each tile, and in the midst of one before each layer of the network.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so. Finished tiles stay in the store; the next call goes on after
            them.
        """
        keys = [tile_key(self.predictor, plane, tile) for tile in tiles]
        total, encoded = len(tiles), 0
        _report(on_progress, 0, total, "Embedding")
        for done, (key, tile) in enumerate(zip(keys, tiles, strict=True)):
            if cancelled is not None and cancelled():
                raise Cancelled(
                    f"Embedding was cancelled after {done} of {total} tiles; what is finished is "
                    "kept."
                )
            # Read rather than only looked for: damage shows now, and old tiles of this plane count
            # as used.
            if self._read(key) is not None:
                message = f"Tile {done + 1} of {total} was in the store"
            else:
                recent = self._recall(key)
                if recent is None:
                    with interruptible(cancelled):
                        self._encode(key, plane, tile)
                    encoded += 1
                else:
                    self._write(key, recent)
                message = f"Embedded tile {done + 1} of {total}"
            _report(on_progress, done + 1, total, message)
        logger.debug("Embedded %d tiles, %d of them were in the store", total, total - encoded)
        kept = sum(self._recall(key) is not None or key in self.store for key in keys)
        if kept < total and not self._store_failing:
            logger.warning(
                "The store has room for %d of %d tiles of this plane; the others are computed "
                "again when they are "
                "needed. Give it more room (max_bytes) or keep embeddings on disk (ZarrStore).",
                kept,
                total,
            )

    def is_embedded(self, plane: AnyPlane, tile: Tile) -> bool:
        """Whether `embed` needs no encoder, as far as can be told without reading the entry."""
        key = tile_key(self.predictor, plane, tile)
        return self._recall(key) is not None or key in self.store

    # ------------------------------------------------------------------------------------ internals

    def _find(self, key: EmbeddingKey) -> Embedding | None:
        """Return an embedding that needs no encoder."""
        recent = self._recall(key)
        if recent is not None:
            return recent
        stored = self._read(key)
        if stored is not None:
            self._remember(key, stored)
        return stored

    def _encode(self, key: EmbeddingKey, plane: AnyPlane, tile: Tile) -> Embedding:
        """Encode and store a tile, unless another thread did so in the meantime."""
        with self._encode_lock:
            found = self._find(key)
            if found is not None:
                return found
            box = tile.padded
            pixels = np.ascontiguousarray(plane.region(*box.slices))
            embedding = self.predictor.encode(pixels, (box.y0, box.x0))
            self._remember(key, embedding)
        self._write(key, embedding)
        return embedding

    def _recall(self, key: EmbeddingKey) -> Embedding | None:
        with self._recent_lock:
            embedding = self._recent.get(key)
            if embedding is not None:
                self._recent.move_to_end(key)
            return embedding

    def _remember(self, key: EmbeddingKey, embedding: Embedding) -> None:
        with self._recent_lock:
            self._recent[key] = embedding
            self._recent.move_to_end(key)
            size = sum(e.nbytes for e in self._recent.values())
            while size > _RECENT_BYTES and len(self._recent) > 1:
                size -= self._recent.popitem(last=False)[1].nbytes

    def _read(self, key: EmbeddingKey) -> Embedding | None:
        """Return an embedding from the store; None if it is not there or the store fails."""
        try:
            entry = self.store.get(key)
        except StoreError as error:
            self._note_failure(error)
            return None
        embedding = None if entry is None else _from_entry(entry, key)
        if embedding is not None and not self._serves(embedding):
            logger.debug("A stored embedding lacks features that the model needs; computing it.")
            return None
        return embedding

    def _serves(self, embedding: Embedding) -> bool:
        """Whether it has all features of the model: earlier versions kept fewer."""
        return self.predictor.spec.feature_shapes.keys() <= embedding.features.keys()

    def _write(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Store an embedding; a store that fails is tried again with the next one."""
        metadata = {
            "frame": asdict(embedding.frame),
            "model": embedding.model,
            "weights": embedding.weights,
        }
        try:
            self.store.put(key, embedding.features, metadata)
        except StoreError as error:
            self.store_error = error
            self._note_failure(error)
        else:
            self._store_failing = False

    def _note_failure(self, error: StoreError) -> None:
        """Warn once per series of failures."""
        level = logging.DEBUG if self._store_failing else logging.WARNING
        self._store_failing = True
        logger.log(level, "Going on without the embedding store: %s", error)


def _from_entry(entry: Entry, key: EmbeddingKey) -> Embedding | None:
    """Rebuild an embedding; None if the entry was written by something else."""
    metadata = entry.metadata
    try:
        frame = _frame(metadata["frame"]).at(key.region[:2])
        model, weights = str(metadata["model"]), str(metadata["weights"])
    except (KeyError, TypeError, ValueError):
        logger.warning("A stored embedding lacks its frame; it will be computed again.")
        return None
    return Embedding(dict(entry), frame, model, weights)


def _frame(fields: Mapping[str, Any]) -> Frame:
    """Frame from plain JSON."""
    pairs = {}
    for name in ("origin_yx", "size_yx", "content_yx", "input_yx", "content_origin_yx"):
        y, x = fields.get(name, (0, 0)) if name == "content_origin_yx" else fields[name]
        pairs[name] = (int(y), int(x))
    upsampling = fields.get("upsampling", "two_step")
    if upsampling not in ("two_step", "bicubic", "direct"):
        raise ValueError(upsampling)
    return Frame(**pairs, upsampling=upsampling)


def _report(on_progress: OnProgress | None, done: int, total: int, message: str) -> None:
    if on_progress is not None:
        on_progress(Progress(done, total, message))
