"""Models in words, and which is the HQ one of another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qtpy.QtCore import Qt

from litesam.models.registry import get_spec, list_models
from litesam.types import BoxPrompt, PointPrompt, Prompts
from napari_litesam.model_picker import ModelPicker
from napari_litesam.variants import (
    PROPOSALS,
    details,
    grouped,
    hq_partner,
    one_line,
    size_words,
    why_no_hq,
    why_not,
)
from napari_litesam.weights_offer import breakable

SPECS = list_models()


def test_every_model_is_in_one_family() -> None:
    groups = grouped(SPECS)
    assert sorted(s.name for members in groups.values() for s in members) == sorted(
        spec.name for spec in SPECS
    )
    assert next(iter(groups)) == "Lite-SAM"
    assert {s.name for s in groups["HQ-SAM"]} >= {"sam_hq_vit_tiny", "sam_hq_vit_b"}
    assert {s.name for s in groups["SAM"]} == {"sam_vit_b", "sam_vit_l", "sam_vit_h"}


@pytest.mark.parametrize(
    ("size", "words"),
    [(None, "? MB"), (16_300_000, "16 MB"), (4_260_000, "4.3 MB"), (2_564_550_879, "2.6 GB")],
)
def test_sizes(size, words) -> None:
    assert size_words(size) == words


def test_long_addresses_and_hashes_can_be_broken() -> None:
    address = "https://example.org/raw/34bbbfdface3c18e5221aa7de6032d7220c6c6a1/weights/model.pt"
    pieces = breakable(f"from {address} now").split("\u200b")
    assert "".join(pieces) == f"from {address} now"
    assert max(len(piece) for piece in pieces) <= 13
    assert breakable("words, no addresses") == "words, no addresses"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_facts_of_every_model(spec, home) -> None:
    from litesam.weights import weights_status

    status = weights_status(spec)
    line, text = one_line(spec, status), details(spec, status)
    assert ("✓" in line) == status.present
    assert spec.weights.licence in line
    assert len(line) < 60
    for words in ("Parameters", "Prompts: points and boxes", "Everything", "Memory", spec.paper):
        assert words in text
    if not spec.weights.permissive:
        assert spec.weights.licence_note in text
    assert all(name in PROPOSALS for name in spec.proposals)


def test_hq_has_a_partner_with_the_same_encoder() -> None:
    for plain, hq in (
        ("lite_sam", "lite_sam_hq"),
        ("sam_vit_b", "sam_hq_vit_b"),
        ("mobile_sam", "sam_hq_vit_tiny"),
    ):
        assert hq_partner(get_spec(plain), SPECS) is get_spec(hq)
        assert hq_partner(get_spec(hq), SPECS) is get_spec(plain)
        assert get_spec(plain).encoder_name == get_spec(hq).encoder_name
        assert why_no_hq(get_spec(plain), SPECS) is None
    reason = why_no_hq(get_spec("edge_sam"), SPECS)
    assert all(able in reason for able in ("Lite-SAM", "MobileSAM", "SAM ViT-B"))
    assert "HQ-SAM" not in reason


def test_limits_of_prompts() -> None:
    spec = replace(get_spec("lite_sam"), title="Six", max_points=6)
    four = tuple(PointPrompt(i, i) for i in range(4))
    box = BoxPrompt(0, 0, 9, 9)
    assert why_not(spec, Prompts(points=four, box=box)) is None
    assert "there are 7, the box counts as two" in why_not(
        spec, Prompts(points=(*four, PointPrompt(9, 9)), box=box)
    )
    assert "takes no box prompts" in why_not(replace(spec, prompts=("point",)), Prompts(box=box))


def test_families_cannot_be_chosen_and_the_wheel_changes_nothing(qtbot) -> None:
    picker = ModelPicker(SPECS)
    qtbot.addWidget(picker)
    picker.show_model("mobile_sam")
    chosen = []
    picker.chosen.connect(chosen.append)
    headers = [
        row
        for row in range(picker.count())
        if picker.model().flags(picker.model().index(row, 0)) == Qt.ItemFlag.NoItemFlags
    ]
    assert [picker.itemText(row) for row in headers] == list(grouped(SPECS))
    assert all(picker.itemData(row) is None for row in headers)
    picker.setFocus()
    qtbot.keyClick(picker, Qt.Key.Key_Down)
    assert len(chosen) == 1
    assert picker.currentData() == "mobile_sam", "shown until another one is in use"
