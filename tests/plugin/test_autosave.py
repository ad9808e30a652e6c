"""What is on the disk is what the layers show, whatever was done in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.session import SessionJournal
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


@pytest.mark.parametrize("how", ["whole", "older", "damaged"])
def test_a_review_that_was_open_comes_back(predictor, open_panel, cells, how) -> None:
    """As it was; of sessions without its masks, or with others than they say, its options do."""
    hands = open_panel(cells[0])
    hands.pick("where", Where.VIEW)
    hands.press("everything")
    hands.settle()
    hands.click(SECOND)
    hands.settle()
    assert "1 rejected" in hands.widget.review.count.text()
    hands.widget.controller.close()
    (left,) = left_journals()
    session, review = left.session, left.session.settings["review"]
    assert review["candidates"] == 3
    if how == "older":
        session = replace(session, found=None)
    elif how == "damaged":
        settings = {**session.settings, "review": {**review, "rejected": [7]}}
        session = replace(session, settings=settings)
    SessionJournal(left.path, session).close()

    again = open_panel(cells[0])
    again.settle()
    again.pick("where", Where.PLANE)
    assert "a review of 3 candidates" in again.widget.unsaved.text.text()
    again.press("unsaved.bring_back")
    again.settle()
    assert again.widget.state.settings.where is Where.VIEW
    if how == "whole":
        assert "The review of 3 candidates is open again" in again.status
        assert "1 rejected" in again.widget.review.count.text()
        left_over = [1, 2]
    else:
        assert "A review of everything mode was open: press" in again.status
        again.press("everything")
        again.settle()
        left_over = [1, 2, 3]
    assert again.widget.review.isVisible()
    again.press("review.accept")
    again.settle()
    assert np.unique(again.objects.data).tolist() == [0, *left_over]
    session = again.widget.controller.keeper.session(again.objects)
    assert "review" not in session.settings
    assert session.found is None
    undo(again)
    assert again.widget.review.isVisible()


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


def test_what_is_not_committed_goes_with_the_layer(predictor, open_panel, cells) -> None:
    """Prompts and candidates are offered again from the layer that was to receive them, once."""
    image, labels = cells
    hands = open_panel(image)
    commit(hands, FIRST)
    hands.viewer.add_labels(np.zeros_like(labels), name="mine")
    hands.press("everything")
    hands.settle()
    assert hands.widget.review.isVisible()
    hands.pick("target", "mine")
    hands.settle()
    keeper = hands.widget.controller.keeper
    first, second = (hands.viewer.layers[name] for name in ("Lite-SAM objects", "mine"))
    assert keeper.session(first).found is None
    assert "review" not in keeper.session(first).settings
    assert len(keeper.session(second).found.records) == 3
    hands.press("review.accept")
    hands.settle()
    hands.press("positive")
    hands.click((100, 20))
    hands.settle()
    assert keeper.session(second).found is None
    assert keeper.session(second).drafts
    hands.pick("target", "Lite-SAM objects")
    hands.settle()
    assert not keeper.session(second).drafts
    assert keeper.session(first).drafts
    hands.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)  # clear
    hands.settle()
    hands.widget.controller.close()
    assert not any(one.session.drafts or one.session.found for one in left_journals())


def test_prompts_outlive_the_layer_that_was_to_receive_them(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    commit(hands, FIRST)
    hands.press("positive")
    hands.click(SECOND)
    hands.settle()
    hands.viewer.layers.remove(hands.objects)
    hands.settle()
    hands.widget.controller.close()
    drafts = [len(one.session.drafts) for one in left_journals()]
    assert sorted(drafts) == [1, 1], "with the objects that are gone, and by themselves"


def test_a_review_that_is_accepted_in_3d_is_not_offered_again(predictor, open_panel, cells) -> None:
    hands = open_panel(np.stack([cells[0]] * 5))
    hands.press("everything")
    hands.settle()
    hands.viewer.dims.ndisplay = 3
    hands.settle()
    hands.press("review.accept")
    hands.settle()
    assert np.unique(hands.objects.data).tolist() == [0, 1, 2, 3]
    hands.widget.controller.close()
    (left,) = left_journals()
    assert len(left.session.objects()) == 3
    assert left.session.found is None
    assert "review" not in left.session.settings


def test_a_review_is_of_the_model_that_made_it(predictor, open_panel, cells, present) -> None:
    """Also where another one answers when it is accepted."""
    present("mobile_sam")
    hands = open_panel(cells[0])
    hands.choose_model("mobile_sam")
    hands.settle()
    hands.press("everything")
    hands.settle()
    hands.widget.controller.close()
    again = open_panel(cells[0])
    again.settle()
    again.press("unsaved.bring_back")
    again.settle()
    again.choose_model("lite_sam")
    again.settle()
    again.press("review.accept")
    again.settle()
    session = again.widget.controller.keeper.session(again.objects)
    assert {one.model(session).name for one in session.objects().values()} == {"mobile_sam"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("filters", {"predicted_iou": "high"}), ("index", 3), ("proposals", "none"), ("policy", "x")],
)
def test_a_review_that_was_tampered_with(predictor, open_panel, cells, name, value) -> None:
    hands = open_panel(cells[0])
    commit(hands, FIRST)
    hands.press("everything")
    hands.settle()
    hands.widget.controller.close()
    (left,) = left_journals()
    settings = left.session.settings
    review = {**settings["review"], name: value}
    session = replace(left.session, settings={**settings, "review": review})
    SessionJournal(left.path, session).close()
    again = open_panel(cells[0])
    again.settle()
    again.press("unsaved.bring_back")
    again.settle()
    assert np.unique(again.objects.data).tolist() == [0, 1]
    assert again.widget.review.isVisible() == (name in ("index", "proposals"))
    if not again.widget.review.isVisible():
        again.press("everything")
        again.settle()
    again.press("review.accept")
    again.settle()
    assert len(np.unique(again.objects.data)) == 4
