"""Bits of neighbours are left out of Lite-SAM's masks; objects in pieces keep their pieces."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from litesam.io import read_image
from litesam.predictors import load_predictor
from litesam.predictors.windows import MAIN_SHARE, drop_loose_parts
from litesam.preprocess import to_rgb
from litesam.samples import sample_labels_path, sample_path
from litesam.types import PromptBatch

NOWHERE = np.zeros((0, 2), dtype=np.int64)


def _logits(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    logits = np.full((1, 1, 32, 32), -2.0, dtype=np.float32)
    for y0, x0, y1, x1 in boxes:
        logits[0, 0, y0:y1, x0:x1] = 3.0
    return logits


MAIN, BIT, FAR = (4, 4, 14, 14), (20, 20, 24, 24), (0, 28, 3, 32)


def test_bits_beside_the_main_part_are_left_out() -> None:
    logits = _logits(MAIN, BIT, FAR)
    before = logits.copy()
    drop_loose_parts(logits, [NOWHERE])
    assert np.array_equal(logits > 0, _logits(MAIN) > 0)
    assert (logits[0, 0, 20:24, 20:24] == -3.0).all()
    assert np.array_equal(np.abs(logits), np.abs(before))


def test_parts_that_touch_at_a_corner_are_one() -> None:
    logits = _logits(MAIN, (14, 14, 18, 18))
    before = logits.copy()
    drop_loose_parts(logits, [NOWHERE])
    assert np.array_equal(logits, before)


def test_object_in_pieces_stays_whole() -> None:
    logits = _logits((0, 0, 10, 10), (20, 20, 28, 30))  # 100 and 80 pixels: 56 %
    before = logits.copy()
    drop_loose_parts(logits, [NOWHERE])
    assert MAIN_SHARE > 100 / 180
    assert np.array_equal(logits, before)


def test_what_was_clicked_at_stays() -> None:
    logits = _logits(MAIN, BIT, FAR)
    drop_loose_parts(logits, [np.array([(5, 5), (21, 23)])])
    assert np.array_equal(logits > 0, _logits(MAIN, BIT) > 0)


def test_a_small_part_that_was_clicked_at_takes_no_other_away() -> None:
    logits = _logits(MAIN, BIT)
    before = logits.copy()
    drop_loose_parts(logits, [np.array([(21, 21)])])
    assert np.array_equal(logits, before)


def test_the_larger_part_goes_if_the_click_is_in_most_of_the_mask() -> None:
    logits = _logits((0, 0, 10, 8), (20, 0, 30, 8), (0, 20, 4, 30))  # 80, 80 and 40 pixels
    drop_loose_parts(logits, [np.array([(1, 1), (21, 1)])])
    assert np.array_equal(logits > 0, _logits((0, 0, 10, 8), (20, 0, 30, 8)) > 0)


@pytest.mark.parametrize("click", [(-1, 5), (40, 5), (16, 16)])
def test_clicks_outside_or_beside_the_mask_do_not_count(click: tuple[int, int]) -> None:
    logits = _logits(MAIN, BIT)
    drop_loose_parts(logits, [np.array([click])])
    assert np.array_equal(logits > 0, _logits(MAIN) > 0)


def test_every_candidate_of_every_object_by_itself() -> None:
    logits = np.concatenate([_logits(MAIN, BIT), _logits(BIT)])
    logits = np.concatenate([logits, _logits(MAIN).repeat(2, axis=0)], axis=1)
    drop_loose_parts(logits, [NOWHERE, np.array([(5, 5)])])
    wanted = [[_logits(MAIN), _logits(MAIN)], [_logits(BIT), _logits(MAIN)]]
    for found, row in zip(logits, wanted, strict=True):
        for mask, one in zip(found, row, strict=True):
            assert np.array_equal(mask > 0, one[0, 0] > 0)


def test_no_mask_at_all() -> None:
    logits = _logits()
    drop_loose_parts(logits, [np.array([(5, 5)])])
    assert (logits == -2.0).all()


def test_roomy_boxes_on_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.asarray(read_image(sample_labels_path("tissue")).array)
    predictor = load_predictor("lite_sam", device="cpu")
    image = np.asarray(read_image(sample_path("tissue")).array)
    embedding = predictor.encode(to_rgb(image).rgb)
    boxes = []
    for y, x in ndimage.find_objects(labels):
        height, width = y.stop - y.start, x.stop - x.start
        box = (y.start - height, x.start - width, y.stop + height, x.stop + width)
        boxes.append(np.clip(box, 0, np.tile(labels.shape, 2)))
    prompts = PromptBatch(boxes=np.array(boxes, dtype=np.float32))

    def in_parts() -> int:
        logits = predictor.decode(embedding, prompts, multimask=False).logits[:, 0]
        found = 0
        for mask in logits > 0:
            parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
            sizes = np.bincount(parts.ravel())[1:]
            found += count > 1 and sizes.max() >= MAIN_SHARE * sizes.sum()
        return found

    assert in_parts() == 0
    monkeypatch.setattr("litesam.predictors.lite_sam.drop_loose_parts", lambda *_: None)
    assert in_parts() > 0
