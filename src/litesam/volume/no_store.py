"""An embedding store that keeps nothing: in a long job every tile is needed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litesam.store import Entry
    from litesam.types import AnyArray, EmbeddingKey


class NoStore:
    """Satisfies `litesam.store.EmbeddingStore`: entries may vanish at any time, here at once."""

    nbytes = 0

    def get(self, key: EmbeddingKey) -> Entry | None:
        """Return None: it is not there."""
        return None

    def put(
        self,
        key: EmbeddingKey,
        features: Mapping[str, AnyArray],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep nothing."""

    def __contains__(self, key: object) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def delete(self, key: EmbeddingKey) -> bool:
        """Return that there was nothing."""
        return False

    def keys(self) -> list[EmbeddingKey]:
        """Return no keys."""
        return []

    def prune(self, max_bytes: int | None = None) -> int:
        """Remove nothing."""
        return 0

    def clear(self) -> int:
        """Remove nothing."""
        return 0
