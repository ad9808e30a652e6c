"""Channels behind slices or times, as ImageJ has them: objects are seen where they were made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.io import read_labels
from litesam.session import replay
from napari_litesam import label_layer
from napari_litesam.label_axes import WithChannels, array_of
from napari_litesam.label_layer import misfit, new_disk_layer
from napari_litesam.levels import LevelPlace

FIRST, SECOND, THIRD = CENTRES


def shown(layer: Any) -> np.ndarray:
    """What napari draws of a layer: its slice, empty where the sliders are outside of it."""
    return np.asarray(layer._slice.image.raw)


def pixel(hands: Any, yx: tuple[float, float]) -> np.ndarray:
    """Colour of the canvas over a pixel of the image."""
    hands.qtbot.wait(50)
    at = hands.at(hands.image, yx)
    screen = hands.viewer.screenshot(canvas_only=True, flash=False)
    return screen[at.y(), at.x(), :3].astype(int)


def look(hands: Any, *step: int) -> None:
    for axis, at in enumerate(step):
        hands.viewer.dims.set_current_step(axis, at)
    hands.settle()


def commit(hands: Any, yx: tuple[float, float]) -> None:
    hands.press("positive")
    hands.click(yx)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


CASES = [
    ("zcyx", (6, 2), (5.0, 1.0), (4, 0)),
    ("tcyx", (6, 3), (1.0, 1.0), (5, 2)),
    ("tzcyx", (3, 6, 2), (1.0, 5.0, 1.0), (2, 4, 1)),
    ("tczyx", (3, 2, 6), (2.0, 1.0, 5.0), (2, 0, 4)),
]


@pytest.mark.parametrize(("axes", "leading", "scale", "at"), CASES)
def test_objects_are_seen_in_their_slice_at_every_channel(
    predictor, open_panel, cells, axes, leading, scale, at
) -> None:
    image, labels = cells
    stack = np.broadcast_to(image, (*leading, *image.shape)).copy()
    hands = open_panel(stack, scale=(*scale, 0.5, 0.5), axis_labels=tuple(axes))
    sliders = hands.viewer.dims.range
    look(hands, *at)
    before = pixel(hands, FIRST)
    commit(hands, FIRST)
    assert hands.viewer.dims.range == sliders
    assert hands.viewer.dims.current_step[: len(leading)] == at
    channel = axes.index("c")
    plane = tuple(place for axis, place in enumerate(at) if axis != channel)
    assert array_of(hands.objects).shape == (
        *(n for axis, n in enumerate(leading) if axis != channel),
        *image.shape,
    )
    np.testing.assert_array_equal(array_of(hands.objects)[plane] > 0, labels == 1)
    for number in range(leading[channel]):
        hands.viewer.dims.set_current_step(channel, number)
        np.testing.assert_array_equal(shown(hands.objects) > 0, labels == 1)
        assert np.abs(pixel(hands, FIRST) - before).sum() > 50, "it is on the canvas"
    other = next(axis for axis in range(len(leading)) if axis != channel)
    hands.viewer.dims.set_current_step(other, at[other] - 1)
    assert not shown(hands.objects).any()
    assert np.abs(pixel(hands, FIRST) - before).sum() < 20
    inside = (*at, 3.0, 7.0)
    world = hands.image.data_to_world(inside)
    back = np.delete(hands.objects.world_to_data(world), channel)
    np.testing.assert_allclose(back, np.delete(inside, channel))


@pytest.fixture
def zcyx(predictor, open_panel, cells) -> Any:
    """A stack of two channels, with an object in slice 4, made at channel 1."""
    image = np.broadcast_to(cells[0], (6, 2, *cells[0].shape)).copy()
    hands = open_panel(image, scale=(5.0, 1.0, 1.0, 1.0), axis_labels=("z", "c", "y", "x"))
    look(hands, 4, 1)
    commit(hands, FIRST)
    return hands


def test_keys_under_the_mouse(zcyx, cells) -> None:
    hands, labels = zcyx, cells[1]
    look(hands, 4, 0)
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_E)  # choose
    hands.settle()
    assert hands.widget.state.selected == {1}
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_R)  # open again
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert set(np.unique(array_of(hands.objects))) == {0, 1}
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_M)  # its outline as a prompt
    hands.settle()
    assert hands.widget.controller.prompts.boxes.nshapes == 1
    hands.press("undo")
    hands.settle()
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_X)  # delete
    hands.settle()
    assert not array_of(hands.objects).any()
    hands.press("undo")
    hands.settle()
    np.testing.assert_array_equal(array_of(hands.objects)[4] == 1, labels == 1)


def test_a_row_of_the_table_leads_to_the_object(zcyx) -> None:
    hands = zcyx
    look(hands, 0, 0)
    hands.widget.controller.fly_to(1)
    hands.settle()
    assert hands.viewer.dims.current_step[:2] == (4, 0), "the channel stays"
    assert shown(hands.objects).any()


def test_napari_paints_and_undo_takes_it_back(zcyx, cells) -> None:
    hands = zcyx
    look(hands, 2, 0)
    hands.paint(7, THIRD, size=9)
    assert hands.objects.data.shape == (6, 1, 128, 128)
    assert array_of(hands.objects)[2][THIRD] == 7
    assert {row.id for row in hands.widget.state.objects} == {1, 7}
    look(hands, 2, 1)
    assert shown(hands.objects)[THIRD] == 7
    hands.press("undo")
    hands.settle()
    assert not array_of(hands.objects)[2].any()
    hands.press("redo")
    hands.settle()
    assert array_of(hands.objects)[2][THIRD] == 7


def test_files_have_no_axis_for_channels(zcyx, tmp_path) -> None:
    hands = zcyx
    hands.widget.objects.exported.emit(str(tmp_path / "o.ome.tif"))
    hands.settle()
    written = read_labels(tmp_path / "o.ome.tif")
    assert (written.axes, written.array.shape) == ("ZYX", (6, 128, 128))
    np.testing.assert_array_equal(np.asarray(written.array), array_of(hands.objects))
    assert written.scale[0] == 5.0


def test_labels_without_the_axis_get_it_when_they_are_chosen(predictor, open_panel, cells) -> None:
    image, labels = cells
    stack = np.broadcast_to(image, (6, 2, *image.shape)).copy()
    hands = open_panel(stack, scale=(5.0, 1.0, 1.0, 1.0), axis_labels=("z", "c", "y", "x"))
    sliders = hands.viewer.dims.range
    mine = np.zeros((6, *image.shape), np.int32)
    mine[3][labels == 2] = 9
    layer = hands.viewer.add_labels(mine, name="mine")
    hands.settle()
    assert hands.viewer.dims.range != sliders, "napari takes its slices for channels"
    hands.pick("target", "mine")
    hands.settle()
    assert "gets an axis in their place" in hands.status
    assert hands.objects is layer
    assert hands.viewer.dims.range == sliders
    look(hands, 3, 1)
    np.testing.assert_array_equal(shown(layer) == 9, labels == 2)
    commit(hands, FIRST)
    assert (mine[3] == 10).sum() == (labels == 1).sum(), "it is the user's own array"


def test_a_session_comes_back_and_replays(zcyx, cells, tmp_path) -> None:
    hands, labels = zcyx, cells[1]
    hands.paint(7, THIRD, size=9)
    wanted = array_of(hands.objects).copy()
    controller = hands.widget.controller
    session = controller.keeper.session(hands.objects)
    assert session.image.shape == (6, 2, 128, 128)
    done = replay(session, hands.image.data)
    np.testing.assert_array_equal(done.labels, wanted)
    hands.widget.session.saved.emit(str(tmp_path / "s.json"))
    hands.settle()
    controller.keeper.flush()
    hands.viewer.layers.remove(hands.objects)
    hands.settle()
    hands.widget.session.opened.emit(str(tmp_path / "s.json"))
    hands.settle()
    np.testing.assert_array_equal(array_of(hands.objects), wanted)
    look(hands, 4, 0)
    assert (shown(hands.objects)[labels == 1] > 0).all()


def test_large_planes_are_pyramids_with_the_axis(predictor, open_panel, cells, monkeypatch) -> None:
    monkeypatch.setattr(label_layer, "LARGE_FROM_PX", 1000)
    monkeypatch.setattr(label_layer, "_COARSEST_PX", 30)
    image, labels = cells
    stack = np.broadcast_to(image, (6, 2, *image.shape)).copy()
    hands = open_panel(stack, axis_labels=("z", "c", "y", "x"))
    look(hands, 4, 1)
    commit(hands, FIRST)
    assert hands.objects.multiscale
    np.testing.assert_array_equal(array_of(hands.objects)[4] > 0, labels == 1)
    look(hands, 4, 0)
    assert shown(hands.objects).any()
    hands.paint(7, THIRD, size=9)
    assert array_of(hands.objects)[4][THIRD] == 7
    hands.press("undo")
    hands.settle()
    np.testing.assert_array_equal(array_of(hands.objects)[4] > 0, labels == 1)
    look(hands, 3, 0)
    assert not shown(hands.objects).any()


def test_labels_that_napari_saved_are_chosen_again(zcyx, tmp_path) -> None:
    hands = zcyx
    hands.viewer.layers.selection.active = hands.objects
    (path,) = hands.viewer.layers.save(str(tmp_path / "mine.tif"), selected=True)
    wanted = array_of(hands.objects).copy()
    hands.viewer.layers.remove(hands.objects)
    (layer,) = hands.viewer.open(path, layer_type="labels", plugin="napari")
    hands.settle()
    hands.pick("target", layer.name)
    hands.settle()
    assert hands.objects is layer
    np.testing.assert_array_equal(array_of(layer), wanted)
    look(hands, 4, 1)
    assert shown(layer).any()
    look(hands, 4, 0)
    assert shown(layer).any()


def test_a_volume_lies_on_its_image(predictor, open_panel, cells, tmp_path) -> None:
    image, labels = cells
    stack = np.broadcast_to(np.where(labels > 0, image, 0), (6, 2, *image.shape)).copy()
    hands = open_panel(stack, scale=(5.0, 1.0, 1.0, 1.0), axis_labels=("z", "c", "y", "x"))
    look(hands, 2, 1)
    sliders = hands.viewer.dims.range
    section = hands.widget.volume
    section.expand(animate=False)
    hands.until(lambda: section.start.height() > 0)
    for name, value in {
        "output": tmp_path / "labels.ome.zarr",
        "diameter": 8,
        "first": 1,
        "last": 4,
    }.items():
        hands.type_in(getattr(section, name), str(value))
    hands.settle()
    hands.press("volume.start")
    hands.settle()
    assert "3 objects in 4 slices" in hands.status
    (layer,) = hands.widget.controller._layers.on_disk()
    assert array_of(layer).shape == (4, 128, 128)
    assert hands.viewer.dims.range == sliders
    for channel in range(2):
        look(hands, 4, channel)
        np.testing.assert_array_equal(shown(layer) > 0, labels > 0)
        look(hands, 0, channel)
        assert not shown(layer).any()
    hands.press("volume.least")
    hands.settle()
    assert hands.viewer.dims.current_step[1] == 1, "the channel stays"
    assert hands.viewer.dims.current_step[0] in range(1, 5)
    hands.press("volume.copy")
    hands.settle()
    copy = array_of(hands.objects)
    np.testing.assert_array_equal(copy[1:5] > 0, np.stack([labels > 0] * 4))
    look(hands, 4, 0)
    np.testing.assert_array_equal(shown(hands.objects) > 0, labels > 0)
    # What napari opened is laid over the image.
    hands.viewer.layers.remove(layer)
    hands.viewer.layers.remove(hands.objects)
    hands.settle()
    hands.viewer.open(str(tmp_path / "labels.ome.zarr"), plugin="napari-litesam")
    hands.settle()
    assert "is open: 3 objects" in hands.status
    (layer,) = hands.widget.controller._layers.on_disk()
    for channel in range(2):
        look(hands, 4, channel)
        np.testing.assert_array_equal(shown(layer) > 0, labels > 0)
    hands.image.scale = (7.0, 1.0, 2.0, 2.0)
    hands.settle()
    assert layer.scale.tolist() == [7.0, 2.0, 2.0, 2.0], "one pixel for two channels"
    assert layer.translate.tolist() == [7.0, 0.5, 0.0, 0.0], "it begins at slice 1"


def test_objects_are_carried_through_the_slices(zcyx, cells) -> None:
    hands, labels = zcyx, cells[1]
    hands.widget.volume.expand(animate=False)
    hands.pick("volume.mode", "propagate")
    hands.settle()
    look(hands, 4, 1)
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_E)
    hands.settle()
    hands.press("volume.propagate.carry")
    hands.settle()
    data = array_of(hands.objects)
    assert data.any(axis=(1, 2)).all()
    look(hands, 0, 0)
    found = shown(hands.objects) == 1
    assert (found & (labels == 1)).sum() / (found | (labels == 1)).sum() > 0.9


KEYS = [
    (3,),
    (slice(1, 3), 0),
    (slice(1, 3), slice(0, 1), 2),
    (2, slice(None), slice(1, 3), slice(None, None, 2)),
    (slice(None), slice(0, 0)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_labels_on_the_disk_are_read_as_if_they_had_the_axis(key) -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    expanded = np.expand_dims(array, 1)
    lazy = WithChannels(array, 1)
    np.testing.assert_array_equal(lazy[key], expanded[key])
    np.testing.assert_array_equal(np.asarray(lazy), expanded)


def test_a_pyramid_on_the_disk(cells) -> None:
    labels = np.stack([cells[1]] * 6)
    image = Image(np.zeros((6, 3, *cells[0].shape)), scale=(5.0, 1.0, 1.0, 1.0))
    place = LevelPlace((1.0,) * 3, (0,) * 3)
    layer = new_disk_layer(image, [labels, labels[:, ::2, ::2]], place, "there")
    viewer = ViewerModel()
    viewer.layers.extend([image, layer])
    assert viewer.dims.nsteps[:2] == (6, 3)
    for channel in range(3):
        viewer.dims.set_current_step((0, 1), (4, channel))
        assert set(np.unique(shown(layer))) == {0, 1, 2, 3}
    np.testing.assert_array_equal(array_of(layer), labels)


def test_labels_with_channels_are_told_what_helps(cells) -> None:
    image = Image(np.zeros((6, 2, *cells[0].shape)))
    reason = misfit(Labels(np.zeros((6, 2, *cells[0].shape), np.int32)), image)
    assert reason is not None
    assert reason.endswith("need 6 × 128 × 128. Choose *New layer* here.")
