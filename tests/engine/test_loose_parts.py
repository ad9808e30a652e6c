"""Bits of neighbours are left out of Lite-SAM's masks; objects in pieces keep their pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from litesam.io import read_image
from litesam.predictors import load_predictor
from litesam.predictors.windows import MAIN_SHARE, drop_loose_parts
from litesam.preprocess import to_rgb
from litesam.samples import sample_labels_path, sample_path
from litesam.types import PromptBatch

if TYPE_CHECKING:
    from litesam.predictors import Predictor
    from litesam.types import Embedding

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


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("lite_sam", device="cpu")


@pytest.fixture(scope="module")
def embedding(predictor: Predictor) -> Embedding:
    image = np.asarray(read_image(sample_path("tissue")).array)
    return predictor.encode(to_rgb(image).rgb)


@pytest.fixture(scope="module")
def roomy() -> np.ndarray:
    """A box around each nucleus of the sample, three times as high and wide."""
    labels = np.asarray(read_image(sample_labels_path("tissue")).array)
    boxes = []
    for y, x in ndimage.find_objects(labels):
        height, width = y.stop - y.start, x.stop - x.start
        box = (y.start - height, x.start - width, y.stop + height, x.stop + width)
        boxes.append(np.clip(box, 0, np.tile(labels.shape, 2)))
    return np.array(boxes, dtype=np.float32)


@pytest.fixture(scope="module")
def both(
    predictor: Predictor, embedding: Embedding, roomy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks as they are, and as they would be with all their parts."""

    def masks() -> np.ndarray:
        return predictor.decode(embedding, PromptBatch(boxes=roomy), multimask=False).logits[:, 0]

    found = masks() > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("litesam.predictors.lite_sam.drop_loose_parts", lambda *_: None)
        return found, masks() > 0


def _in_parts(masks: np.ndarray) -> int:
    """How many masks have parts beside a main one."""
    found = 0
    for mask in masks:
        parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        found += count > 1 and sizes.max() >= MAIN_SHARE * sizes.sum()
    return found


def test_masks_in_roomy_boxes_are_one_piece(both: tuple[np.ndarray, np.ndarray]) -> None:
    found, with_all_parts = both
    assert _in_parts(found) == 0
    assert _in_parts(with_all_parts) > 5


def test_a_click_brings_a_part_back(
    predictor: Predictor,
    embedding: Embedding,
    roomy: np.ndarray,
    both: tuple[np.ndarray, np.ndarray],
) -> None:
    left_out = both[1] & ~both[0]
    for index in np.argsort(left_out.sum(axis=(1, 2)))[-5:]:
        inside = ndimage.distance_transform_edt(left_out[index])
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        frame = embedding.frame
        pixel = frame.input_yx[0] / len(inside)  # of the model, for one of the logits
        place = (np.array([[[y, x]]]) * pixel + (pixel - 1) / 2) / frame.scale_yx
        click = PromptBatch(
            points=place.astype(np.float32), labels=np.ones((1, 1)), boxes=roomy[index][None]
        )
        assert predictor.decode(embedding, click, multimask=False).logits[0, 0, y, x] > 0
