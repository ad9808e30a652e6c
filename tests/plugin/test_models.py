"""From one model to another in a real window: download, licence, import, HQ, limits."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QScrollArea,
)

from engine.threshold_predictor import CENTRES
from engine.weights_server import WeightsServer, running_server
from litesam.models.registry import get_spec, list_models
from litesam.predictors.networks import NetworkPredictor
from litesam.weights import is_licence_accepted
from plugin.heartbeat import Heartbeat, assert_window_lives
from weights import filled_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from litesam.types import ModelSpec
    from plugin.conftest import Hands

FIRST, SECOND, THIRD = CENTRES
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    with running_server() as running:
        yield running


@pytest.fixture(scope="session")
def mobile_sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deterministic weights of MobileSAM."""
    return filled_weights("mobile_sam", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def light_hq_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deterministic weights of light HQ-SAM; the encoder's are those of `mobile_sam_file`."""
    return filled_weights("sam_hq_vit_tiny", tmp_path_factory.mktemp("weights"))


def published_at(url: str, content: bytes, name: str = "mobile_sam", **changes: Any) -> ModelSpec:
    """The row of a model whose file is published at another address."""
    spec = get_spec(name)
    weights = replace(
        spec.weights,
        url=url,
        mirrors=(),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        **changes,
    )
    return replace(spec, weights=weights)


def with_row(row: ModelSpec) -> list[ModelSpec]:
    """All models, one with another row."""
    return [row if spec.name == row.name else spec for spec in list_models()]


@pytest.fixture
def offered(server, open_panel, cells, home, predictor) -> Callable[..., Any]:
    """A window in which MobileSAM was chosen and is missing; the server has its file."""

    def open_it(*, serve: dict[str, Any] | None = None, **changes: Any) -> Any:
        url = server.serve("mobile_sam.pt", CONTENT, **(serve or {}))
        hands = open_panel(cells[0], models=with_row(published_at(url, CONTENT, **changes)))
        hands.choose_model("mobile_sam")
        hands.until(lambda: "not on this computer" in hands.widget.offer.title.text())
        return hands

    return open_it


def test_a_missing_model_is_offered_and_the_present_one_goes_on(offered, server) -> None:
    hands = offered()
    offer = hands.widget.offer
    assert offer.isVisible()
    assert "0.1 MB" in offer.download.text()
    assert "Apache-2.0" in offer.text.text()
    assert "answers until it is ready" in offer.text.text()
    assert hands.in_use == "lite_sam"
    assert hands.widget.model.currentData() == "lite_sam"
    hands.click(FIRST)
    hands.settle()
    assert hands.preview[FIRST]
    hands.press("offer.close_offer")
    assert not offer.isVisible()
    assert server.requests == []


def test_download_with_progress_and_then_the_new_model_answers(offered, server, home) -> None:
    hands = offered(serve={"pause_s": 0.005})
    hands.click(FIRST)
    hands.settle()
    hands.press("offer.download")
    progress = hands.widget.offer.progress
    hands.until(lambda: progress.isVisible() and 0 < progress.value() < progress.maximum())
    assert "of 0.1 MB" in hands.widget.state.offer.text
    hands.click(SECOND)
    hands.until(lambda: bool(hands.preview[SECOND]))
    assert hands.in_use == "lite_sam"
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)
    hands.settle()
    assert (home / "weights" / "mobile_sam.pt").read_bytes() == CONTENT
    assert not hands.widget.offer.isVisible()
    assert hands.widget.model.currentText() == "MobileSAM"
    assert "✓" in hands.widget.facts.text()
    assert hands.preview[FIRST], "the prompts are still there"
    assert hands.preview[SECOND]


def test_cancelled_download_goes_on_where_it_ended(offered, server, home) -> None:
    hands = offered(serve={"pause_s": 0.02})
    hands.press("offer.download")
    hands.until(lambda: hands.widget.offer.progress.value() > 50)
    hands.press("offer.cancel")
    assert "Stopped" in hands.widget.offer.text.text()
    hands.settle()
    assert not (home / "weights" / "mobile_sam.pt").exists()
    assert hands.in_use == "lite_sam"
    hands.click(FIRST)
    hands.settle()
    assert hands.preview[FIRST], "the model in use goes on"
    server.pages["/mobile_sam.pt"].pause_s = 0.0
    hands.press("offer.download")
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)
    assert server.requests[-1].range is not None
    assert (home / "weights" / "mobile_sam.pt").read_bytes() == CONTENT


def test_restrictive_licence_is_accepted_before_anything_is_fetched(offered, server) -> None:
    note = "Non-commercial use only."
    hands = offered(
        licence="A Strict Licence", licence_note=note, licence_url="https://example.org/licence"
    )
    assert "A Strict Licence" in hands.widget.offer.text.text()
    hands.press("offer.download")
    dialog = hands.widget.offer.dialog
    hands.until(dialog.isVisible)
    shown = " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert note in shown
    assert "https://example.org/licence" in shown
    assert not dialog.confirm.isEnabled()
    hands.qtbot.mouseClick(dialog.refuse, Qt.MouseButton.LeftButton)
    hands.settle()
    assert server.requests == []
    assert not is_licence_accepted("A Strict Licence")
    assert hands.widget.offer.download.isVisible(), "the offer stays"

    hands.press("offer.download")
    dialog = hands.widget.offer.dialog
    hands.until(dialog.isVisible)
    at = QPoint(8, dialog.agree.height() // 2)
    hands.qtbot.mouseClick(dialog.agree, Qt.MouseButton.LeftButton, pos=at)
    hands.qtbot.mouseClick(dialog.confirm, Qt.MouseButton.LeftButton)
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)
    assert is_licence_accepted("A Strict Licence")


def test_failed_download_says_which_file_to_put_where(offered, server, home) -> None:
    hands = offered(serve={"status": 404})
    hands.press("offer.download")
    hands.until(hands.widget.offer.copy.isVisible, 60_000)
    hands.press("offer.copy")
    told = QApplication.clipboard().text()
    for words in (server.url("mobile_sam.pt"), str(home / "weights"), "mobile_sam.pt"):
        assert words in told
    assert hands.in_use == "lite_sam"
    area = hands.widget.findChild(QScrollArea)
    assert area.widget().minimumSizeHint().width() <= 240, "long addresses are broken"
    assert area.widget().width() <= area.viewport().width(), "and nothing is cut off"
    hands.click(FIRST)
    hands.settle()
    assert hands.preview[FIRST]
    server.serve("mobile_sam.pt", CONTENT)
    hands.press("offer.download")
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)


def test_another_model_can_be_chosen_during_a_download(offered, present, server) -> None:
    hands = offered(serve={"pause_s": 0.02})
    present("sam_vit_b")
    hands.press("offer.download")
    hands.until(lambda: hands.widget.offer.progress.value() > 0)
    hands.choose_model("sam_vit_b")
    hands.until(lambda: hands.in_use == "sam_vit_b")
    assert hands.widget.offer.isVisible()
    server.pages["/mobile_sam.pt"].pause_s = 0.0
    hands.until(lambda: not hands.widget.offer.isVisible(), 60_000)
    assert hands.in_use == "sam_vit_b"
    assert "MobileSAM is on this computer now" in hands.status


def pick_file(hands: Any, path: Path) -> None:
    """Type a path into the file dialog of the offer."""
    hands.press("offer.use_file")
    dialog = hands.widget.offer.dialog
    assert isinstance(dialog, QFileDialog)
    hands.until(dialog.isVisible)
    edit = dialog.findChild(QLineEdit)
    edit.setFocus()
    # Until Qt has read the folder it takes back what was typed.
    while edit.text() != str(path):
        edit.clear()
        hands.qtbot.keyClicks(edit, str(path))
        hands.qtbot.wait(500)
    buttons = dialog.findChild(QDialogButtonBox)
    ready = buttons.button(QDialogButtonBox.StandardButton.Open)
    hands.until(ready.isEnabled)
    hands.qtbot.mouseClick(ready, Qt.MouseButton.LeftButton)
    hands.until(lambda: hands.widget.offer.dialog is None)


def test_a_file_that_the_user_has(
    open_panel, cells, home, mobile_sam_file, light_hq_file, tmp_path
) -> None:
    """Recognised by its content; nothing else is taken, and the reason is told."""
    hands = open_panel(cells[0])
    hands.choose_model("mobile_sam")
    hands.until(lambda: hands.widget.offer.use_file.isVisible())
    wrong = tmp_path / "notes.pt"
    wrong.write_bytes(b"no weights at all")
    pick_file(hands, wrong)
    hands.until(lambda: "notes.pt" in hands.widget.state.offer.text, 60_000)
    assert hands.in_use == "lite_sam"
    pick_file(hands, light_hq_file)
    hands.until(lambda: "sam_hq_vit_tiny" in hands.widget.state.offer.text, 60_000)
    renamed = tmp_path / "from a colleague.bin"
    renamed.write_bytes(mobile_sam_file.read_bytes())
    pick_file(hands, renamed)
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)
    assert (home / "weights" / "mobile_sam.pt").read_bytes() == renamed.read_bytes()


def test_damaged_file_is_replaced_by_a_download(open_panel, cells, server, home, present) -> None:
    present("mobile_sam")
    url = server.serve("mobile_sam.pt", status=404)
    hands = open_panel(cells[0], models=with_row(published_at(url, CONTENT)))
    hands.choose_model("mobile_sam")
    hands.until(hands.widget.offer.copy.isVisible, 60_000)
    assert "damaged" in hands.widget.state.offer.text
    assert hands.in_use == "lite_sam"
    hands.press("offer.download")
    hands.until(lambda: len(server.requests) > 0)
    hands.settle()
    assert not (home / "weights" / "mobile_sam.pt").exists()


@pytest.mark.alone
def test_window_lives_while_weights_come_and_load(
    open_panel, cells, home, server, mobile_sam_file
) -> None:
    """The real engine from the offer to the answer of the new model."""
    content = mobile_sam_file.read_bytes()
    row = published_at(server.serve("mobile_sam.pt", content, pause_s=0.00002), content)

    def open_without_weights() -> Hands:
        rmtree(home, ignore_errors=True)
        return open_panel(cells[0], models=with_row(row))

    def trial(hands: Hands) -> float:
        hands.click(FIRST)
        hands.settle()
        hands.choose_model("mobile_sam")
        hands.until(lambda: hands.widget.offer.download.isVisible())
        beat = Heartbeat()
        hands.press("offer.download")
        hands.until(lambda: hands.in_use == "mobile_sam", 120_000)
        pause = beat.stop()
        hands.settle()
        assert "found no object" in hands.status or hands.preview.any()
        return pause

    assert_window_lives(open_without_weights, trial)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that encode, in order."""
    names: list[str] = []
    real = NetworkPredictor.encode

    def counting(self: Any, *args: Any, **options: Any) -> Any:
        names.append(self.spec.name)
        return real(self, *args, **options)

    monkeypatch.setattr(NetworkPredictor, "encode", counting)
    return names


def test_hq_is_switched_without_encoding_again(
    open_panel, cells, home, mobile_sam_file, light_hq_file, encoded
) -> None:
    folder = home / "weights"
    folder.mkdir(parents=True)
    for file, name in ((mobile_sam_file, "mobile_sam"), (light_hq_file, "sam_hq_vit_tiny")):
        (folder / get_spec(name).weights.file).write_bytes(file.read_bytes())
    hands = open_panel(cells[0])
    hands.choose_model("mobile_sam")
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)
    hands.settle()
    assert not hands.widget.hq.isChecked()
    hands.click(FIRST)
    hands.settle()
    plain = hands.status
    hands.tick("hq")
    hands.until(lambda: hands.in_use == "sam_hq_vit_tiny", 60_000)
    hands.settle()
    assert hands.widget.hq.isChecked()
    assert hands.widget.model.currentText() == get_spec("sam_hq_vit_tiny").title
    assert len(hands.points.data) == 1
    hands.tick("hq")
    hands.until(lambda: hands.in_use == "mobile_sam", 60_000)
    hands.settle()
    assert hands.status == plain
    assert encoded == ["mobile_sam"]


def test_missing_hq_decoder_is_offered(predictor, open_panel, cells, present) -> None:
    present("sam_vit_b")
    hands = open_panel(cells[0])
    hands.choose_model("sam_vit_b")
    hands.until(lambda: hands.in_use == "sam_vit_b")
    hands.settle()
    hands.tick("hq")
    hands.until(hands.widget.offer.download.isVisible)
    assert "HQ-SAM ViT-B" in hands.widget.offer.title.text()
    assert not hands.widget.hq.isChecked(), "not before it is there"
    present("sam_hq_vit_b")
    hands.press("offer.close_offer")
    hands.tick("hq")
    hands.until(lambda: hands.in_use == "sam_hq_vit_b")
    assert hands.widget.hq.isChecked()


def test_too_many_points_are_told_and_stay(predictor, open_panel, cells, present) -> None:
    present("efficient_sam_vitt")
    hands = open_panel(cells[0])
    hands.choose_model("efficient_sam_vitt")
    hands.until(lambda: hands.in_use == "efficient_sam_vitt")
    hands.settle()
    y, x = FIRST
    for step in range(6):
        hands.click((y - 5 + 2 * step, x))
        hands.settle()
    assert "takes no more points" in hands.status
    assert hands.preview[FIRST]
    hands.click((y, x + 5))
    hands.settle()
    assert "at most 6 points; there are 7" in hands.status
    assert len(hands.points.data) == 7
    assert len(predictor.decoded) == 6, "the model was not asked"
    hands.press("undo")
    hands.settle()
    assert hands.preview[FIRST]
    assert len(hands.points.data) == 6
    hands.click((y, x + 5))
    hands.choose_model("lite_sam")
    hands.settle()
    assert len(hands.points.data) == 7, "and another model takes them"
    assert hands.preview[FIRST]


def test_everything_modes_follow_the_model(predictor, open_panel, cells, present) -> None:
    present("fastsam_s", "mobilesamv2", "mobile_sam")
    hands = open_panel(cells[0])
    controls = hands.widget.options.controls
    hands.widget.findChild(object, "everything_options").expand(animate=False)
    offered = {}
    for name in ("lite_sam", "mobile_sam", "mobilesamv2", "fastsam_s"):
        hands.choose_model(name)
        hands.until(lambda name=name: hands.in_use == name)
        box = hands.widget.proposals
        offered[name] = [box.itemData(row) for row in range(box.count())]
    assert offered == {name: list(get_spec(name).proposals) for name in offered}
    assert box.currentText() == "Instances"
    assert controls["nms_iou"].isVisible()
    assert not controls["points_per_side"].isVisible()
    assert not controls["top_n"].isVisible()


def test_drawn_boxes_are_one_object_each(predictor, open_panel, cells) -> None:
    image, labels = cells
    predictor.spec = replace(predictor.spec, proposals=("auto_ppn", "grid", "boxes"))
    hands = open_panel(image)
    hands.pick("proposals", "boxes")
    hands.press("box")
    hands.drag((18, 78), (42, 102))
    hands.settle()
    hands.drag((78, 48), (102, 72))
    hands.settle()
    hands.everything()
    np.testing.assert_array_equal(hands.objects.data > 0, np.isin(labels, (2, 3)))
    assert len(hands.widget.controller.prompts.boxes.data) == 0
    hands.press("undo")
    hands.settle()
    assert not hands.objects.data.any()
    assert len(hands.widget.controller.prompts.boxes.data) == 2


def test_device_that_is_not_there_leaves_all_as_it_is(open_panel, cells) -> None:
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("this computer has the device")
    hands = open_panel(cells[0])
    device = hands.widget.device
    hands.pick("device", "mps")
    hands.until(lambda: "not available" in hands.widget.offer.text.text(), 60_000)
    assert device.currentData() == "auto"
    assert not hands.widget.offer.download.isVisible()
    hands.press("offer.close_offer")
    hands.click(FIRST)
    hands.settle()
    assert hands.preview[FIRST]


def test_labels_and_prompts_stay_through_changes(predictor, open_panel, cells, present) -> None:
    present("sam_vit_b", "sam_hq_vit_b")
    image, labels = cells
    hands = open_panel(image)
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    hands.click(SECOND)
    hands.settle()
    predictor.gate.clear()
    hands.choose_model("sam_vit_b")
    hands.until(lambda: hands.in_use == "sam_vit_b")
    hands.tick("hq")
    hands.until(lambda: hands.in_use == "sam_hq_vit_b")
    predictor.gate.set()
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, labels == 1)
    np.testing.assert_array_equal(hands.preview, labels == 2)
    assert len(hands.points.data) == 1


def test_closing_the_window_during_a_download(offered, server) -> None:
    hands = offered(serve={"pause_s": 0.02})
    hands.press("offer.download")
    hands.until(lambda: len(server.requests) > 0)
    started = time.monotonic()
    hands.viewer.close()
    assert time.monotonic() - started < 5
    QTimer.singleShot(0, lambda: None)
    hands.qtbot.wait(300)
    assert hands.in_use == "lite_sam"
