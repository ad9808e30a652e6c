"""Several layers, or channels, as the colours of the image that the model sees, in a real window.

The predictor takes as bright what is bright in two colours of three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES, discs
from litesam.errors import SessionError
from litesam.session import read_session, replay

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, THIRD = CENTRES


@pytest.fixture
def stains() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nuclei without the third disc, membranes without the second, and the labels of the discs."""
    image, labels = discs((128, 128), CENTRES)
    nuclei = np.where(labels == 3, image.min(), image).astype(np.uint16) * 10
    membranes = np.where(labels == 2, image.min(), image).astype(np.float32) - 500
    return nuclei, membranes, labels


def choose(hands: Any, chooser: Any, text: str) -> None:
    """Open a chooser of the panel with the mouse and click on an entry."""
    hands.pick(chooser, text)
    hands.settle()


def in_colours(hands: Any) -> list[str]:
    """What the panel says that red, green and blue are."""
    return [chooser.currentText() for chooser in hands.widget.about.stains]


def test_two_layers_are_seen_as_one_image(predictor, open_panel, stains) -> None:
    nuclei, membranes, labels = stains
    hands = open_panel(nuclei)
    panel = hands.widget
    assert not panel.colours.isVisible(), "one layer: there is nothing to choose"
    hands.viewer.add_image(membranes, name="membranes", blending="additive")
    hands.settle()
    assert panel.colours.isVisible()
    assert panel.colours.currentText() == "The layer alone"
    assert not panel.about.stains[0].isVisible()
    hands.press("positive")
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)

    choose(hands, panel.colours, "Several as colours")
    assert in_colours(hands) == ["cells", "membranes", "–"]
    assert not hands.preview.any(), "the second disc is bright in one colour of three only"
    assert not panel.channel.isEnabled()
    hands.press("clear")
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    encoded = predictor.encoded

    choose(hands, panel.about.stains[2], "cells")
    assert in_colours(hands) == ["–", "membranes", "cells"], "a layer changes its colour"
    assert predictor.encoded == encoded + 1, "other pixels are embedded anew"
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.shape == (128, 128)
    np.testing.assert_array_equal(hands.objects.data == 1, labels == 1)

    choose(hands, panel.colours, "The layer alone")
    encoded = predictor.encoded
    hands.click(SECOND)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    assert predictor.encoded == encoded, "what was embedded before is found again"


def test_contrast_of_each_layer_as_shown(predictor, open_panel, stains) -> None:
    nuclei, membranes, labels = stains
    hands = open_panel(nuclei)
    hands.viewer.add_image(membranes, name="membranes", blending="additive")
    choose(hands, hands.widget.colours, "Several as colours")
    choose(hands, hands.widget.contrast, "As shown")
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    shown = hands.viewer.layers["membranes"]
    shown.contrast_limits = (float(membranes.max()) + 1, float(membranes.max()) + 2)
    hands.until(lambda: hands.widget.controller._contrast.idle)
    hands.settle()
    assert not hands.preview.any(), "membranes are dark now, for the user and the model"


def test_colours_follow_their_colormaps(open_panel, stains) -> None:
    nuclei, membranes, _ = stains
    hands = open_panel(nuclei, colormap="blue")
    hands.viewer.add_image(membranes, name="membranes", colormap="red")
    hands.viewer.add_image(np.zeros((64, 64)), name="elsewhere")
    hands.viewer.add_image(nuclei, name="beside", translate=(0, 500))
    hands.viewer.add_image(np.zeros((128, 128, 3), np.uint8), name="stained", rgb=True)
    hands.settle()
    choose(hands, hands.widget.colours, "Several as colours")
    assert in_colours(hands) == ["membranes", "–", "cells"], "those that fit, as they are shown"
    assert hands.widget.about.stains[1].findText("stained") < 0
    for name, says in (("elsewhere", "Y 64 × X 64"), ("beside", "lies elsewhere")):
        choose(hands, hands.widget.about.stains[1], name)
        assert says in hands.status
        assert not hands.widget.everything.isEnabled()
    choose(hands, hands.widget.about.stains[1], "–")
    assert hands.widget.everything.isEnabled()


def test_channels_of_a_stack_and_layers_that_go(predictor, open_panel, stains) -> None:
    nuclei, membranes, labels = stains
    stack = np.stack([nuclei.astype(np.float32), membranes])[:, None].repeat(6, axis=1)
    hands = open_panel(stack)
    assert [c.currentData() for c in hands.widget.axes.choosers] == ["C", "Z"]
    choose(hands, hands.widget.colours, "Several as colours")
    assert in_colours(hands) == ["cells: channel 0", "cells: channel 1", "–"]
    hands.viewer.dims.set_current_step(1, 4)
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 1)
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.shape == (6, 128, 128)
    assert set(np.unique(np.nonzero(hands.objects.data)[0])) == {4}
    hands.viewer.add_image(stack[0], name="other")
    choose(hands, hands.widget.image, "other")
    assert hands.widget.colours.currentText() == "The layer alone"
    choose(hands, hands.widget.about.colours, "Several as colours")
    choose(hands, hands.widget.about.stains[1], "cells: channel 1")
    hands.viewer.layers.remove("cells")
    hands.settle()
    assert hands.widget.colours.currentText() == "The layer alone"
    assert hands.widget.state.settings.image.name == "other"


def test_everything_under_review_and_a_pyramid(predictor, open_panel, stains) -> None:
    nuclei, membranes, labels = stains
    both = [np.kron(one, np.ones((2, 2), one.dtype)) for one in (nuclei, membranes)]
    levels = [[one, one[::2, ::2]] for one in both]
    hands = open_panel(levels[0], multiscale=True)
    hands.viewer.add_image(levels[1], name="membranes", multiscale=True, blending="additive")
    choose(hands, hands.widget.colours, "Several as colours")
    choose(hands, hands.widget.level, hands.widget.level.itemText(1))
    hands.press("everything")
    hands.settle()
    assert hands.widget.controller.review.review is not None
    hands.press("review.accept")
    hands.settle()
    expected = np.kron(labels == 1, np.ones((2, 2), bool))
    np.testing.assert_array_equal(hands.objects.data > 0, expected)


def test_a_session_replays_without_a_window(predictor, open_panel, stains, tmp_path: Path) -> None:
    nuclei, membranes, labels = stains
    tifffile.imwrite(tmp_path / "nuclei.tif", nuclei)
    tifffile.imwrite(tmp_path / "membranes.tif", membranes)
    hands = open_panel(None)
    for name in ("nuclei", "membranes"):
        hands.viewer.open(str(tmp_path / f"{name}.tif"), plugin="napari")
    hands.viewer.reset_view()
    hands.settle()
    choose(hands, hands.widget.image, "nuclei")
    choose(hands, hands.widget.colours, "Several as colours")
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    saved = hands.widget.controller.desk.save(tmp_path / "cells.json")
    session = read_session(saved)
    assert session.actions[0].kind == "object", "prompts, not pixels: it can be decoded again"
    done = replay(session, folder=tmp_path)
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different
    assert (done.labels == 1).sum() == (labels == 1).sum()

    # And in a window: the files are opened, the colours chosen, the prompts are there again.
    other = open_panel(None)
    other.widget.controller.desk.open(saved)
    other.settle()
    assert in_colours(other) == in_colours(hands)
    np.testing.assert_array_equal(other.objects.data, hands.objects.data)
    assert other.widget.controller.keeper.session(other.objects).image == session.image


def test_layers_without_files_are_named_when_a_session_is_opened(
    predictor, open_panel, stains, tmp_path: Path
) -> None:
    nuclei, membranes, _ = stains
    hands = open_panel(nuclei)
    hands.viewer.add_image(membranes, name="membranes", blending="additive")
    choose(hands, hands.widget.colours, "Several as colours")
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    desk = hands.widget.controller.desk
    saved = desk.save(tmp_path / "cells.json")
    with pytest.raises(SessionError, match="red is in no file"):
        replay(read_session(saved))
    before = np.array(hands.objects.data)
    desk.open(saved)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data, before)
    other = open_panel(nuclei)
    with pytest.raises(SessionError, match="'membranes'"):
        other.widget.controller.desk.open(saved)
