"""Nothing is lost: autosave, a killed process, work brought back, session files, replay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtCore import Qt
from skimage.measure import regionprops

from engine.threshold_predictor import CENTRES
from litesam.io import read_image
from litesam.samples import SAMPLES, sample_path
from litesam.session import find_journals, read_session, replay, sessions_dir
from plugin.journals import left_journals

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES

#: A person at work: three objects, one of which is deleted again, a stroke and a click that is not
#: committed. Then the process is killed.
AT_WORK = """
import sys, numpy as np, napari
from qtpy.QtWidgets import QApplication
from litesam.types import PointLabel
viewer = napari.Viewer(show=False)
viewer.open(sys.argv[1])
_, panel = viewer.window.add_plugin_dock_widget("napari-litesam", "Lite-SAM")
app = QApplication.instance()
controller = panel.controller
def settle():
    for _ in range(5):
        app.processEvents()
    while not (controller._current.lane.idle and controller.desk.lane.idle
               and not controller._timer.isActive()):
        app.processEvents()
settle()
for y, x in eval(sys.argv[2]):
    controller.prompts.points.add(np.array([[y, x]]))
    settle()
    controller.commit()
    settle()
controller.state.select({2})
controller.delete_objects()
target = controller.state.settings.target
target.selected_label = 40
target.paint((5, 5), 40)
settle()
controller.prompts.points.add(np.array([eval(sys.argv[2])[1]]))
settle()
np.save(sys.argv[3], target.data)
controller.keeper.flush()
print("ready", flush=True)
import time
time.sleep(60)
"""


def _nuclei(count: int) -> list[tuple[float, float]]:
    """Middles of the largest nuclei of the sample."""
    truth = sample_path("nuclei").with_name(SAMPLES["nuclei"].labels_file)
    found = sorted(regionprops(np.asarray(read_image(truth).array)), key=lambda one: -one.area)
    return [tuple(float(round(v)) for v in one.centroid) for one in found[1 : count + 1]]


def settle(hands) -> None:
    hands.settle()
    hands.widget.controller.keeper.flush()


def test_killed_process_loses_nothing(open_panel, tmp_path, home) -> None:
    image = sample_path("nuclei")
    places = _nuclei(3)
    saved = tmp_path / "labels.npy"
    work = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, str(image), repr(places), str(saved)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LITESAM_HOME": str(home)},
    )
    try:
        assert work.stdout is not None
        assert work.stdout.readline().strip() == "ready"
        work.send_signal(signal.SIGKILL)
    finally:
        work.kill()
        work.wait()
        work.stdout.close()
    before = np.load(saved)
    assert before.any()
    # The next morning: a new window, without the image.
    hands = open_panel()
    settle(hands)
    assert hands.widget.unsaved.isVisible()
    assert "Unsaved work" in hands.widget.unsaved.text.text()
    hands.press("unsaved.bring_back")
    settle(hands)
    np.testing.assert_array_equal(hands.objects.data, before)
    np.testing.assert_allclose(hands.points.data, [places[1]], atol=1e-6)
    assert hands.preview.any(), "the click that was not committed is answered again"
    assert not hands.widget.unsaved.isVisible()
    # It goes on where it stopped, in the same session.
    hands.viewer.layers.selection.active = hands.points
    hands.key(Qt.Key.Key_C)
    settle(hands)
    assert hands.objects.data.max() == 41
    session = hands.widget.controller.keeper.session(hands.objects)
    # Whatever happened, all of it can be done again without the window, to the last pixel.
    done = replay(session)
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different


def test_work_is_on_the_disk_within_a_second(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    hands.qtbot.waitUntil(lambda: any(sessions_dir().glob("*.litesam-journal")), timeout=1000)
    assert find_journals(sessions_dir()) == [], "a journal that is open is nobody else's"
    hands.widget.controller.close()
    (left,) = left_journals()
    assert set(left.session.objects()) == {1}
    np.testing.assert_array_equal(left.labels() == 1, cells[1] == 1)


def test_undo_is_written_down_too(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    for centre in (FIRST, SECOND):
        hands.click(centre)
        hands.settle()
        hands.key(Qt.Key.Key_C)
        hands.settle()
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    hands.widget.controller.close()
    (left,) = left_journals()
    np.testing.assert_array_equal(left.labels() > 0, cells[1] == 1)
    assert len(left.session.drafts) == 1, "undo brought the click back"


def test_looking_leaves_nothing_behind(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    hands.settle()
    hands.widget.controller.close()
    assert left_journals() == []


def test_labels_that_were_there_are_part_of_it(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    start = np.where(cells[1] == 3, 5, 0).astype(np.uint16)
    hands.viewer.add_labels(start.copy(), name="mine")
    hands.pick("target", "mine")
    hands.settle()
    hands.paint(6, (2, 2), size=3)  # before anything else
    assert (hands.objects.data == 6).any()
    hands.key(Qt.Key.Key_Z, CONTROL)
    hands.settle()
    assert not (hands.objects.data == 6).any()
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    now = hands.viewer.layers["mine"].data.copy()
    hands.widget.controller.close()
    (left,) = left_journals()
    np.testing.assert_array_equal(left.labels(), now)
    assert left.labels().dtype == np.uint16


def test_work_for_an_image_that_is_not_open(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    hands.widget.controller.close()
    left_journals()
    again = open_panel()
    again.settle()
    row = again.widget.unsaved
    assert row.isVisible()
    assert "Open the image first" in row.text.text()
    assert not row.bring_back.isEnabled()
    again.viewer.add_image(cells[0], name="cells")
    again.settle()
    assert row.bring_back.isEnabled()
    again.press("unsaved.throw_away")
    again.settle()
    assert not row.isVisible()
    assert not list(sessions_dir().glob("*.litesam-journal"))
    assert list(sessions_dir().glob("*.discarded")), "kept for a month"


@pytest.mark.parametrize("everything", [False, True], ids=["clicks", "everything"])
def test_saved_session_replays_to_the_same_labels(open_panel, tmp_path, everything) -> None:
    hands = open_panel()
    hands.viewer.open(sample_path("nuclei"))
    hands.settle()
    if everything:
        hands.everything()
    else:
        for place in _nuclei(2):
            hands.click(place)
            hands.settle()
            hands.key(Qt.Key.Key_C)
            hands.settle()
        hands.hover(_nuclei(1)[0])
        hands.key(Qt.Key.Key_E)
        hands.widget.objects.expand(animate=False)
        button = hands.widget.objects.buttons["smooth"]
        hands.until(lambda: button.height() > 10)
        hands.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    hands.settle()
    now = hands.objects.data.copy()
    rows = len(hands.widget.state.objects)
    file = tmp_path / "work.json"
    hands.widget.session.saved.emit(str(file))
    assert "saved" in hands.status
    done = replay(read_session(file), folder=tmp_path)
    np.testing.assert_array_equal(done.labels, hands.objects.data)
    assert not done.different
    # What is saved need not be brought back.
    hands.widget.controller.close()
    assert left_journals() == []
    # And in another window.
    other = open_panel()
    other.widget.session.opened.emit(str(file))
    other.settle()
    np.testing.assert_array_equal(other.objects.data, now)
    assert len(other.widget.state.objects) == rows


def test_what_is_no_session_is_refused(predictor, open_panel, cells, tmp_path) -> None:
    hands = open_panel(cells[0])
    wrong = tmp_path / "notes.json"
    wrong.write_text("{}")
    hands.widget.session.opened.emit(str(wrong))
    hands.settle()
    assert "notes.json" in hands.status
    hands.widget.session.saved.emit(str(tmp_path / "nothing.json"))
    assert "nothing to save" in hands.status


def test_disk_that_refuses_stops_nobody(predictor, open_panel, cells, home) -> None:
    home.mkdir()
    (home / "sessions").write_text("a file where the folder should be")
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.until(lambda: "Autosave does not work" in hands.status or hands.preview.any())
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    np.testing.assert_array_equal(hands.objects.data > 0, cells[1] == 1)
