"""The map of keys: shown in the panel, bound as it says, and beside napari's own keys."""

from __future__ import annotations

import pytest
from napari.layers import Labels, Points, Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QScrollArea, QWidget

from napari_litesam.keys import KEYS

#: Undo and redo of the candidates' layer take the place of those of a Labels layer, which has
#: nothing to undo there.
OVERRIDDEN = {"Ctrl+Z", "Ctrl+Shift+Z"}


def layer_of(hands, kind: str):
    prompts = hands.widget.controller.prompts
    return {
        "points": prompts.points,
        "boxes": prompts.boxes,
        "candidates": hands.widget.controller._layers.candidates,
    }[kind]


def test_keys_are_bound_as_the_map_says(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("everything")
    hands.settle()
    for kind in ("points", "boxes", "candidates"):
        bound = {str(key) for key in layer_of(hands, kind).keymap}
        wanted = {one.key for one in KEYS if kind in one.layers}
        assert bound == wanted


@pytest.mark.parametrize(
    ("kind", "layer_type"), [("points", Points), ("boxes", Shapes), ("candidates", Labels)]
)
def test_no_key_of_napari_is_taken(make_napari_viewer, kind, layer_type) -> None:
    from napari.layers import Layer
    from napari.utils.action_manager import action_manager

    viewer = make_napari_viewer()
    theirs = {
        str(key)
        for keymap in (
            layer_type.class_keymap,
            Layer.class_keymap,
            viewer.class_keymap,
            viewer.keymap,
        )
        for key in keymap
    }
    assert action_manager is not None
    ours = {one.key for one in KEYS if kind in one.layers}
    assert (theirs & ours) <= (OVERRIDDEN if kind == "candidates" else set())
    assert len(theirs) > 5, "napari's keys were found"


def test_map_unfolds_and_names_every_key(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    section = hands.widget.findChild(QWidget, "keys")
    assert not section.isExpanded()
    hands.qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
    hands.until(section.isExpanded)
    shown = " ".join(label.text() for label in section.findChildren(QLabel))
    for one in KEYS:
        assert f"<b>{one.key.replace('+', '-')}</b>" in shown
        assert one.words in shown
        assert callable(getattr(hands.widget.controller, one.intent))


def test_nothing_is_cut_off_in_a_narrow_panel(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.press("everything")
    hands.settle()
    hands.press("positive")
    hands.click((30, 30))
    hands.settle()
    hands.widget.findChild(QWidget, "keys").expand(animate=False)
    content = hands.widget.findChild(QScrollArea).widget()
    hands.until(lambda: content.minimumSizeHint().width() <= 240)
