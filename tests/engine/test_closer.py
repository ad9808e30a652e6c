"""A prompt for an object that is small in its tile: looked at again in a smaller window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

import litesam.predictors
from engine.threshold_predictor import NORMALIZE, ThresholdPredictor, discs
from litesam.io import read_image
from litesam.models.registry import get_spec
from litesam.samples import SAMPLES, sample_path
from litesam.segmenter import Segmenter
from litesam.session import Session, image_reference, model_reference, record_object, replay
from litesam.tiling import closer_side, closer_window, make_tiles
from litesam.types import Box, BoxPrompt, PointLabel, PointPrompt, Prompts, TilingConfig

SHAPE = (512, 480)
CENTRES = [(y, x) for y in range(20, 500, 27) for x in range(20, 470, 25)]
TILING = TilingConfig(512, 64, 1024)


class Close(ThresholdPredictor):
    """Sees 128 pixels, and looks closer."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, looks_closer=True)


def make(predictor: ThresholdPredictor, image: np.ndarray) -> Segmenter:
    return Segmenter(image, predictor, normalize=NORMALIZE, tiling=TILING)


def said(kind: str, y: int, x: int) -> Prompts:
    if kind == "point":
        return Prompts(points=(PointPrompt(y, x),))
    return Prompts(box=BoxPrompt(y - 7.5, x - 7.5, y + 8.5, x + 8.5))


@pytest.mark.parametrize("kind", ["point", "box"])
def test_small_objects_are_seen_in_small_windows(kind: str) -> None:
    image, truth = discs(SHAPE, CENTRES)
    far, near = make(ThresholdPredictor(), image), make(Close(), image)
    prompts = [said(kind, y, x) for y, x in CENTRES]
    for number in (0, 13, 150):
        y, x = CENTRES[number]
        result = near.segment(prompts[number])
        np.testing.assert_array_equal(result.mask, truth == truth[y, x])
        assert result.tile.index == -1
        assert not np.array_equal(far.segment(prompts[number]).mask, truth == truth[y, x])
        assert near.is_ready(prompts[number])
    records = near.segment_many(prompts)
    for (y, x), record in zip(CENTRES, records, strict=True):
        np.testing.assert_array_equal(record.mask(SHAPE), truth == truth[y, x])
    # Few windows serve all of them, and each is encoded once.
    assert near.predictor.encoded < len(CENTRES) / 1.3  # type: ignore[attr-defined]
    encoded = near.predictor.encoded  # type: ignore[attr-defined]
    near.segment_many(prompts)
    near.segment(prompts[0])
    assert near.predictor.encoded == encoded  # type: ignore[attr-defined]
    # What is asked for stays.
    tile = near.tiles[0]
    assert near.segment(prompts[0], tile=tile).tile is tile
    fresh = make(Close(), image)  # no window is embedded there
    assert fresh.segment(said("point", *CENTRES[0]), whole=False).tile.index == 0


def test_what_is_large_empty_or_far_apart_is_left() -> None:
    image = np.full(SHAPE, 20, dtype=np.uint8)
    image[100:260, 100:260] = 200
    segmenter = make(Close(), image)
    assert segmenter.segment(said("point", 180, 180)).tile.index == 0
    assert segmenter.segment(said("point", 400, 400)).record.area == 0
    assert segmenter.predictor.encoded == 1  # type: ignore[attr-defined]
    image, truth = discs(SHAPE, CENTRES)
    segmenter = make(Close(), image)
    (y, x), (v, u) = CENTRES[0], CENTRES[-1]
    both = Prompts(points=(PointPrompt(y, x), PointPrompt(v, u)))
    result = segmenter.segment(both)
    assert result.tile.index == 0
    assert result.mask[y, x]
    assert result.mask[v, u]
    # A point that says what it is not, far away, is no reason.
    apart = Prompts(points=(PointPrompt(y, x), PointPrompt(v, u, PointLabel.BACKGROUND)))
    np.testing.assert_array_equal(segmenter.segment(apart).mask, truth == truth[y, x])


def test_a_session_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    image, truth = discs(SHAPE, CENTRES)
    segmenter, prompts = make(Close(), image), said("point", *CENTRES[5])
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: Close())
    result = segmenter.segment(prompts)
    session = Session(
        image_reference(segmenter, None, normalize=NORMALIZE, tiling=TILING),
        model_reference(segmenter.predictor, "threshold"),
        labels_dtype="uint16",
    ).with_action(record_object(1, (), prompts, result))
    replayed = replay(session, segmenter.image)
    np.testing.assert_array_equal(replayed.labels == 1, result.mask)
    np.testing.assert_array_equal(result.mask, truth == 6)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_windows_lie_in_the_plane_and_hold_the_object(data: st.DataObject) -> None:
    spec = get_spec("lite_sam")
    shape = tuple(data.draw(st.integers(300, 3000), label=name) for name in ("height", "width"))
    y, x = (data.draw(st.integers(0, n - 1)) for n in shape)
    height, width = (data.draw(st.integers(1, 60)) for _ in shape)
    box = Box(y, x, min(y + height, shape[0]), min(x + width, shape[1]))
    prompts = Prompts(points=(PointPrompt(y, x),))
    for tile in make_tiles(shape)[:1]:  # type: ignore[arg-type]
        window = closer_window(spec, box, prompts, tile, shape)  # type: ignore[arg-type]
        if window is None:
            continue
        seen = window.padded
        assert 0 <= seen.y0 <= box.y0 < box.y1 <= seen.y1 <= shape[0]
        assert 0 <= seen.x0 <= box.x0 < box.x1 <= seen.x1 <= shape[1]
        assert max(seen.size_yx) < max(tile.padded.size_yx)


def test_only_what_is_small_and_can_be_enlarged() -> None:
    spec = get_spec("lite_sam")
    assert closer_side(spec, 24, 696) == 368  # 512 / √2, in steps of 16
    assert closer_side(spec, 12, 1024) == 192
    assert closer_side(spec, 60, 1024) is None  # seen at 30 px
    assert closer_side(spec, 12, 256) == 192  # enlarged already, and can be more
    assert closer_side(spec, 12, 192) is None  # as far as it goes
    assert closer_side(spec, 15, 320) is None  # 256 would not be worth it
    assert closer_side(spec, 24, 512) == 368
    assert closer_side(spec, 17, 512) == 256
    assert closer_side(spec, 29, 768) == 512
    assert closer_side(spec, 60, 2048) == 1024
    assert not get_spec("sam_vit_h").looks_closer


@pytest.fixture(scope="module")
def nuclei() -> tuple[np.ndarray, np.ndarray]:
    """A part of the sample, and its labels."""
    path = sample_path("nuclei")
    labels = read_image(path.with_name(SAMPLES["nuclei"].labels_file)).array
    return tuple(np.asarray(array)[:512, :512] for array in (read_image(path).array, labels))


@pytest.fixture
def segmenter(nuclei: tuple[np.ndarray, np.ndarray]) -> Segmenter:
    """The shipped model on the sample, whose tile is embedded."""
    made = Segmenter(nuclei[0], axes="YX")
    assert made.closer_windows() == [], "nothing is embedded, so nothing is known"
    made.embed()
    return made


@pytest.fixture
def encoded(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Sizes of what is encoded from now on."""
    sizes: list[tuple[int, int]] = []
    encode = segmenter.predictor.encode

    def noted(rgb: Any, origin_yx: tuple[int, int] = (0, 0)) -> Any:
        sizes.append(rgb.shape[:2])
        return encode(rgb, origin_yx)

    monkeypatch.setattr(segmenter.predictor, "encode", noted)
    return sizes


def test_what_clicks_will_need_is_known_before(segmenter, nuclei, encoded) -> None:
    windows = segmenter.closer_windows()
    assert len(set(windows)) == len(windows) > 1
    segmenter.embedder.embed_all(segmenter.plane(), windows)
    assert len(encoded) == len(windows)
    encoded.clear()
    closer = 0
    for region in [one for one in regionprops(nuclei[1]) if one.area > 50][::3]:
        prompts = said("point", *map(round, region.centroid))
        found = segmenter.segment(prompts)
        closer += found.tile in windows
        # A preview is the same then, and encodes nothing.
        np.testing.assert_array_equal(segmenter.segment(prompts, whole=False).mask, found.mask)
    assert closer >= 2
    assert len(encoded) <= 1, "AutoPPN and the decoder may differ about a size"


def test_a_preview_encodes_no_window(segmenter, nuclei, encoded) -> None:
    for region in [one for one in regionprops(nuclei[1]) if one.area > 50][::3]:
        segmenter.segment(said("point", *map(round, region.centroid)), whole=False)
    assert not encoded


def test_a_model_that_does_not_look_closer_has_no_such_windows() -> None:
    plain = make(ThresholdPredictor(), discs(SHAPE, CENTRES)[0])
    plain.embed()
    assert plain.closer_windows() == []
