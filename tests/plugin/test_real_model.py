"""The shipped model in a real window: open a sample, click once, have a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from skimage.measure import regionprops

from litesam.io import read_image
from litesam.samples import SAMPLES, sample_path
from napari_litesam.requests import resolve_plane
from plugin.heartbeat import Heartbeat, assert_window_lives

if TYPE_CHECKING:
    from plugin.conftest import Hands

#: Clicks in the middle of well visible nuclei; the mean leaves room for one miss.
MEAN_IOU = 0.6


def reference(name: str) -> np.ndarray:
    return np.asarray(read_image(sample_path(name).with_name(SAMPLES[name].labels_file)).array)


def test_clicks_on_a_sample_give_its_nuclei(open_panel) -> None:
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "nuclei")
    hands.qtbot.wait(100)
    hands.viewer.reset_view()
    hands.qtbot.wait(100)
    truth = reference("nuclei")
    found = []
    for nucleus in sorted(regionprops(truth), key=lambda one: -one.area)[1:6]:
        hands.click(nucleus.centroid)
        hands.settle()
        mask = truth == nucleus.label
        found.append((hands.preview & mask).sum() / (hands.preview | mask).sum())
        hands.key(Qt.Key.Key_C)
        hands.settle()
    assert np.mean(found) > MEAN_IOU, found
    assert hands.objects.data.max() == 5


def test_after_embed_clicks_on_small_nuclei_encode_nothing(open_panel) -> None:
    """They are looked at closer, in windows that *Embed* has embedded as well."""
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "nuclei")
    hands.qtbot.wait(100)
    hands.viewer.reset_view()
    hands.qtbot.wait(100)
    hands.press("embed")
    hands.settle()
    store = hands.widget.controller._pool.store()
    kept = len(store)
    assert kept > 3, "the tile, and windows for small nuclei"
    inside = [one for one in regionprops(reference("nuclei")) if one.area > 400]
    for nucleus in sorted(inside, key=lambda one: one.area)[:8]:
        hands.click(nucleus.centroid)
        hands.settle()
        hands.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
        hands.settle()
    assert len(store) <= kept + 1, "AutoPPN and the decoder may differ about a size"


@pytest.mark.alone
def test_window_lives_while_the_encoder_works(open_panel) -> None:
    drawn, added = [], []

    def open_nuclei() -> Hands:
        hands = open_panel()
        hands.viewer.open_sample("napari-litesam", "nuclei")
        hands.qtbot.wait(100)
        return hands

    def trial(hands: Hands) -> float:
        beat = Heartbeat()
        hands.press("embed")
        hands.qtbot.wait(50)
        hands.until(lambda: not hands.widget.controller.busy)
        pause = beat.stop()
        assert "mbedded" in hands.status
        # Everything up to its reply, and how its candidates are drawn.
        pauses = [pause]
        planes, beats = hands.widget.controller._planes, [Heartbeat()]
        reply = planes._on_candidates

        def replied(*arguments: Any) -> None:
            pauses.append(beats[0].stop())
            beats.append(Heartbeat())
            hands.qtbot.wait(20)  # the second heart beats before the work begins
            reply(*arguments)

        planes._on_candidates = replied
        hands.press("everything")
        hands.until(lambda: len(beats) > 1, 60_000)
        hands.settle()
        hands.qtbot.wait(100)
        drawn.append(beats[1].stop())
        assert hands.widget.review.isVisible()
        beat = Heartbeat()
        hands.qtbot.wait(50)
        hands.viewer.add_labels(np.zeros_like(reference("nuclei")))
        hands.qtbot.wait(100)
        added.append(beat.stop())
        return max(pauses)

    assert_window_lives(open_nuclei, trial)
    # napari lays the panel out, changes the layer in use and draws, with a software renderer here.
    print("candidates drawn in", drawn, "s, a layer added in", added, "s")
    assert min(drawn) < min(added)


@pytest.mark.alone
def test_window_lives_while_it_embeds_ahead_and_a_click_comes_first(open_panel) -> None:
    def open_embryo() -> Hands:
        hands = open_panel()
        hands.viewer.open_sample("napari-litesam", "embryo")
        hands.settle()
        return hands

    def trial(hands: Hands) -> float:
        hands.viewer.dims.set_current_step(0, 25)
        hands.viewer.reset_view()
        hands.qtbot.wait(100)
        hands.tick("embedding.ahead")
        record = hands.widget.controller._pool.record
        plane = resolve_plane(hands.widget.state.settings, hands.widget.controller._scene())

        def embedded() -> int:
            return record.of(plane.source, plane.index)[0]

        hands.until(lambda: embedded() >= 2, timeout=60_000)
        before, beat = embedded(), Heartbeat()
        hands.qtbot.wait(1500)
        pause, beats, planes = beat.stop(), len(beat.beats), embedded() - before
        print(f"{beats} beats for {planes} planes")
        # One beat a plane were the window to wait for each.
        assert beats > 3 * (planes + 1)
        # A click on a plane far away is answered while the rest is still being embedded.
        hands.viewer.dims.set_current_step(0, 45)
        hands.qtbot.wait(50)
        hands.click((60, 60))
        hands.until(lambda: record.of(plane.source, (45,))[1] == 1, timeout=20_000)
        assert hands.widget.controller.ahead.lane.busy
        hands.tick("embedding.ahead")
        hands.until(lambda: hands.widget.controller.ahead.lane.idle, timeout=1000)
        hands.settle()
        return pause

    assert_window_lives(open_embryo, trial)


def test_plane_of_the_stack(open_panel) -> None:
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "embryo")
    hands.qtbot.wait(100)
    truth = reference("embryo")
    z = int(np.argmax([len(np.unique(plane)) for plane in truth]))
    hands.viewer.dims.set_current_step(0, z)
    hands.qtbot.wait(100)
    nucleus = max(regionprops(truth[z]), key=lambda one: one.area)
    hands.click(nucleus.centroid)
    hands.settle()
    assert hands.preview[tuple(int(v) for v in nucleus.centroid)]
    hands.press("commit")
    assert set(np.nonzero(hands.objects.data)[0]) == {z}
