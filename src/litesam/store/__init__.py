"""Keep and find embeddings. The stores know keys and named arrays; they compute nothing."""

from __future__ import annotations

from litesam.store.base import EmbeddingStore, Entry
from litesam.store.fingerprint import content_hash, tile_key
from litesam.store.memory import MemoryStore
from litesam.store.zarr_store import DEFAULT_CACHE_BYTES, ZarrStore, default_cache_dir

__all__ = [
    "DEFAULT_CACHE_BYTES",
    "EmbeddingStore",
    "Entry",
    "MemoryStore",
    "ZarrStore",
    "content_hash",
    "default_cache_dir",
    "tile_key",
]
