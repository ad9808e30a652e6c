"""The embedder encodes what the store does not have, once, and survives a store that fails."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from store_contract import assert_same

from litesam.embedder import Embedder
from litesam.errors import Cancelled, ImageError, StoreError
from litesam.frames import fit_longest_side
from litesam.models.registry import get_spec
from litesam.preprocess import Plane, to_rgb
from litesam.store import EmbeddingStore, Entry, MemoryStore, ZarrStore, tile_key
from litesam.tiling import make_tiles
from litesam.types import Embedding, NormalizeConfig, Progress, TilingConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from litesam.types import AnyArray, EmbeddingKey

SMALL = TilingConfig(tile_px=64, halo_px=8, single_up_to_px=64)


class BlockMeans:
    """A predictor without torch: its features are block means of the pixels."""

    def __init__(self, weights_hash: str = "w1", seconds: float = 0.0) -> None:
        self.spec = replace(
            get_spec("lite_sam"),
            name="block_means",
            input_px=64,
            feature_shapes={"image": (3, 8, 8)},
        )
        self.device = "cpu"
        self.weights_hash = self.encoder_hash = weights_hash
        self.seconds = seconds
        self.encoded: list[tuple[int, int]] = []

    def encode(self, rgb: AnyArray, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
        self.encoded.append(origin_yx)
        time.sleep(self.seconds)
        height, width = (n // 8 * 8 for n in rgb.shape[:2])
        blocks = rgb[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
        image = blocks.mean(axis=(1, 3), dtype=np.float32).transpose(2, 0, 1)
        frame = fit_longest_side(rgb.shape[:2], 64, origin_yx)
        return Embedding({"image": image}, frame, self.spec.name, self.weights_hash)


class BrokenStore(MemoryStore):
    """A store on a disk that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = True

    def get(self, key: EmbeddingKey) -> Entry | None:
        if self.broken:
            raise StoreError("the disk is gone")
        return super().get(key)

    def put(
        self,
        key: EmbeddingKey,
        features: Mapping[str, AnyArray],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if self.broken:
            raise StoreError("the disk is gone")
        super().put(key, features, metadata)


@pytest.fixture
def plane() -> Plane:
    return to_rgb(np.random.default_rng(0).integers(0, 5000, (150, 100)).astype(np.uint16))


@pytest.fixture(params=["memory", "zarr"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddingStore:
    return MemoryStore() if request.param == "memory" else ZarrStore(tmp_path / "store")


def _embedder(predictor: Any, store: EmbeddingStore | None = None) -> Embedder:
    return Embedder(predictor, store)


def _assert_same_embedding(got: Embedding, expected: Embedding) -> None:
    assert_same(got.features, expected.features)
    assert (got.frame, got.model, got.weights) == (
        expected.frame,
        expected.model,
        expected.weights,
    )


def test_stored_embedding_equals_the_encoded_one(plane: Plane, store: EmbeddingStore) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    assert len(tiles) > 4
    first, second = BlockMeans(), BlockMeans()
    encoded = [_embedder(first, store).embed(plane, tile) for tile in tiles]
    stored = [_embedder(second, store).embed(plane, tile) for tile in tiles]
    assert len(first.encoded) == len(tiles)
    assert second.encoded == []
    for tile, a, b in zip(tiles, encoded, stored, strict=True):
        _assert_same_embedding(a, b)
        assert b.frame.origin_yx == (tile.padded.y0, tile.padded.x0)
        assert b.frame.size_yx == tile.padded.size_yx


def test_repeated_embed_returns_the_same_object(plane: Plane, store: EmbeddingStore) -> None:
    tile = make_tiles(plane.shape_yx, SMALL)[0]
    embedder = _embedder(BlockMeans(), store)
    assert embedder.embed(plane, tile) is embedder.embed(plane, tile)


@pytest.mark.parametrize("change", ["pixels", "contrast", "weights", "model", "tile", "input"])
def test_whatever_the_embedding_depends_on_is_encoded_again(plane: Plane, change: str) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    store = MemoryStore()
    _embedder(BlockMeans(), store).embed(plane, tiles[0])
    predictor, tile = BlockMeans("w2" if change == "weights" else "w1"), tiles[0]
    if change == "pixels":
        rgb = plane.rgb.copy()
        rgb[10, 10, 0] ^= 1
        plane = Plane(rgb, plane.fingerprint)
    elif change == "contrast":
        raw = np.random.default_rng(0).integers(0, 5000, (150, 100)).astype(np.uint16)
        plane = to_rgb(raw, NormalizeConfig(limits=(0, 4000)))
    elif change == "model":
        predictor.spec = replace(predictor.spec, name="other")
    elif change == "input":
        predictor.spec = replace(predictor.spec, input_px=128)
    elif change == "tile":
        tile = tiles[1]
    _embedder(predictor, store).embed(plane, tile)
    assert len(predictor.encoded) == 1


def test_change_in_one_tile_leaves_the_others_stored(plane: Plane) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    store = MemoryStore()
    _embedder(BlockMeans(), store).embed_all(plane, tiles)
    rgb = plane.rgb.copy()
    rgb[0, 0] ^= 255
    predictor = BlockMeans()
    _embedder(predictor, store).embed_all(Plane(rgb, plane.fingerprint), tiles)
    assert predictor.encoded == [(0, 0)]


def test_equal_planes_of_a_stack_share_their_embeddings(plane: Plane) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    predictor = BlockMeans()
    embedder = _embedder(predictor)
    embedder.embed_all(plane, tiles)
    embedder.embed_all(Plane(plane.rgb.copy(), plane.fingerprint), tiles)
    assert len(predictor.encoded) == len(tiles)


def test_tile_of_another_plane_is_refused(plane: Plane) -> None:
    tile = make_tiles((300, 300), SMALL)[-1]
    with pytest.raises(ImageError, match="does not lie in the plane"):
        _embedder(BlockMeans()).embed(plane, tile)


# ----------------------------------------------------------------------------------- whole planes


def test_embed_all_reports_each_tile(plane: Plane, store: EmbeddingStore) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    embedder = _embedder(BlockMeans(), store)
    reports: list[Progress] = []
    assert not any(embedder.is_embedded(plane, tile) for tile in tiles)
    embedder.embed_all(plane, tiles, on_progress=reports.append)
    assert [(r.done, r.total) for r in reports] == [(n, len(tiles)) for n in range(len(tiles) + 1)]
    assert all(embedder.is_embedded(plane, tile) for tile in tiles)
    assert len(store) == len(tiles)


def test_cancelled_work_is_kept_and_resumed(plane: Plane, store: EmbeddingStore) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    first, second = BlockMeans(), BlockMeans()
    with pytest.raises(Cancelled, match=f"after 2 of {len(tiles)} tiles"):
        _embedder(first, store).embed_all(plane, tiles, cancelled=lambda: len(first.encoded) == 2)
    assert len(store) == 2
    _embedder(second, store).embed_all(plane, tiles, cancelled=lambda: False)
    assert len(first.encoded) + len(second.encoded) == len(tiles)
    assert set(first.encoded) & set(second.encoded) == set()


def test_entry_of_a_known_tile_that_vanished_is_stored_again_without_encoding(
    plane: Plane, store: EmbeddingStore
) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    predictor = BlockMeans()
    embedder = _embedder(predictor, store)
    embedder.embed_all(plane, tiles)
    store.clear()
    embedder.embed_all(plane, tiles)
    assert len(store) == len(tiles)
    assert len(predictor.encoded) == len(tiles)


def test_damaged_entry_is_found_and_encoded_again(
    plane: Plane, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    store = ZarrStore(tmp_path / "store")
    expected = _embedder(BlockMeans(), store).embed(plane, tiles[3])
    _embedder(BlockMeans(), store).embed_all(plane, tiles)
    folder = store.path / tile_key(BlockMeans(), plane, tiles[3]).digest()
    shard = next(p for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    predictor = BlockMeans()
    embedder = _embedder(predictor, store)
    with caplog.at_level(logging.WARNING):
        embedder.embed_all(plane, tiles)
    assert predictor.encoded == [(tiles[3].padded.y0, tiles[3].padded.x0)]
    assert "damaged" in caplog.text
    _assert_same_embedding(embedder.embed(plane, tiles[3]), expected)


def test_entry_without_a_frame_is_encoded_again(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    tile = make_tiles(plane.shape_yx, SMALL)[0]
    store = MemoryStore()
    store.put(tile_key(BlockMeans(), plane, tile), {"image": np.zeros(3)}, {"frame": [1, 2]})
    predictor = BlockMeans()
    with caplog.at_level(logging.WARNING):
        embedding = _embedder(predictor, store).embed(plane, tile)
    assert embedding.features["image"].shape == (3, 8, 8)
    assert "lacks its frame" in caplog.text


def test_store_too_small_for_the_plane_is_said(
    plane: Plane, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litesam.embedder._RECENT_BYTES", 0)
    tiles = make_tiles(plane.shape_yx, SMALL)
    store = MemoryStore(3 * 3 * 8 * 8 * 4)
    with caplog.at_level(logging.WARNING):
        _embedder(BlockMeans(), store).embed_all(plane, tiles)
    assert f"room for 3 of {len(tiles)} tiles" in caplog.text


# ----------------------------------------------------------------------------------------- threads


def test_threads_that_ask_for_one_tile_encode_it_once(plane: Plane) -> None:
    tile = make_tiles(plane.shape_yx, SMALL)[0]
    predictor = BlockMeans(seconds=0.05)
    embedder = _embedder(predictor)
    results: list[Embedding] = []
    threads = [
        threading.Thread(target=lambda: results.append(embedder.embed(plane, tile)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(predictor.encoded) == 1
    assert len(results) == 6
    assert all(result is results[0] for result in results)


def test_stored_tile_does_not_wait_for_the_encoder(plane: Plane) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    started, release = threading.Event(), threading.Event()

    class Waiting(BlockMeans):
        def encode(self, rgb: AnyArray, origin_yx: tuple[int, int] = (0, 0)) -> Embedding:
            if origin_yx != (0, 0):
                started.set()
                assert release.wait(30)
            return super().encode(rgb, origin_yx)

    embedder = _embedder(Waiting())
    embedder.embed(plane, tiles[0])
    worker = threading.Thread(target=embedder.embed, args=(plane, tiles[1]))
    worker.start()
    assert started.wait(30)
    try:
        assert embedder.embed(plane, tiles[0]).frame.origin_yx == (0, 0)
        assert not embedder.is_embedded(plane, tiles[1])
    finally:
        release.set()
        worker.join()
    assert embedder.is_embedded(plane, tiles[1])


# --------------------------------------------------------------------------------- failing stores


def test_failing_store_is_reported_once_and_costs_no_result(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    tiles = make_tiles(plane.shape_yx, SMALL)
    predictor, store = BlockMeans(), BrokenStore()
    embedder = _embedder(predictor, store)
    with caplog.at_level(logging.WARNING):
        embedder.embed_all(plane, tiles)
        results = [embedder.embed(plane, tile) for tile in tiles]
    assert caplog.text.count("Going on without the embedding store: the disk is gone") == 1
    assert len(caplog.records) == 1
    assert len(results) == len(predictor.encoded) == len(tiles)
    store.broken = False
    embedder.embed_all(plane, tiles)
    assert len(store) == len(tiles)
    assert len(predictor.encoded) == len(tiles)


@pytest.mark.skipif(os.name != "posix", reason="needs a file system of limited size")
def test_full_disk_costs_no_result(
    plane: Plane, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        tiles = make_tiles(plane.shape_yx, SMALL)
        predictor = BlockMeans()
        embedder = _embedder(predictor, ZarrStore(disk / "store"))
        with caplog.at_level(logging.WARNING):
            embedder.embed_all(plane, tiles)
            results = [embedder.embed(plane, tile) for tile in tiles]
        assert "disk (or a quota) is full" in caplog.text
        assert len(results) == len(predictor.encoded) == len(tiles)
        assert 0 < len(embedder.store) < len(tiles)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ------------------------------------------------------------------------------------- real network


def test_masks_from_a_stored_embedding_are_those_of_the_encoded_one(tmp_path: Path) -> None:
    """``encode`` then store then ``decode`` with the network of Lite-SAM (random weights)."""
    torch = pytest.importorskip("torch")
    from importlib import import_module

    from litesam.predictors import make_predictor
    from litesam.types import PromptBatch

    spec = get_spec("lite_sam")
    module, _, function = spec.builder.partition(":")
    torch.manual_seed(0)
    network = getattr(import_module(module), function)(spec)
    predictor = make_predictor(spec, network, "cpu", "random weights")
    image = np.random.default_rng(0).normal(200, 30, (600, 900)).astype(np.float32)
    plane = to_rgb(image)
    tile = make_tiles(plane.shape_yx)[1]
    store = ZarrStore(tmp_path / "store")
    encoded = Embedder(predictor, store).embed(plane, tile)
    stored = Embedder(predictor, store).embed(plane, tile)
    assert stored is not encoded
    _assert_same_embedding(stored, encoded)
    y, x = tile.padded.y0 + 100, tile.padded.x0 + 100
    prompts = PromptBatch(points=[[[y, x]]], labels=[[1]])  # type: ignore[arg-type]
    one, two = (predictor.decode(e, prompts) for e in (encoded, stored))
    np.testing.assert_array_equal(one.logits, two.logits)
    np.testing.assert_array_equal(one.predicted_iou, two.predicted_iou)
