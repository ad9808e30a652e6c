"""Folders of images: what could cost labels, or keep a user from going on."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from PIL import Image as Picture

from engine.threshold_predictor import CENTRES
from litesam.errors import WriteError
from litesam.io import read_labels
from litesam.session import read_session, sessions_dir
from napari_litesam import series, series_files
from napari_litesam.state import Words
from plugin.folders import BEFORE, NEXT, at, commit, open_folder, plate, rest, slow_writes, written
from plugin.journals import left_journals

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, THIRD = CENTRES


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "_DELAY_MS", 200)
    monkeypatch.setattr(series, "_AHEAD_MS", 100)


@pytest.fixture
def folder(tmp_path: Path, cells: Any) -> Path:
    return plate(tmp_path / "plate", cells[0])


@pytest.fixture
def opened(predictor, open_panel, folder, monkeypatch) -> Any:
    return open_folder(open_panel(), folder, monkeypatch)


def ids(labels: np.ndarray) -> list[int]:
    return [int(one) for one in np.unique(labels) if one]


def names(hands: Any) -> list[str]:
    return [layer.name for layer in hands.viewer.layers]


# -------------------------------------------------------------------- nothing is written over


def test_work_that_is_brought_back_is_in_the_file(opened, folder, open_panel, monkeypatch) -> None:
    hands = opened
    commit(hands, at(1, FIRST))
    rest(hands)
    kept = folder / "labels" / "cell 1.tif"

    def refused(*_: Any) -> None:
        raise WriteError("The disk is gone.")

    # The second object never comes into the file: only the autosave has it.
    monkeypatch.setattr(series, "write_changed", refused)
    commit(hands, at(1, SECOND))
    rest(hands)
    hands.widget.controller.close()
    left_journals()
    monkeypatch.setattr(series, "write_changed", series_files.write_changed)

    again = open_folder(open_panel(), folder, monkeypatch)
    again.key(BEFORE)
    rest(again)
    assert ids(again.objects.data) == [1]
    again.press("unsaved.bring_back")
    rest(again)
    assert ids(again.objects.data) == [1, 2]
    assert names(again).count("Lite-SAM objects") == 1
    assert ids(written(folder, 1)) == [1, 2]
    commit(again, at(1, THIRD))
    again.key(NEXT)
    rest(again)
    assert ids(written(folder, 1)) == [1, 2, 3]
    assert not [one for one in names(again) if "objects" in one], "no layer of another image"
    assert [one.name for one in kept.parent.glob("*.tif")] == ["cell 1.tif"]


def test_labels_of_a_layer_that_was_removed_are_kept(opened, folder) -> None:
    hands = opened
    for centre in CENTRES:
        commit(hands, at(1, centre))
    rest(hands)
    hands.viewer.layers.remove(hands.objects)
    rest(hands)
    assert ids(written(folder, 1)) == [1, 2, 3]
    commit(hands, at(1, FIRST))
    rest(hands)
    assert ids(written(folder, 1)) == [1]
    old = folder / "labels" / "cell 1.old-1.tif"
    assert ids(np.asarray(read_labels(old).array)) == [1, 2, 3]
    assert "are kept in cell 1.old-1.tif" in hands.status
    # From now on it is one layer again.
    commit(hands, at(1, SECOND))
    rest(hands)
    assert ids(written(folder, 1)) == [1, 2]
    assert len(list((folder / "labels").glob("*.tif"))) == 2


def test_closing_while_earlier_labels_are_written(opened, folder, monkeypatch) -> None:
    gate, begun = slow_writes(monkeypatch)
    hands = opened
    commit(hands, at(1, FIRST))
    hands.until(begun.is_set)
    commit(hands, at(1, SECOND))
    hands.key(NEXT)
    threading.Timer(0.5, gate.set).start()
    hands.widget.controller.close()
    hands.until(lambda: ids(written(folder, 1)) == [1, 2])


def test_ids_that_a_png_cannot_hold_go_into_a_tiff(
    predictor, open_panel, folder, monkeypatch
) -> None:
    (folder / "labels").mkdir()
    full = np.zeros((128, 128), np.uint16)
    full[:3] = 65_535
    Picture.fromarray(full).save(folder / "labels" / "cell 1.png")
    hands = open_folder(open_panel(), folder, monkeypatch)
    hands.key(BEFORE)
    rest(hands)
    commit(hands, at(1, FIRST))
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    assert ids(written(folder, 1)) == [65_535, 65_536]
    hands.key(BEFORE)
    rest(hands)
    assert ids(hands.objects.data) == [65_535, 65_536], "the file that was written is read again"
    again = open_folder(open_panel(), folder, monkeypatch)
    again.key(BEFORE)
    rest(again)
    assert ids(again.objects.data) == [65_535, 65_536]


def test_the_session_beside_labels_has_what_is_committed(opened, folder) -> None:
    hands = opened
    commit(hands, at(1, FIRST))
    hands.press("everything")
    hands.settle()
    hands.until(lambda: hands.widget.review.isVisible())
    rest(hands)
    session = read_session(folder / "labels" / "cell 1.session.json")
    assert session.found is None
    assert "review" not in session.settings
    assert len(session.actions) == 1


# --------------------------------------------------------------------- nothing is left behind


@pytest.mark.parametrize("what", ["prompts", "review", "words"])
def test_what_is_open_in_the_image_counts_wherever_the_user_is(opened, cells, folder, what) -> None:
    hands = opened
    controller = hands.widget.controller
    if what == "prompts":
        hands.click(at(1, FIRST))
    elif what == "review":
        hands.press("everything")
    else:
        controller._committer.look_for(Words("a cell", None))
    hands.settle()
    for elsewhere in (False, True):
        if elsewhere:
            hands.viewer.add_image(cells[0].copy(), name="mine")
            hands.settle()
            hands.pick("image", "mine")
            hands.settle()
        hands.viewer.layers.selection.active = hands.points
        hands.key(NEXT)
        rest(hands)
        assert "cell 1.png" in names(hands)
        assert ("In cell 1.png, which is not the chosen image now" in hands.status) == elsewhere
        assert "go on" in hands.status
    hands.pick("image", "cell 1.png")
    hands.settle()
    hands.press("review.discard" if what == "review" else "clear")
    hands.settle()
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    controller.close()
    assert not any(one.session.settings.get("words") for one in left_journals())


def test_everything_that_runs_is_waited_for(opened, folder, predictor) -> None:
    hands = opened
    hands.tick("at_once")
    hands.widget.controller._pool.store().clear()
    predictor.gate.clear()
    hands.press("everything")
    hands.until(predictor.waiting.is_set)
    before = len(notification_manager.records)
    hands.key(NEXT)
    told = [record.message for record in notification_manager.records[before:]]
    assert any("still being looked for" in one for one in told)
    hands.qtbot.wait(100)
    assert hands.image.name == "cell 1.png"
    # The progress of what runs does not take the place of the warning at once.
    assert "still being looked for" in hands.widget.status.text()
    predictor.gate.set()
    rest(hands)
    hands.viewer.layers.selection.active = hands.points
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "cell 2.png"
    assert ids(written(folder, 1)) == [1, 2, 3]


# ----------------------------------------------------------------------- nobody is locked in


def test_labels_of_another_shape_are_told(
    predictor, open_panel, tmp_path, monkeypatch, cells
) -> None:
    place = tmp_path / "stacks"
    (place / "labels").mkdir(parents=True)
    for name in "abc":
        tifffile.imwrite(place / f"{name}.tif", np.stack([cells[0]] * 6))
    tifffile.imwrite(place / "labels" / "b.tif", cells[1].astype(np.uint8))
    hands = open_folder(open_panel(), place, monkeypatch)
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "a.tif"
    assert "b.tif does not fit b.tif" in hands.status
    assert "choose another image in the list" in hands.status
    hands.pick(hands.widget.series.images, 2)
    rest(hands)
    assert hands.image.name == "c.tif"


def test_what_axes_mean_is_taken_along(predictor, open_panel, tmp_path, monkeypatch, cells) -> None:
    """Files that do not name their axes: the user says it once."""
    place = tmp_path / "channels"
    place.mkdir()
    for name in "abc":
        np.save(place / f"{name}.npy", np.stack([cells[0]] * 6))
    hands = open_folder(open_panel(), place, monkeypatch)
    commit(hands, FIRST)
    rest(hands)
    assert np.asarray(read_labels(place / "labels" / "a.tif").array).shape == (6, 128, 128)
    hands.widget.controller.name_axis(0, "C")
    rest(hands)
    commit(hands, SECOND)
    rest(hands)
    flat = np.asarray(read_labels(place / "labels" / "a.tif").array)
    assert flat.shape == (128, 128), "the labels of now are in the file"
    assert (place / "labels" / "a.old-1.tif").exists()
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "b.npy"
    commit(hands, FIRST)
    hands.key(BEFORE)
    rest(hands)
    assert hands.image.name == "a.npy", hands.status
    assert ids(hands.objects.data) == ids(flat)
    assert np.asarray(read_labels(place / "labels" / "b.tif").array).shape == (128, 128)


@pytest.mark.parametrize("kind", ["one axis", "labels that do not fit", "ids below 0", "no labels"])
def test_a_folder_is_opened_though_its_first_image_cannot_be(
    predictor, open_panel, folder, monkeypatch, kind
) -> None:
    (folder / "labels").mkdir()
    if kind == "one axis":
        np.save(folder / "axes.npy", np.zeros(5))
    else:
        size = (7, 9) if kind == "labels that do not fit" else (128, 128)
        least = -1 if kind == "ids below 0" else 1
        for number in (1, 2, 10):
            wrong = np.full(size if number == 1 else (128, 128), least if number == 1 else 1)
            tifffile.imwrite(folder / "labels" / f"cell {number}.tif", wrong.astype(np.int16))
        if kind == "no labels":
            (folder / "labels" / "cell 1.tif").write_bytes(b"")
    hands = open_folder(open_panel(), folder, monkeypatch)
    assert hands.image is not None, hands.status
    assert hands.image.name == ("cell 1.png" if kind == "one axis" else "cell 2.png")
    assert "Passed over" in hands.status


def test_units_that_napari_does_not_know(predictor, open_panel, tmp_path, monkeypatch, cells):
    place = tmp_path / "ome"
    place.mkdir()
    unit = {f"PhysicalSize{axis}Unit": "reference frame" for axis in "XY"}
    tifffile.imwrite(
        place / "a.ome.tif",
        cells[0],
        ome=True,
        metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, **unit},
    )
    hands = open_folder(open_panel(), place, monkeypatch)
    assert hands.image.name == "a.ome.tif"
    commit(hands, FIRST)
    rest(hands)
    assert (place / "labels" / "a.tif").exists(), hands.status


def test_an_image_that_changed_after_it_was_read_ahead(opened, folder, cells) -> None:
    hands = opened
    new = np.roll(cells[0], 40, axis=0)
    Picture.fromarray(new).save(folder / "cell 2.png")
    hands.key(NEXT)
    rest(hands)
    np.testing.assert_array_equal(hands.image.data, new)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            b"a\xfc1",
            id="no Unicode",
            marks=pytest.mark.skipif(
                sys.platform != "linux", reason="names are Unicode on other systems"
            ),
        ),
        pytest.param(
            b"a" * 240,
            id="long",
            marks=pytest.mark.skipif(
                sys.platform == "win32", reason="paths are shorter than that on Windows"
            ),
        ),
    ],
)
def test_odd_names(predictor, open_panel, tmp_path, monkeypatch, cells, name) -> None:
    place = tmp_path / "odd"
    place.mkdir()
    for stem in (name, b"b"):
        Picture.fromarray(cells[0]).save(tmp_path / "x.png")
        os.rename(tmp_path / "x.png", os.path.join(os.fsencode(place), stem + b".png"))
    hands = open_folder(open_panel(), place, monkeypatch)
    commit(hands, FIRST)
    hands.widget.controller.keeper.flush()
    assert len(list(sessions_dir().glob("*.litesam-journal"))) == 1
    hands.key(NEXT)
    rest(hands)
    assert hands.image.name == "b.png", ascii(hands.status)
    labels = place / "labels" / f"{os.fsdecode(name)}.tif"
    assert ids(np.asarray(read_labels(labels).array)) == [1]
    assert labels.with_suffix(".session.json").exists() or len(name) > 200
