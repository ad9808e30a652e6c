"""A click's mask comes with its point in one drawing: drawing twice takes twice as long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from napari_litesam import current_object

if TYPE_CHECKING:
    import pytest

FIRST, SECOND, _ = CENTRES


def drawings(hands: Any) -> list[tuple[int, bool]]:
    """Number of points, and whether a mask was there, at each drawing of the canvas from now on."""
    seen: list[tuple[int, bool]] = []

    def note(_event: Any) -> None:
        seen.append((len(hands.points.data), bool(hands.preview.any())))

    hands.canvas._scene_canvas.events.draw.connect(note, position="last")
    return seen


def test_point_and_mask_are_drawn_at_once(
    predictor, open_panel, cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_object, "_MOMENT_S", 10.0)  # however busy the computer is
    hands = open_panel(cells[0])
    hands.press("embed")
    hands.settle()
    hands.until(lambda: hands.points is not None)
    seen = drawings(hands)
    hands.click(FIRST)
    hands.until(lambda: any(points for points, _ in seen))
    assert all(mask for points, mask in seen if points)


def test_a_mask_that_takes_long_leaves_the_window_free(predictor, open_panel, cells) -> None:
    """The point of a click that needs an embedding first is on the canvas long before the mask."""
    hands = open_panel(cells[0])
    hands.until(lambda: hands.points is not None)
    seen = drawings(hands)
    predictor.gate.clear()
    hands.click(SECOND)
    hands.until(lambda: any(points for points, _ in seen))
    assert not any(mask for _, mask in seen)
    predictor.gate.set()
    hands.until(lambda: hands.preview.any())
    hands.key(Qt.Key.Key_C)
    hands.settle()
    assert hands.objects is not None
