"""Objects by words in a real window: FastSAM finds, a scorer chooses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialogButtonBox, QFileDialog, QLineEdit

from engine.threshold_predictor import CENTRES
from litesam.errors import ConfigError, WeightsError
from litesam.models.registry import get_spec

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, THIRD = CENTRES


class SizeScorer:
    """Large pictures fit "large", small ones everything else."""

    def __call__(self, pictures: Any, text: str) -> list[float]:
        sign = 1.0 if "large" in text else -1.0
        return [sign * picture.shape[0] for picture in pictures]


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How loading CLIP ends: `error`, unless it is downloaded; and the calls."""
    world: dict[str, Any] = {"error": None, "calls": []}

    def load(place: Any = None, device: str = "cpu", *, download: bool = True) -> SizeScorer:
        world["calls"].append((place, download))
        if world["error"] is not None and not (download or place):
            raise world["error"]
        return SizeScorer()

    monkeypatch.setattr("litesam.predictors.load_text_scorer", load)
    return world


@pytest.fixture
def opened(open_panel, cells, predictor, present) -> Any:
    """A window with FastSAM; the largest disc is in the middle of the list."""
    present("fastsam_s")
    predictor.spec = replace(predictor.spec, prompts=("point", "box", "text"))
    hands = open_panel(cells[0])
    assert not hands.widget.search.words.isEnabled()
    tip = " ".join(hands.widget.search.words.toolTip().split())
    assert "FastSAM-s and FastSAM-x can" in tip
    hands.choose_model("fastsam_s")
    hands.until(lambda: hands.in_use == "fastsam_s")
    hands.settle()
    return hands


def type_words(hands: Any, text: str) -> None:
    """Click into the line, type and press Enter."""
    line = hands.widget.search.words
    assert line.isEnabled(), line.toolTip()
    hands.qtbot.mouseClick(line, Qt.MouseButton.LeftButton)
    line.selectAll()
    hands.qtbot.keyClicks(line, text)
    hands.qtbot.keyClick(line, Qt.Key.Key_Return)


def test_words_find_an_object_that_can_be_committed(opened, cells, clip) -> None:
    hands, labels = opened, cells[1]
    sizes = np.bincount(labels.ravel())[1:]
    hands.click(FIRST)
    hands.settle()
    type_words(hands, "a large cell")
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == sizes.argmax() + 1)
    assert "of the fit of all objects" in hands.status
    assert len(hands.points.data) == 0, "words take the place of the prompts"
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, labels == sizes.argmax() + 1)
    assert hands.widget.search.words.text() == ""
    assert not hands.preview.any()
    type_words(hands, "a small cell")
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == sizes.argmin() + 1)
    hands.press("clear")
    hands.settle()
    assert not hands.preview.any()
    assert clip["calls"] == [(None, False)], "loaded once, and nothing was downloaded"


def test_a_click_takes_the_place_of_words(opened, cells, clip) -> None:
    hands, labels = opened, cells[1]
    type_words(hands, "a large cell")
    hands.settle()
    for disc, at in enumerate(CENTRES):
        hands.click(at)
        hands.settle()
        np.testing.assert_array_equal(hands.preview, labels == disc + 1)
        hands.press("undo")
        hands.settle()


def test_words_are_steps_of_undo(opened, cells, clip) -> None:
    hands, labels = opened, cells[1]
    sizes = np.bincount(labels.ravel())[1:]
    large, small = (labels == place + 1 for place in (sizes.argmax(), sizes.argmin()))
    hands.click(FIRST)
    hands.settle()
    clicked = hands.preview.copy()
    type_words(hands, "a large cell")
    hands.settle()
    type_words(hands, "a small cell")
    hands.settle()
    np.testing.assert_array_equal(hands.preview, small)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.any()
    for seen, text in ((small, "a small cell"), (large, "a large cell"), (clicked, "")):
        hands.press("undo")
        hands.settle()
        np.testing.assert_array_equal(hands.preview, seen)
        assert hands.widget.search.words.text() == text
    assert len(hands.points.data) == 1, "one step takes the words and brings the click"
    hands.press("undo")
    hands.settle()
    assert not hands.preview.any()
    assert not hands.widget.undo.isEnabled()
    for seen in (clicked, large, small):
        hands.press("redo")
        hands.settle()
        np.testing.assert_array_equal(hands.preview, seen)
    hands.press("redo")
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, small)
    assert not hands.preview.any()
    # Clearing is a step, too.
    type_words(hands, "a large cell")
    hands.settle()
    hands.press("clear")
    hands.settle()
    assert not hands.preview.any()
    hands.press("undo")
    hands.settle()
    assert hands.preview.any()


def test_words_come_back(opened, open_panel, cells, clip) -> None:
    hands = opened
    type_words(hands, "a large cell")
    hands.settle()
    seen = hands.preview.copy()
    assert seen.any()
    hands.widget.controller.close()
    again = open_panel(cells[0])
    again.settle()
    assert "words that were looked for" in again.widget.unsaved.text.text()
    again.press("unsaved.bring_back")
    again.settle()
    again.until(lambda: again.in_use == "fastsam_s")
    again.settle()
    assert again.widget.search.words.text() == "a large cell"
    np.testing.assert_array_equal(again.preview, seen)


def test_words_belong_to_their_image(opened, cells, clip) -> None:
    hands = opened
    type_words(hands, "a large cell")
    hands.settle()
    seen = hands.preview.copy()
    first = hands.viewer.layers["cells"]
    hands.viewer.add_image(np.flipud(cells[0]), name="other")
    hands.settle()
    hands.pick("image", "other")
    hands.settle()
    assert hands.widget.search.words.text() == ""
    assert not hands.widget.undo.isEnabled()
    hands.pick("image", first.name)
    hands.settle()
    assert hands.widget.search.words.text() == "a large cell"
    np.testing.assert_array_equal(hands.preview, seen)


def test_clip_is_downloaded_only_after_a_question(opened, clip) -> None:
    hands = opened
    clip["error"] = WeightsError("There is no CLIP here.")
    type_words(hands, "a large cell")
    hands.until(lambda: hands.widget.search.dialog is not None)
    dialog = hands.widget.search.dialog
    hands.until(dialog.isVisible)
    hands.qtbot.mouseClick(dialog.refuse, Qt.MouseButton.LeftButton)
    hands.settle()
    assert clip["calls"] == [(None, False)]
    assert "not on this computer" in hands.status
    assert hands.widget.search.words.text() == "a large cell", "what was typed stays"
    hands.press("search.find")
    hands.until(lambda: hands.widget.search.dialog is not None)
    hands.until(hands.widget.search.dialog.isVisible)
    assert len(clip["calls"]) == 2
    hands.qtbot.mouseClick(hands.widget.search.dialog.download, Qt.MouseButton.LeftButton)
    hands.until(lambda: bool(hands.preview.any()))
    assert clip["calls"][-1] == (None, True)


def test_without_the_extra_it_says_what_to_install(opened, clip) -> None:
    hands = opened
    clip["error"] = ConfigError('Install it with: pip install "napari-litesam[text]"')
    type_words(hands, "a large cell")
    hands.until(lambda: "napari-litesam[text]" in hands.status.replace("\u200b", ""))
    hands.settle()
    assert hands.widget.search.dialog is None
    hands.click(FIRST)
    hands.settle()
    assert hands.preview[FIRST]


def test_no_clip_in_the_cache_is_no_download(tmp_path: Path, monkeypatch) -> None:
    """The real loader, told not to download, asks nobody."""
    pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    from litesam.predictors import load_text_scorer

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_text_scorer("nobody/no-such-clip", download=False)
    assert get_spec("fastsam_s").prompts[-1] == "text"


def test_after_enter_keys_mean_the_prompts_again(opened, clip) -> None:
    hands = opened
    hands.click(FIRST)
    hands.settle()
    type_words(hands, "a large cell")
    hands.settle()
    window = hands.viewer.window._qt_window
    hands.qtbot.keyClick(window.focusWidget() or window, Qt.Key.Key_C)
    hands.settle()
    assert hands.objects is not None
    assert hands.objects.data.any()


def test_a_folder_with_a_clip(opened, clip, tmp_path: Path) -> None:
    hands = opened
    clip["error"] = WeightsError("There is no CLIP here.")
    type_words(hands, "a large cell")
    hands.until(lambda: hands.widget.search.dialog is not None)
    hands.until(hands.widget.search.dialog.isVisible)
    hands.qtbot.mouseClick(hands.widget.search.dialog.folder, Qt.MouseButton.LeftButton)
    hands.until(lambda: isinstance(hands.widget.search.dialog, QFileDialog))
    dialog = hands.widget.search.dialog
    hands.until(dialog.isVisible)
    edit = dialog.findChild(QLineEdit)
    # Until Qt has read the folder it takes back what was typed.
    while edit.text() != str(tmp_path):
        edit.clear()
        hands.qtbot.keyClicks(edit, str(tmp_path))
        hands.qtbot.wait(500)
    buttons = dialog.findChild(QDialogButtonBox)
    ready = buttons.button(QDialogButtonBox.StandardButton.Open)
    hands.until(ready.isEnabled)
    hands.qtbot.mouseClick(ready, Qt.MouseButton.LeftButton)
    hands.until(lambda: bool(hands.preview.any()))
    assert clip["calls"][-1] == (str(tmp_path), False)
    assert hands.widget.search.dialog is None
