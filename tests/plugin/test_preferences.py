"""What the user chose last is there at the next start."""

from __future__ import annotations

from typing import Any

import napari.settings
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import Qt
from superqt import QCollapsible

from engine.threshold_predictor import CENTRES
from litesam.types import EverythingConfig
from napari_litesam.preferences import KEPT, PLUGIN, Preferences, options_of, options_text
from napari_litesam.state import Contrast, PluginState, Settings, Where

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
    hands.tick("embedding.ahead")
    hands.pick("contrast", Contrast.LAYER)
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
    hands.type_in(area, "25")
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
    again.type_in(again.widget.options.controls["min_area_px"], "150")
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
        default = "" if default is None else default
        assert declared[name].default == getattr(default, "value", default), name


def test_ways_of_working_are_there_at_the_next_start_and_to_be_seen(
    predictor, open_panel, cells
) -> None:
    hands = open_panel(cells[0])
    for name, row in (("where", 1), ("proposals", 1), ("policy", 1)):
        chooser = getattr(hands.widget, name)
        chooser.setFocus()
        for _ in range(row):
            hands.qtbot.keyClick(chooser, Qt.Key.Key_Down)
    hands.tick("each")
    settings = hands.widget.state.settings
    assert (settings.where, settings.proposals) == (Where.VIEW, "grid")
    hands.settle()
    hands.viewer.close()
    restart()
    again = open_panel(cells[0])
    again.settle()
    panel = again.widget
    assert panel.state.settings.where is Where.VIEW
    assert panel.state.settings.proposals == "grid"
    assert panel.state.settings.policy == "overwrite"
    shown = [getattr(panel, name).currentText() for name in ("where", "proposals", "policy")]
    assert shown == ["The visible field", "Grid", "Overwrite"]
    assert panel.each.isChecked()
    # Who folds the section still sees that pixels of others are overwritten.
    head = panel.prompts_section.toggleButton()
    again.qtbot.mouseClick(head, Qt.MouseButton.LeftButton)
    again.until(lambda: "· overwrite" in head.text())
    # And it is what happens.
    first, second, _ = CENTRES
    again.click(first)
    again.click(second)
    again.settle()
    assert "2 objects" in again.status


def test_the_only_way_of_another_model_waits_for_it(predictor, open_panel, cells) -> None:
    """What FastSAM does is nothing that Lite-SAM, which answers until then, could do."""
    open_panel(None, show=False).viewer.close()
    kept = napari.settings.get_plugin_settings(PLUGIN).panel
    kept.proposals = "instances"
    restart()
    hands = open_panel(cells[0], show=False)
    hands.settle()
    assert hands.widget.state.settings.proposals is None
    assert hands.widget.proposals.currentText() == "AutoPPN"
