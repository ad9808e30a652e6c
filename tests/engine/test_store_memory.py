"""The memory store keeps the contract of embedding stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_contract import StoreContract, features_of, key_of

from litesam.store import MemoryStore
from litesam.store.memory import DEFAULT_MEMORY_BYTES

if TYPE_CHECKING:
    from pathlib import Path


class TestMemoryStore(StoreContract):
    def make_store(self, folder: Path, max_bytes: int | None = None) -> MemoryStore:
        return MemoryStore(DEFAULT_MEMORY_BYTES if max_bytes is None else max_bytes)


def test_bytes_are_those_of_the_arrays() -> None:
    store = MemoryStore(10_000)
    store.put(key_of(1), features_of(1, size=1000))
    assert store.nbytes == 4000
    store.put(key_of(1), features_of(1, size=2000))
    assert store.nbytes == 8000


@pytest.mark.parametrize("size", [0, 1])
def test_store_without_room_keeps_nothing(size: int) -> None:
    store = MemoryStore(size)
    store.put(key_of(1), features_of(1))
    assert len(store) == 0
