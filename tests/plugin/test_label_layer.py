"""Writing results into Labels layers: ids, overlaps, planes, undo. No window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Image, Labels

from litesam.errors import ImageError
from napari_litesam.label_layer import (
    commit_labels,
    commit_mask,
    fits,
    new_objects_layer,
    new_preview,
    next_id,
    show_preview,
    withdraw,
)


def test_commit_never_takes_pixels_of_another_object() -> None:
    layer = Labels(np.array([[0, 7, 0], [0, 7, 0]], np.int32))
    written = commit_mask(layer, np.ones((2, 3), bool), None)
    np.testing.assert_array_equal(layer.data, [[8, 7, 8], [8, 7, 8]])
    assert (written.objects, written.first_id, written.pixels, written.refused_px) == (1, 8, 4, 2)


def test_commit_that_lies_on_others_wholly_writes_nothing() -> None:
    layer = Labels(np.full((2, 3), 4, np.int32))
    written = commit_mask(layer, np.ones((2, 3), bool), None)
    assert written.objects == 0
    assert written.pixels == 0
    np.testing.assert_array_equal(layer.data, np.full((2, 3), 4))


def test_commit_into_one_plane() -> None:
    layer = Labels(np.zeros((2, 3, 4, 5), np.int32))
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    commit_mask(layer, mask, (1, 2))
    assert np.argwhere(layer.data).tolist() == [[1, 2, 1, 2]]


def test_ids_continue_over_planes() -> None:
    layer = Labels(np.zeros((2, 4, 5), np.int32))
    commit_mask(layer, np.eye(4, 5, dtype=bool), (0,))
    written = commit_mask(layer, np.eye(4, 5, dtype=bool), (1,))
    assert written.first_id == 2
    assert next_id(layer) == 3


def test_everything_beside_objects_leaves_no_slivers() -> None:
    data = np.zeros((10, 10), np.int32)
    data[2:6, 2:6] = 3
    layer = Labels(data.copy())
    labels = np.zeros((10, 10), np.int32)
    labels[1:7, 2:6] = 1  # the same object again, one row larger at each end
    labels[7:10, 0:10] = 2
    written = commit_labels(layer, labels, None)
    assert (written.objects, written.refused_objects) == (1, 1)
    np.testing.assert_array_equal(layer.data, np.where(labels == 2, 4, data))


def test_napari_undo_and_redo_of_a_commit() -> None:
    layer = Labels(np.zeros((4, 5), np.int32))
    commit_mask(layer, np.eye(4, 5, dtype=bool), None)
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    assert layer.data.sum() == 4


def test_withdraw_leaves_what_was_painted_over() -> None:
    layer = Labels(np.zeros((4, 5), np.int32))
    written = commit_mask(layer, np.eye(4, 5, dtype=bool), None)
    layer.data_setitem((np.array([0]), np.array([0])), 9)
    assert withdraw(written) == 3
    assert layer.data[0, 0] == 9
    assert layer.data.sum() == 9


def test_full_dtype_is_an_error_and_nothing_is_written() -> None:
    data = np.zeros((4, 5), np.uint8)
    data[0, 0] = 255
    layer = Labels(data.copy())
    with pytest.raises(ImageError, match="no room for the id 256"):
        commit_mask(layer, np.eye(4, 5, k=1, dtype=bool), None)
    np.testing.assert_array_equal(layer.data, data)


def test_wrong_size_is_an_error() -> None:
    with pytest.raises(ImageError, match="choose a Labels layer"):
        commit_mask(Labels(np.zeros((4, 5), np.int32)), np.zeros((5, 4), bool), None)


@given(
    arrays(np.int32, (5, 6), elements=st.integers(0, 3)),
    arrays(np.int32, (5, 6), elements=st.integers(0, 4)),
)
def test_written_objects_and_old_ones_never_mix(before, labels) -> None:
    layer = Labels(before.copy())
    written = commit_labels(layer, labels, None)
    old = before > 0
    np.testing.assert_array_equal(layer.data[old], before[old])
    new = layer.data[(layer.data > 0) & ~old]
    assert written.pixels == new.size
    assert set(np.unique(new)) == set(range(before.max() + 1, before.max() + 1 + written.objects))
    withdraw(written)
    np.testing.assert_array_equal(layer.data, before)


def test_preview_lies_on_the_plane_of_a_stack() -> None:
    image = Image(np.zeros((3, 4, 5)), scale=(9, 2, 3), translate=(1, 2, 3))
    layer = new_preview(image)
    assert layer.data.shape == (4, 5)
    np.testing.assert_allclose(layer.scale, (2, 3))
    show_preview(layer, np.eye(4, 5, dtype=bool))
    assert layer.data.sum() == 4
    show_preview(layer, None)
    assert not layer.data.any()


def test_objects_layer_has_the_axes_of_the_image_without_channels() -> None:
    stack = Image(np.zeros((2, 3, 4, 5)), scale=(1, 7, 2, 3))
    layer = new_objects_layer(stack, (1,))
    assert layer.data.shape == (3, 4, 5)
    np.testing.assert_allclose(layer.scale, (7, 2, 3))
    assert fits(layer, stack, (1,))
    assert not fits(layer, stack, (0, 1))
    colour = Image(np.zeros((4, 5, 3), np.uint8), rgb=True)
    assert new_objects_layer(colour, ()).data.shape == (4, 5)
