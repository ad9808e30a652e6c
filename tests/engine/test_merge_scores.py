from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from litesam.frames import Frame, fit_longest_side
from litesam.merge import fuse_scores, record_from_masks, stability_score
from litesam.types import Box, Masks


def test_stability_is_the_share_of_the_loose_mask_that_stays_in_the_strict_one() -> None:
    logits = np.full((8, 8), -5.0)
    logits[2:6, 2:6] = 0.5  # 16 pixels between the thresholds …
    logits[3:5, 3:5] = 3.0  # … of which 4 are far inside
    assert stability_score(logits, offset=1.0) == 4 / 16
    assert stability_score(logits, offset=0.25) == 1.0


def test_stability_of_a_mask_without_pixels_is_zero() -> None:
    assert stability_score(np.full((8, 8), -5.0), offset=1.0) == 0.0


def test_stability_of_a_stack_has_one_value_for_each_mask() -> None:
    assert stability_score(np.zeros((2, 3, 4, 4)), offset=1.0).shape == (2, 3)


unit = st.floats(0.0, 1.0)


@given(unit, unit, unit)
def test_fused_score_is_monotonous_and_stays_on_the_scale(a: float, b: float, c: float) -> None:
    low, high = sorted((a, b))
    assert 0.0 <= fuse_scores(low, c) <= fuse_scores(high, c) <= 1.0
    assert fuse_scores(a, a) == pytest.approx(a)


def _masks(logits: np.ndarray, frame: Frame, low_res: int, origins: object = None) -> Masks:
    iou = np.full(logits.shape[:2], 0.9, dtype=np.float32)
    return Masks(logits.astype(np.float32), iou, frame, (low_res, low_res), origins)  # type: ignore[arg-type]


FRAMES = {
    "enlarged": fit_longest_side((20, 30), 64, (5, 7)),
    "as it is": fit_longest_side((64, 64), 64),
    "reduced": fit_longest_side((150, 90), 64, (3, 0)),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@given(data=st.data())
def test_record_has_the_pixels_and_the_stability_of_the_whole_mask(
    frame: Frame, data: st.DataObject
) -> None:
    # Blocks, so that objects are small and large parts are left out of the resampling.
    blocks = data.draw(hnp.arrays(np.float32, (4, 4), elements=st.sampled_from([-4, -1.5, 0.5, 6])))
    logits = np.kron(blocks, np.ones((4, 4)))[None, None]
    masks = _masks(logits, frame, 16)
    record = record_from_masks(masks, 0, stability_offset=1.0)

    (oy, ox), (height, width) = frame.origin_yx, frame.size_yx
    whole = np.zeros((oy + height, ox + width), dtype=bool)
    whole[oy:, ox:] = masks.to_image()[0, 0]
    assert np.array_equal(record.mask(whole.shape), whole)

    rows, columns = frame.resampling((16, 16))
    full = rows @ masks.logits[0, 0] @ columns.T
    # A logit next to a threshold may fall on either side: the sums have another order.
    if np.abs(np.abs(full) - 1.0).min() > 1e-4:
        assert record.stability == pytest.approx(float(stability_score(full, 1.0)))


def test_windowed_mask_equals_the_whole_one_where_the_object_ends_inside_the_window() -> None:
    frame = fit_longest_side((90, 120), 128, (10, 20))
    whole = np.full((1, 1, 64, 64), -6.0)
    whole[0, 0, 20:30, 24:40] = 5.0
    window = whole[:, :, 12:40, 16:48]
    expected = record_from_masks(_masks(whole, frame, 64), 0)
    record = record_from_masks(_masks(window, frame, 64, np.array([[12, 16]])), 0)
    assert record.box == expected.box
    assert np.array_equal(record.crop, expected.crop)
    assert record.stability == expected.stability


def test_record_of_nothing_has_an_empty_box_and_no_pixels() -> None:
    masks = _masks(np.full((1, 1, 16, 16), -3.0), FRAMES["enlarged"], 16)
    record = record_from_masks(masks, 0, point=(6.0, 8.0))
    assert (record.box, record.area, record.stability) == (Box(5, 7, 5, 7), 0, 0.0)


def test_record_score_is_the_predicted_iou_or_its_fusion_with_the_confidence() -> None:
    masks = _masks(np.full((1, 1, 16, 16), 3.0), FRAMES["as it is"], 16)
    assert record_from_masks(masks, 0).score == pytest.approx(0.9)
    assert record_from_masks(masks, 0, confidence=0.4).score == pytest.approx(0.6)
