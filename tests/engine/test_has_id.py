"""Whether a label image has an object."""

from __future__ import annotations

import numpy as np
import pytest

from litesam.objects import has_id


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 3, 4, 5), (2500, 3)])
def test_an_id_is_found_wherever_it_is(shape) -> None:
    for place in (0, -1):
        labels = np.zeros(shape, np.int32)
        labels.reshape(-1)[place] = 7
        assert has_id(labels, 7)
        assert not has_id(labels, 6)


def test_an_empty_array_has_none() -> None:
    assert not has_id(np.zeros((0, 4), np.int32), 1)
