"""A person at work in a window of a process of its own, which is killed in the middle of it.

`killed` runs one of these in another process, by its name; pytest alone collects none of them. They
work with the hands of all tests and wait for nothing that the autosave does. What they tell with
`at_hand` is on the screen when the process is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from skimage.measure import regionprops

from engine.threshold_predictor import CENTRES
from litesam.io import read_image
from litesam.samples import SAMPLES, sample_path
from plugin.sweeps import circle, sweep

if TYPE_CHECKING:
    from pathlib import Path

_SAVED, _READY = "LITESAM_TEST_SAVED", "at work"
#: What a user counts on: all but the last second is on the disk.
PROMISED_S = 1.0


def killed(scenario: str, saved: Path, home: Path) -> dict[str, Any]:
    """Let a person work in another process, kill it a second after the last click, and return what
    was on the screen.
    """
    work = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider"),
            *(f"--basetemp={saved.with_suffix('.tmp')}", f"{__file__}::{scenario}"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {_SAVED: str(saved), "LITESAM_TEST_HOME": str(home)},
    )
    assert work.stdout is not None
    try:
        told = []
        for line in work.stdout:
            told.append(line)
            if _READY in line:
                break
        else:
            raise AssertionError("".join(told))
        time.sleep(PROMISED_S)
        work.send_signal(signal.SIGKILL)
    finally:
        work.kill()
        work.wait()
        work.stdout.close()
    with np.load(saved) as arrays:
        return dict(arrays)


@pytest.fixture
def at_hand(hands, monkeypatch) -> Any:
    """Tell what is on the screen, and wait for the end."""

    def tell(**arrays: np.ndarray) -> None:
        np.savez(os.environ[_SAVED], **arrays)
        print(_READY, flush=True)
        hands.qtbot.wait(60_000)

    return tell


@pytest.fixture
def hands(open_panel, monkeypatch) -> Any:
    """A window whose sessions lie where the other process looks for them."""
    monkeypatch.setenv("LITESAM_HOME", os.environ["LITESAM_TEST_HOME"])
    return open_panel()


def nuclei(count: int) -> list[tuple[float, float]]:
    """Middles of the largest nuclei of the sample."""
    truth = sample_path("nuclei").with_name(SAMPLES["nuclei"].labels_file)
    found = sorted(regionprops(np.asarray(read_image(truth).array)), key=lambda one: -one.area)
    return [tuple(float(round(v)) for v in one.centroid) for one in found[1 : count + 1]]


def commit(hands: Any, at: tuple[float, float]) -> None:
    """Click and commit."""
    hands.press("positive")
    hands.click(at)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()


def large_stack() -> tuple[np.ndarray, np.ndarray]:
    """A stack of 64 × 1024 × 1024 pixels, and labels that were there: of other planes."""
    image = np.zeros((64, 1024, 1024), np.uint8)
    y, x = CENTRES[0]
    image[:, y - 10 : y + 10, x - 10 : x + 10] = 200
    labels = np.zeros(image.shape, np.int32)
    for z in range(1, 64):
        for n in range(24):
            labels[z, 500:520, 40 * n : 40 * n + 30] = 100 * z + n + 1
    return image, labels


# ------------------------------------------------------------------------------------ what they do


def test_objects(hands, at_hand) -> None:
    """Three objects, one of which is deleted again, a stroke, and a click that is not committed."""
    hands.viewer.open(sample_path("nuclei"))
    hands.viewer.reset_view()
    hands.settle()
    places = nuclei(3)
    for place in places:
        commit(hands, place)
    hands.hover(places[1])
    hands.viewer.layers.selection.active = hands.points
    hands.key(Qt.Key.Key_X)
    hands.settle()
    assert set(np.unique(hands.objects.data)) == {0, 1, 3}
    hands.paint(40, (5, 5), size=3)
    hands.press("positive")
    hands.click(places[1])
    hands.settle()
    at_hand(labels=hands.objects.data, points=hands.points.data)


def test_large_labels(predictor, hands, at_hand) -> None:
    """An object, in a layer of 256 MB in which there are others."""
    image, labels = large_stack()
    hands.viewer.add_image(image, name="cells")
    hands.viewer.add_labels(labels, name="mine")
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    hands.pick("target", "mine")
    hands.settle()
    commit(hands, CENTRES[0])
    assert hands.objects.data[0].any()
    hands.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hands.settle()
    commit(hands, CENTRES[0])
    at_hand(first=hands.objects.data[0])


def test_drawings(hands, at_hand) -> None:
    """An object of an outline and a scribble, and an ellipse, a line and a click for another."""
    hands.viewer.open(sample_path("nuclei"))
    hands.viewer.reset_view()
    hands.settle()
    y, x = 396.0, 229.0
    hands.press("lasso")
    sweep(hands, circle((y, x), 16))
    hands.press("scribble")
    sweep(
        hands,
        [(y - 25, x - 25), (y - 24, x), (y - 25, x + 25)],
        Qt.KeyboardModifier.ControlModifier,
    )
    assert hands.preview.any()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    boxes = hands.widget.controller.prompts.boxes
    for mode, start, end in (
        ("add_ellipse", (80, 80), (110, 110)),
        ("add_line", (70, 70), (70, 120)),
    ):
        hands.viewer.layers.selection.active = boxes
        boxes.mode = mode
        hands.settle()
        hands.drag(start, end)
        hands.settle()
    hands.press("positive")
    hands.click((95, 95))
    hands.settle()
    said = repr(hands.widget.controller.prompts.snapshot())
    at_hand(labels=hands.objects.data, preview=hands.preview, said=np.array(said))


def test_review(hands, at_hand) -> None:
    """Everything mode, a slider that was moved, and a candidate that was clicked away."""
    hands.viewer.open(sample_path("nuclei"))
    hands.viewer.reset_view()
    hands.settle()
    commit(hands, nuclei(1)[0])
    hands.press("everything")
    hands.settle()
    review = hands.widget.review
    slider = review.sliders["min_area"]
    for _ in range(3):
        hands.qtbot.keyClick(slider, Qt.Key.Key_PageUp)
        hands.settle()
    hands.click(nuclei(2)[1])
    hands.settle()
    assert "1 rejected" in review.count.text()
    picture = np.asarray(hands.widget.controller._layers.candidates.data)
    at_hand(labels=hands.objects.data, picture=picture, told=np.array(review.count.text()))
