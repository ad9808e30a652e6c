"""What every embedding store promises. Subclass `StoreContract` and give it a ``make_store``."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from litesam.errors import StoreError
from litesam.store import EmbeddingStore
from litesam.types import EmbeddingKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FLOATS = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 1.5], np.float32)


def key_of(number: int) -> EmbeddingKey:
    """One of many different keys."""
    return EmbeddingKey("model", "weights", "contrast", f"content {number}", (0, 0, 64, 64))


def features_of(number: int, size: int = 1000) -> dict[str, np.ndarray]:
    """Features that are another for each number and do not compress."""
    rng = np.random.default_rng(number)
    return {"image": rng.standard_normal((4, size // 4), dtype=np.float32)}


def assert_same(got: Mapping[str, np.ndarray] | None, expected: Mapping[str, np.ndarray]) -> None:
    """Compare names, shapes, dtypes and every bit."""
    assert got is not None
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].shape == array.shape
        assert got[name].dtype == array.dtype
        assert got[name].tobytes() == array.tobytes()


class StoreContract(ABC):
    """The suite."""

    @abstractmethod
    def make_store(self, folder: Path, max_bytes: int | None = None) -> EmbeddingStore:
        """Return an empty store; None: room for all that the tests put."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> EmbeddingStore:
        return self.make_store(tmp_path)

    def test_is_an_embedding_store(self, store: EmbeddingStore) -> None:
        assert isinstance(store, EmbeddingStore)

    def test_new_store_is_empty(self, store: EmbeddingStore) -> None:
        assert len(store) == 0
        assert store.nbytes == 0
        assert store.keys() == []
        assert store.get(key_of(1)) is None
        assert key_of(1) not in store
        assert store.delete(key_of(1)) is False

    def test_what_was_put_comes_back_bit_by_bit(self, store: EmbeddingStore) -> None:
        features = {
            "image": features_of(1)["image"],
            "special": FLOATS,
            "negative_zero": np.full((3, 4), -0.0, np.float32),
            "half": np.arange(6, dtype=np.float16).reshape(2, 3),
            "double": np.array(np.pi),
            "counts": np.arange(-4, 4),
            "bytes": np.arange(256, dtype=np.uint8),
            "flags": np.array([True, False]),
            "nothing": np.zeros((0, 4), np.float32),
            "strided": np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-1],
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        }
        metadata = {"frame": {"origin_yx": [3, 4]}, "scale": 0.1, "none": None, "text": "µ"}
        store.put(key_of(1), features, metadata)
        entry = store.get(key_of(1))
        assert_same(entry, features)
        assert entry is not None
        assert entry.metadata == metadata
        assert key_of(1) in store
        assert "something else" not in store

    @settings(
        max_examples=15,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        array=hnp.arrays(
            st.sampled_from([np.float32, np.float16, np.int64, np.uint8]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        )
    )
    def test_any_array_comes_back(self, store: EmbeddingStore, array: np.ndarray) -> None:
        store.put(key_of(1), {"a": array})
        assert_same(store.get(key_of(1)), {"a": array})

    def test_keys_come_back_whole(self, store: EmbeddingStore) -> None:
        store.put(key_of(1), features_of(1))
        assert store.keys() == [key_of(1)]

    def test_keys_that_differ_in_one_field_have_their_own_entries(
        self, store: EmbeddingStore
    ) -> None:
        fields = ("model", "weights", "preprocessing", "content")
        base = EmbeddingKey("a", "a", "a", "a", (0, 0, 8, 8))
        keys = [base, EmbeddingKey("a", "a", "a", "a", (0, 0, 8, 9))]
        keys += [
            EmbeddingKey(**{f: "b" if f == g else "a" for f in fields}, region=base.region)
            for g in fields
        ]
        for number, key in enumerate(keys):
            store.put(key, features_of(number))
        for number, key in enumerate(keys):
            assert_same(store.get(key), features_of(number))
        assert len(store) == len(keys)

    def test_put_replaces(self, store: EmbeddingStore) -> None:
        store.put(key_of(1), {**features_of(1), "more": FLOATS})
        store.put(key_of(1), features_of(2))
        assert_same(store.get(key_of(1)), features_of(2))
        assert len(store) == 1

    def test_store_and_caller_share_no_memory(self, store: EmbeddingStore) -> None:
        features = features_of(1)
        metadata = {"list": [1]}
        store.put(key_of(1), features, metadata)
        features["image"][:] = 0
        metadata["list"].append(2)
        for _ in range(2):
            entry = store.get(key_of(1))
            assert_same(entry, features_of(1))
            assert entry is not None
            assert entry.metadata == {"list": [1]}
            assert entry["image"].flags.writeable
            entry["image"][:] = 0
            entry.metadata["list"].append(3)

    def test_delete_and_clear(self, store: EmbeddingStore) -> None:
        for number in range(4):
            store.put(key_of(number), features_of(number))
        assert store.delete(key_of(2)) is True
        assert store.get(key_of(2)) is None
        assert len(store) == 3
        assert store.clear() == 3
        assert len(store) == 0
        assert store.nbytes == 0
        store.put(key_of(1), features_of(1))
        assert_same(store.get(key_of(1)), features_of(1))

    def test_prune_removes_the_least_recently_used(self, store: EmbeddingStore) -> None:
        for number in range(4):
            store.put(key_of(number), features_of(number))
        one = store.nbytes // 4
        store.get(key_of(0))
        assert store.keys() == [key_of(n) for n in (1, 2, 3, 0)]
        assert store.prune(int(2.5 * one)) == 2
        assert store.keys() == [key_of(3), key_of(0)]
        assert store.prune() == 0
        assert store.prune(0) == 2
        assert len(store) == 0

    def test_limit_is_kept_and_the_last_entry_stays(self, tmp_path: Path) -> None:
        probe = self.make_store(tmp_path / "probe")
        probe.put(key_of(0), features_of(0))
        limit = int(3.5 * probe.nbytes)
        store = self.make_store(tmp_path / "limited", limit)
        for number in range(10):
            store.put(key_of(number), features_of(number))
            assert store.nbytes <= limit
            assert key_of(number) in store
        assert len(store) >= 2

    def test_entry_above_the_limit_is_not_kept(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = self.make_store(tmp_path, 100)
        with caplog.at_level(logging.WARNING):
            store.put(key_of(1), features_of(1))
        assert store.get(key_of(1)) is None
        assert "max_bytes" in caplog.text or "more room" in caplog.text

    def test_negative_limit_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="limit"):
            self.make_store(tmp_path, -1)
        with pytest.raises(StoreError, match="limit"):
            self.make_store(tmp_path).prune(-1)

    @pytest.mark.parametrize("name", ["", "../up", "a/b", "/etc/passwd", ".", "1a", "a" * 65, "ä"])
    def test_feature_names_are_plain_words(self, store: EmbeddingStore, name: str) -> None:
        with pytest.raises(StoreError, match="named"):
            store.put(key_of(1), {name: FLOATS})
        assert len(store) == 0

    @pytest.mark.parametrize(
        "value", [[1.0], None, np.zeros(2, complex), np.array([None]), np.array(["a"])]
    )
    def test_features_are_arrays_of_real_numbers(
        self, store: EmbeddingStore, value: object
    ) -> None:
        with pytest.raises(StoreError, match="real numbers"):
            store.put(key_of(1), {"image": value})  # type: ignore[dict-item]
        assert len(store) == 0

    def test_entry_without_features_is_refused(self, store: EmbeddingStore) -> None:
        with pytest.raises(StoreError, match="at least one"):
            store.put(key_of(1), {})

    @pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
    def test_metadata_is_json(self, store: EmbeddingStore, value: object) -> None:
        with pytest.raises(StoreError, match="JSON"):
            store.put(key_of(1), features_of(1), {"value": value})

    def test_threads_share_a_store(self, store: EmbeddingStore) -> None:
        failures: list[BaseException] = []

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            try:
                for _ in range(15):
                    number = int(rng.integers(4))
                    store.put(key_of(number), features_of(number))
                    entry = store.get(key_of(int(rng.integers(4))))
                    if entry is not None:
                        assert any(
                            entry["image"].tobytes() == features_of(n)["image"].tobytes()
                            for n in range(4)
                        )
                    if rng.random() < 0.2:
                        store.delete(key_of(int(rng.integers(4))))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for number in range(4):
            store.put(key_of(number), features_of(number))
            assert_same(store.get(key_of(number)), features_of(number))
        assert len(store) == 4
