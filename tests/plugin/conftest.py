"""A panel in a real window, and hands for it: clicks, drags and keys on the canvas."""

from __future__ import annotations

import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari._qt.qt_viewer import QtViewer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from litesam.models.registry import get_spec
from napari_litesam.widget import LiteSamWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# The predictor that is right on bright objects is shared with the engine's tests.
from engine.threshold_predictor import CENTRES, ThresholdPredictor, discs

#: Numbers of the tests that have a window.
_windows = itertools.count(1)
#: Milliseconds between two clicks of a quick user.
QUICK_MS = 20


class GatedPredictor(ThresholdPredictor):
    """Encodes only while its gate is open; tells when it waits there."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def encode(self, rgb: Any, origin_yx: tuple[int, int] = (0, 0)) -> Any:
        self.waiting.set()
        assert self.gate.wait(30), "the test never opened the gate"
        self.waiting.clear()
        return super().encode(rgb, origin_yx)


class Hands:
    """Mouse and keyboard on the canvas of one viewer, and the panel beside it."""

    def __init__(self, viewer: Any, widget: Any, qtbot: Any) -> None:
        self.viewer, self.widget, self.qtbot = viewer, widget, qtbot

    @property
    def canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas

    def at(self, layer: Any, yx: tuple[float, float]) -> QPoint:
        """Canvas position of a pixel of an image or labels layer."""
        node = self.canvas.layer_to_visual[layer].node
        transform = node.get_transform("visual", "canvas")
        x, y = transform.map([yx[1] + 0.5, yx[0] + 0.5, 0, 1])[:2]
        return QPoint(round(float(x)), round(float(y)))

    def click(
        self,
        yx: tuple[float, float],
        layer: Any = None,
        modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        position = self.at(layer or self.image, yx)
        self.qtbot.mouseMove(self.canvas.native, position)
        self.qtbot.mouseClick(self.canvas.native, Qt.MouseButton.LeftButton, modifier, pos=position)

    def hover(self, yx: tuple[float, float]) -> None:
        """Move the pointer onto a pixel of the image, from elsewhere.

        Qt tells nothing of a move to where the pointer is, and it may rest there since the last
        test, over another window.
        """
        target = self.at(self.image, yx)
        for position in (target + QPoint(7, 7), target):
            self.qtbot.mouseMove(self.canvas.native, position)
            self.qtbot.wait(20)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        native, left = self.canvas.native, Qt.MouseButton.LeftButton
        a, b = self.at(self.image, start), self.at(self.image, end)
        self.qtbot.mouseMove(native, a)
        QTest.mousePress(native, left, pos=a)
        for share in (0.3, 0.6, 1.0):
            QTest.mouseMove(native, a + (b - a) * share)
            self.qtbot.wait(10)
        QTest.mouseRelease(native, left, pos=b)

    def paint(
        self,
        number: int,
        start: tuple[float, float],
        end: tuple[float, float] | None = None,
        size: int = 1,
    ) -> None:
        """Paint a stroke or a dab in the layer of objects, with napari's brush or (0) eraser."""
        layer = self.objects
        self.viewer.layers.selection.active = layer
        self.key(Qt.Key.Key_2 if number else Qt.Key.Key_1)
        layer.brush_size = size
        if number:
            layer.selected_label = number
        self.qtbot.wait(30)  # the cursor has the size of the brush
        if end is None:
            self.click(start)
        else:
            self.drag(start, end)
        self.settle()
        self.key(Qt.Key.Key_6)

    def key(
        self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
    ) -> None:
        self.canvas.native.setFocus()
        self.qtbot.keyClick(self.canvas.native, key, modifier)

    def press(self, name: str) -> None:
        """Click a button of the panel with the mouse."""
        button = self._control(name)
        assert button.isEnabled(), button.toolTip()
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def _control(self, name: str) -> Any:
        """The control that is called so in the panel; sections are named before a dot."""
        control = self.widget
        for part in name.split("."):
            control = getattr(control, part)
        return control

    def everything(self) -> None:
        """Press *Everything*, without a review, and wait for the objects."""
        if not self.widget.at_once.isChecked():
            self.tick("at_once")
        self.press("everything")
        self.settle()

    def tick(self, name: str) -> None:
        """Click on the mark of a check box."""
        box = self._control(name)
        assert box.isEnabled(), box.toolTip()
        self.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))

    def unfold(self, name: str) -> None:
        """Unfold a section of the panel by a click on its head."""
        section = self.widget.findChild(QCollapsible, name)
        assert not section.isExpanded()
        self.qtbot.mouseClick(section.toggleButton(), Qt.MouseButton.LeftButton)
        self.until(lambda: section.isExpanded() and section.content().isVisible())

    def type_in(self, control: Any, text: str) -> None:
        """Type a value into a field, in place of what is there."""
        assert control.isEnabled(), control.toolTip()
        assert control.isVisible(), "a user cannot see it"
        control.setFocus()
        control.selectAll()
        self.qtbot.keyClick(control, Qt.Key.Key_Delete)
        self.qtbot.keyClicks(control, text)
        self.qtbot.keyClick(control, Qt.Key.Key_Return)

    def pick(self, chooser: Any, entry: Any) -> None:
        """Open a chooser with the mouse and click on an entry: its text, its data or its layer.

        On a busy computer Xvfb, where no manager of windows keeps the focus, sometimes takes the
        list away before the click; a user would open it again, too.
        """
        if isinstance(chooser, str):
            chooser = self._control(chooser)
        assert chooser.isEnabled(), chooser.toolTip()
        assert chooser.isVisible(), "a user cannot see it"
        seen: list[int] = []
        chooser.activated.connect(seen.append)
        for _ in range(5):
            row, position = self.click_entry(chooser, entry)
            if seen:
                break
        chooser.activated.disconnect(seen.append)
        assert seen == [row], f"the click at {position} chose {seen}, not {row}"

    def choose_model(self, name: str) -> None:
        """Open the chooser of models with the mouse and click on a row."""
        seen: list[str] = []
        self.widget.model.chosen.connect(seen.append)
        for _ in range(3):
            _, position = self.click_entry(self.widget.model, name)
            if seen:
                break
        self.widget.model.chosen.disconnect(seen.append)
        assert seen == [name], f"the click at {position} chose {seen}"

    def click_entry(self, chooser: Any, entry: Any) -> tuple[int, QPoint]:
        """Open a chooser with the mouse and click on an entry, whether it can be chosen or not.

        Returns
        -------
        tuple
            The row, and where the click was.
        """
        application = QApplication.instance()
        # Qt takes a release so soon after the list opened for that of the opening click. Time is
        # saved as on a desktop that is set to quick double clicks.
        usual = application.doubleClickInterval()
        application.setDoubleClickInterval(QUICK_MS)
        self.qtbot.wait(QUICK_MS)  # what was just added is in the list
        try:
            self.qtbot.mouseClick(chooser, Qt.MouseButton.LeftButton)
            view = chooser.view()
            self.qtbot.waitUntil(view.isVisible)
            row = _row_of(chooser, entry)
            index = chooser.model().index(row, 0)
            # A pointer that rests on an arrow of the list from the last test scrolls it further.
            self.qtbot.mouseMove(view.viewport(), view.viewport().rect().center())
            self.qtbot.wait(2 * QUICK_MS)
            view.scrollTo(index, view.ScrollHint.PositionAtCenter)
            self.qtbot.wait(QUICK_MS)
            seen = view.viewport().rect()
            place = view.visualRect(index).intersected(seen)  # long texts are cut
            assert place.height() == view.visualRect(index).height(), "a user cannot see it"
            position = place.center()
            self.qtbot.mouseMove(view.viewport(), position + QPoint(1, 0))
            self.qtbot.mouseMove(view.viewport(), position)
            self.qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=position)
            if chooser.model().flags(index) & Qt.ItemFlag.ItemIsEnabled:
                self.qtbot.waitUntil(lambda: not view.isVisible())
            else:
                self.qtbot.wait(QUICK_MS)
                chooser.hidePopup()
        finally:
            application.setDoubleClickInterval(usual)
        return row, position

    def until(self, condition: Callable[[], bool], timeout: int = 10_000) -> None:
        self.qtbot.waitUntil(condition, timeout=timeout)

    def settle(self) -> None:
        """Wait until nothing is scheduled or running."""
        controller = self.widget.controller
        self.qtbot.waitUntil(
            lambda: (
                not controller._timer.isActive()
                and controller._current.lane.idle
                and controller._planes.lane.idle
                and controller.words.lane.idle
                and controller.models.idle
                and controller.desk.lane.idle
                and controller.table.idle
                and controller.volume.lane.idle
                and controller.volume.complete.opener.idle
                and controller.propagation.lane.idle
            ),
            timeout=180_000,  # a cold disk or a busy computer takes its time
        )

    @property
    def in_use(self) -> str:
        """Name of the model in use."""
        return str(self.widget.state.settings.model)

    @property
    def image(self) -> Any:
        return self.widget.state.settings.image

    @property
    def status(self) -> str:
        return str(self.widget.state.status.text)

    @property
    def preview(self) -> np.ndarray:
        layer = self.widget.controller.preview
        height, width = self.image.data.shape[:2] if self.image.rgb else self.image.data.shape[-2:]
        return np.zeros((height, width), bool) if layer is None else np.asarray(layer.data) > 0

    @property
    def objects(self) -> Any:
        """The Labels layer with the committed objects."""
        return self.widget.state.settings.target

    @property
    def points(self) -> Any:
        return self.widget.controller.prompts.points


def _row_of(chooser: Any, entry: Any) -> int:
    """Row of an entry by its text or its data."""
    rows = [(chooser.itemText(row), chooser.itemData(row)) for row in range(chooser.count())]
    for row, (text, data) in enumerate(rows):
        if text == entry or data is entry or (isinstance(data, str | int) and data == entry):
            return row
    raise AssertionError(f"{entry!r} is not among {rows}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Let the collector of garbage pass over what earlier tests left behind.

    A window collects when it closes. napari's application for tests keeps its menus, some thousand
    objects a test: after a hundred tests a collection took a second. What is kept only by what has
    gone since is found when all is looked at again.
    """
    result = yield
    if "make_napari_viewer" in getattr(item, "fixturenames", ()) and not QtViewer._instances:
        if next(_windows) % 25 == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
    return result


@pytest.fixture(autouse=True)
def _own_preferences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test chooses is not what the next one starts with.

    napari's fixture ``plugin_settings`` does the same, but leaves no plugin installed.
    """
    monkeypatch.setattr("napari.settings._PLUGIN_SETTINGS", {}, raising=False)
    monkeypatch.setattr("napari.settings._CFG_PATH", tmp_path / "settings.yaml", raising=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has downloaded nothing yet."""
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def present(home: Path) -> Callable[..., None]:
    """Let weights of models lie in the user's folder; their content does not matter."""

    def put(*names: str) -> None:
        for name in names:
            path = home / "weights" / get_spec(name).weights.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")

    return put


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> GatedPredictor:
    """The model behind every name: right on bright objects, known in advance."""
    made = GatedPredictor()
    monkeypatch.setattr("litesam.predictors.load_predictor", lambda *_, **__: made)
    yield made
    made.gate.set()


@pytest.fixture
def open_panel(make_napari_viewer: Any, qtbot: Any) -> Callable[..., Hands]:
    """Open a window with an image and the panel, as a user would."""

    def open_one(
        image: Any = None, show: bool = True, models: Sequence[Any] | None = None, **options: Any
    ) -> Hands:
        viewer = make_napari_viewer(show=show)
        if show:
            viewer.window.resize(1100, 800)
        if image is not None:
            viewer.add_image(image, name="cells", **options)
        if models is None:
            _, widget = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
        else:
            widget = LiteSamWidget(viewer, models=models)
            viewer.window.add_dock_widget(widget, name="Lite-SAM")
        hands = Hands(viewer, widget, qtbot)
        qtbot.wait(50)
        viewer.reset_view()
        qtbot.wait(50)
        return hands

    return open_one


@pytest.fixture
def cells() -> tuple[np.ndarray, np.ndarray]:
    """(128, 128) image of three discs and its labels."""
    return discs((128, 128), CENTRES)


@pytest.fixture
def three(predictor: GatedPredictor, open_panel: Any, cells: Any) -> Hands:
    """The three cells, committed by clicks under the ids 1, 2 and 3."""
    hands = open_panel(cells[0])
    for centre in CENTRES:
        hands.click(centre)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()
    return hands
