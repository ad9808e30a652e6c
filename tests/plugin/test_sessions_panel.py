"""Nothing is lost: autosave, a killed process, work brought back, session files, replay."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from engine.threshold_predictor import CENTRES
from litesam.samples import sample_path
from litesam.session import find_journals, read_session, recover, replay, sessions_dir
from plugin.at_work import killed, large_stack, nuclei
from plugin.journals import left_journals

CONTROL = Qt.KeyboardModifier.ControlModifier
FIRST, SECOND, THIRD = CENTRES


def settle(hands) -> None:
    hands.settle()
    hands.widget.controller.keeper.flush()


def test_killed_process_loses_nothing(open_panel, tmp_path, home) -> None:
    places = nuclei(3)
    seen = killed("test_objects", tmp_path / "seen.npz", home)
    before = seen["labels"]
    assert before.any()
    # The next morning: a new window, without the image.
    hands = open_panel()
    settle(hands)
    assert hands.widget.unsaved.isVisible()
    assert "Unsaved work" in hands.widget.unsaved.text.text()
    hands.press("unsaved.bring_back")
    settle(hands)
    np.testing.assert_array_equal(hands.objects.data, before)
    np.testing.assert_allclose(hands.points.data, seen["points"], atol=1e-6)
    np.testing.assert_allclose(hands.points.data, [places[1]], atol=2)
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


def test_a_review_outlives_a_killed_process(open_panel, tmp_path, home) -> None:
    seen = killed("test_review", tmp_path / "seen.npz", home)
    hands = open_panel()
    settle(hands)
    assert "candidates of everything mode" in hands.widget.unsaved.text.text()
    hands.press("unsaved.bring_back")
    settle(hands)
    np.testing.assert_array_equal(hands.objects.data, seen["labels"])
    review, controller = hands.widget.review, hands.widget.controller
    assert review.isVisible()
    assert review.count.text() == str(seen["told"])
    np.testing.assert_array_equal(controller._layers.candidates.data, seen["picture"])
    # It goes on: the sliders know what they hid, and a click takes a verdict back.
    hands.press("review.pick")
    hands.click(nuclei(2)[1])
    settle(hands)
    assert "rejected" not in review.count.text()
    slider = review.sliders["min_area"]
    hands.qtbot.keyClick(slider, Qt.Key.Key_Home)
    settle(hands)
    kept = controller.state.review.kept
    assert kept > np.unique(seen["picture"][seen["picture"] < 255]).size - 1
    hands.press("review.accept")
    settle(hands)
    assert not review.isVisible()
    session = controller.keeper.session(hands.objects)
    assert session.found is None
    assert len(session.objects()) > 2
    np.testing.assert_array_equal(replay(session).labels, hands.objects.data)


def test_large_labels_that_were_there_outlive_a_killed_process(
    predictor, open_panel, tmp_path, home
) -> None:
    seen = killed("test_large_labels", tmp_path / "seen.npz", home)
    image, labels = large_stack()
    hands = open_panel(image)
    hands.viewer.dims.set_current_step(0, 0)
    settle(hands)
    assert "not" not in hands.widget.unsaved.text.text()
    hands.press("unsaved.bring_back")
    settle(hands)
    np.testing.assert_array_equal(hands.objects.data[0], seen["first"])
    np.testing.assert_array_equal(hands.objects.data[1:], labels[1:])
    # A session takes them along, to wherever it is saved.
    file = tmp_path / "elsewhere" / "work.json"
    file.parent.mkdir()
    hands.widget.session.saved.emit(str(file))
    assert "saved" in hands.status
    now = hands.objects.data.copy()
    hands.widget.controller.close()
    assert left_journals() == []
    # A session that is saved leaves nothing else behind.
    hands.until(lambda: not list(sessions_dir().glob("*.zarr*")))
    done = replay(read_session(file), image, folder=file.parent)
    np.testing.assert_array_equal(done.labels, now)


def test_what_was_not_copied_in_time_is_told(predictor, open_panel, tmp_path, home) -> None:
    image, labels = large_stack()
    image, labels = image[:8], labels[:8]
    hands = open_panel(image)
    hands.viewer.add_labels(labels, name="mine")
    hands.viewer.dims.set_current_step(0, 0)
    hands.settle()
    hands.pick("target", "mine")
    hands.settle()
    hands.press("positive")
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    settle(hands)
    first = hands.objects.data[0].copy()
    hands.widget.controller.close()
    assert len(left_journals()) == 1
    (copy,) = sessions_dir().glob("*.zarr")
    copy.rename(copy.with_name(f"{copy.name}.part"))  # as if the process had ended before
    again = open_panel(image)
    settle(again)
    assert "open them from their own file" in again.widget.unsaved.text.text()
    again.press("unsaved.bring_back")
    settle(again)
    np.testing.assert_array_equal(again.objects.data[0], first)
    assert not again.objects.data[1:].any()


def test_work_is_on_the_disk_within_a_second(predictor, open_panel, cells) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()

    def committed() -> bool:
        """Whether the commit is there, in a journal that is still open."""
        found = [recover(path) for path in sessions_dir().glob("*.litesam-journal")]
        return [set(one.session.objects()) for one in found] == [{1}]

    hands.qtbot.waitUntil(committed, timeout=1000)
    assert find_journals(sessions_dir()) == [], "a journal that is open is nobody else's"
    (path,) = sessions_dir().glob("*.litesam-journal")
    left = recover(path)
    assert left.complete
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


def test_renamed_image_is_found_by_old_sessions_and_by_new_ones(
    predictor, open_panel, cells, tmp_path
) -> None:
    hands = open_panel(cells[0])
    hands.click(FIRST)
    hands.settle()
    hands.key(Qt.Key.Key_C)
    hands.settle()
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    hands.widget.session.saved.emit(str(old))
    now = hands.objects.data.copy()
    hands.image.name = "nuclei"
    hands.objects.name = "mine"
    hands.settle()
    hands.widget.session.saved.emit(str(new))
    hands.viewer.layers.remove(hands.objects)
    hands.settle()
    hands.widget.session.opened.emit(str(old))
    hands.settle()
    assert hands.objects is not None, hands.status
    np.testing.assert_array_equal(hands.objects.data, now)
    hands.widget.controller.close()
    for left in left_journals():
        assert left.session.settings["image"] == "nuclei", "it is written on with the name of now"
    other = open_panel()
    other.viewer.add_image(cells[0], name="nuclei")
    other.settle()
    other.widget.session.opened.emit(str(new))
    other.settle()
    np.testing.assert_array_equal(other.objects.data, now)
    assert other.objects.name == "mine"
    other.image.name = "again another"
    other.widget.controller.close()
    # Whoever cannot know better is told what to do.
    last = open_panel(cells[0])
    last.widget.session.opened.emit(str(new))
    assert "call its layer 'nuclei'" in last.status
    last.image.name = "nuclei"
    last.widget.session.opened.emit(str(new))
    last.settle()
    np.testing.assert_array_equal(last.objects.data, now)


@pytest.mark.parametrize("everything", [False, True], ids=["clicks", "everything"])
def test_saved_session_replays_to_the_same_labels(open_panel, tmp_path, everything) -> None:
    hands = open_panel()
    hands.viewer.open(sample_path("nuclei"))
    hands.settle()
    if everything:
        hands.everything()
    else:
        for place in nuclei(2):
            hands.click(place)
            hands.settle()
            hands.key(Qt.Key.Key_C)
            hands.settle()
        hands.hover(nuclei(1)[0])
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
