"""Keys that the user changes: pressed in the window for it, pressed on the canvas, kept."""

from __future__ import annotations

import napari.settings
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox, QLabel, QWidget

from napari_litesam.keys import KEYS, keys_in_use, same_key, spelled, with_key, with_keys
from napari_litesam.preferences import PLUGIN

SHIFT = Qt.KeyboardModifier.ShiftModifier
PLAIN = Qt.KeyboardModifier.NoModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


class KeyWindow:
    """The window of the keys, used with mouse and keyboard."""

    def __init__(self, hands) -> None:
        self.hands = hands
        section = hands.widget.findChild(QWidget, "keys")
        section.expand(animate=False)
        button = hands.widget.findChild(QWidget, "change_keys")
        hands.until(lambda: button.height() > 10)
        hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        hands.until(lambda: hands.widget.findChild(QWidget, "key_dialog") is not None)
        self.dialog = hands.widget.findChild(QWidget, "key_dialog")
        hands.until(self.dialog.isVisible)

    def press(self, intent: str, key, modifier=PLAIN) -> str:
        """Press a key in the field of an intent; return what the window says to it."""
        field = self.dialog.findChild(QWidget, f"key_{intent}")
        self.hands.qtbot.mouseClick(field, Qt.MouseButton.LeftButton)
        with self.hands.qtbot.waitSignal(field.editingFinished, timeout=3000):
            self.hands.qtbot.keyClick(field, key, modifier)
        return str(self.dialog.findChild(QLabel, "key_message").text())

    def shown(self, intent: str) -> str:
        return str(self.dialog.findChild(QWidget, f"key_{intent}").keySequence().toString())

    def defaults(self) -> None:
        button = self.dialog.buttons.button(QDialogButtonBox.StandardButton.RestoreDefaults)
        self.hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def close(self) -> None:
        button = self.dialog.buttons.button(QDialogButtonBox.StandardButton.Close)
        self.hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert not self.dialog.isVisible()


def the_map(hands) -> str:
    """What the section of the keys shows."""
    section = hands.widget.findChild(QWidget, "keys")
    return " ".join(label.text() for label in section.content().findChildren(QLabel))


def commits(hands, yx, key, modifier=PLAIN) -> bool:
    """Whether a key writes the object under a click."""
    hands.click(yx)
    hands.settle()
    before = 0 if hands.objects is None else int(np.asarray(hands.objects.data).max())
    hands.key(key, modifier)
    hands.settle()
    return hands.objects is not None and int(np.asarray(hands.objects.data).max()) > before


def test_another_key_acts_and_the_old_one_does_not(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    window = KeyWindow(hands)
    assert window.press("commit", Qt.Key.Key_K) == ""
    assert window.shown("commit") == "K"
    window.close()
    assert "<b>K</b>" in the_map(hands)
    assert "(K)" in hands.widget.commit.toolTip()
    assert not commits(hands, (30, 30), Qt.Key.Key_C)
    assert "commit it (K)" in hands.status
    hands.key(Qt.Key.Key_K)
    hands.settle()
    assert hands.objects is not None
    assert hands.objects.data[30, 30] == 1


def test_changed_key_is_there_in_the_next_panel_and_defaults_bring_the_old_back(
    predictor, open_panel, cells
) -> None:
    if not hasattr(napari.settings, "get_plugin_settings"):
        pytest.skip("napari keeps settings from 0.9 on")
    hands = open_panel(cells[0])
    window = KeyWindow(hands)
    assert window.press("commit", Qt.Key.Key_K, CONTROL | SHIFT) == ""
    window.close()
    hands.viewer.close()
    napari.settings._PLUGIN_SETTINGS.clear()  # the file stays

    again = open_panel(cells[0])
    assert napari.settings.get_plugin_settings(PLUGIN).panel.keys == "commit=Ctrl+Shift+K"
    assert "<b>Ctrl-Shift-K</b>" in the_map(again)
    assert not commits(again, (30, 30), Qt.Key.Key_C)
    again.key(Qt.Key.Key_K, CONTROL | SHIFT)
    again.settle()
    assert again.objects.data[30, 30] == 1

    window = KeyWindow(again)
    assert window.shown("commit") == "Ctrl+Shift+K"
    window.defaults()
    assert window.shown("commit") == "C"
    window.close()
    assert "Ctrl-Shift-K" not in the_map(again)
    assert not commits(again, (30, 90), Qt.Key.Key_K, CONTROL | SHIFT)
    again.key(Qt.Key.Key_C)
    again.settle()
    assert again.objects.data.max() == 2
    assert napari.settings.get_plugin_settings(PLUGIN).panel.keys == ""


def test_clash_is_told_and_changes_nothing(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    window = KeyWindow(hands)
    for intent, key, modifier, says in (
        ("commit", Qt.Key.Key_N, PLAIN, "“Next mask” in the layer of points already"),
        ("commit", Qt.Key.Key_S, PLAIN, "napari's in the layer of points: activate points select"),
        ("commit", Qt.Key.Key_L, PLAIN, "napari's in the layer of boxes"),
        ("accept_all", Qt.Key.Key_F, PLAIN, "napari's in the review"),
        ("commit", Qt.Key.Key_V, PLAIN, "napari's in the layer of points"),
        ("commit", Qt.Key.Key_O, CONTROL, "in napari's menus: Open File"),
        ("commit", Qt.Key.Key_Escape, PLAIN, "Escape"),
        ("commit", Qt.Key.Key_Exclam, SHIFT, "Shift works with letters"),
        ("commit", Qt.Key.Key_Adiaeresis, PLAIN, "napari knows no such key"),
    ):
        before = window.shown(intent)
        assert says.lower() in window.press(intent, key, modifier).lower()
        assert window.shown(intent) == before
        assert hands.widget.state.settings.keys == ""
    window.close()
    assert commits(hands, (30, 30), Qt.Key.Key_C)


def test_message_goes_with_the_next_key_that_is_taken(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    window = KeyWindow(hands)
    assert window.press("toggle_sign", Qt.Key.Key_N)
    assert window.press("next_candidate", Qt.Key.Key_G) == ""
    assert window.press("toggle_sign", Qt.Key.Key_N) == "", "N is free now"
    assert hands.widget.state.settings.keys == "toggle_sign=N next_candidate=G"
    assert window.press("toggle_sign", Qt.Key.Key_T) == "", "back by hand"
    window.close()


def test_keys_of_objects_and_of_the_review_can_be_changed_while_their_layers_are_there(
    predictor, open_panel, cells
) -> None:
    hands = open_panel(cells[0])
    hands.click((30, 30))
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    hands.press("everything")
    hands.settle()
    window = KeyWindow(hands)
    assert window.press("accept_all", Qt.Key.Key_K) == ""
    assert window.press("delete_here", Qt.Key.Key_G) == ""
    window.close()
    assert "(K)" in hands.widget.review.accept.toolTip()
    assert "(K)" in hands.status
    hands.key(Qt.Key.Key_K)
    hands.settle()
    found = int(np.asarray(hands.objects.data).max())
    assert found > 1
    hands.viewer.layers.selection.active = hands.objects
    hands.hover((30, 30))
    hands.qtbot.wait(50)
    hands.key(Qt.Key.Key_X)  # napari's again in this layer
    hands.settle()
    assert hands.objects.data[30, 30] == 1
    hands.key(Qt.Key.Key_G)
    hands.settle()
    assert hands.objects.data[30, 30] == 0


def test_two_windows_and_napari_preferences_agree(predictor, open_panel, cells) -> None:
    if not hasattr(napari.settings, "get_plugin_settings"):
        pytest.skip("napari keeps settings from 0.9 on")
    one, two = open_panel(cells[0]), open_panel(cells[0])
    assert KeyWindow(one).press("commit", Qt.Key.Key_K) == ""
    assert "<b>K</b>" in the_map(two)
    napari.settings.get_plugin_settings(PLUGIN).panel.keys = "undo=Ctrl+U nonsense commit=Ä"
    assert "<b>Ctrl-U</b>" in the_map(one)
    assert "<b>K</b>" not in the_map(one)


# ---------------------------------------------------------------------------------- without window


def test_text_of_changed_keys_that_makes_no_sense_is_left_out() -> None:
    defaults = {one.intent: one.key for one in KEYS}
    assert keys_in_use("") == defaults
    assert keys_in_use("commit=N") == defaults, "N is the next mask"
    assert keys_in_use("commit=k foo=J undo= redo=Ctrl+") == defaults | {"commit": "K"}
    assert keys_in_use("commit=N next_candidate=C")["commit"] == "N", "two may be swapped"


@given(
    st.lists(
        st.tuples(st.sampled_from([one.intent for one in KEYS]), st.sampled_from("TNCREXKJUGH")),
        max_size=8,
    )
)
def test_no_key_ever_has_two_meanings_in_one_layer(changes) -> None:
    text = ""
    for intent, key in changes:
        if same_key(intent, key, keys_in_use(text)) is None:
            text = with_key(text, intent, key)
            assert keys_in_use(text)[intent] == key
    for said in (text, " ".join(f"{intent}={key}" for intent, key in changes)):
        keys = keys_in_use(said)
        assert all(same_key(intent, key, keys) is None for intent, key in keys.items())


def test_keys_stand_in_texts() -> None:
    assert with_keys("Commit it ({commit}), not {this}.") == "Commit it (C), not {this}."
    assert with_keys("({undo})", "undo=Ctrl+U") == "(Ctrl-U)"


def test_spelling_is_naparis() -> None:
    assert spelled("shift+k") == "Shift+K"
    assert spelled("F5") == "F5"
    for nonsense in ("", "Ctrl+", "Ä", "Shift", "Ctrl+foo"):
        assert spelled(nonsense) is None
