"""*Cancel* and *Pause* stop long work on stacks within a second, with the shipped model; what is
done is kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from litesam.io import read_labels
from litesam.samples import sample_path
from napari_litesam.state import Level
from plugin.at_work import nuclei

if TYPE_CHECKING:
    from pathlib import Path

#: Cancel is effective within this time.
PROMISED_S = 1.0


@pytest.fixture
def opened(open_panel) -> Any:
    """A stack of 12 slices of nuclei, 512 × 512 px, with the Volume section unfolded."""
    plane = np.asarray(read_labels(sample_path("nuclei")).array)
    hands = open_panel(np.stack([np.roll(plane, z, axis=1) for z in range(12)]))
    section = hands.widget.volume
    section.expand(animate=False)
    hands.until(lambda: section.start.height() > 0)
    hands.settle()
    return hands


def stopped(hands: Any, lane: Any, button: str) -> float:
    """Seconds from a click on a button until nothing runs."""
    assert lane.busy
    began = time.perf_counter()
    hands.press(button)
    hands.until(lambda: lane.idle)
    return time.perf_counter() - began


@pytest.mark.parametrize("button", ["cancel", "volume.pause"])
def test_a_volume_job_stops_in_the_middle_of_a_slice(opened, tmp_path: Path, button: str) -> None:
    hands, out = opened, tmp_path / "labels.zarr"
    hands.type_in(hands.widget.volume.output, str(out))
    hands.settle()
    lane = hands.widget.controller.volume.lane
    hands.press("volume.start")
    hands.until(lambda: hands.widget.progress.value() >= 2, timeout=120_000)
    hands.qtbot.wait(150)
    assert stopped(hands, lane, button) < PROMISED_S
    hands.settle()
    assert not out.exists(), "nothing is half done under the name of the result"
    # What is done is kept: the job goes on from there.
    first: list[int] = []

    def noted(status: Any) -> None:
        if status.level is Level.BUSY and status.total:
            first.append(status.done)

    hands.widget.state.status_changed.connect(noted)
    hands.press("volume.start")
    hands.until(out.exists, timeout=240_000)
    hands.settle()
    assert "12 slices" in hands.status
    assert min(first) >= 2


def test_carrying_objects_stops_within_a_slice(opened) -> None:
    hands = opened
    hands.pick("volume.mode", "propagate")
    for place in nuclei(3):
        hands.press("positive")
        hands.click(place)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()
    numbers = set(np.unique(hands.objects.data)[1:].tolist())
    assert len(numbers) == 3
    before = hands.objects.data.copy()
    hands.widget.state.select(numbers)
    hands.settle()
    lane = hands.widget.controller.propagation.lane
    hands.press("volume.propagate.carry")
    hands.until(lambda: hands.widget.progress.value() >= 1, timeout=60_000)
    assert stopped(hands, lane, "cancel") < PROMISED_S
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, before)
    hands.press("volume.propagate.carry")
    hands.until(lambda: lane.idle, timeout=120_000)
    hands.settle()
    assert (hands.objects.data > 0).any(axis=(1, 2)).sum() > 6
