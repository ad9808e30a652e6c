"""What is on the disk is what the layers show, whatever was done in which order."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from napari_litesam.state import Contrast, Where
from plugin.journals import left_journals

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES


def commit(hands, at) -> None:
    hands.press("positive")
    hands.click(at)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


def undo(hands) -> None:
    hands.viewer.layers.selection.active = hands.points
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()


def turn_to(hands, name: str) -> None:
    hands.pick("image", name)
    hands.settle()


def two_images(open_panel, cells):
    """Two images, and one layer that receives the objects of both."""
    hands = open_panel(cells[0])
    commit(hands, FIRST)
    hands.viewer.add_image(cells[0].copy(), name="other")
    hands.settle()
    turn_to(hands, "other")
    hands.pick("target", "Lite-SAM objects")
    hands.settle()
    return hands


def recovered(hands) -> tuple[np.ndarray, np.ndarray]:
    """The labels on the disk, and those of the layer."""
    now = hands.viewer.layers["Lite-SAM objects"].data.copy()
    hands.widget.controller.close()
    (left,) = left_journals()
    return left.labels(), now


def test_undo_of_one_image_leaves_what_another_put_into_the_layer(
    predictor, open_panel, cells
) -> None:
    hands = two_images(open_panel, cells)
    commit(hands, SECOND)
    turn_to(hands, "cells")
    undo(hands)
    np.testing.assert_array_equal(np.unique(hands.objects.data), [0, 2])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


def test_redo_where_another_image_wrote_meanwhile(predictor, open_panel, cells) -> None:
    hands = two_images(open_panel, cells)
    turn_to(hands, "cells")
    undo(hands)
    assert not hands.objects.data.any()
    turn_to(hands, "other")
    commit(hands, FIRST)
    turn_to(hands, "cells")
    hands.press("redo")
    hands.settle()
    np.testing.assert_array_equal(np.unique(hands.objects.data), [0, 2])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


def test_strokes_in_a_layer_of_another_image(predictor, open_panel, cells) -> None:
    hands = two_images(open_panel, cells)
    turn_to(hands, "other")
    hands.pick("target", None)
    hands.settle()
    layer = hands.viewer.layers["Lite-SAM objects"]
    assert hands.objects is None
    hands.viewer.layers.selection.active = layer
    hands.key(Qt.Key.Key_2)
    layer.brush_size = 5
    layer.selected_label = 9
    hands.click((5, 5))
    hands.settle()
    assert (layer.data == 9).any()
    turn_to(hands, "cells")
    undo(hands)
    assert (layer.data == 9).any(), "painted under the other image"
    np.testing.assert_array_equal(np.unique(layer.data), [0, 9])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


def test_strokes_in_a_layer_to_which_the_panel_did_nothing_yet(
    predictor, open_panel, cells
) -> None:
    hands = open_panel(cells[0])
    hands.viewer.add_labels(np.where(cells[1] == 3, 5, 0), name="Lite-SAM objects")
    hands.pick("target", "Lite-SAM objects")
    hands.settle()
    layer = hands.objects
    hands.viewer.add_image(np.zeros((20, 20), np.uint8), name="other")
    hands.settle()
    turn_to(hands, "other")
    hands.viewer.layers["other"].visible = False
    hands.viewer.layers.selection.active = layer
    hands.key(Qt.Key.Key_2)
    layer.brush_size = 5
    layer.selected_label = 9
    hands.click((120, 5), layer)
    hands.settle()
    np.testing.assert_array_equal(np.unique(layer.data), [0, 5, 9])
    labels, now = recovered(hands)
    np.testing.assert_array_equal(labels, now)


# ---------------------------------------------------------------- what else was in the panel


def test_a_review_that_was_open_is_told_and_can_be_run_again(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.pick("where", Where.VIEW)
    hands.press("everything")
    hands.settle()
    assert hands.widget.review.isVisible()
    hands.widget.controller.close()
    (left,) = left_journals()
    assert left.session.settings["review"]["candidates"] == 3

    again = open_panel(cells[0])
    again.settle()
    again.pick("where", Where.PLANE)
    assert "a review of everything mode" in again.widget.unsaved.text.text()
    again.press("unsaved.bring_back")
    again.settle()
    assert "A review of 3 candidates was open" in again.status
    assert again.widget.state.settings.where is Where.VIEW
    again.press("everything")
    again.settle()
    assert again.widget.review.isVisible()
    again.press("review.accept")
    again.settle()
    assert again.objects.data.max() == 3
    session = again.widget.controller.keeper.session(again.objects)
    assert "review" not in session.settings


def test_contrast_model_and_next_id_come_back(predictor, open_panel, cells, present) -> None:
    present("mobile_sam")
    hands = open_panel(cells[0])
    hands.pick("contrast", Contrast.LAYER)
    hands.image.contrast_limits = (3, 222)
    hands.until(lambda: hands.widget.state.settings.look.limits == (3, 222))
    hands.choose_model("mobile_sam")
    hands.settle()
    assert hands.in_use == "mobile_sam"
    commit(hands, FIRST)
    hands.type_in(hands.widget.number, "17")
    hands.settle()
    hands.widget.controller.close()
    (left,) = left_journals()
    assert left.session.settings["number"] == 17

    again = open_panel(cells[0])
    again.settle()
    again.pick("contrast", Contrast.STRONG)
    again.choose_model("lite_sam")
    again.settle()
    again.press("unsaved.bring_back")
    again.settle()
    assert again.in_use == "mobile_sam"
    assert again.widget.state.settings.contrast is Contrast.LAYER
    assert tuple(again.image.contrast_limits) == (3, 222)
    commit(again, SECOND)
    np.testing.assert_array_equal(np.unique(again.objects.data), [0, 1, 17])
    session = again.widget.controller.keeper.session(again.objects)
    assert "number" not in session.settings
    kinds = [action.kind for action in session.actions]
    assert kinds == ["object", "object"], "the image is looked at as before"


def test_level_of_a_pyramid_comes_back(predictor, open_panel, cells) -> None:
    large = np.kron(cells[0], np.ones((4, 4), np.uint8))
    levels = [large, large[::2, ::2], large[::4, ::4]]
    hands = open_panel(levels, multiscale=True)
    hands.widget.state.update(level=2)
    hands.settle()
    commit(hands, (FIRST[0] * 4, FIRST[1] * 4))
    assert hands.objects.data.any()
    hands.widget.controller.close()
    assert len(left_journals()) == 1
    again = open_panel(levels, multiscale=True)
    again.settle()
    assert again.widget.state.settings.level == 0
    again.press("unsaved.bring_back")
    again.settle()
    assert again.widget.state.settings.level == 2


def test_own_weights_come_back_or_are_said_to_be_gone(
    predictor, open_panel, cells, tmp_path
) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(b"weights")
    hands = open_panel(cells[0])
    hands.widget.controller.models.choose(weights=str(own))
    hands.settle()
    assert hands.widget.state.settings.weights == str(own)
    commit(hands, FIRST)
    hands.widget.controller.close()
    (left,) = left_journals()
    assert left.session.model.weights == str(own)
    again = open_panel(cells[0])
    again.settle()
    assert again.widget.state.settings.weights is None
    again.press("unsaved.bring_back")
    again.settle()
    assert again.widget.state.settings.weights == str(own)
    again.widget.controller.close()
    assert len(left_journals()) == 1
    own.unlink()
    last = open_panel(cells[0])
    last.settle()
    last.press("unsaved.bring_back")
    last.settle()
    assert "are not there" in last.status
    assert last.widget.state.settings.weights is None
    assert last.objects.data.any()
