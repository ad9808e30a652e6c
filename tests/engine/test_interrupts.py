"""A network that is stopped in the middle of a tile."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from litesam.embedder import Embedder
from litesam.errors import Cancelled
from litesam.predictors import load_predictor
from litesam.predictors.interrupts import interruptible
from litesam.preprocess import to_rgb
from litesam.tiling import make_tiles
from litesam.types import TilingConfig


@pytest.fixture(scope="module")
def predictor():
    return load_predictor("lite_sam", device="cpu")


def test_cancel_in_the_middle_of_a_tile_and_go_on(predictor) -> None:
    image = np.random.default_rng(3).integers(0, 255, (64, 64), dtype=np.uint8)
    plane = to_rgb(image)
    tiles = make_tiles((64, 64), TilingConfig())
    embedder = Embedder(predictor)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 20

    with pytest.raises(Cancelled, match="middle"):
        embedder.embed_all(plane, tiles, cancelled=cancelled)
    assert len(asked) == 21, "it stopped at the layer that was told so"
    assert not embedder.is_embedded(plane, tiles[0])
    embedder.embed_all(plane, tiles)
    again = Embedder(predictor).embed(plane, tiles[0])
    np.testing.assert_array_equal(
        embedder.embed(plane, tiles[0]).features["image"], again.features["image"]
    )


def test_other_threads_go_on(predictor) -> None:
    rgb = np.zeros((64, 64, 3), np.uint8)
    done = []
    with interruptible(lambda: True):
        thread = threading.Thread(target=lambda: done.append(predictor.encode(rgb)))
        thread.start()
        thread.join()
        with pytest.raises(Cancelled):
            predictor.encode(rgb)
    assert len(done) == 1
    predictor.encode(rgb)
