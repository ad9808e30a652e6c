"""What the user chose last is there at the next start."""

from __future__ import annotations

from typing import Any

import napari.settings
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import Qt
from superqt import QCollapsible

from litesam.types import EverythingConfig
from napari_litesam.preferences import KEPT, PLUGIN, Preferences, options_of, options_text
from napari_litesam.state import Contrast, PluginState, Settings

pytestmark = pytest.mark.skipif(
    not hasattr(napari.settings, "get_plugin_settings"), reason="napari keeps settings from 0.9 on"
)


def restart() -> None:
    """Forget what napari holds in memory; the file stays."""
    napari.settings._PLUGIN_SETTINGS.clear()


def test_choices_are_there_at_the_next_start(predictor, open_panel, cells, present) -> None:
    present("mobile_sam")
    hands = open_panel(cells[0])
    hands.tick("at_once")
    hands.tick("hover")
    hands.widget.embedding.ahead.click()
    contrast = hands.widget.contrast
    contrast.setCurrentIndex(contrast.findData(Contrast.LAYER))
    contrast.activated.emit(contrast.currentIndex())
    hands.choose_model("mobile_sam")
    hands.until(lambda: hands.in_use == "mobile_sam")
    hands.settle()
    hands.viewer.close()
    restart()
    again = open_panel(cells[0])
    again.until(lambda: again.in_use == "mobile_sam")
    again.settle()
    assert again.widget.at_once.isChecked()
    assert again.widget.hover.isChecked()
    assert again.widget.embedding.ahead.isChecked()
    assert again.widget.contrast.currentData() is Contrast.LAYER
    assert not again.widget.embedding.disk.isChecked()


def test_options_and_unfolded_sections_are_there_at_the_next_start(
    predictor, open_panel, cells
) -> None:
    hands = open_panel(cells[0])
    objects = hands.widget.objects
    hands.qtbot.mouseClick(objects.toggleButton(), Qt.MouseButton.LeftButton)
    section = hands.widget.findChild(QCollapsible, "everything_options")
    hands.qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
    area = hands.widget.options.controls["min_area_px"]
    hands.until(lambda: area.isVisible() and area.height() > 10)
    area.setFocus()
    area.selectAll()
    hands.qtbot.keyClicks(area, "25")
    hands.qtbot.keyClick(area, Qt.Key.Key_Return)
    assert hands.widget.state.settings.everything.min_area_px == 25
    hands.qtbot.mouseClick(objects.toggleButton(), Qt.MouseButton.LeftButton)
    hands.until(lambda: not objects.isExpanded())
    hands.viewer.close()
    restart()
    again = open_panel(cells[0])
    again.settle()
    assert again.widget.state.settings.everything == EverythingConfig(min_area_px=25)
    assert again.widget.options.controls["min_area_px"].value() == 25
    assert again.widget.findChild(QCollapsible, "everything_options").isExpanded()
    assert not again.widget.objects.isExpanded(), "it was folded again"
    again.widget.options.controls["min_area_px"].setValue(150)
    again.everything()
    assert again.objects is None, "the discs have 149 pixels"
    assert "found no object" in again.status


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("", EverythingConfig()),
        ("min_area_px=12 nms_iou=0.5", EverythingConfig(min_area_px=12, nms_iou=0.5)),
        ("overlap_policy=largest_first", EverythingConfig(overlap_policy="largest_first")),
        ("min_area_px=many top_n=7 unknown=3 nms_iou=9 =", EverythingConfig(top_n=7)),
    ],
)
def test_options_as_text(text, config) -> None:
    assert options_of(text) == config
    assert options_of(options_text(config)) == config


def test_what_is_no_longer_valid_is_left_out(predictor, open_panel, cells) -> None:
    open_panel(None, show=False)
    kept = napari.settings.get_plugin_settings(PLUGIN).panel
    kept.model = "a model of yesterday"
    restart()
    hands = open_panel(cells[0], show=False)
    hands.settle()
    assert hands.in_use == "lite_sam"


def test_without_settings_of_napari_everything_goes_on(monkeypatch) -> None:
    def nothing(_name: str) -> Any:
        raise KeyError("Plugin does not exist.")

    monkeypatch.setattr("napari.settings.get_plugin_settings", nothing)
    state = PluginState()
    preferences = Preferences(state)
    assert preferences.read() == {}
    state.update(ahead=True)
    preferences.close()


def test_manifest_and_settings_agree() -> None:
    manifest = PluginManifest.from_distribution("napari-litesam")
    declared = manifest.contributions.configurations["panel"].properties
    assert set(declared) == set(KEPT)
    for name in set(KEPT) & set(Settings.__dataclass_fields__):
        default = getattr(Settings(), name)
        assert declared[name].default == getattr(default, "value", default), name
