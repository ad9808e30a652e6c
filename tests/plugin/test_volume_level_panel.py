"""The level of a pyramid that the Volume section labels, and where its labels lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import discs
from litesam.io import open_image
from napari_litesam.label_layer import lay
from napari_litesam.levels import LevelPlace
from plugin.test_volume_panel import layer_of, opened

if TYPE_CHECKING:
    from pathlib import Path

#: Discs of 15 px in the coarser level, of 30 px in level 0.
PLACES = [(30, 30), (30, 90), (90, 60)]
SCALE = (3.0, 0.5, 0.5)


def twice(stack: np.ndarray, z: int = 1) -> np.ndarray:
    return stack.repeat(z, axis=0).repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture
def coarse() -> tuple[np.ndarray, np.ndarray]:
    """(6, 128, 128): two discs in all slices, one from the third on."""
    image, truth = discs((128, 128), PLACES)
    labels = np.stack([truth] * 6)
    labels[:2][labels[:2] == 3] = 0
    return np.where(labels > 0, np.stack([image] * 6), 0).astype(np.uint8), labels


def show(open_panel, stack: np.ndarray, z: int = 1):
    """A pyramid of two levels; the coarser one may have fewer slices."""
    hands = open_panel()
    hands.viewer.add_image(
        [twice(stack, z), stack],
        multiscale=True,
        name="pyramid",
        scale=SCALE,
        translate=(6.0, 0.0, 10.0),
        axis_labels=("z", "y", "x"),
        contrast_limits=(0, 255),
    )
    hands.qtbot.wait(50)
    hands.settle()
    return hands


def choose_level(hands, row: int) -> None:
    """With the keys, as a user does after a click on the chooser."""
    chooser = hands.widget.volume.level
    chooser.setFocus()
    hands.qtbot.keyClick(chooser, Qt.Key.Key_Home)
    for _ in range(row):
        hands.qtbot.keyClick(chooser, Qt.Key.Key_Down)
    hands.settle()


def same(first: np.ndarray, second: np.ndarray) -> None:
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(first)) == len(np.unique(second)), pairs


def test_a_coarser_level_lies_where_the_image_does(
    predictor, open_panel, coarse, tmp_path: Path
) -> None:
    stack, truth = coarse
    hands = show(open_panel, stack)
    out = tmp_path / "labels.zarr"
    section = opened(hands, output=str(out), first=1, last=4)
    assert section.level.itemText(0) == "auto"
    assert section.level.count() == 3
    choose_level(hands, 2)
    hands.press("volume.start")
    hands.settle()
    assert "3 objects in 4 slices of level 1" in hands.status
    layer = layer_of(hands, out)
    same(np.asarray(layer.data), truth[1:5])
    assert tuple(layer.scale) == (3.0, 1.0, 1.0)
    # The middle of a pixel of the labels is the middle of the four pixels of the image under it.
    image = hands.viewer.layers["pyramid"]
    np.testing.assert_allclose(
        layer.data_to_world((0, 7, 9)), image.data_to_world((1, 14.5, 18.5)), atol=1e-9
    )
    said = open_image(out)
    assert said.scale == (3.0, 1.0, 1.0)
    np.testing.assert_allclose(said.translation, layer.translate)
    # The review finds an object in the pixels of the image.
    hands.press("volume.least")
    hands.settle()
    scene = getattr(hands.viewer, "scene", hands.viewer)
    world = scene.camera.center[-2:]
    number = layer.selected_label
    middle = np.argwhere(np.asarray(layer.data) == number)[:, 1:].mean(axis=0)
    np.testing.assert_allclose(world, layer.data_to_world((0, *middle))[1:], atol=0.6)
    assert dict(section.doubts.confidence.values).keys() <= {1, 2, 3, 4}
    # A copy has the pixels of the image.
    hands.press("volume.copy")
    hands.settle()
    assert hands.objects.data.shape == image.data[0].shape
    assert not hands.objects.data[[0, 5]].any()
    same(hands.objects.data[1:5], twice(truth[1:5]))
    hands.press("volume.least")
    hands.settle()
    assert hands.widget.state.selected == {number}
    np.testing.assert_allclose(scene.camera.center[-2:], world, atol=0.6)


def test_auto_takes_the_level_for_the_diameter(
    predictor, open_panel, coarse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects of 64 px and more are labelled in level 1; without a diameter level 0 is."""
    monkeypatch.chdir(tmp_path)
    hands = show(open_panel, coarse[0])
    section = opened(hands, output=str(tmp_path / "a.zarr"), diameter=64, last=0)
    assert section.level.currentText() == "auto"
    hands.press("volume.start")
    hands.until(lambda: "level 1" in hands.status or "objects" in hands.status)
    hands.settle()
    assert "in 1 slices of level 1" in hands.status
    assert open_image(tmp_path / "a.zarr").array.shape == (1, 128, 128)
    opened(hands, output=str(tmp_path / "b.zarr"), diameter=16)
    hands.press("volume.start")
    hands.settle()
    assert open_image(tmp_path / "b.zarr").array.shape == (1, 256, 256)
    assert "of level" not in hands.status


def test_a_level_with_fewer_slices(predictor, open_panel, coarse, tmp_path: Path) -> None:
    stack, truth = coarse
    hands = show(open_panel, stack, z=2)
    out = tmp_path / "labels.zarr"
    section = opened(hands, output=str(out), first=3, last=8)
    choose_level(hands, 2)
    hands.press("volume.start")
    hands.settle()
    layer = layer_of(hands, out)
    same(np.asarray(layer.data), truth[1:5])
    image = hands.viewer.layers["pyramid"]
    np.testing.assert_allclose(
        layer.data_to_world((0, 7, 9)), image.data_to_world((2.5, 14.5, 18.5)), atol=1e-9
    )
    assert dict(section.doubts.confidence.values).keys() == set(range(2, 10))
    hands.press("volume.copy")
    hands.settle()
    assert not hands.objects.data[[0, 1, 10, 11]].any()
    same(hands.objects.data[2:10], twice(truth[1:5], 2))


def test_an_image_without_levels_has_no_choice(predictor, open_panel, coarse) -> None:
    hands = open_panel(coarse[0])
    hands.settle()
    section = opened(hands)
    assert not section.level.isEnabled()
    assert "has one level" in section.level.toolTip()


def test_sizes_that_are_not_whole_multiples() -> None:
    """Every pixel of level 0 has the pixel of the labels under its middle."""
    labels = np.arange(1, 13).reshape(1, 3, 4)
    array = np.zeros((1, 7, 9), dtype=int)
    lay(labels, array, LevelPlace((1.0, 7 / 3, 9 / 4), (0, 0, 0)))
    assert array[0, :, 0].tolist() == [1, 1, 5, 5, 5, 9, 9]
    assert array[0, 0].tolist() == [1, 1, 2, 2, 3, 3, 3, 4, 4]
    part = np.zeros((1, 7, 9), dtype=int)
    lay(labels[:, 1:, :2], part, LevelPlace((1.0, 7 / 3, 9 / 4), (0, 1, 0)))
    assert np.array_equal(part[:, 2:, :4], array[:, 2:, :4])
    assert not part[:, :2].any()
