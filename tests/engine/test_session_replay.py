"""What was recorded is replayed bit for bit; from Python and from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import litesam.predictors
from engine.session_samples import click
from engine.threshold_predictor import NORMALIZE, TILING, ThresholdPredictor, discs
from litesam.cli import main
from litesam.errors import Cancelled, ReadError, SessionError
from litesam.io import read_labels, write_labels
from litesam.objects import (
    apply_change,
    commit_labels,
    commit_mask,
    delete_objects,
    fill_holes,
    merge_objects,
    remove_islands,
    smooth_object,
    split_object,
)
from litesam.objects.changes import change_of
from litesam.segmenter import Segmenter
from litesam.session import (
    HandEdit,
    LabelsLoaded,
    ModelReference,
    ObjectCommit,
    ObjectEdit,
    Outcome,
    Patch,
    Session,
    image_reference,
    labels_hash,
    model_reference,
    object_details,
    read_session,
    record_batch,
    record_change,
    record_everything,
    record_mask,
    record_object,
    replay,
    write_session,
)
from litesam.types import Box, MaskRecord, Progress, Prompts

CENTRES = [(20, 20), (20, 60), (20, 100), (60, 30), (60, 75), (110, 40), (150, 90)]
SHAPE = (180, 128)


def stack() -> np.ndarray:
    return np.stack([discs(SHAPE, CENTRES[:count])[0] for count in (2, 7)])


@pytest.fixture(autouse=True)
def predictor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ThresholdPredictor:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: predictor)
    monkeypatch.chdir(tmp_path)
    return predictor


class Annotator:
    """Somebody at work: does things with the engine and writes them down."""

    def __init__(self, image: np.ndarray, axes: str, path: str | None, model: Any) -> None:
        self.segmenter = Segmenter(image, model, axes, normalize=NORMALIZE, tiling=TILING)
        about = image_reference(self.segmenter, path, normalize=NORMALIZE, tiling=TILING)
        name = "threshold" if isinstance(model, ThresholdPredictor) else model
        reference = model_reference(self.segmenter.predictor, name)
        self.session = Session(about, reference, labels_dtype="uint16")
        self.labels = np.zeros(about.label_shape, np.uint16)

    def note(self, action: Any, *changes: Any) -> None:
        for change in changes:
            apply_change(self.labels, change)
        self.session = self.session.with_action(action)

    def commit(self, number: int, index: tuple[int, ...], prompts: Prompts, **how: Any) -> None:
        candidate = how.pop("candidate", None)
        multimask = how.get("multimask")
        result = self.segmenter.segment(prompts, index or None, multimask=multimask)
        if candidate is not None:
            result = result.with_candidate(candidate)
        writes = {name: how[name] for name in ("policy", "reopened") if name in how}
        commit = commit_mask(self.labels, result.record, index, number=number, **writes)
        self.note(record_object(number, index, prompts, result, **how), commit.change)


def work(path: str | None = None) -> Annotator:
    """A session with every kind of action, on a stack of two planes."""
    one = Annotator(stack(), "ZYX", path, ThresholdPredictor())
    one.commit(1, (1,), click(20, 20))
    one.commit(2, (1,), click(20, 60), candidate=0)  # the eroded one
    one.commit(2, (1,), Prompts(click(20, 60).points, None), reopened=True)
    prompts = [click(20, 100), click(2, 2), click(60, 30)]
    records = one.segmenter.segment_many(prompts, 1)
    numbers = []
    for number, record in zip((3, 4, 5), records, strict=True):
        commit = commit_mask(one.labels, record, (1,), number=number)
        apply_change(one.labels, commit.change)
        numbers.append(commit.ids[0])
    assert numbers == [3, 0, 5]
    one.note(record_batch(numbers, (1,), prompts, records))
    for overlapping, first in ((False, 10), (True, 20)):
        run = one.segmenter.find_objects if overlapping else one.segmenter.everything
        found: Any = run((1,), proposals="auto_ppn")
        found = found if overlapping else found[1]
        chosen = [len(found) - 1, 0, 3]
        commit = commit_labels(
            one.labels,
            [found[i] for i in chosen],
            (1,),
            numbers=[first, first + 1, first + 2],
            policy="overwrite" if overlapping else "never_overwrite",
        )
        accepted = [(i, n) for i, n in zip(chosen, commit.ids, strict=True) if n]
        one.note(
            record_everything(
                accepted,
                (1,),
                found,
                overlapping=overlapping,
                proposals="auto_ppn",
                policy="overwrite" if overlapping else "never_overwrite",
            ),
            commit.change,
        )
    ring = np.pad(np.zeros((4, 4), bool), 3, constant_values=True)
    record = MaskRecord(Box(100, 50, 110, 60), ring, 0.9, 0.8, 0.9)
    one.note(
        record_mask(30, (0,), record, source="words: a ring"),
        commit_mask(one.labels, record, (0,), number=30).change,
    )
    one.note(ObjectEdit("fill_holes", (30,), (0,)), fill_holes(one.labels, 30, (0,)))
    before = one.labels.copy()
    painted = before.copy()
    painted[0, 120:123, 50:60] = 30  # an island
    painted[:, 170:175, 3:9] = 31
    painted[1, 171, 4] = 32
    change = change_of(before, painted, (0, 0, 0))
    one.note(record_change(change), change)
    one.note(ObjectEdit("remove_islands", (30,), (0,)), remove_islands(one.labels, 30, (0,)))
    one.note(
        ObjectEdit("smooth", (30,), (0,), size_px=3),
        smooth_object(one.labels, 30, (0,), radius_px=3),
    )
    seeds = ((101.0, 51.0), (108.0, 58.0))
    one.note(
        ObjectEdit("split", (30,), (0,), seeds, 40),
        split_object(one.labels, 30, seeds, (0,), new_number=40),
    )
    one.note(ObjectEdit("merge", (31, 32)), merge_objects(one.labels, (31, 32)))
    one.note(ObjectEdit("delete", (22,)), delete_objects(one.labels, (22,)))
    return one


def test_every_kind_of_action_is_replayed_bit_for_bit() -> None:
    one = work()
    seen: list[Progress] = []
    done = replay(one.session, stack(), on_progress=seen.append)
    assert done.labels.dtype == np.uint16
    np.testing.assert_array_equal(done.labels, one.labels)
    assert done.different == ()
    assert done.axes == "ZYX"
    assert (seen[0].done, seen[-1].done) == (0, len(one.session.actions))
    assert done.records[1].predicted_iou == pytest.approx(0.95)
    assert len(np.unique(one.labels)) == 8


def test_every_object_has_its_own_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(*wanted: Any) -> ThresholdPredictor:
        asked.append(wanted)
        return ThresholdPredictor()

    monkeypatch.setattr(litesam.predictors, "load_predictor", load)
    one = Annotator(stack(), "ZYX", None, ThresholdPredictor())
    finer = ModelReference("other", "only", weights_hash="0" * 16)
    one.commit(1, (1,), click(20, 20))
    one.commit(2, (1,), click(20, 60), model=finer)
    one.commit(3, (0,), click(20, 20), model=finer)
    done = replay(one.session, stack(), device="cpu")
    np.testing.assert_array_equal(done.labels, one.labels)
    assert asked == [("threshold", None, "cpu", False), ("other", None, "cpu", "only")]
    details = object_details(one.session, done.records)
    assert [(details[n].model, details[n].hq) for n in (1, 2)] == [
        ("threshold", False),
        ("other", "only"),
    ]


def test_details_name_hq_models_that_are_hq_by_themselves() -> None:
    """The panel's box *HQ* changes to the model of that name."""
    one = Annotator(stack(), "ZYX", None, ThresholdPredictor())
    for number, name in enumerate(("lite_sam", "lite_sam_hq", "unknown_here"), start=1):
        one.commit(number, (0,), click(20, 20), model=ModelReference(name, weights_hash="0" * 16))
    details = object_details(one.session)
    assert [details[n].hq for n in sorted(details)] == [False, True, False]


def test_from_a_file_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite("stack.tif", stack(), metadata={"axes": "ZYX"})
    one = work("stack.tif")
    write_session("s.json", one.session)
    assert main(["label", "--session", "s.json", "-o", "labels.tif", "--overlay"]) == 0
    assert "labels.tif: " in capsys.readouterr().out
    labels = read_labels("labels.tif")
    np.testing.assert_array_equal(labels.array, one.labels)
    assert labels.axes == "ZYX"
    assert Path("labels_overlay.png").exists()
    # moved together, seen from elsewhere, and with the image named
    folder = Path("moved")
    folder.mkdir()
    for name in ("stack.tif", "s.json"):
        Path(name).rename(folder / name)
    argv = ["label", "--session", "moved/s.json", "-o", "b.ome.zarr", "--json"]
    assert main(argv) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["different"] == []
    assert result["objects"] == len(np.unique(one.labels)) - 1
    np.testing.assert_array_equal(read_labels("b.ome.zarr").array, one.labels)
    (folder / "stack.tif").rename("other.tif")
    assert main([*argv, "--overwrite"]) == 1
    assert "The image of the session, stack.tif, is not there" in capsys.readouterr().err
    assert main(["label", "other.tif", *argv[1:], "--overwrite"]) == 0


def test_options_that_the_session_answers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["label", "--session", "s.json", "-o", "l.tif"]
    for more in (["--model", "mobile_sam"], ["--channel", "0"], ["--min-area-px", "3"]):
        assert main([*argv, *more]) == 2
        assert f"--session says all that {more[0]} would" in capsys.readouterr().err
    assert main(["label", "a.tif", "b.tif", *argv[1:-1], "."]) == 2
    assert "goes with one image" in capsys.readouterr().err
    assert main(["label", "-o", "l.tif"]) == 2
    assert "Name an image, or a session" in capsys.readouterr().err
    assert main(argv) == 1
    assert "The session s.json does not exist" in capsys.readouterr().err


def test_other_pixels_are_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    one = work()
    other = stack()
    other[1, 18:24, 14:20] = 20  # a bite out of object 1, 11 or what is there
    done = replay(one.session, other)
    assert 1 in {difference.id for difference in done.different}
    assert 2 not in {difference.id for difference in done.different}
    tifffile.imwrite("other.tif", other)
    write_session("s.json", one.session)
    assert main(["label", "other.tif", "--session", "s.json", "-o", "l.tif"]) == 0
    assert "objects are not as they were committed (ids 1, " in capsys.readouterr().err


def test_what_cannot_be_replayed_says_why() -> None:
    one = work()
    image = stack()
    with pytest.raises(SessionError, match="in no file"):
        replay(one.session)
    with pytest.raises(SessionError, match=r"uint8 of shape \(180, 128\), the session's is uint8"):
        replay(one.session, image[0])
    with pytest.raises(SessionError, match="is uint16"):
        replay(one.session, image.astype(np.uint16))
    wrong = replace(one.session, model=ModelReference("threshold", weights_hash="f" * 64))
    with pytest.raises(SessionError, match="other weights of 'threshold'"):
        replay(wrong, image)
    assert replay(wrong, image, check_weights=False).different == ()
    for action, says in (
        (ObjectEdit("delete", (99,)), r"Action 0 \(edit\): There is no object 99"),
        (ObjectCommit(1, (5,), click(1, 1)), r"Action 0 \(object\): index"),
        (ObjectCommit(1, (1,), click(20, 20), tile=77), "no tile 77"),
        (ObjectCommit(70_000, (1,), click(20, 20)), "no room for the id 70000"),
        (HandEdit((Patch((1,), Box(179, 0, 181, 1), np.ones((2, 1), bool), 1),)), "outside"),
        (HandEdit((Patch((2,), Box(0, 0, 1, 1), np.ones((1, 1), bool), 1),)), "does not choose"),
        (HandEdit((Patch((1,), Box(0, 0, 1, 1), np.ones((1, 1), bool), -1),)), "the least is -1"),
    ):
        with pytest.raises(SessionError, match=says):
            replay(replace(one.session, actions=(action,)), image)
    missing = replace(one.session, model=ModelReference("threshold", weights="gone.pt"))
    with pytest.raises(ReadError, match=r"The weights file of the session, gone\.pt"):
        replay(missing, image)
    with pytest.raises(Cancelled):
        replay(one.session, image, cancelled=lambda: True)


def test_session_begins_with_labels_of_a_file(tmp_path: Path) -> None:
    first = np.zeros((2, *SHAPE), np.uint8)
    first[1, 15:30, 15:30] = 200
    write_labels("start.tif", first, "ZYX")
    one = Annotator(stack(), "ZYX", None, ThresholdPredictor())
    one.note(LabelsLoaded("start.tif", labels_hash(first)))
    one.labels[...] = first
    one.commit(201, (1,), click(20, 20))
    done = replay(one.session, stack(), folder=tmp_path)
    np.testing.assert_array_equal(done.labels, one.labels)
    write_labels("start.tif", first + 1, "ZYX", overwrite=True)
    with pytest.raises(SessionError, match="does not hold the labels"):
        replay(one.session, stack(), folder=tmp_path)
    write_labels("start.tif", first[0], overwrite=True)
    with pytest.raises(SessionError, match="the session's labels have"):
        replay(one.session, stack(), folder=tmp_path)


def test_real_model_bit_for_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bundled network: a click, its refinement with a mask prompt, and a batch."""
    monkeypatch.undo()
    image = stack()[1]
    one = Annotator(image, "YX", None, "lite_sam")
    first = one.segmenter.segment(click(60, 30))
    logits = first.masks.whole().logits[0, first.candidate]
    one.commit(1, (), click(60, 30))
    refined = Prompts((*click(60, 30, (60, 75)).points,), None, logits)
    result = one.segmenter.segment(refined, tile=first.tile)
    commit = commit_mask(one.labels, result.record, number=1, reopened=True)
    one.note(record_object(1, (), refined, result, reopened=True), commit.change)
    prompts = [click(y, x) for y, x in CENTRES]
    records = one.segmenter.segment_many(prompts)
    numbers = []
    for number, record in enumerate(records, start=2):
        commit = commit_mask(one.labels, record, number=number)
        apply_change(one.labels, commit.change)
        numbers.append(commit.ids[0])
    one.note(record_batch(numbers, (), prompts, records))
    path = write_session(tmp_path / "s.json", one.session)
    done = replay(read_session(path), image)
    np.testing.assert_array_equal(done.labels, one.labels)
    assert done.different == ()
    assert one.labels.any()


def test_hash_is_of_the_mask_and_its_place() -> None:
    one = work()
    first = one.session.actions[0]
    assert isinstance(first, ObjectCommit)
    moved = replace(first, outcome=Outcome(mask_hash="0" * 16))
    done = replay(replace(one.session, actions=(moved,)), stack())
    assert [(d.action, d.id) for d in done.different] == [(0, 1)]
