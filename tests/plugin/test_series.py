"""A folder of images, one after the other: labels are written by themselves."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from engine.threshold_predictor import CENTRES, discs
from litesam.io import read_labelled_folder, read_labels
from litesam.session import read_session
from napari_litesam import series, series_files
from napari_litesam.requests import resolve_plane
from plugin.folders import BEFORE, NEXT, at, commit, open_folder, plate, rest, slow_writes, written

if TYPE_CHECKING:
    import threading
    from pathlib import Path

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
FIRST, SECOND, THIRD = CENTRES


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user does not wait for, tests do."""
    monkeypatch.setattr(series, "_DELAY_MS", 200)
    monkeypatch.setattr(series, "_AHEAD_MS", 100)


@pytest.fixture
def folder(tmp_path: Path, cells: Any) -> Path:
    return plate(tmp_path / "plate", cells[0])


@pytest.fixture
def opened(predictor, open_panel, folder, monkeypatch) -> Any:
    """The folder, opened with the dialog."""
    return open_folder(open_panel(), folder, monkeypatch)


def test_labels_are_written_and_the_next_image_comes(opened, folder, cells, predictor) -> None:
    hands, truth = opened, cells[1]
    assert hands.image.name == "cell 1.png"
    assert hands.widget.series.images.currentText() == "cell 1.png"
    assert not hands.widget.series.previous_image.isEnabled()
    assert "first image" in hands.widget.series.previous_image.toolTip()
    commit(hands, at(1, FIRST))
    commit(hands, at(1, SECOND))
    # Without a word of the user's, a moment later.
    rest(hands)
    np.testing.assert_array_equal(written(folder, 1), np.roll(np.where(truth < 3, truth, 0), 1, 1))
    assert hands.widget.series.images.currentText() == "✓ cell 1.png"
    # What is not written yet is, when one goes on.
    commit(hands, at(1, THIRD))
    hands.key(NEXT)
    hands.until(lambda: hands.image.name == "cell 2.png")
    hands.settle()
    np.testing.assert_array_equal(written(folder, 1), np.roll(truth, 1, axis=1))
    assert "Image 2 of 3" in hands.status
    np.testing.assert_array_equal(hands.image.data, np.roll(cells[0], 2, axis=1))
    assert hands.objects is None or not hands.objects.data.any()
    assert [layer.name for layer in hands.viewer.layers if layer.name.startswith("cell")] == [
        "cell 2.png"
    ]
    controller = hands.widget.controller
    plane = resolve_plane(hands.widget.state.settings, controller._scene())
    assert controller._pool.get(plane.source, None).is_embedded(), "it was embedded meanwhile"
    commit(hands, at(2, SECOND))
    np.testing.assert_array_equal(hands.objects.data == 1, np.roll(truth, 2, axis=1) == 2)
    # Undo stays within the image.
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.widget.undo.isEnabled()
    hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    hands.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    hands.settle()
    # Back again, by the button: the objects are there, and can be gone on with.
    hands.press("series.previous_image")
    rest(hands)
    assert hands.image.name == "cell 1.png"
    np.testing.assert_array_equal(hands.objects.data, np.roll(truth, 1, axis=1))
    hands.hover(at(1, SECOND))
    hands.key(Qt.Key.Key_X)
    rest(hands)
    assert set(np.unique(written(folder, 1))) == {0, 1, 3}
    np.testing.assert_array_equal(written(folder, 2) == 1, np.roll(truth, 2, axis=1) == 2)
    # By its name, to the last one.
    hands.pick(hands.widget.series.images, 2)
    rest(hands)
    assert hands.image.name == "cell 10.png"
    assert not hands.widget.series.next_image.isEnabled()
    hands.key(NEXT)
    assert "last image" in hands.status
    session = read_session(folder / "labels" / "cell 2.session.json")
    assert len(session.objects()) == 1
    assert str(session.image.path) == str(folder / "cell 2.png")


def test_opened_again_at_the_first_without_labels(opened, folder, open_panel, monkeypatch) -> None:
    commit(opened, at(1, FIRST))
    opened.key(NEXT)
    rest(opened)
    again = open_folder(open_panel(), folder, monkeypatch)
    assert again.image.name == "cell 2.png"
    again.key(BEFORE)
    rest(again)
    np.testing.assert_array_equal(again.objects.data, written(folder, 1))
    before = (folder / "labels" / "cell 1.tif").read_bytes()
    again.key(NEXT)
    rest(again)
    assert (folder / "labels" / "cell 1.tif").read_bytes() == before, "nothing was changed"


def test_what_is_not_committed_is_not_left(opened) -> None:
    hands = opened
    hands.click(at(1, FIRST))
    hands.settle()
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 1.png"
    assert "not committed" in hands.status
    assert len(hands.points.data) == 1
    hands.key(Qt.Key.Key_C, SHIFT)
    hands.settle()
    hands.press("everything")
    hands.settle()
    hands.until(lambda: hands.widget.review.isVisible())
    hands.key(NEXT)
    rest(hands)
    assert "under review" in hands.status
    hands.press("review.accept")
    hands.settle()
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"


def test_labels_that_do_not_fit_are_left_alone(
    predictor, open_panel, folder, monkeypatch, cells
) -> None:
    (folder / "labels").mkdir()
    other = folder / "labels" / "cell 2.tif"
    tifffile.imwrite(other, np.ones((7, 9), np.uint8))
    before = other.read_bytes()
    hands = open_folder(open_panel(), folder, monkeypatch)
    commit(hands, at(1, FIRST))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 1.png"
    assert "cell 2.tif does not fit cell 2.png" in hands.status
    assert hands.objects.data.any()
    hands.pick(hands.widget.series.images, 2)
    rest(hands)
    assert hands.image.name == "cell 10.png"
    assert other.read_bytes() == before
    other.rename(folder / "elsewhere.tif")
    hands.pick(hands.widget.series.images, 1)
    rest(hands)
    assert hands.image.name == "cell 2.png"


def test_a_disk_that_refuses_loses_nothing(opened, folder) -> None:
    hands = opened
    (folder / "labels").write_text("in the way")
    commit(hands, at(1, FIRST))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 1.png"
    assert hands.objects.data.any()
    assert "labels" in hands.status
    (folder / "labels").unlink()
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    assert written(folder, 1).any()


def test_damaged_images_are_told_and_passed_over(
    predictor, open_panel, folder, monkeypatch
) -> None:
    for number in (1, 10):
        (folder / f"cell {number}.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    hands = open_folder(open_panel(), folder, monkeypatch)
    assert hands.image.name == "cell 2.png"
    assert "Passed over cell 1.png" in hands.status
    commit(hands, at(2, FIRST))
    for key in (NEXT, BEFORE):
        hands.key(key)
        rest(hands)
        assert hands.image.name == "cell 2.png"
        assert ".png" in hands.status
    assert hands.objects.data.any()


def test_a_layer_of_the_users_own_stays(opened, folder, cells) -> None:
    hands = opened
    own = np.zeros_like(cells[1])
    own[5:20, 5:20] = 3
    mine = hands.viewer.add_labels(own.copy(), name="mine")
    hands.settle()
    hands.pick("target", mine)
    hands.settle()
    hands.viewer.layers.selection.active = hands.points
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    np.testing.assert_array_equal(written(folder, 1), own)
    assert mine in hands.viewer.layers
    np.testing.assert_array_equal(mine.data, own)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Labels are written when the first event is set; the second says that they are about to be."""
    return slow_writes(monkeypatch)


def test_what_changes_while_labels_are_written_is_written_too(opened, folder, slowly) -> None:
    """Also what another plugin puts into the layer, of which no session knows."""
    hands, (gate, begun) = opened, slowly
    commit(hands, at(1, FIRST))
    hands.until(begun.is_set)
    commit(hands, at(1, SECOND))
    gate.set()
    rest(hands)
    assert set(np.unique(written(folder, 1))) == {0, 1, 2}
    changed = hands.objects.data.copy()
    changed[3:9, 3:9] = 7
    hands.objects.data = changed
    hands.key(NEXT)
    rest(hands)
    np.testing.assert_array_equal(written(folder, 1), changed)


def test_one_goes_on_while_labels_are_written(opened, folder, slowly, cells) -> None:
    hands, (gate, begun) = opened, slowly
    commit(hands, at(1, FIRST))
    hands.until(begun.is_set)
    commit(hands, at(1, SECOND))
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.key(Qt.Key.Key_Z, CONTROL)  # the click on the second
    hands.key(NEXT)
    gate.set()
    rest(hands)
    assert hands.image.name == "cell 2.png"
    np.testing.assert_array_equal(written(folder, 1), np.roll(cells[1] == 1, 1, axis=1))
    hands.key(BEFORE)
    rest(hands)
    commit(hands, at(1, THIRD))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    assert set(np.unique(written(folder, 1))) == {0, 1, 2}


def test_closing_writes_what_was_just_done(opened, folder) -> None:
    commit(opened, at(1, FIRST))
    opened.widget.controller.close()
    assert written(folder, 1).any()


def test_labels_that_are_gone_are_written_again(opened, folder) -> None:
    commit(opened, at(1, FIRST))
    rest(opened)
    shutil.rmtree(folder / "labels")
    opened.key(NEXT)
    rest(opened)
    assert opened.image.name == "cell 2.png"
    assert written(folder, 1).any()


def test_labels_that_came_after_the_image_was_prepared_are_shown(opened, folder, cells) -> None:
    (folder / "labels").mkdir()
    tifffile.imwrite(folder / "labels" / "cell 2.tif", cells[1].astype(np.uint8))
    opened.key(NEXT)
    rest(opened)
    np.testing.assert_array_equal(opened.objects.data, cells[1])


def test_another_layer_does_not_take_the_place_of_the_first(opened, folder, cells) -> None:
    hands = opened
    commit(hands, at(1, FIRST))
    rest(hands)
    before = written(folder, 1)
    mine = hands.viewer.add_labels(np.zeros_like(cells[1]), name="mine")
    hands.settle()
    hands.pick("target", mine)
    hands.settle()
    hands.viewer.layers.selection.active = hands.points
    commit(hands, at(1, SECOND))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    np.testing.assert_array_equal(written(folder, 1), before)
    assert mine in hands.viewer.layers
    assert mine.data.any()


def test_axes_of_files_are_laid_out_as_those_of_the_image() -> None:
    labels = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    file = labels.transpose(1, 0, 2, 3)
    found = series_files.laid_out(file, "TZYX", "ZTYX", labels.shape)
    np.testing.assert_array_equal(found, labels)
    flat = series_files.laid_out(labels[0, 0], "YX", "ZYX", (1, 4, 5))
    assert flat.shape == (1, 4, 5)
    assert series_files.laid_out(labels[0, 0], "YX", "ZYX", (2, 4, 5)).shape == (4, 5)


def test_labels_that_somebody_else_wrote_are_not_overwritten(opened, folder) -> None:
    hands = opened
    commit(hands, at(1, FIRST))
    rest(hands)
    file = folder / "labels" / "cell 1.tif"
    other = np.full((128, 128), 5, np.uint8)
    tifffile.imwrite(file, other)
    commit(hands, at(1, SECOND))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 1.png"
    assert "changed by another program" in hands.status
    np.testing.assert_array_equal(written(folder, 1), other)
    file.rename(file.with_name("other.tif"))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    assert set(np.unique(written(folder, 1))) == {0, 1, 2}


def test_labels_of_another_program_have_room_for_more(
    predictor, open_panel, folder, monkeypatch, cells
) -> None:
    """They are gone on with in their own file, whose type grows when it has to."""
    (folder / "labels").mkdir()
    theirs = np.roll(np.where(cells[1] == 1, 255, 0).astype(np.uint8), 1, axis=1)
    Picture.fromarray(theirs).save(folder / "labels" / "cell 1.png")
    hands = open_folder(open_panel(), folder, monkeypatch)
    hands.key(BEFORE)
    rest(hands)
    np.testing.assert_array_equal(hands.objects.data, theirs)
    commit(hands, at(1, SECOND))
    rest(hands)
    assert sorted(one.suffix for one in (folder / "labels").iterdir()) == [".json", ".png"]
    found = np.asarray(read_labels(folder / "labels" / "cell 1.png").array)
    assert set(np.unique(found)) == {0, 255, 256}


def test_a_session_of_another_image_does_not_come_here(opened, folder) -> None:
    hands = opened
    for number in (1, 2):
        commit(hands, at(number, FIRST))
        hands.key(NEXT)
        rest(hands)
    hands.key(BEFORE)
    rest(hands)
    before = written(folder, 2)
    hands.widget.controller.open_session(str(folder / "labels" / "cell 1.session.json"))
    rest(hands)
    assert "cell 1" in hands.image.name
    hands.widget.controller.next_image()
    rest(hands)
    np.testing.assert_array_equal(written(folder, 2), before)
    assert hands.image.name == "cell 10.png"


def test_nobody_goes_on_while_objects_are_carried(
    predictor, open_panel, tmp_path, monkeypatch, cells
) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.stack([cells[0]] * 6))
    hands = open_folder(open_panel(), tmp_path, monkeypatch)
    hands.click(FIRST)
    hands.settle()
    predictor.gate.clear()
    hands.widget.controller.propagate()
    hands.until(predictor.waiting.is_set)
    hands.key(NEXT)
    assert "still being carried" in hands.widget.status.text()  # progress does not take its place
    predictor.gate.set()
    rest(hands)
    assert hands.image.name == "a.tif"
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "b.tif"
    assert hands.objects is None or not hands.objects.data.any()
    carried = np.asarray(read_labels(tmp_path / "labels" / "a.tif").array)
    assert carried.reshape(len(carried), -1).any(axis=1).all()


def test_a_folder_called_images_has_its_labels_beside_it(
    predictor, open_panel, tmp_path, monkeypatch, cells
) -> None:
    """As in data sets."""
    place = tmp_path / "images"
    place.mkdir()
    Picture.fromarray(cells[0]).save(place / "one.png")
    hands = open_folder(open_panel(), place, monkeypatch)
    commit(hands, FIRST)
    rest(hands)
    (found,) = read_labelled_folder(tmp_path)
    np.testing.assert_array_equal(found.labels, cells[1] == 1)


def test_images_of_other_kinds(predictor, open_panel, tmp_path, monkeypatch, cells) -> None:
    """Other sizes, colours, stacks and scales; names that differ by their endings alone."""
    place = tmp_path / "mixed"
    place.mkdir()
    image, truth = cells
    Picture.fromarray(image).save(place / "a.png")
    larger, _ = discs((160, 144), CENTRES)
    tifffile.imwrite(
        place / "a.tif", larger, resolution=(2, 2), metadata={"unit": "um"}, imagej=True
    )
    Picture.fromarray(np.stack([image] * 3, axis=-1)).save(place / "b.png")
    tifffile.imwrite(
        place / "c.tif",
        np.stack([image] * 5),
        imagej=True,
        resolution=(1, 1),
        metadata={"axes": "ZYX", "spacing": 2.5, "unit": "um"},
    )
    hands = open_folder(open_panel(), place, monkeypatch)
    commit(hands, FIRST)
    for name in ("a.tif", "b.png", "c.tif"):
        hands.key(NEXT)
        rest(hands)
        assert hands.image.name == name
        commit(hands, SECOND)
        rest(hands)
        assert hands.objects.data.any()
    assert sorted(file.name for file in (place / "labels").glob("*.tif")) == [
        *("a.png.tif", "a.tif.tif", "b.tif", "c.tif")
    ]
    stack = read_labels(place / "labels" / "c.tif")
    assert stack.array.shape == (5, 128, 128)
    assert stack.scale == pytest.approx((2.5, 1.0, 1.0))
    for name in ("b.png", "a.tif", "a.png"):
        hands.key(BEFORE)
        rest(hands)
        assert hands.image.name == name
        assert hands.objects.data.shape == hands.image.data.shape[:2]
        assert hands.objects.data.any()
        if name == "a.tif":
            np.testing.assert_allclose(hands.image.scale, 0.5)
            np.testing.assert_allclose(hands.objects.scale, 0.5)
            np.testing.assert_allclose(hands.points.scale, 0.5)
    np.testing.assert_array_equal(hands.objects.data == 1, truth == 1)
    np.testing.assert_allclose(hands.image.scale, 1.0)


def test_a_folder_without_images_is_told(opened, tmp_path, monkeypatch) -> None:
    empty = tmp_path / "nothing"
    empty.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(empty))
    opened.press("series.open_folder")
    rest(opened)
    assert "no images" in opened.status
    assert opened.image.name == "cell 1.png"
