"""Masks between masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litesam.errors import ConfigError, ImageError
from litesam.merge import bridge

Mask = npt.NDArray[np.bool_]


def disc(radius: float, centre: tuple[float, float] = (20, 20), side: int = 41) -> Mask:
    y, x = np.indices((side, side))
    found: Mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return found


def test_between_equal_masks_lies_the_same_mask() -> None:
    ring = disc(12) & ~disc(6)
    np.testing.assert_array_equal(bridge(ring, ring, 3), np.array([ring] * 3))


def test_radii_of_discs_are_interpolated_linearly() -> None:
    between = bridge(disc(4), disc(16), 5)
    for step, mask in enumerate(between, start=1):
        radius = 4 + 12 * step / 6
        wanted = disc(radius)
        # The outline is known to half a pixel on each side.
        assert np.count_nonzero(mask ^ wanted) <= 2 * np.pi * radius
        assert not (mask & ~disc(radius + 1)).any()
        assert not (disc(radius - 1) & ~mask).any()


def test_a_mask_that_jumps_moves_steadily() -> None:
    between = bridge(disc(5, (10, 10)), disc(5, (30, 26)), 3)
    for mask, centre in zip(between, ((15, 14), (20, 18), (25, 22)), strict=True):
        np.testing.assert_array_equal(mask, disc(5, centre))


def test_what_moves_over_the_rim_is_cut_there() -> None:
    # A bar that leaves room for nothing but itself; shapes of other sizes are centred on the way.
    low, high = np.zeros((6, 30), dtype=bool), np.zeros((6, 30), dtype=bool)
    low[:, :4], high[:, 20:30] = True, True
    between = bridge(low, high, 4)
    assert between.any(axis=(1, 2)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 6))
def test_a_bridge_holds_what_both_share_and_nothing_that_neither_has(seed: int, steps: int) -> None:
    random = np.random.default_rng(seed)
    above = random.random((9, 12)) < 0.6
    below = above ^ (random.random((9, 12)) < 0.15)  # so much alike that nothing moves
    between = bridge(above, below, steps)
    assert between.shape == (steps, 9, 12)
    if above.any() and below.any():
        for mask in between:
            assert not (above & below & ~mask).any()
            assert not (mask & ~(above | below)).any()


def test_there_is_no_bridge_from_nothing() -> None:
    assert not bridge(disc(5) & False, disc(5), 3).any()
    assert not bridge(disc(5), disc(5) & False, 3).any()


def test_what_cannot_be_bridged_is_refused() -> None:
    with pytest.raises(ImageError, match="shapes"):
        bridge(np.ones((2, 2), bool), np.ones((2, 3), bool), 1)
    with pytest.raises(ConfigError, match="-1"):
        bridge(np.ones((2, 2), bool), np.ones((2, 2), bool), -1)
