"""The objects of a labelled stack in the order of confidence, with the mouse in a real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from engine.threshold_predictor import CENTRES, discs
from plugin.test_volume_panel import EXACT_PX, layer_of, opened

if TYPE_CHECKING:
    from pathlib import Path

CONTROL = Qt.KeyboardModifier.ControlModifier
#: The second object is missing in this slice.
MISSING = 3


@pytest.fixture
def labelled(predictor, open_panel, tmp_path):
    """(6, 128, 128): three columns, labelled; one has a slice that was filled in."""
    image, truth = discs((128, 128), CENTRES)
    stack = np.stack([image] * 6)
    stack[MISSING][truth == 2] = 0
    hands = open_panel(stack, scale=(2.0, 1.0, 1.0))
    hands.settle()
    opened(hands, output=str(tmp_path / "labels.zarr"), diameter=EXACT_PX, gap=1)
    assert not hands.widget.volume.least.isEnabled()
    assert "no complete labels" in hands.widget.volume.least.toolTip()
    hands.press("volume.start")
    hands.settle()
    return hands


def at(hands) -> int:
    return int(hands.viewer.dims.current_step[0])


def middle(hands) -> tuple[float, float]:
    scene = getattr(hands.viewer, "scene", hands.viewer)
    y, x = scene.camera.center[-2:]
    return float(y), float(x)


def press(hands, name: str) -> None:
    hands.press(f"volume.{name}")
    hands.settle()


def values(hands) -> dict[int, float]:
    return dict(hands.widget.volume.doubts.confidence.values)


def id_at(layer, centre: tuple[int, int]) -> int:
    return int(np.asarray(layer.data)[(0, *centre)])


def test_the_least_sure_object_is_shown_first(labelled, tmp_path: Path) -> None:
    hands, section = labelled, labelled.widget.volume
    layer = layer_of(hands, tmp_path / "labels.zarr")
    assert sorted(values(hands)) == [0, 1, 2, 3, 4, 5]
    assert values(hands)[MISSING] < values(hands)[0]
    assert not section.next.isEnabled()
    assert "least sure object first" in section.next.toolTip()
    press(hands, "least")
    worst = id_at(layer, CENTRES[1])
    assert f"Object {worst}, 1 of 3" in hands.status
    assert f"least sure slice is {MISSING}" in hands.status
    assert "correct a copy" in hands.status
    assert at(hands) == MISSING
    assert middle(hands) == pytest.approx(CENTRES[1], abs=1)
    assert layer.selected_label == worst
    assert values(hands)[MISSING] == 0
    assert values(hands)[0] > 0.5
    # A click into the plot goes to that slice.
    plot = section.doubts
    place = QPoint(round(plot.width() * 4.5 / 6), plot.height() // 2)
    hands.qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=place)
    hands.settle()
    assert at(hands) == 4
    assert not section.back.isEnabled()
    press(hands, "next")
    assert "2 of 3" in hands.status
    first = middle(hands)
    press(hands, "next")
    assert "3 of 3" in hands.status
    press(hands, "next")
    assert "no further objects" in hands.status
    press(hands, "back")
    assert middle(hands) == first


def test_in_a_copy_it_is_chosen_and_corrected(labelled, tmp_path: Path) -> None:
    """Deleted, it is passed over, until undo brings it back; or carried through the stack."""
    hands = labelled
    worst = id_at(layer_of(hands, tmp_path / "labels.zarr"), CENTRES[1])
    press(hands, "copy")
    press(hands, "least")
    assert f"Object {worst}, 1 of 3" in hands.status
    assert "correct a copy" not in hands.status
    assert hands.widget.state.selected == {worst}
    hands.widget.objects.expand(animate=False)
    hands.qtbot.wait(30)
    button = hands.widget.objects.buttons["delete_objects"]
    hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    hands.settle()
    assert not (hands.objects.data == worst).any()
    press(hands, "least")
    assert "2 of 3" in hands.status
    assert worst not in hands.widget.state.selected
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    press(hands, "least")
    assert f"Object {worst}, 1 of 3" in hands.status
    # What was filled in is replaced by what the model sees from a slice where it is sure.
    hands.viewer.dims.set_current_step(0, MISSING + 1)
    section = hands.widget.volume
    section.mode.setCurrentIndex(section.mode.findData("propagate"))
    hands.settle()
    hands.press("volume.propagate.carry")
    hands.settle()
    assert "carried" in hands.status
    assert (hands.objects.data == worst).any(axis=(1, 2))[MISSING + 1]


def test_without_its_layers_there_is_no_review(labelled, tmp_path: Path) -> None:
    hands = labelled
    hands.viewer.layers.remove(layer_of(hands, tmp_path / "labels.zarr"))
    hands.settle()
    assert not hands.widget.volume.least.isEnabled()
    assert values(hands) == {}


def test_a_copy_that_is_not_chosen_is_named(labelled) -> None:
    hands = labelled
    press(hands, "copy")
    copy = hands.objects
    hands.widget.state.update(target=None)
    hands.settle()
    press(hands, "least")
    assert f"choose {copy.name!r}" in hands.status
    assert not hands.widget.state.selected
