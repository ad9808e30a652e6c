"""The contract of embedding stores.

Any store passes ``tests/engine/store_contract.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from litesam.errors import StoreError
from litesam.types import AnyArray, EmbeddingKey

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_STORABLE_KINDS = "biuf"


class Entry(Mapping[str, AnyArray]):
    """What a store keeps under one key: named arrays (a mapping) and plain JSON beside them.

    Attributes
    ----------
    metadata
        JSON object: strings, numbers, bools, None, lists, dicts with string keys.
    """

    __slots__ = ("_features", "metadata")

    def __init__(
        self, features: Mapping[str, AnyArray], metadata: Mapping[str, Any] | None = None
    ) -> None:
        self._features = dict(features)
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __getitem__(self, name: str) -> AnyArray:
        return self._features[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays in memory."""
        return sum(int(array.nbytes) for array in self._features.values())

    def copy(self) -> Entry:
        """Return an entry of its own arrays and metadata."""
        return Entry(
            {name: np.array(array, order="C") for name, array in self._features.items()},
            json.loads(json.dumps(self.metadata)),
        )


@runtime_checkable
class EmbeddingStore(Protocol):
    """Keeps the features of embeddings by key; safe to use from several threads.

    What `get` returns equals what was `put`, bit by bit; a damaged or incomplete entry is a miss.
    Entries may vanish at any time (size limit, another process), so a miss is never an error.
    """

    def get(self, key: EmbeddingKey) -> Entry | None:
        """Return a copy of an entry, or None. It counts as use for the size limit.

        Raises
        ------
        StoreError
            If the store cannot be read.
        """
        ...

    def put(
        self,
        key: EmbeddingKey,
        features: Mapping[str, AnyArray],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an entry, all of it or nothing; an older one of the same key is replaced.

        An entry larger than the store's limit is not kept (a warning is logged).

        Raises
        ------
        StoreError
            If it cannot be written (disk full, …), a feature is not a named array of real numbers,
            or the metadata is not JSON.
        """
        ...

    def __contains__(self, key: object) -> bool:
        """Whether there is an entry; quick, its content is not verified."""
        ...

    def __len__(self) -> int:
        """Number of entries."""
        ...

    def delete(self, key: EmbeddingKey) -> bool:
        """Remove an entry; return whether there was one."""
        ...

    def keys(self) -> list[EmbeddingKey]:
        """Return the keys of all entries, least recently used first."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that all entries take."""
        ...

    def prune(self, max_bytes: int | None = None) -> int:
        """Remove the least recently used entries until ``nbytes <= max_bytes``; return how many
        were removed.

        None: the store's own limit.
        """
        ...

    def clear(self) -> int:
        """Remove all entries; return how many there were."""
        ...


def check_entry(features: Mapping[str, AnyArray], metadata: Mapping[str, Any] | None) -> Entry:
    """Return features and metadata as an entry (not copied) if a store can keep them.

    Raises
    ------
    StoreError
        If a name is not a plain word, an array is not numpy's or not of real numbers, or the
        metadata is not JSON.
    """
    if not features:
        raise StoreError("An entry without features was given; at least one named array is needed.")
    for name, array in features.items():
        if not _NAME.fullmatch(name):
            raise StoreError(
                f"A feature is named {name!r}; letters, digits and underscores are needed, a "
                "letter first."
            )
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _STORABLE_KINDS:
            kind = getattr(array, "dtype", type(array).__name__)
            raise StoreError(
                f"Feature {name!r} is {kind}; a numpy array of real numbers is needed."
            )
    try:
        json.dumps(dict(metadata or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"The metadata of an entry must be plain JSON: {error}.") from error
    return Entry(features, metadata)


def check_limit(max_bytes: int | None) -> int | None:
    """Return a size limit if it is one.

    Raises
    ------
    StoreError
        If it is negative.
    """
    if max_bytes is not None and max_bytes < 0:
        raise StoreError(f"A size limit of {max_bytes} bytes was given; 0 or more is needed.")
    return max_bytes
