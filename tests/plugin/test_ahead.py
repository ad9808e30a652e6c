"""Embedding follows the user; clicks go first; the foot of the panel tells what is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from engine.threshold_predictor import CENTRES
from litesam.segmenter import Segmenter
from litesam.types import BoxPrompt, Tile
from litesam.types.regions import Box
from napari_litesam.ahead import Overview
from napari_litesam.embedding import Focus, Precedence
from napari_litesam.foot import size_text
from napari_litesam.levels import Scaling
from napari_litesam.requests import visible_field
from napari_litesam.segmenters import CacheSize
from napari_litesam.state import Contrast

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, _ = CENTRES


def foot(hands: Any) -> str:
    """What the foot of the panel says."""
    return str(hands.widget.foot.text()).replace("\u00a0", " ")


@pytest.fixture
def stack(cells) -> np.ndarray:
    """40 planes that differ; the corner pixel tells their number."""
    planes = np.stack([np.roll(cells[0], z, axis=1) for z in range(40)])
    planes[:, 0, 0] = np.arange(40) * 4
    return planes


@pytest.fixture
def order(predictor, monkeypatch) -> list[int]:
    """Numbers of the planes in the order in which they are encoded."""
    seen: list[int] = []
    encode = predictor.encode

    def noted(rgb: Any, origin_yx: tuple[int, int] = (0, 0)) -> Any:
        embedding = encode(rgb, origin_yx)
        seen.append(round(float(rgb[0, 0, 0]) / 4))
        return embedding

    monkeypatch.setattr(predictor, "encode", noted)
    return seen


def open_stack(open_panel: Any, stack: np.ndarray) -> Any:
    """A window whose plane values reach the model unchanged."""
    hands = open_panel(stack, contrast_limits=(0, 255))
    hands.pick("contrast", Contrast.LAYER)
    hands.settle()
    return hands


def test_planes_near_the_one_shown_come_first(predictor, open_panel, stack, order) -> None:
    hands = open_stack(open_panel, stack)
    hands.viewer.dims.set_current_step(0, 12)
    hands.settle()
    hands.tick("all_planes")
    predictor.gate.clear()
    hands.press("embed")
    hands.until(predictor.waiting.is_set)
    # The user goes elsewhere meanwhile.
    hands.viewer.dims.set_current_step(0, 30)
    hands.until(lambda: hands.widget.controller.ahead.focus._at[0] == (30,))
    predictor.gate.set()
    hands.settle()
    assert order[0] == 12
    assert set(order[1:4]) == {29, 30, 31}
    assert order[1] == 30
    assert sorted(order) == list(range(40))


def test_a_click_goes_before_the_planes_that_are_being_embedded(
    predictor, open_panel, stack, order, monkeypatch
) -> None:
    decoded_after: list[int] = []
    decode = predictor.decode

    def noted(*args: Any, **options: Any) -> Any:
        decoded_after.append(len(order))
        return decode(*args, **options)

    monkeypatch.setattr(predictor, "decode", noted)
    hands = open_stack(open_panel, stack)
    hands.viewer.dims.set_current_step(0, 3)
    hands.settle()
    hands.tick("all_planes")
    predictor.gate.clear()
    hands.press("embed")
    hands.until(predictor.waiting.is_set)
    # The window still follows 3 when the user clicks on plane 25.
    hands.widget.controller.ahead._timer.stop()
    hands.viewer.dims.set_current_step(0, 25)
    hands.qtbot.wait(30)
    hands.click((FIRST[0], FIRST[1] + 25))
    hands.until(lambda: hands.widget.controller._pool.precedence._urgent == 1)
    predictor.gate.set()
    hands.settle()
    assert hands.preview.any()
    assert order[:2] == [3, 25]
    assert decoded_after == [2], "all others were still to come"
    assert len(order) == 40


def test_cancel_is_effective_at_once(predictor, open_panel, stack, order) -> None:
    hands = open_stack(open_panel, stack)
    hands.tick("all_planes")
    predictor.gate.clear()
    hands.press("embed")
    hands.until(predictor.waiting.is_set)
    began = time.perf_counter()
    hands.press("cancel")
    assert hands.widget.embed.isEnabled()
    predictor.gate.set()
    hands.settle()
    assert time.perf_counter() - began < 1.0
    assert len(order) <= 1


def test_ahead_embeds_what_is_shown_without_a_button(predictor, open_panel, stack, order) -> None:
    hands = open_stack(open_panel, stack)
    hands.viewer.dims.set_current_step(0, 20)
    hands.settle()
    hands.tick("embedding.ahead")
    hands.until(lambda: len(order) == 40)
    assert order[0] == 20
    assert set(order[1:3]) == {19, 21}
    hands.until(lambda: "40/40 slices" in foot(hands))
    hands.click((FIRST[0], FIRST[1] + 20))
    hands.settle()
    assert hands.preview.any()
    assert len(order) == 40, "the click found it embedded"
    hands.tick("embedding.ahead")
    assert not hands.widget.state.settings.ahead


def test_ahead_goes_on_from_where_the_user_goes(
    predictor, open_panel, stack, order, monkeypatch
) -> None:
    monkeypatch.setattr("napari_litesam.ahead.MOST_TILES_IN_MEMORY", 9)
    hands = open_stack(open_panel, stack)
    ahead = hands.widget.controller.ahead
    hands.viewer.dims.set_current_step(0, 20)
    hands.settle()
    hands.tick("embedding.ahead")
    hands.until(lambda: len(order) == 9 and ahead.lane.idle)
    assert set(order) == set(range(16, 25))
    hands.qtbot.wait(600)  # two looks
    assert len(order) == 9, "nobody went on"
    hands.viewer.dims.set_current_step(0, 22)
    hands.until(lambda: len(order) == 11 and ahead.lane.idle)
    assert set(order[9:]) == {25, 26}, "what was there is not embedded again"
    hands.viewer.dims.set_current_step(0, 36)
    hands.until(lambda: len(order) == 20 and ahead.lane.idle)
    assert order[11] == 36
    assert set(order[11:]) == set(range(31, 40))
    hands.press("embedding.clear_cache")
    hands.until(lambda: len(order) == 29 and ahead.lane.idle)
    assert order[20] == 36


def test_ahead_does_not_throw_out_what_it_has_just_embedded(
    predictor, open_panel, stack, order
) -> None:
    hands = open_stack(open_panel, stack)
    ahead = hands.widget.controller.ahead
    hands.widget.controller._pool.store().max_bytes = 10 * 66_000  # ten tiles, float32
    hands.viewer.dims.set_current_step(0, 20)
    hands.settle()
    hands.tick("embedding.ahead")
    hands.until(lambda: bool(order) and ahead.lane.idle)
    hands.qtbot.wait(600)
    assert order[0] == 20
    assert 9 <= len(order) <= 10
    for z in (21, 20, 19, 20):
        hands.viewer.dims.set_current_step(0, z)
        hands.until(lambda z=z: ahead.focus.at[0] == (z,) and ahead._filled == ahead.focus.at)
        encoded = len(order)
        hands.click((FIRST[0], FIRST[1] + z))
        hands.settle()
        assert len(order) == encoded, "what is near stayed"
    hands.qtbot.wait(600)
    assert len(order) == encoded, "nobody embeds in circles"
    assert encoded <= 14


def test_ahead_ends_with_the_image(predictor, open_panel, stack, order) -> None:
    hands = open_stack(open_panel, stack)
    predictor.gate.clear()
    hands.tick("embedding.ahead")
    hands.until(predictor.waiting.is_set)
    hands.viewer.layers.remove(hands.image)
    assert not hands.widget.controller.ahead.lane.busy
    predictor.gate.set()
    hands.until(lambda: hands.widget.controller.ahead.lane.idle)
    hands.settle()
    assert len(order) <= 1


def test_tiles_in_sight_come_first() -> None:
    focus, same = Focus(), Scaling((300, 300), (300, 300))
    boxes = [Box(y, x, y + 100, x + 100) for y in (0, 100, 200) for x in (0, 100, 200)]
    tiles = [Tile(number, box, box) for number, box in enumerate(boxes)]
    assert focus.next_tile(tiles, same).index == 0
    focus.look(None, BoxPrompt(110, 210, 190, 290))
    order = []
    while tiles:
        tile = focus.next_tile(tiles, same)
        tiles.remove(tile)
        order.append(tile.index)
    assert order[0] == 5
    assert set(order[1:4]) == {2, 4, 8}
    # In a pyramid the field is scaled to the level.
    focus.look(None, BoxPrompt(0, 400, 200, 600))
    tiles = [Tile(number, box, box) for number, box in enumerate(boxes)]
    assert focus.next_tile(tiles, Scaling((600, 600), (300, 300))).index == 2


def wheel(hands: Any, yx: tuple[float, float], notches: int) -> None:
    """Turn the wheel over a pixel of the image."""
    native, at = hands.canvas.native, hands.at(hands.image, yx)
    for _ in range(abs(notches)):
        event = QWheelEvent(
            QPointF(at),
            QPointF(native.mapToGlobal(at)),
            QPoint(),
            QPoint(0, 120 if notches > 0 else -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(native, event)
        hands.qtbot.wait(20)


def test_tiles_follow_the_wheel_and_the_drag(predictor, open_panel, cells, monkeypatch) -> None:
    """Zoomed into a corner, its tiles are embedded first, and then those that are dragged there."""
    begun: list[Box] = []
    embed = Segmenter.embed

    def noted(self: Segmenter, *args: Any, **options: Any) -> None:
        begun.append(self.tiles[0].core)
        embed(self, *args, **options)

    monkeypatch.setattr(Segmenter, "embed", noted)
    hands = open_panel(np.tile(cells[0], (12, 12)))
    hands.settle()
    focus = hands.widget.controller.ahead.focus
    wheel(hands, (1400, 1400), 12)
    first = visible_field(hands.image)
    assert first.y0 > 1000, first
    assert first.x0 > 1000, first
    predictor.gate.clear()
    hands.press("embed")
    hands.until(predictor.waiting.is_set)
    hands.viewer.layers.selection.active = hands.image  # a drag moves the picture
    for _ in range(5):
        field = visible_field(hands.image)
        hands.drag((field.y0 + 5, field.x0 + 5), (field.y1 - 5, field.x1 - 5))
        hands.qtbot.wait(50)
    second = visible_field(hands.image)
    assert second.y1 < 1000, second
    hands.until(lambda: focus.at[1] == second)
    predictor.gate.set()
    hands.settle()
    assert len(begun) == 16
    assert begun[0] == nearest(begun, first)
    assert begun[1] == nearest(begun[1:], second)
    assert begun[0] != begun[1]


def nearest(cores: list[Box], field: BoxPrompt) -> Box:
    """The tile in which the middle of a field lies, or that is nearest to it."""
    y, x = (field.y0 + field.y1) / 2, (field.x0 + field.x1) / 2
    return min(cores, key=lambda c: abs((c.y0 + c.y1) / 2 - y) + abs((c.x0 + c.x1) / 2 - x))


def test_background_waits_for_what_is_urgent_but_not_for_ever() -> None:
    precedence = Precedence()
    precedence.give_way(lambda: False)
    with precedence.urgent():
        began = time.perf_counter()
        precedence.give_way(lambda: time.perf_counter() - began > 0.1)
        assert 0.1 < time.perf_counter() - began < 1.0


# ----------------------------------------------------------------------------------------- the foot


def test_the_foot_tells_what_is_there(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.until(lambda: "not embedded" in foot(hands))
    assert "RAM" in foot(hands)
    hands.click(FIRST)
    hands.settle()
    hands.until(lambda: "embedded 1/1 tiles" in foot(hands))
    assert foot(hands).startswith("Lite-SAM (own weights) · CPU ·")
    hands.widget.controller.ahead.measure()
    hands.until(lambda: "cache 66 kB" in foot(hands))
    tip = hands.widget.foot.toolTip()
    assert "in memory" in tip
    assert "Lite-SAM" in tip


def test_embeddings_on_disk_survive_and_can_be_cleared(
    predictor, open_panel, cells, home: Path
) -> None:
    hands = open_panel(cells[0])
    hands.tick("embedding.disk")
    hands.click(FIRST)
    hands.settle()
    assert predictor.encoded == 1
    assert len(list((home / "embeddings").glob("*/zarr.json"))) == 1
    hands.until(lambda: str(home) in hands.widget.foot.toolTip().replace("\n", ""), timeout=20_000)
    # Another window finds it.
    other = open_panel(cells[0])
    assert other.widget.embedding.disk.isChecked(), "a choice is kept"
    other.click(SECOND)
    other.settle()
    assert other.preview[SECOND]
    assert predictor.encoded == 1
    other.press("embedding.clear_cache")
    other.until(lambda: other.widget.controller.ahead.idle)
    assert not list((home / "embeddings").glob("*/zarr.json"))
    other.click(FIRST)
    other.settle()
    assert predictor.encoded == 2


def test_what_memory_had_to_give_up_is_not_counted(predictor, open_panel, stack) -> None:
    hands = open_stack(open_panel, stack)
    pool = hands.widget.controller._pool
    pool.store().max_bytes = 10 * 66_000  # ten tiles of 128 × 128 float32
    hands.tick("all_planes")
    hands.press("embed")
    hands.settle()
    hands.widget.controller.ahead.measure()
    hands.until(lambda: "embedded 10/40 slices" in foot(hands))
    # The size comes from a worker of its own, a little after the count.
    hands.until(lambda: "keep on disk" in hands.widget.foot.toolTip().replace("\n", " "))


def test_sizes_for_people() -> None:
    texts = [size_text(size) for size in (0, 999, 1500, 340_400_000, 1_234_000_000, 12_300_000_000)]
    assert texts == ["0 B", "999 B", "1.5 kB", "340 MB", "1.2 GB", "12 GB"]
    assert Overview("lite_sam", cache=CacheSize(1, 2, "")).planes == 0
