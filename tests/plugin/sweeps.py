"""Drawing along a path with the mouse."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

if TYPE_CHECKING:
    from collections.abc import Sequence

_NONE = Qt.KeyboardModifier.NoModifier


def sweep(
    hands: Any,
    path: Sequence[tuple[float, float]],
    modifier: Qt.KeyboardModifier = _NONE,
) -> None:
    """Draw along a path with the button held."""
    native, left = hands.canvas.native, Qt.MouseButton.LeftButton
    places = [hands.at(hands.image, yx) for yx in path]
    hands.qtbot.mouseMove(native, places[0])
    QTest.mousePress(native, left, modifier, places[0])
    for a, b in pairwise(places):
        for share in (0.5, 1.0):
            QTest.mouseMove(native, a + (b - a) * share)
            hands.qtbot.wait(5)
    QTest.mouseRelease(native, left, modifier, places[-1])
    hands.settle()


def circle(
    centre: tuple[float, float], radius: float, count: int = 16
) -> list[tuple[float, float]]:
    """Points of a circle, the first one also the last."""
    turn = np.linspace(0, 2 * np.pi, count)
    return [(centre[0] + radius * np.sin(t), centre[1] + radius * np.cos(t)) for t in turn]
