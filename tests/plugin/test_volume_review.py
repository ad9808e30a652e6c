"""The objects of a labelled stack in the order of confidence, with the mouse in a real window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog

from engine.threshold_predictor import CENTRES, discs
from litesam.volume import label_volume, tiling_for
from napari_litesam.reader import get_reader
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


def tip(control) -> str:
    return " ".join(control.toolTip().split())


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
    button = hands.widget.objects.buttons["delete_objects"]
    hands.until(lambda: button.height() > 0)
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
    hands.pick("volume.mode", "propagate")
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
    hands.pick("target", "New layer")
    hands.settle()
    press(hands, "least")
    assert f"choose {copy.name!r}" in hands.status
    assert not hands.widget.state.selected


# ------------------------------------------------------------------ labels that were there before


@pytest.fixture
def written(predictor, tmp_path):
    """(6, 128, 128) of three columns, and labels of its last five slices, as a script wrote them.

    What the command writes is the same.
    """
    image, truth = discs((128, 128), CENTRES)
    stack = np.stack([image] * 6)
    stack[MISSING][truth == 2] = 0
    out = tmp_path / "labels.ome.zarr"
    tiling = tiling_for(EXACT_PX)
    label_volume(
        stack, out, predictor, axes="ZYX", ranges={"Z": (1, 6)}, tiling=tiling, canvas_px=128
    )
    return stack, out


def reviewed(hands, out: Path) -> None:
    """The least sure object is shown at its place in the image, and corrected in a copy."""
    layer = layer_of(hands, out)
    assert tuple(layer.translate) == (2.0, 0.0, 0.0)
    assert not layer.editable
    assert sorted(values(hands)) == [1, 2, 3, 4, 5]
    worst = id_at(layer, CENTRES[1])
    press(hands, "least")
    assert f"Object {worst}, 1 of 3" in hands.status
    assert f"least sure slice is {MISSING}" in hands.status
    assert at(hands) == MISSING
    assert middle(hands) == pytest.approx(CENTRES[1], abs=1)
    assert layer.selected_label == worst
    press(hands, "copy")
    assert not hands.objects.data[0].any()
    np.testing.assert_array_equal(hands.objects.data[1:], np.asarray(layer.data))
    press(hands, "least")
    assert hands.widget.state.selected == {worst}


def test_labels_of_the_command_are_opened_with_the_button(
    written, open_panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, out = written
    hands = open_panel(stack, scale=(2.0, 1.0, 1.0))
    hands.settle()
    section = opened(hands)
    assert "or open labels" in tip(section.least)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(out.parent))
    said: list[str] = []
    hands.widget.state.status_changed.connect(lambda status: said.append(status.text))
    press(hands, "open")
    assert any("no table of objects" in text for text in said)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, **__: str(out))
    press(hands, "open")
    assert "labels.ome.zarr is open: 3 objects" in hands.status
    reviewed(hands, out)
    # Again: the layer that is there is taken.
    press(hands, "open")
    assert layer_of(hands, out).visible


def test_labels_that_napari_opens_are_taken_up(written, open_panel) -> None:
    """And laid over an image that says another scale than they do."""
    stack, out = written
    hands = open_panel(stack, scale=(2.0, 1.0, 1.0))
    hands.settle()
    opened(hands)
    hands.viewer.open(str(out), plugin="napari-litesam")
    hands.settle()
    assert "is open: 3 objects" in hands.status
    reviewed(hands, out)


def test_labels_of_another_image_do_not_fit(written, open_panel) -> None:
    stack, out = written
    hands = open_panel(stack[:, :100])
    hands.settle()
    section = opened(hands)
    hands.viewer.open(str(out), plugin="napari-litesam")
    hands.settle()
    assert "does not fit 'cells'" in hands.status
    assert not section.least.isEnabled()
    # As soon as the image is chosen that they are of, they are taken up; and again when it comes
    # back.
    for _ in range(2):
        right = hands.viewer.add_image(stack, name="right")
        hands.pick("image", "right")
        hands.settle()
        assert section.least.isEnabled()
        hands.viewer.layers.remove(right)
        hands.settle()
        assert not section.least.isEnabled()


def test_what_is_no_labels_is_left_to_other_readers(written, tmp_path: Path) -> None:
    assert get_reader(str(tmp_path)) is None
    assert get_reader([str(written[1])]) is None
    assert get_reader(str(written[1])) is not None


def test_other_labels_are_reviewed_while_a_volume_is_labelled(
    written, predictor, open_panel, tmp_path: Path
) -> None:
    """And without such labels the tooltip says when there are objects to review."""
    stack, out = written
    hands = open_panel(stack, scale=(2.0, 1.0, 1.0))
    hands.settle()
    section = opened(hands, output=str(tmp_path / "new.zarr"), diameter=EXACT_PX)
    encode, before = predictor.encode, predictor.encoded

    def two_slices_only(*args, **options):
        if predictor.encoded == before + 2:
            predictor.gate.clear()
        return encode(*args, **options)

    predictor.encode = two_slices_only
    hands.press("volume.start")
    hands.until(predictor.waiting.is_set)
    hands.until(lambda: "slices are labelled and linked" in tip(section.least))
    assert not section.least.isEnabled()
    hands.viewer.open(str(out), plugin="napari-litesam")
    hands.until(section.least.isEnabled)
    hands.press("volume.least")
    hands.until(lambda: "1 of 3" in hands.status)
    assert at(hands) == MISSING
    predictor.gate.set()
    hands.settle()
    # The new labels are what is reviewed from now on.
    press(hands, "least")
    assert hands.viewer.layers["new.zarr"].selected_label > 0
    assert sorted(values(hands)) == [0, 1, 2, 3, 4, 5]
