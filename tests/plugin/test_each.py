"""Several objects at once: every prompt its own object, in one answer and one step."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.session import replay
from litesam.types import BoxPrompt, PointLabel, PointPrompt, Prompts
from napari_litesam.requests import one_each

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES
POSITIVE, NEGATIVE = PointLabel.FOREGROUND, PointLabel.BACKGROUND


def test_who_belongs_to_whom() -> None:
    boxes = [BoxPrompt(0, 0, 10, 10), BoxPrompt(50, 50, 60, 60)]
    inside, alone = PointPrompt(5, 5, POSITIVE), PointPrompt(30, 30, POSITIVE)
    beside_alone, beside_second = PointPrompt(33, 33, NEGATIVE), PointPrompt(49, 49, NEGATIVE)
    said = one_each(Prompts((beside_alone, inside, alone, beside_second)), boxes)
    assert said == (
        Prompts((inside,), boxes[0]),
        Prompts((beside_second,), boxes[1]),
        Prompts((alone, beside_alone)),
    )
    assert one_each(Prompts((inside, beside_alone)), boxes[:1]) == (), "one object"
    assert one_each(Prompts((beside_alone,)), []) == ()


def test_three_clicks_are_three_objects(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.tick("each")
    for centre in CENTRES:
        hands.click(centre)
        hands.settle()
    np.testing.assert_array_equal(hands.preview, cells[1] > 0)
    assert "3 objects" in hands.status
    hands.key(Qt.Key.Key_C)
    hands.settle()
    for number, centre in enumerate(CENTRES, start=1):
        mask = cells[1] == cells[1][centre]
        np.testing.assert_array_equal(hands.objects.data == number, mask)
    assert len(hands.points.data) == 0
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not hands.objects.data.any(), "one step"
    assert len(hands.points.data) == 3
    hands.tick("each")
    hands.settle()
    assert "objects, " not in hands.status, "now the points are of one object"


def test_they_replay_and_open_again(open_panel) -> None:
    hands = open_panel()
    hands.viewer.open_sample("napari-litesam", "nuclei")
    hands.settle()
    hands.tick("each")
    places = [(396.0, 229.0), (96.0, 316.0), (417.0, 101.0)]
    for place in places:
        hands.click(place)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects.data.max() == 3
    session = hands.widget.controller.keeper.session(hands.objects)
    done = replay(session, np.asarray(hands.image.data))
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different
    hands.hover(places[1])
    hands.key(Qt.Key.Key_R)
    hands.settle()
    np.testing.assert_allclose(hands.points.data, [places[1]], atol=1.5)
