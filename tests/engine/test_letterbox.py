"""Letterboxing: where the picture lies, and the arithmetic of its resampling.

That whole pictures are those of the reference, bit by bit, is tested in ``tests/parity``.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litesam.frames import fit_letterbox
from litesam.preprocess.letterbox import PADDING, letterbox_rgb

SIDES = st.integers(1, 90)


@given(height=SIDES, width=SIDES)
def test_content_lies_centred_in_grey(height: int, width: int) -> None:
    rgb = np.full((height, width, 3), 7, np.uint8)
    frame = fit_letterbox((height, width), 96)
    box = letterbox_rgb(rgb, frame)
    assert box.shape == (*frame.input_yx, 3)
    assert all(side % 32 == 0 for side in frame.input_yx)
    (y, x), (h, w) = frame.content_origin_yx, frame.content_yx
    assert (box[y : y + h, x : x + w] == 7).all()
    box[y : y + h, x : x + w] = PADDING
    assert (box == PADDING).all()
    for before, content, side in zip((y, x), (h, w), frame.input_yx, strict=True):
        assert 0 <= side - content - 2 * before <= 1


def test_picture_of_the_right_size_stays_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(letterbox_rgb(rgb, fit_letterbox((64, 96), 96)), rgb)


def test_enlarging_by_two_by_hand() -> None:
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[10, 10] = 160
    box = letterbox_rgb(rgb, fit_letterbox((32, 32), 64))
    # Pixels of the target lie at quarters: weights 3/4 and 1/4 on each axis.
    np.testing.assert_array_equal(
        box[19:23, 19:23, 0],
        [[10, 30, 30, 10], [30, 90, 90, 30], [30, 90, 90, 30], [10, 30, 30, 10]],
    )
    assert box.sum() == 3 * 640


def test_halving_is_the_mean_of_four() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    box = letterbox_rgb(rgb, fit_letterbox((64, 128), 64))
    blocks = rgb.reshape(32, 2, 64, 2, 3).astype(int).sum(axis=(1, 3))
    np.testing.assert_array_equal(box, (blocks + 2) >> 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (700, 2)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    box = letterbox_rgb(np.full((*shape, 3), 200, np.uint8), fit_letterbox(shape, 64))
    assert set(np.unique(box)) <= {PADDING, 200}


def test_strong_reduction_is_not_antialiased() -> None:
    rgb = np.zeros((256, 256, 3), np.uint8)
    rgb[::8] = 255  # every eighth line falls between the samples of a reduction by four
    assert letterbox_rgb(rgb, fit_letterbox((256, 256), 64)).max() == 0
