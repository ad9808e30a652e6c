"""Run lengths, against values computed by hand from the description of the format."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from litesam.errors import ReadError
from litesam.io import (
    mask_from_runs,
    run_lengths,
    run_lengths_in_plane,
    runs_from_text,
    runs_to_text,
)
from litesam.types import Box


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 1], [1, 1]], [1, 3]),  # columns: 0 1 | 1 1
        ([[1, 0, 0], [0, 0, 1]], [0, 1, 4, 1]),  # columns: 1 0 | 0 0 | 0 1
    ],
)
def test_runs_go_down_the_columns(mask: list[list[int]], counts: list[int]) -> None:
    array = np.array(mask, dtype=bool)
    assert run_lengths(array) == counts
    np.testing.assert_array_equal(mask_from_runs(counts, array.shape), array)


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([4], "4"),
        ([0, 4], "04"),
        ([15], "?"),  # 48 + 15
        ([16], "`0"),  # 10000 has the sign bit: 16 + more = 48 → 96 "`", then 0
        ([31], "o0"),
        ([32], "P1"),  # 00000 and more: 48 + 32 = 80 "P", then 1
        ([1000], "Xo0"),  # 1000 = 0 | 31 << 5: 01000 + more → 40 + 48 "X"; 31 + more "o"; 0
        ([5, 6, 7, 8], "5672"),  # the fourth is 8 - 6
        ([5, 6, 7, 2], "567L"),  # 2 - 6 = -4 = 11100 without more: 28 + 48 = 76 "L"
    ],
)
def test_text_is_that_of_the_format(counts: list[int], text: str) -> None:
    assert runs_to_text(counts) == text
    assert runs_from_text(text) == counts


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_mask_and_text_there_and_back(mask: np.ndarray) -> None:
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    assert runs_from_text(runs_to_text(counts)) == counts
    np.testing.assert_array_equal(mask_from_runs(counts, mask.shape), mask)


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 5))),
    st.tuples(*[st.integers(0, 3)] * 4),
)
def test_crop_in_a_plane_is_the_whole_mask(
    crop: np.ndarray, margins: tuple[int, int, int, int]
) -> None:
    above, below, left, right = margins
    whole = np.pad(crop, ((above, below), (left, right)))
    box = Box(above, left, above + crop.shape[0], left + crop.shape[1])
    assert run_lengths_in_plane(crop, box, whole.shape) == run_lengths(whole)


def test_damaged_runs_are_refused() -> None:
    with pytest.raises(ReadError, match="add up to 5 pixels"):
        mask_from_runs([2, 3], (2, 2))
    with pytest.raises(ReadError, match="middle of a number"):
        runs_from_text("X")
    with pytest.raises(ReadError, match="no compressed run lengths"):
        runs_from_text("4 4")
