"""Controls made from a config's metadata."""

from __future__ import annotations

from dataclasses import fields

from qtpy.QtCore import Qt

from litesam.types import EverythingConfig
from napari_litesam.options import OptionsForm


def type_in(qtbot, control, text: str) -> None:
    """Type a value into a field, in place of what is there."""
    control.selectAll()
    qtbot.keyClicks(control, text)
    qtbot.keyClick(control, Qt.Key.Key_Return)


def test_every_field_has_a_control_with_its_help_and_default(qtbot) -> None:
    form = OptionsForm(EverythingConfig())
    qtbot.addWidget(form)
    assert set(form.controls) == {item.name for item in fields(EverythingConfig)}
    for item in fields(EverythingConfig):
        assert item.metadata["help"] in form.controls[item.name].toolTip()
    assert form.config == EverythingConfig()
    assert form.controls["predicted_iou_threshold"].text() == "auto"
    assert form.controls["min_area_px"].text() == "0 px"


def test_controls_change_the_config_and_automatic_is_none(qtbot) -> None:
    form = OptionsForm(EverythingConfig())
    qtbot.addWidget(form)
    told = []
    form.changed.connect(told.append)
    form.show()
    threshold = form.controls["predicted_iou_threshold"]
    type_in(qtbot, threshold, "0.5")
    assert told[-1].predicted_iou_threshold == 0.5
    type_in(qtbot, threshold, "0")
    assert told[-1].predicted_iou_threshold == 0.0
    qtbot.keyClick(threshold, Qt.Key.Key_Down)
    assert told[-1].predicted_iou_threshold is None
    kind = form.controls["prompt_kind"]
    for _ in range(kind.findData("box") - kind.currentIndex()):
        qtbot.keyClick(kind, Qt.Key.Key_Down)
    assert told[-1].prompt_kind == "box"
    type_in(qtbot, form.controls["top_n"], "4095")
    for _ in range(2):
        qtbot.keyClick(form.controls["top_n"], Qt.Key.Key_Up)
    assert told[-1].top_n == 4096, "and no more"


def test_what_few_people_need_is_folded_away(qtbot) -> None:
    form = OptionsForm(EverythingConfig())
    qtbot.addWidget(form)
    assert not form.advanced.isExpanded()
    folded = {
        name for name, control in form.controls.items() if form.advanced.isAncestorOf(control)
    }
    assert folded == {
        item.name for item in fields(EverythingConfig) if item.metadata.get("advanced")
    }
    assert "crop_layers" in folded
    form.show()
    qtbot.mouseClick(form.advanced.toggleButton(), Qt.MouseButton.LeftButton)
    type_in(qtbot, form.controls["crop_layers"], "1")
    assert form.config.crop_layers == 1
