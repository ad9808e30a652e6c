"""Candidates of everything mode as pure functions: filters, verdicts, labels."""

from __future__ import annotations

import numpy as np
import pytest

from engine.threshold_predictor import CENTRES, CONFIG, ThresholdPredictor, discs, same_objects
from litesam import Segmenter
from litesam.merge import mask_nms, paint_labels
from litesam.types import Box, MaskRecord
from napari_litesam.candidates import (
    REJECTED,
    Candidates,
    Filters,
    Verdicts,
    collect,
    kept,
    passing,
    picture,
    to_objects,
    toggled,
)

SHAPE = (40, 40)


def block(y: int, x: int, side: int, score: float, stability: float = 1.0) -> MaskRecord:
    box = Box(y, x, y + side, x + side)
    return MaskRecord(box, np.ones((side, side), bool), score, stability, score)


def numbers(found: Candidates, filters: Filters, verdicts: Verdicts | None = None) -> list[int]:
    return np.flatnonzero(kept(found, filters, verdicts or Verdicts())).tolist()


@pytest.fixture
def nested() -> Candidates:
    """A good small mask in a worse large one, and one that lies apart; the best comes first."""
    return collect(
        [block(0, 0, 12, 0.6), block(2, 2, 6, 0.9), block(30, 30, 3, 0.7, 0.5)], SHAPE, Filters()
    )


def test_each_filter(nested) -> None:
    assert [int(a) for a in nested.area] == [36, 9, 144]
    assert numbers(nested, Filters()) == [0, 1, 2]
    assert numbers(nested, Filters(predicted_iou=0.65)) == [0, 1]
    assert numbers(nested, Filters(stability=0.8)) == [0, 2]
    assert numbers(nested, Filters(min_area=10)) == [0, 2]
    assert numbers(nested, Filters(max_area=100)) == [0, 1]
    assert numbers(nested, Filters(overlap=0.2)) == [0, 1], "their IoU is 0.25"
    assert numbers(nested, Filters(overlap=0.3)) == [0, 1, 2]
    # Who is filtered out suppresses nobody.
    assert numbers(nested, Filters(overlap=0.2, min_area=40)) == [2]


@pytest.mark.parametrize("iou", [0.1, 0.4, 0.8])
def test_overlap_is_that_of_the_engine(iou) -> None:
    random = np.random.default_rng(5)
    records = [
        block(*(int(v) for v in random.integers(0, 25, 2)), int(random.integers(3, 15)), float(s))
        for s in random.random(60)
    ]
    found = collect(records, SHAPE, Filters(), containment=0.9)
    stay = passing(found, Filters(overlap=iou))
    expected = mask_nms(records, iou, 0.9)
    assert [found.records[i] for i in np.flatnonzero(stay)] == expected


def test_verdicts_count_more_than_filters(nested) -> None:
    strict = Filters(predicted_iou=0.95)
    assert numbers(nested, strict) == []
    verdicts = toggled(nested, strict, Verdicts(), 31, 31)
    assert verdicts == Verdicts(accepted=frozenset({1}))
    assert numbers(nested, strict, verdicts) == [1]
    again = toggled(nested, strict, verdicts, 31, 31)
    assert again == Verdicts(rejected=frozenset({1}))
    assert numbers(nested, Filters(), again) == [0, 2]
    assert picture(nested, kept(nested, Filters(), again), again)[31, 31] == REJECTED
    assert toggled(nested, strict, Verdicts(), 20, 20) is None


def test_a_click_means_what_is_on_top(nested) -> None:
    first = toggled(nested, Filters(), Verdicts(), 4, 4)
    assert first == Verdicts(rejected=frozenset({0}))
    second = toggled(nested, Filters(), first, 4, 4)
    assert second == Verdicts(rejected=frozenset({0, 2})), "the whole lies below the part"
    # All are rejected: the smallest comes back first.
    assert toggled(nested, Filters(), second, 4, 4) == Verdicts(rejected=frozenset({2}))


def test_labels_are_what_is_to_be_seen(nested) -> None:
    filters = Filters(min_area=10)
    verdicts = Verdicts(accepted=frozenset({1}))
    is_kept = kept(nested, filters, verdicts)
    labels, _ = paint_labels(to_objects(nested, is_kept, filters, verdicts), SHAPE)
    seen = picture(nested, is_kept, verdicts)
    assert same_objects(labels, seen.astype(np.int32))
    assert np.unique(labels).size == 4, "the small one was accepted by hand"


def test_accepting_all_gives_what_everything_gives() -> None:
    image, truth = discs((128, 128), CENTRES)
    segmenter = Segmenter(image, ThresholdPredictor(), axes="YX")
    labels, _ = segmenter.everything(config=CONFIG)
    found = collect(segmenter.find_objects(config=CONFIG), (128, 128), Filters(overlap=0.7))
    objects = to_objects(found, kept(found, found.filters, Verdicts()), found.filters, Verdicts())
    reviewed, _ = paint_labels(objects, (128, 128))
    assert same_objects(reviewed, labels)
    assert same_objects(reviewed, truth)


def test_nothing_found() -> None:
    found = collect([], SHAPE, Filters())
    assert numbers(found, Filters(overlap=0.1)) == []
    assert found.largest == 0
    assert to_objects(found, kept(found, Filters(), Verdicts()), Filters(), Verdicts()) == []
