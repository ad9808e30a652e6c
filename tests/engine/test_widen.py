"""A prompt for an object that its tile cuts: looked at again in wider windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import litesam.predictors
from engine.threshold_predictor import NORMALIZE, TILING, ThresholdPredictor
from litesam.segmenter import Segmenter
from litesam.session import (
    Session,
    image_reference,
    model_reference,
    record_object,
    replay,
)
from litesam.tiling import find_whole, make_tiles, tile_for_object
from litesam.tiling.widen import window_around
from litesam.types import Box, BoxPrompt, MaskRecord, PointLabel, PointPrompt, Prompts, Tile

SHAPE = (600, 500)


def make(truth: np.ndarray) -> Segmenter:
    image = np.where(truth, 200, 20).astype(np.uint8)
    return Segmenter(image, ThresholdPredictor(), normalize=NORMALIZE, tiling=TILING)


def ellipse(y: int, x: int, height: int, width: int) -> np.ndarray:
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot((yy - y) / (height / 2), (xx - x) / (width / 2)) < 1


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("kind", ["point", "box"])
@pytest.mark.parametrize(
    ("y", "x", "height", "width"),
    [(300, 250, 200, 180), (90, 70, 170, 130), (300, 250, 40, 460), (500, 400, 190, 190)],
)
def test_an_object_larger_than_a_tile_is_whole(
    kind: str, y: int, x: int, height: int, width: int
) -> None:
    truth = ellipse(y, x, height, width)
    prompts = Prompts(points=(PointPrompt(y, x),))
    if kind == "box":
        corners = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
        prompts = Prompts(box=BoxPrompt(*corners))
    segmenter = make(truth)
    result = segmenter.segment(prompts)
    assert iou(result.mask, truth) > 0.9
    assert result.tile.index == -1
    (record,) = segmenter.segment_many([prompts])
    np.testing.assert_array_equal(record.mask(SHAPE), result.mask)
    # What is asked for stays: one tile, or no wider windows.
    assert iou(segmenter.segment(prompts, whole=False).mask, truth) < 0.8
    assert segmenter.is_ready(prompts)
    encoded = segmenter.predictor.encoded  # type: ignore[attr-defined]
    segmenter.segment(prompts)
    assert segmenter.predictor.encoded == encoded  # type: ignore[attr-defined]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_wherever_an_object_of_up_to_two_tiles_lies(data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(30, 240), label=name) for name in ("height", "width"))
    y = data.draw(st.integers(0, SHAPE[0] - 1))
    x = data.draw(st.integers(0, SHAPE[1] - 1))
    truth = ellipse(y, x, height, width)
    result = make(truth).segment(Prompts(points=(PointPrompt(y, x),)))
    assert iou(result.mask, truth) > 0.8


def test_a_session_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ellipse(300, 250, 200, 180)
    segmenter, prompts = make(truth), Prompts(points=(PointPrompt(300, 250),))
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: ThresholdPredictor())
    result = segmenter.segment(prompts)
    session = Session(
        image_reference(segmenter, None, normalize=NORMALIZE, tiling=TILING),
        model_reference(segmenter.predictor, "threshold"),
        labels_dtype="uint16",
    ).with_action(record_object(1, (), prompts, result))
    replayed = replay(session, segmenter.image)
    np.testing.assert_array_equal(replayed.labels == 1, result.mask)


def record(box: Box) -> MaskRecord:
    return MaskRecord(box, np.ones(box.size_yx, dtype=bool), 0.9, 0.9, 0.9)


class Seen:
    def __init__(self, box: Box, tile: Tile) -> None:
        self.record, self.tile = record(box), tile


def test_another_object_from_afar_is_left_and_windows_end() -> None:
    tile = Tile(3, Box(0, 0, 100, 100), Box(0, 0, 128, 128))
    cut = Seen(Box(60, 60, 128, 128), tile)
    assert find_whole(cut, lambda window: Seen(Box(200, 200, 220, 220), window), SHAPE) is cut
    asked: list[Tile] = []

    def always_cut(window: Tile) -> Seen:
        asked.append(window)
        return Seen(window.padded, window)

    found = find_whole(cut, always_cut, (100_000, 100_000))
    assert [one.padded.size_yx[0] for one in asked] == [256, 512, 1024, 2048, 4096]
    assert found.tile is asked[-1]
    # Sides of the plane cut nothing, and an empty mask is not cut.
    asked.clear()
    whole = Seen(Box(0, 0, 90, 90), tile)
    assert find_whole(whole, always_cut, SHAPE) is whole
    empty = Seen(Box(0, 0, 1, 1), tile)
    empty.record = replace(empty.record, crop=np.zeros((1, 1), dtype=bool))
    assert find_whole(empty, always_cut, (128, 128)) is empty
    assert not asked


@pytest.mark.parametrize(
    ("prompts", "side"),
    [
        (Prompts(box=BoxPrompt(300, 250, 350, 280)), 128),
        (Prompts(box=BoxPrompt(300, 250, 360, 280)), 256),
        (Prompts(box=BoxPrompt(100, 100, 300, 300)), 512),
        (Prompts(points=(PointPrompt(300, 250), PointPrompt(360, 250))), 128),
        (Prompts(points=(PointPrompt(300, 250), PointPrompt(420, 250))), 256),
        (Prompts(points=(PointPrompt(300, 250), PointPrompt(599, 9, PointLabel.BACKGROUND))), 128),
        (Prompts(points=(PointPrompt(300, 250),)), 128),
        (Prompts(box=BoxPrompt(-9, -9, 700, 700)), 600),
    ],
)
def test_prompts_say_how_wide_to_look_first(prompts: Prompts, side: int) -> None:
    padded = tile_for_object(make_tiles(SHAPE, TILING), prompts, SHAPE).padded
    assert max(padded.size_yx) == side
    for point in prompts.points[:1]:
        assert padded.y0 <= point.y < padded.y1
        assert padded.x0 <= point.x < padded.x1


def test_windows_lie_in_the_plane() -> None:
    tile = Tile(0, Box(0, 0, 128, 128), Box(0, 0, 128, 128))
    for box in (Box(0, 0, 128, 128), Box(590, 480, 600, 500), Box(0, 100, 600, 120)):
        padded = window_around(box, tile, SHAPE).padded
        assert padded.size_yx == (256, 256)
        assert 0 <= padded.y0 <= SHAPE[0] - 256
        assert 0 <= padded.x0 <= SHAPE[1] - 256
    assert window_around(Box(0, 0, 9, 9), tile, (200, 1000)).padded == Box(0, 0, 200, 256)
