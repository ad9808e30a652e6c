"""Between the levels of a pyramid; no window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from litesam.types import Box, BoxPrompt, MaskRecord, PointPrompt, Prompts
from napari_litesam.levels import Scaling

SIZES = st.tuples(st.integers(3, 40), st.integers(3, 40))


@given(SIZES, st.tuples(st.integers(1, 5), st.integers(1, 5)), st.data())
def test_a_record_at_level_0_is_its_mask_at_level_0(level_yx, factors, data) -> None:
    (h, w), (fy, fx) = level_yx, factors
    # Levels of real pyramids are often rounded up.
    full = (h * fy - data.draw(st.integers(0, fy - 1)), w * fx - data.draw(st.integers(0, fx - 1)))
    scaling = Scaling(full, level_yx)
    y0, x0 = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, h)), data.draw(st.integers(x0 + 1, w))
    crop = np.random.default_rng(1).random((y1 - y0, x1 - x0)) > 0.4
    record = MaskRecord(Box(y0, x0, y1, x1), crop, 0.9, 0.8, 0.7)
    there = scaling.record(record)
    np.testing.assert_array_equal(there.mask(full), scaling.labels(record.mask(level_yx)))
    assert (there.predicted_iou, there.score) == (0.9, 0.7)


def test_prompts_keep_their_place() -> None:
    scaling = Scaling((400, 200), (100, 100))
    prompts = Prompts((PointPrompt(1.5, 0.5), PointPrompt(399.0, 199.0)), BoxPrompt(0, 0, 400, 20))
    there = scaling.prompts(prompts)
    # Level 0 rows 0 to 3 are row 0 of the level: their middle, 1.5, is its centre.
    assert (there.points[0].y, there.points[0].x) == (0.0, 0.0)
    assert there.points[1].y <= 99
    assert there.points[1].x <= 99
    assert there.box == BoxPrompt(0, 0, 100, 10)


def test_the_same_level_changes_nothing() -> None:
    scaling = Scaling((30, 20), (30, 20))
    prompts = Prompts((PointPrompt(3.0, 4.0),))
    assert scaling.prompts(prompts) is prompts
    labels = np.arange(600).reshape(30, 20)
    assert scaling.labels(labels) is labels
