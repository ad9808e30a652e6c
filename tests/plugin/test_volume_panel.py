"""The Volume section in a real window: every slice labelled and linked, on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Tracks
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES, discs
from litesam.io import open_image, read_image
from litesam.samples import SAMPLES, sample_path

if TYPE_CHECKING:
    from pathlib import Path

#: Objects of this diameter are seen in tiles of 128 px, where the threshold's masks are exact.
EXACT_PX = 8


@pytest.fixture
def stack() -> tuple[np.ndarray, np.ndarray]:
    """(6, 128, 128): two columns through all slices, one that ends after the third."""
    image, truth = discs((128, 128), CENTRES)
    labels = np.stack([truth] * 6)
    labels[3:][labels[3:] == 3] = 0
    return np.where(labels > 0, np.stack([image] * 6), 0).astype(image.dtype), labels


def opened(hands, **choices):
    """Unfold the section and make choices in its controls."""
    section = hands.widget.volume
    section.expand(animate=False)
    # Until it is laid out, a button in it has no height, and takes no click.
    hands.until(lambda: section.start.height() > 0)
    for name, value in choices.items():
        control = getattr(section, name)
        hands.type_in(control, str(value))
    hands.settle()
    return section


def layer_of(hands, path: Path):
    (layer,) = [one for one in hands.viewer.layers if one.metadata.get("litesam_on_disk")]
    assert layer.metadata["litesam_on_disk"] == str(path)
    return layer


def same_objects(found: np.ndarray, truth: np.ndarray) -> None:
    """Same pixels, whatever the numbers."""
    pairs = {(a, b) for a, b in zip(found.ravel().tolist(), truth.ravel().tolist(), strict=True)}
    assert len(pairs) == len(np.unique(truth)) == len(np.unique(found)), pairs


def test_stack_is_labelled_linked_and_shown(predictor, open_panel, stack, tmp_path) -> None:
    image, truth = stack
    hands = open_panel(image, scale=(2.0, 1.0, 1.0))
    hands.settle()
    out = tmp_path / "labels.ome.zarr"
    section = opened(hands, output=str(out), diameter=EXACT_PX)
    assert section.last.value() == 5
    hands.press("volume.start")
    hands.settle()
    assert "3 objects in 6 slices" in hands.status
    layer = layer_of(hands, out)
    np.testing.assert_array_equal(np.asarray(layer.data), open_image(out).array[:])
    same_objects(np.asarray(layer.data), truth)
    assert tuple(layer.scale) == (2.0, 1.0, 1.0)
    assert not out.with_name("labels.ome.zarr.job").exists()
    # What is on the disk takes no objects; a copy does.
    assert layer not in hands.widget.controller.targets()
    hands.press("volume.copy")
    hands.settle()
    same_objects(hands.objects.data, truth)
    assert not layer.visible
    assert len(hands.widget.state.objects) == 3


def test_part_of_the_slices_lies_where_it_belongs(predictor, open_panel, stack, tmp_path) -> None:
    image, truth = stack
    hands = open_panel(image, scale=(2.0, 1.0, 1.0))
    hands.settle()
    out = tmp_path / "part.zarr"
    opened(hands, output=str(out), diameter=EXACT_PX, first=2, last=4, extent=2)
    hands.press("volume.start")
    hands.settle()
    layer = layer_of(hands, out)
    assert layer.data.shape[0] == 3
    assert tuple(layer.translate) == (4.0, 0.0, 0.0)
    wanted = truth[2:5].copy()
    wanted[wanted == 3] = 0  # seen in one slice
    same_objects(np.asarray(layer.data), wanted)
    hands.press("volume.copy")
    hands.settle()
    assert not hands.objects.data[:2].any()
    same_objects(hands.objects.data[2:5], wanted)


def test_pause_keeps_what_is_done_and_continue_goes_on(
    predictor, open_panel, stack, tmp_path
) -> None:
    image, truth = stack
    hands = open_panel(image)
    hands.settle()
    out = tmp_path / "labels.zarr"
    section = opened(hands, output=str(out), diameter=EXACT_PX)
    assert not section.pause.isEnabled()
    assert "No volume" in section.pause.toolTip()
    controller, volume = hands.widget.controller, hands.widget.controller.volume
    seen: list[str] = []
    volume.lane.progressed.connect(lambda progress: seen.append(progress.message))
    encode = predictor.encode

    def two_slices_only(*args, **options):
        if predictor.encoded == 2:
            predictor.gate.clear()
        return encode(*args, **options)

    predictor.encode = two_slices_only
    hands.press("volume.start")
    hands.until(predictor.waiting.is_set)
    hands.until(lambda: any(message.startswith("2 of 6 labelled") for message in seen))
    assert "left" in seen[-1]
    assert "(" not in hands.status
    # The slices that are labelled are in the viewer before the others are.
    assert section.pause.isEnabled()
    assert not section.start.isEnabled()
    assert "pause it first" in section.start.toolTip()
    live = layer_of(hands, out)
    assert (np.asarray(live.data).any(axis=(1, 2))[:1]).all()
    assert not np.asarray(live.data)[2:].any()
    hands.press("volume.pause")
    hands.until(lambda: "Paused" in hands.status)
    predictor.encode = encode
    predictor.gate.set()
    hands.settle()
    assert not out.exists()
    assert not controller.busy
    assert section.start.text() == "Continue"
    before = predictor.encoded
    assert before < 6
    hands.press("volume.start")
    hands.settle()
    assert predictor.encoded == 7  # the slice in which it was paused is done again
    same_objects(np.asarray(layer_of(hands, out).data), truth)
    assert section.start.text() == "Label volume"


def test_labels_that_are_there_are_replaced_only_if_wanted(
    predictor, open_panel, stack, tmp_path
) -> None:
    hands = open_panel(stack[0])
    hands.settle()
    out = tmp_path / "labels.zarr"
    section = opened(hands, output=str(out), diameter=EXACT_PX)
    hands.press("volume.start")
    hands.settle()
    hands.press("volume.start")
    hands.settle()
    assert "exists" in hands.status
    assert predictor.encoded == 6
    hands.tick("volume.anew")
    hands.press("volume.start")
    hands.settle()
    assert "3 objects" in hands.status
    assert predictor.encoded == 12
    assert not section.anew.isChecked()


def test_clicks_are_answered_meanwhile(predictor, open_panel, stack, tmp_path) -> None:
    hands = open_panel(stack[0])
    hands.settle()
    hands.click(CENTRES[0])
    hands.settle()
    assert hands.preview.any()
    opened(hands, output=str(tmp_path / "labels.zarr"), diameter=EXACT_PX)
    predictor.gate.clear()
    hands.press("volume.start")
    hands.until(predictor.waiting.is_set)
    hands.key(Qt.Key.Key_C)
    hands.until(lambda: hands.objects is not None and hands.objects.data.any())
    predictor.gate.set()
    hands.settle()
    assert layer_of(hands, tmp_path / "labels.zarr")


def test_one_plane_is_no_stack_and_a_window_that_closes_stops(
    predictor, open_panel, cells, home
) -> None:
    hands = open_panel(cells[0])
    hands.settle()
    section = opened(hands)
    assert not section.start.isEnabled()
    assert "open a stack" in section.start.toolTip()
    hands.viewer.add_image(np.stack([cells[0]] * 6), name="my stack")
    hands.pick("image", "my stack")
    hands.settle()
    assert section.start.isEnabled()
    assert section.output.placeholderText() == str(home / "volumes" / "my-stack-1.ome.zarr")
    predictor.gate.clear()
    hands.press("volume.start")
    hands.until(predictor.waiting.is_set)
    lane = hands.widget.controller.volume.lane
    hands.viewer.close()
    predictor.gate.set()
    assert lane.idle


def test_controls_have_tooltips_and_room(predictor, open_panel, stack) -> None:
    hands = open_panel(stack[0])
    hands.settle()
    section = opened(hands)
    names = [name for name in hands.widget._named if name.startswith("volume_")]
    assert len(names) == 26
    assert all(hands.widget._named[name].toolTip() for name in names)
    assert section.minimumSizeHint().width() <= 280


def test_the_sample_embryo_with_the_real_model(open_panel, tmp_path) -> None:
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "embryo")
    hands.qtbot.wait(100)
    hands.settle()
    out = tmp_path / "embryo.ome.zarr"
    opened(hands, output=str(out), diameter=13, first=20, last=25, extent=2)
    hands.press("volume.start")
    hands.settle()
    assert "objects in 6 slices" in hands.status
    labels = np.asarray(layer_of(hands, out).data)
    reference = sample_path("embryo").with_name(SAMPLES["embryo"].labels_file)
    truth = np.asarray(read_image(reference).array)[20:26]
    found = 0
    for number in np.unique(truth)[1:]:
        nucleus = truth == number
        best = np.bincount(labels[nucleus]).argmax()
        mask = labels == best
        iou = (mask & nucleus).sum() / (mask | nucleus).sum() if best else 0.0
        found += iou > 0.5
    assert found >= 5, found


def test_time_series_of_stacks(predictor, open_panel, stack, tmp_path) -> None:
    image, truth = stack
    hands = open_panel(np.stack([image] * 5), axis_labels=("t", "z", "y", "x"))
    hands.settle()
    out = tmp_path / "labels.zarr"
    section = opened(hands, output=str(out), diameter=EXACT_PX, first=1, last=4)
    assert section.last.maximum() == 5
    hands.press("volume.start")
    hands.settle()
    labels = np.asarray(layer_of(hands, out).data)
    assert labels.shape == (5, 4, 128, 128)
    same_objects(labels[2], truth[1:5])
    assert not np.intersect1d(labels[0][labels[0] > 0], labels[1]).size
    hands.press("volume.copy")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data[:, 1:5], labels)


def tracks_of(hands):
    """Layers of tracks, the newest last."""
    return [layer for layer in hands.viewer.layers if isinstance(layer, Tracks)]


def moving(times: int, step: int) -> np.ndarray:
    """(times, 128, 128): two discs that move to the right."""
    image, _ = discs((128, 128), [(30, 30), (80, 20)])
    return np.stack([np.roll(image, step * time, axis=1) for time in range(times)])


def test_objects_of_a_movie_are_tracks(predictor, open_panel, tmp_path) -> None:
    """Of a part of it, with steps that no object overlaps with itself after."""
    image = moving(5, 19)
    hands = open_panel(image, scale=(1.0, 0.5, 0.5), axis_labels=("t", "y", "x"))
    hands.settle()
    out = tmp_path / "labels.zarr"
    section = opened(hands, output=str(out), diameter=EXACT_PX, first=1, last=4, shift=20)
    assert not section.tracks.isEnabled()
    assert "in any case" in section.tracks.toolTip()
    hands.press("volume.start")
    hands.settle()
    assert "2 objects in 4 slices" in hands.status
    (layer,) = tracks_of(hands)
    assert layer.name == "labels.zarr (tracks)"
    assert tuple(layer.scale) == (1.0, 0.5, 0.5)
    assert sorted(set(layer.data[:, 0])) == [1, 2]
    labels = layer_of(hands, out)
    for track, time, y, x in layer.data:
        assert time in (1, 2, 3, 4)
        where = np.round(labels.world_to_data(layer.data_to_world((time, y, x)))).astype(int)
        assert labels.data[tuple(where)] == track
    assert (np.diff(layer.data[layer.data[:, 0] == 1][:, 3]).round(3) == 19).all()
    # Another run hides the tracks of this one.
    hands.tick("volume.anew")
    hands.press("volume.start")
    hands.settle()
    old, new = tracks_of(hands)
    assert (old.visible, new.visible) == (False, True)


def test_objects_of_stacks_are_tracks_if_wanted(predictor, open_panel, tmp_path) -> None:
    image = np.stack([moving(3, 15)] * 4, axis=1)
    hands = open_panel(image, axis_labels=("t", "z", "y", "x"))
    hands.settle()
    section = opened(hands, output=str(tmp_path / "labels.zarr"), diameter=EXACT_PX)
    assert not section.shift.isEnabled()
    assert "tick “tracks” first" in section.shift.toolTip()
    hands.tick("volume.tracks")
    hands.settle()
    assert section.shift.isEnabled()
    opened(hands, shift=20)
    hands.press("volume.start")
    hands.settle()
    (layer,) = tracks_of(hands)
    assert layer.data.shape == (6, 5)
    assert set(layer.data[:, 0]) == {1, 2}
    assert (layer.data[:, 2] == 1.5).all()
    assert set(np.unique(layer_of(hands, tmp_path / "labels.zarr").data)) == {0, 1, 2}
    hands.viewer.layers.remove(layer)
    hands.tick("volume.tracks")
    hands.tick("volume.anew")
    hands.press("volume.start")
    hands.settle()
    assert not tracks_of(hands)
    assert "6 objects" in hands.status


def test_tracks_of_a_movie_of_channels(predictor, open_panel, tmp_path) -> None:
    image = np.stack([moving(5, 19)] * 2, axis=1)
    hands = open_panel(image, scale=(3.0, 1.0, 0.5, 0.5), axis_labels=("t", "c", "y", "x"))
    hands.settle()
    sliders = hands.viewer.dims.range
    out = tmp_path / "labels.zarr"
    opened(hands, output=str(out), diameter=EXACT_PX, first=1, last=4, shift=20)
    hands.press("volume.start")
    hands.settle()
    (layer,) = tracks_of(hands)
    assert hands.viewer.dims.range == sliders
    assert tuple(layer.scale) == (3.0, 1.0, 0.5, 0.5)
    labels = layer_of(hands, out)
    for track, *at in layer.data:
        for channel in range(2):
            world = layer.data_to_world(at)
            world = (world[0], channel, *world[2:])
            where = np.round(labels.world_to_data(world)).astype(int)
            assert np.asarray(labels.data)[tuple(where)] == track


def test_a_stack_without_time_has_no_tracks(predictor, open_panel, stack) -> None:
    hands = open_panel(stack[0], axis_labels=("z", "y", "x"))
    hands.settle()
    section = opened(hands)
    for control in (section.tracks, section.shift):
        assert not control.isEnabled()
        assert "no axis of time" in control.toolTip()
