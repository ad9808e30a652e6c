"""Sections of the panel fold, are as they were left, and open for what has to be seen."""

from __future__ import annotations

import napari.settings
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QPushButton, QScrollArea

from napari_litesam.commands import everything
from napari_litesam.preferences import PLUGIN
from napari_litesam.sections import Section

LEFT = Qt.MouseButton.LeftButton
AT_FIRST = {"image_section", "prompts_section", "everything_section"}

keeps = pytest.mark.skipif(
    not hasattr(napari.settings, "get_plugin_settings"), reason="napari keeps settings from 0.9 on"
)


def sections(hands) -> dict[str, Section]:
    return {one.objectName(): one for one in hands.widget.findChildren(Section)}


def unfolded(hands) -> set[str]:
    return {name for name, one in sections(hands).items() if one.isExpanded()}


def click_head(hands, name: str) -> None:
    head = sections(hands)[name].toggleButton()
    hands.widget.findChild(QScrollArea).ensureWidgetVisible(head)
    hands.qtbot.mouseClick(head, LEFT)
    hands.qtbot.wait(20)


def restart(hands, open_panel, image):
    hands.settle()
    hands.viewer.close()
    napari.settings._PLUGIN_SETTINGS.clear()
    again = open_panel(image)
    again.settle()
    return again


def test_at_first_all_that_a_click_needs_is_unfolded(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.settle()
    assert unfolded(hands) == AT_FIRST
    panel = hands.widget
    for control in (panel.image, panel.model, panel.positive, panel.target, panel.everything):
        assert control.isVisible()


@keeps
def test_folded_sections_are_so_at_the_next_start(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    area = hands.widget.findChild(QScrollArea).widget()
    before = area.sizeHint().height()
    for name in ("image_section", "everything_section", "volume_section"):
        click_head(hands, name)
    assert unfolded(hands) == {"prompts_section", "volume_section"}
    assert not hands.widget.image.isVisible()
    click_head(hands, "volume_section")
    assert area.sizeHint().height() < before - 300
    again = restart(hands, open_panel, cells[0])
    assert unfolded(again) == {"prompts_section"}
    assert not again.widget.everything.isVisible()
    click_head(again, "image_section")
    assert again.widget.image.isVisible()
    once_more = restart(again, open_panel, cells[0])
    assert unfolded(once_more) == {"prompts_section", "image_section"}


@keeps
def test_who_had_unfolded_objects_before_still_has_the_others(predictor, open_panel, cells) -> None:
    """Settings of a time in which image, prompts and everything could not be folded."""
    open_panel(None, show=False).viewer.close()
    napari.settings.get_plugin_settings(PLUGIN).panel.unfolded = "objects_section"
    napari.settings._PLUGIN_SETTINGS.clear()
    hands = open_panel(cells[0], show=False)
    assert unfolded(hands) == {*AT_FIRST, "objects_section"}


def test_a_head_is_reached_and_pressed_with_the_keyboard(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    section = sections(hands)["prompts_section"]
    head = section.toggleButton()
    hands.widget.window().activateWindow()
    head.setFocus(Qt.FocusReason.TabFocusReason)
    hands.until(head.hasFocus)
    hands.qtbot.keyClick(head, Qt.Key.Key_Tab)
    assert section.isAncestorOf(QApplication.focusWidget()), "Tab goes on into the section"
    head.setFocus(Qt.FocusReason.TabFocusReason)
    hands.qtbot.keyClick(head, Qt.Key.Key_Space)
    assert not section.isExpanded()
    hands.qtbot.keyClick(head, Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is sections(hands)["everything_section"].toggleButton()
    head.setFocus(Qt.FocusReason.TabFocusReason)
    hands.qtbot.keyClick(head, Qt.Key.Key_Space)
    assert section.isExpanded()


def test_keys_mean_the_prompts_after_a_click_on_a_head(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.canvas.native.setFocus()
    click_head(hands, "image_section")
    assert not isinstance(QApplication.focusWidget(), QPushButton)


def test_a_folded_head_says_what_it_hides_and_fits_300_pixels(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    panel = hands.widget
    hands.image.name = "a very long name of an image layer, as file names of microscopes are"
    panel.state.update(policy="overwrite", at_once=True)
    for name in AT_FIRST:
        click_head(hands, name)
    assert panel.minimumSizeHint().width() <= 300
    panel.window().resizeDocks([panel.parent()], [300], Qt.Orientation.Horizontal)
    hands.until(lambda: panel.width() <= 300)
    hands.qtbot.wait(20)
    shown = {name: one.toggleButton() for name, one in sections(hands).items()}
    assert shown["prompts_section"].text() == "▸ Prompts · overwrite"
    assert shown["everything_section"].text() == "▸ Everything · at once"
    image = shown["image_section"]
    assert image.text().startswith("▸ Image and model · a very")
    assert image.text().endswith("…")
    assert image.fontMetrics().horizontalAdvance(image.text()) <= image.width()
    for name in AT_FIRST:
        click_head(hands, name)
    assert image.text() == "▾ Image and model"


def test_a_review_unfolds_its_section_and_comes_into_sight(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    click_head(hands, "everything_section")
    everything(hands.viewer)  # the command of the palette
    hands.settle()
    review = hands.widget.review
    hands.until(review.isVisible)
    assert "everything_section" in unfolded(hands)
    hands.until(
        lambda: review.accept.visibleRegion().boundingRect() == review.accept.rect(), timeout=3000
    )
    # Who folds it then is not disturbed by the sliders' answers.
    click_head(hands, "everything_section")
    hands.widget.controller.review.filter(min_area=10)
    hands.settle()
    assert "everything_section" not in unfolded(hands)
    # Accepted, and taken back: the review is there again.
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.any()
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hands.until(review.isVisible)


@keeps
def test_a_question_about_weights_unfolds_its_section(predictor, open_panel, cells) -> None:
    """The model of the last start is gone from the disk."""
    open_panel(None, show=False).viewer.close()
    kept = napari.settings.get_plugin_settings(PLUGIN).panel
    kept.model, kept.folded = "mobile_sam", "image_section everything_section"
    napari.settings._PLUGIN_SETTINGS.clear()
    hands = open_panel(cells[0])
    hands.settle()
    offer = hands.widget.offer
    hands.until(offer.download.isVisible)
    assert unfolded(hands) == {"image_section", "prompts_section"}
    hands.until(
        lambda: offer.download.visibleRegion().boundingRect() == offer.download.rect(), timeout=3000
    )
