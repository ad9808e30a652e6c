"""Writing results into Labels layers: ids, overlaps, planes, undo. No window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.layers import Image, Labels

from litesam.errors import ImageError
from litesam.merge import records_from_labels
from napari_litesam.label_layer import fits, new_objects_layer, new_preview, show_preview
from napari_litesam.writes import LabelWriter, stroke_of


def test_commit_never_takes_pixels_of_another_object() -> None:
    layer = Labels(np.array([[0, 7, 0], [0, 7, 0]], np.int32))
    commit = LabelWriter().commit(layer, np.ones((2, 3), bool), None)
    np.testing.assert_array_equal(layer.data, [[8, 7, 8], [8, 7, 8]])
    assert (commit.ids, commit.pixels, commit.refused_px) == ((8,), 4, 2)


def test_commit_that_lies_on_others_wholly_writes_nothing() -> None:
    layer = Labels(np.full((2, 3), 4, np.int32))
    commit = LabelWriter().commit(layer, np.ones((2, 3), bool), None)
    assert commit.objects == 0
    assert commit.pixels == 0
    np.testing.assert_array_equal(layer.data, np.full((2, 3), 4))


def test_commit_into_one_plane() -> None:
    layer = Labels(np.zeros((2, 3, 4, 5), np.int32))
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    LabelWriter().commit(layer, mask, (1, 2))
    assert np.argwhere(layer.data).tolist() == [[1, 2, 1, 2]]


def test_ids_continue_over_planes_and_strokes() -> None:
    layer = Labels(np.zeros((2, 4, 5), np.int32))
    writer = LabelWriter()
    writer.commit(layer, np.eye(4, 5, dtype=bool), (0,))
    assert writer.commit(layer, np.eye(4, 5, dtype=bool), (1,)).ids == (2,)
    assert writer.next_id(layer) == 3
    strokes: list[Any] = []
    layer.events.paint.connect(lambda event: strokes.append(stroke_of(layer, event.value)))
    layer.data_setitem((np.array([0]), np.array([1]), np.array([0])), 11)
    writer.note(layer, strokes[0])
    assert writer.next_id(layer) == 12


def test_everything_beside_objects_leaves_no_slivers() -> None:
    data = np.zeros((10, 10), np.int32)
    data[2:6, 2:6] = 3
    layer = Labels(data.copy())
    labels = np.zeros((10, 10), np.int32)
    labels[1:7, 2:6] = 1  # the same object again, one row larger at each end
    labels[7:10, 0:10] = 2
    commit = LabelWriter().commit_all(layer, records_from_labels(labels), None)
    assert commit.ids == (0, 4), "no id is left out"
    np.testing.assert_array_equal(layer.data, np.where(labels == 2, 4, data))


def test_withdraw_leaves_what_was_painted_over() -> None:
    layer = Labels(np.zeros((4, 5), np.int32))
    writer = LabelWriter()
    commit = writer.commit(layer, np.eye(4, 5, dtype=bool), None)
    layer.data_setitem((np.array([0]), np.array([0])), 9)
    assert writer.withdraw(layer, commit.change).pixels == 3
    assert layer.data[0, 0] == 9
    assert layer.data.sum() == 9
    assert writer.write_again(layer, commit.change).pixels == 3
    assert layer.data[0, 0] == 9


def test_full_dtype_is_an_error_and_nothing_is_written() -> None:
    data = np.zeros((4, 5), np.uint8)
    data[0, 0] = 255
    layer = Labels(data.copy())
    with pytest.raises(ImageError, match="no room for the id 256"):
        LabelWriter().commit(layer, np.eye(4, 5, k=1, dtype=bool), None)
    np.testing.assert_array_equal(layer.data, data)


def test_wrong_size_is_an_error() -> None:
    with pytest.raises(ImageError, match="same size"):
        LabelWriter().commit(Labels(np.zeros((4, 5), np.int32)), np.zeros((5, 4), bool), None)


@given(
    arrays(np.int32, (5, 6), elements=st.integers(0, 3)),
    arrays(np.int32, (5, 6), elements=st.integers(0, 4)),
    st.sampled_from(["never_overwrite", "overwrite", "free_area"]),
)
def test_written_objects_and_old_ones(before, labels, policy) -> None:
    layer, writer = Labels(before.copy()), LabelWriter()
    commit = writer.commit_all(layer, records_from_labels(labels), None, policy=policy)
    ids = [number for number in commit.ids if number]
    assert ids == list(range(before.max() + 1, before.max() + 1 + len(ids)))
    assert commit.pixels == np.isin(layer.data, ids).sum()
    old = before > 0
    if policy != "overwrite":
        np.testing.assert_array_equal(layer.data[old], before[old])
    writer.withdraw(layer, commit.change)
    np.testing.assert_array_equal(layer.data, before)


@given(st.data())
def test_strokes_of_napari_can_be_taken_back(data) -> None:
    """Brush, polygon, fill and single pixels, in one stroke or several, told before or after."""
    start = data.draw(arrays(np.int32, (2, 9, 8), elements=st.integers(0, 2)))
    layer, writer = Labels(start.copy()), LabelWriter()
    layer.brush_size = 3
    changes = []

    def note(event: Any) -> None:
        if not writer.writing:
            changes.append(stroke_of(layer, event.value))

    layer.events.paint.connect(note)
    spot = st.tuples(st.just(0), st.integers(0, 8), st.integers(0, 7))
    for tool in data.draw(st.lists(st.sampled_from(["paint", "fill", "set", "drag"]), max_size=4)):
        at, value = data.draw(spot), data.draw(st.integers(0, 4))
        if tool == "paint":
            layer.paint(at, value)
        elif tool == "fill":
            layer.fill(at, value)
        elif tool == "set":
            layer.data_setitem(tuple(np.array([place]) for place in at), value)
        else:
            with layer.block_history():
                layer.paint(at, value)
                layer.paint(data.draw(spot), value + 1)
    after = layer.data.copy()
    for change in reversed(changes):
        writer.withdraw(layer, change)
    np.testing.assert_array_equal(layer.data, start)
    for change in changes:
        writer.write_again(layer, change)
    np.testing.assert_array_equal(layer.data, after)


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
    layer = new_objects_layer(stack)
    assert layer.data.shape == (3, 4, 5)
    np.testing.assert_allclose(layer.scale, (7, 2, 3))
    assert fits(layer, stack)
    assert not fits(layer, Image(np.zeros((2, 3, 4, 5)), axis_labels=("t", "z", "y", "x")))
    colour = Image(np.zeros((4, 5, 3), np.uint8), rgb=True)
    assert new_objects_layer(colour).data.shape == (4, 5)
