"""Labels that are there as prompts: the key over an object of any Labels layer."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.samples import sample_path
from litesam.session import replay

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, _ = CENTRES


def kinds(hands) -> list[str]:
    return [str(kind) for kind in hands.widget.controller.prompts.boxes.shape_type]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same pixels", "half the pixels"])
def test_a_label_of_any_layer_is_an_outline(predictor, open_panel, cells, elsewhere) -> None:
    """Rough labels of another program become a mask; they themselves stay as they are."""
    rough = np.zeros((128, 128), np.uint16)
    rough[24:36, 24:36] = 7
    place = {}
    if elsewhere:  # every second pixel, and the layer is shifted and scaled with the image
        rough = rough[::2, ::2]
        place = {"scale": (1.0, 1.0), "translate": (10.25, 20.25)}
    hands = open_panel(
        cells[0], **({"scale": (0.5, 0.5), "translate": (10, 20)} if elsewhere else {})
    )
    theirs = hands.viewer.add_labels(rough, name="theirs", **place)
    hands.pick("target", "New layer")
    hands.press("positive")
    hands.hover((80, 100))
    hands.key(Qt.Key.Key_M)
    hands.settle()
    assert "no label there" in hands.status
    assert not kinds(hands)
    hands.hover(FIRST)
    hands.key(Qt.Key.Key_M)
    hands.settle()
    assert kinds(hands) == ["polygon"]
    np.testing.assert_array_equal(hands.preview, cells[1] == 1)
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not kinds(hands), "one step"
    assert not hands.preview.any()
    hands.key(Qt.Key.Key_Z, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, cells[1] == 1)
    assert hands.objects is not theirs
    np.testing.assert_array_equal(theirs.data, rough)


def test_of_two_layers_the_one_in_sight_counts(predictor, open_panel, cells) -> None:
    """Hidden layers and the panel's own preview are no labels; a plane below the image is."""
    image, labels = cells
    hands = open_panel(np.stack([image] * 3), axis_labels=("z", "y", "x"))
    hands.viewer.add_labels(np.where(labels == 2, 5, 0), name="of all slices")
    top = hands.viewer.add_labels(np.full((3, *image.shape), 9), name="covers all", visible=False)
    hands.pick("target", "New layer")
    hands.press("positive")
    hands.viewer.dims.set_current_step(0, 2)
    hands.settle()
    hands.hover(SECOND)
    hands.key(Qt.Key.Key_M)
    hands.settle()
    np.testing.assert_array_equal(hands.preview, labels == 2)
    (outline,) = hands.widget.controller.prompts.boxes.data
    assert set(outline[:, 0]) == {2.0}, "in the slice shown"
    hands.hover(SECOND)
    hands.key(Qt.Key.Key_M)
    hands.settle()
    assert len(kinds(hands)) == 2, "not the preview that lies on top"
    hands.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    top.visible = True
    hands.settle()
    hands.hover(SECOND)
    hands.key(Qt.Key.Key_M)
    hands.settle()
    (outline,) = hands.widget.controller.prompts.boxes.data
    assert np.ptp(outline[:, 1]) == pytest.approx(128), "all that the upper layer has"


def test_an_outline_of_a_label_replays_to_the_last_pixel(open_panel) -> None:
    hands = open_panel()
    hands.viewer.open(sample_path("nuclei"))
    hands.settle()
    rough = np.zeros(hands.image.data.shape, np.int32)
    rough[36:58, 205:238] = 3
    hands.viewer.add_labels(rough, name="rough")
    hands.pick("target", "New layer")
    hands.press("positive")
    hands.hover((48, 221))
    hands.key(Qt.Key.Key_M)
    hands.settle()
    assert hands.preview[48, 221]
    hands.key(Qt.Key.Key_C)
    hands.settle()
    session = hands.widget.controller.keeper.session(hands.objects)
    (action,) = session.actions
    assert action.prompts.low_res_mask is not None
    done = replay(session, np.asarray(hands.image.data))
    np.testing.assert_array_equal(done.labels, hands.objects.data)
