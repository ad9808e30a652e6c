"""A monkey at the window: random, seeded actions of a user; nothing breaks, all can be undone."""

from __future__ import annotations

import gc
import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.session import find_journals, sessions_dir

if TYPE_CHECKING:
    from collections.abc import Callable

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
KEYS = (
    (Qt.Key.Key_T, None),
    (Qt.Key.Key_N, None),
    (Qt.Key.Key_N, SHIFT),
    (Qt.Key.Key_C, None),
    (Qt.Key.Key_C, None),
    (Qt.Key.Key_C, SHIFT),
    (Qt.Key.Key_R, None),
    (Qt.Key.Key_E, None),
    (Qt.Key.Key_X, None),
    (Qt.Key.Key_M, None),
    (Qt.Key.Key_J, None),
    (Qt.Key.Key_Z, CONTROL),
    (Qt.Key.Key_Z, CONTROL),
    (Qt.Key.Key_Z, CONTROL | SHIFT),
)
BUTTONS = (
    *("positive", "negative", "box", "lasso", "scribble"),
    *("undo", "redo", "clear", "candidate", "commit", "embed"),
)
SECTION = ("reopen", "merge_objects", "split_object", "fill_holes", "remove_islands", "smooth")


class Monkey:
    """Does what somebody might do, whatever state the window is in."""

    def __init__(self, hands: Any, seed: int) -> None:
        self.hands, self.random = hands, random.Random(seed)
        self.did: list[str] = []
        self._acts: list[Callable[[], None]] = [
            self.click,
            self.click,
            self.click,
            self.drag,
            self.key,
            self.key,
            self.key,
            self.press,
            self.press_section,
            self.stroke,
            self.everything,
            self.slide,
            self.layers,
            self.model,
            self.cancel,
            self.look_elsewhere,
        ]

    def act(self) -> None:
        """Do one thing."""
        act = self.random.choice(self._acts)
        self.did.append(act.__name__)
        act()
        self.hands.qtbot.wait(self.random.choice((0, 0, 1, 15)))

    def _place(self) -> tuple[float, float]:
        if self.random.random() < 0.6:
            y, x = self.random.choice(CENTRES)
            return y + self.random.uniform(-4, 4), x + self.random.uniform(-4, 4)
        return self.random.uniform(2, 125), self.random.uniform(2, 125)

    def click(self) -> None:
        modifier = CONTROL if self.random.random() < 0.1 else Qt.KeyboardModifier.NoModifier
        self.hands.click(self._place(), modifier=modifier)

    def drag(self) -> None:
        self.hands.drag(self._place(), self._place())

    def key(self) -> None:
        self.hands.qtbot.mouseMove(
            self.hands.canvas.native, self.hands.at(self.hands.image, self._place())
        )
        key, modifier = self.random.choice(KEYS)
        self.did[-1] += f" {key} {modifier}"
        self.hands.key(key, modifier or Qt.KeyboardModifier.NoModifier)

    def press(self) -> None:
        name = self.random.choice(BUTTONS)
        button = getattr(self.hands.widget, name)
        self.did[-1] += " " + name
        if button.isEnabled():
            self.hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def press_section(self) -> None:
        name = self.random.choice(SECTION)
        self.did[-1] += " " + name
        section = self.hands.widget.objects
        section.expand(animate=False)
        self.hands.qtbot.mouseClick(section.buttons[name], Qt.MouseButton.LeftButton)

    def stroke(self) -> None:
        """Paint by hand with the brush of napari, and go back to whatever was in use."""
        target, layers = self.hands.objects, self.hands.viewer.layers
        if target is not None:
            before = layers.selection.active
            end = self._place() if self.random.random() < 0.5 else None
            self.hands.paint(self.random.choice((0, 0, 3, 7)), self._place(), end, size=5)
            if before in layers:
                layers.selection.active = before

    def everything(self) -> None:
        widget = self.hands.widget
        at_once = self.random.random() < 0.3
        if at_once != widget.at_once.isChecked():
            self.hands.tick("at_once")
        if widget.everything.isEnabled():
            self.hands.qtbot.mouseClick(widget.everything, Qt.MouseButton.LeftButton)

    def slide(self) -> None:
        review = self.hands.widget.review
        if review.isVisible():
            slider = review.sliders[self.random.choice(sorted(review.sliders))]
            key = self.random.choice((Qt.Key.Key_Home, Qt.Key.Key_End, Qt.Key.Key_PageUp))
            self.hands.qtbot.keyClick(slider, key)

    def layers(self) -> None:
        """Choose, hide, rename, move and delete layers in the list; the image stays."""
        layers = self.hands.viewer.layers
        layer = self.random.choice(list(layers))
        what = self.random.choice(("choose", "choose", "hide", "rename", "move", "delete"))
        self.did[-1] += " " + what
        if what == "choose":
            layers.selection.active = layer
        elif what == "hide":
            layer.visible = not layer.visible
        elif what == "rename":
            layer.name = f"{layer.name[:20]}'"
        elif what == "delete":
            if layer not in self.hands.widget.controller.images():
                self.did[-1] += f" {layer.name}"
                layers.remove(layer)
        else:
            layers.move(layers.index(layer), self.random.randrange(len(layers) + 1))

    def look_elsewhere(self) -> None:
        """Another slice, by the slider under the canvas; another image, by keys in its chooser."""
        dims, chooser = self.hands.viewer.dims, self.hands.widget.image
        if dims.nsteps[0] > 1 and dims.ndim > 2:
            dims.set_current_step(0, self.random.randrange(dims.nsteps[0]))
        elif chooser.count() > 1:
            key = Qt.Key.Key_Up if chooser.currentIndex() else Qt.Key.Key_Down
            self.hands.qtbot.keyClick(chooser, key)

    def model(self) -> None:
        """Another model, or the other decoder of the same one."""
        widget = self.hands.widget
        if self.random.random() < 0.3:
            name = self.random.choice(("lite_sam", "mobile_sam"))
            self.hands.choose_model(name)
        elif self.random.random() < 0.3 and widget.hq.isEnabled():
            self.hands.tick("hq")

    def cancel(self) -> None:
        if self.hands.widget.cancel.isEnabled():
            self.hands.press("cancel")


def _picture(hands: Any) -> tuple[Any, ...]:
    """All that undo speaks about."""
    target = hands.objects
    labels = b"" if target is None or not target.data.any() else target.data.tobytes()
    prompts = hands.widget.controller._history.now.prompts
    return (labels, prompts, hands.widget.controller._history.now.review is None)


def _undo_all(hands: Any) -> list[tuple[Any, ...]]:
    """Undo everything, of every image; return what there is then, by image."""
    controller, chooser = hands.widget.controller, hands.widget.image
    pictures = []
    for _ in range(chooser.count()):
        for _ in range(400):
            if not controller._history.can_undo:
                break
            controller.undo()
        else:
            raise AssertionError("there is no end of undo")
        hands.settle()
        pictures.append((hands.image.name, _picture(hands)))
        if chooser.count() > 1:
            last = chooser.currentIndex()
            hands.qtbot.keyClick(chooser, Qt.Key.Key_Up if last else Qt.Key.Key_Down)
            hands.settle()
    return sorted(pictures, key=lambda one: one[0].strip("'"))


def _open(hands_of: Any, scene: str, image: np.ndarray) -> Any:
    if scene == "stack":
        planes = np.stack([np.roll(image, 3 * z, axis=1) for z in range(5)])
        return hands_of(planes, scale=(2.18, 0.325, 0.325), translate=(3.1, 0, 7.7))
    if scene == "rotated":
        return hands_of(image, scale=(0.325, 0.41), rotate=31.0)
    hands = hands_of(image)
    if scene == "two images":
        hands.viewer.add_image(image[::-1].copy(), name="other")
        hands.settle()
    return hands


@pytest.mark.parametrize(
    ("scene", "seed", "actions"),
    [
        ("plane", 1, 100),
        ("stack", 3, 80),
        ("rotated", 4, 60),
        ("two images", 5, 80),
        pytest.param("plane", 2, 1000, marks=pytest.mark.slow),
        pytest.param("stack", 6, 1000, marks=pytest.mark.slow),
        pytest.param("two images", 7, 400, marks=pytest.mark.slow),
    ],
)
def test_nothing_breaks_and_all_can_be_undone(
    predictor, open_panel, cells, present, scene, seed, actions
) -> None:
    present("mobile_sam", "sam_hq_vit_tiny")
    hands = _open(open_panel, scene, cells[0])
    hands.click(CENTRES[0])
    hands.settle()
    start = _undo_all(hands)
    # Warm: what is loaded once does not count as a leak.
    monkey = Monkey(hands, seed)
    memory = []
    threads = threading.active_count()
    try:
        for number in range(actions):
            monkey.act()
            if number % 20 == 19:
                # The history holds 200 steps; go back before the first is lost.
                hands.settle()
                assert [one for _, one in _undo_all(hands)] == [one for _, one in start], (
                    "undo does not lead back to the start"
                )
            if number % 100 == 99:
                gc.collect()
                memory.append(psutil.Process().memory_info().rss)
    except BaseException:
        print("the monkey did:", ", ".join(monkey.did[-25:]))
        raise
    hands.settle()
    assert threading.active_count() <= threads + 8, "workers are left over"
    if len(memory) > 3:
        print("memory, MB:", [round(one / 1e6) for one in memory])
        assert memory[-1] - memory[1] < 60e6
    before = None if hands.objects is None else hands.objects.data.copy()
    hands.widget.controller.close()
    hands.widget.controller.keeper._writer.shutdown(wait=True)
    left = find_journals(sessions_dir())
    # What is on the disk is what is in the window.
    kept = [one.labels() for one in left if one.session.actions]
    if before is not None and before.any():
        assert any(np.array_equal(one, before) for one in kept)
