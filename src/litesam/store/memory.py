"""Embeddings in memory: least recently used first out, bounded in bytes."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from litesam.store.base import Entry, check_entry, check_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litesam.types import AnyArray, EmbeddingKey

logger = logging.getLogger(__name__)

#: Room for 128 embeddings of 256 × 64 × 64 float32.
DEFAULT_MEMORY_BYTES = 512 * 2**20


class MemoryStore:
    """Embedding store of one process.

    Parameters
    ----------
    max_bytes
        Limit of all arrays together; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self.max_bytes = check_limit(max_bytes) or 0
        self._entries: OrderedDict[EmbeddingKey, Entry] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MemoryStore({len(self)} entries, {self.nbytes} of {self.max_bytes} bytes)"

    def get(self, key: EmbeddingKey) -> Entry | None:
        """Return a copy of an entry, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
        return entry.copy()

    def put(
        self,
        key: EmbeddingKey,
        features: Mapping[str, AnyArray],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep a copy of an entry."""
        entry = check_entry(features, metadata)
        if entry.nbytes > self.max_bytes:
            logger.warning(
                "An embedding of %d bytes is larger than the memory store (%d bytes) and is not "
                "kept; "
                "give the store more room.",
                entry.nbytes,
                self.max_bytes,
            )
            return
        entry = entry.copy()
        with self._lock:
            self._remove(key)
            self._entries[key] = entry
            self._nbytes += entry.nbytes
            self._shrink(self.max_bytes)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._entries

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def delete(self, key: EmbeddingKey) -> bool:
        """Remove an entry; return whether there was one."""
        with self._lock:
            return self._remove(key)

    def keys(self) -> list[EmbeddingKey]:
        """Return all keys, least recently used first."""
        with self._lock:
            return list(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        with self._lock:
            return self._nbytes

    def prune(self, max_bytes: int | None = None) -> int:
        """Remove the least recently used entries down to ``max_bytes`` (None: the limit)."""
        limit = check_limit(max_bytes)
        with self._lock:
            return self._shrink(self.max_bytes if limit is None else limit)

    def clear(self) -> int:
        """Remove all entries; return how many there were."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            self._nbytes = 0
            return count

    def _remove(self, key: EmbeddingKey) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._nbytes -= entry.nbytes
        return True

    def _shrink(self, limit: int) -> int:
        removed = 0
        while self._nbytes > limit:
            self._remove(next(iter(self._entries)))
            removed += 1
        return removed
