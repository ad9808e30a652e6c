"""Controls made from a config's metadata."""

from __future__ import annotations

from dataclasses import fields

from litesam.types import EverythingConfig
from napari_litesam.options import OptionsForm


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
    threshold = form.controls["predicted_iou_threshold"]
    threshold.setValue(0.5)
    assert told[-1].predicted_iou_threshold == 0.5
    threshold.setValue(0.0)
    assert told[-1].predicted_iou_threshold == 0.0
    threshold.stepDown()
    assert told[-1].predicted_iou_threshold is None
    kind = form.controls["prompt_kind"]
    kind.setCurrentIndex(kind.findData("box"))
    assert told[-1].prompt_kind == "box"
    form.controls["top_n"].setValue(10**9)
    assert told[-1].top_n == 4096


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
    form.controls["crop_layers"].setValue(1)
    assert form.config.crop_layers == 1
