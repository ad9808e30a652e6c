"""Sessions as values and as files."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine.session_samples import click, full_session, one_of_each
from litesam.errors import ConfigError, ReadError, WriteError
from litesam.session import (
    ImageReference,
    LabelsLoaded,
    ModelReference,
    ObjectCommit,
    ObjectEdit,
    Session,
    SessionJournal,
    labels_hash,
    read_session,
    recover,
    session_from_json,
    session_to_json,
    write_session,
)

if TYPE_CHECKING:
    from pathlib import Path


def small(*actions: Any) -> Session:
    return Session(
        ImageReference("a.tif", "YX", (10, 10), "uint8"), ModelReference("lite_sam"), actions
    )


def test_everything_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    session = full_session()
    path = write_session(tmp_path / "session.json", session)
    back = read_session(path)
    assert session_to_json(back) == session_to_json(session)
    assert back.image == session.image
    assert back.model == session.model
    refined, given = back.actions[2], session.actions[2]
    assert isinstance(refined, ObjectCommit)
    assert isinstance(given, ObjectCommit)
    assert refined.prompts.low_res_mask is not None
    assert refined.prompts.low_res_mask.dtype == np.float32
    np.testing.assert_array_equal(refined.prompts.low_res_mask, given.prompts.low_res_mask)
    assert refined.prompts.box == given.prompts.box
    assert back.actions[4] == session.actions[4]
    assert back.found is not None
    assert session.found is not None
    for one, saved in zip(back.found.records, session.found.records, strict=True):
        np.testing.assert_array_equal(one.crop, saved.crop)
        assert (one.box, one.point) == (saved.box, saved.point)
        assert one.score == saved.score
        assert (one.predicted_iou, one.stability) == (saved.predicted_iou, saved.stability)


@pytest.mark.parametrize(
    ("place", "value"),
    [(("masks", 1, "mask"), "1"), (("masks", 0, "score"), None), (("index",), 3), (("masks",), {})],
)
def test_a_damaged_review_is_left_out(place: tuple[Any, ...], value: object) -> None:
    """It can be made again; what was committed cannot."""
    document = session_to_json(full_session())
    inside: Any = document["found"]
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    back = session_from_json(document)
    assert back.found is None
    assert len(back.actions) == len(one_of_each())


def test_names_of_files_that_are_no_unicode(tmp_path: Path) -> None:
    """Such as those of an old archive: Python holds their bytes as surrogates."""
    name = os.fsdecode(b"a\xfc.tif")
    session = replace(small(), image=ImageReference(name, "YX", (10, 10), "uint8"))
    assert read_session(write_session(tmp_path / "s.json", session)).image.path == name
    with SessionJournal(tmp_path / "s.litesam-journal", session) as journal:
        journal.append(ObjectCommit(1, (), click(1, 2)))
        assert recover(tmp_path / "s.litesam-journal").session.image.path == name


def test_drawings_come_back_and_files_without_any_are_read() -> None:
    session = full_session()
    document = json.loads(json.dumps(session_to_json(session)))
    back = session_from_json(document)
    assert back.drafts[2].shapes == session.drafts[2].shapes
    drawn, given = back.objects()[1].drawn((4,)), session.objects()[1].drawn((4,))
    assert drawn is not None
    assert given is not None
    assert (drawn.shapes, drawn.prompts) == (given.shapes, given.prompts)
    # As it was before there were shapes.
    del document["drafts"][2], document["actions"][2]["drawn"]
    old = session_from_json(document)
    assert len(old.drafts) == 2
    assert old.objects()[1].drawn((4,)) is None
    assert old.objects()[1].prompts((4,)) is not None


def test_file_is_one_line_an_action(tmp_path: Path) -> None:
    path = write_session(tmp_path / "s.json", small(ObjectCommit(1, (), click(1, 2))))
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if '"kind"' in line)
    assert json.loads(line) == {
        "kind": "object",
        "id": 1,
        "index": [],
        "prompts": {"points": [[1, 2, 1]]},
        "policy": "never_overwrite",
    }


def test_session_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    path = write_session(tmp_path / "s.json", small())
    with pytest.raises(WriteError, match="exists already"):
        write_session(path, small())
    with pytest.raises(WriteError, match="Settings must be"):
        write_session(path, Session(small().image, small().model, settings={"a": np.zeros(1)}))
    with pytest.raises(WriteError, match="cannot be written"):
        write_session(
            tmp_path / "n.json", Session(small().image, small().model, settings={"a": np.nan})
        )
    assert [p.name for p in tmp_path.iterdir()] == ["s.json"]
    write_session(path, full_session(), overwrite=True)
    assert len(read_session(path).actions) == len(one_of_each())


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("format",), "photo", "no session of litesam"),
        (("version",), 2, "has version 2.*reads version 1: a newer one wrote it; update"),
        (("version",), "1", "version is '1': a whole number"),
        (("image",), None, "has no field 'image'"),
        (("image",), 3, r"json: image is 3; an object"),
        (("image", "axes"), "ZYX", "axes 'ZYX' do not fit the shape"),
        (("image", "shape"), [1, 2.5], "shape is .*a whole number"),
        (("image", "normalize"), {"limits": [3, 1]}, r"normalize: Contrast limits .*empty"),
        (("image", "tiling"), {"tile": 3}, r"tiling has unknown fields \(tile\)"),
        (
            ("image", "tiling"),
            {"tile_px": "3"},
            "json: image.tiling.tile_px is '3': a whole number",
        ),
        (("labels", "dtype"), "float32", "Labels of type 'float32'"),
        (("actions",), {}, "actions is .*a list is needed"),
        (("actions", 1, "kind"), "guess", r"actions\[1\] is of the kind 'guess'; known are"),
        (("actions", 1, "id"), 0, r"actions\[1\]: The ids \(0,\)"),
        (("actions", 1, "id"), None, r"actions\[1\] has no field 'id'"),
        (("actions", 1, "policy"), "sometimes", r"actions\[1\]: There is no commit policy"),
        (("actions", 1, "prompts"), {}, r"actions\[1\].prompts: The prompt is empty"),
        (("actions", 1, "prompts", "points"), [[1, 2]], r"prompts.points is \[\[1, 2\]\]"),
        (("actions", 1, "prompts", "points", 0, 2), 7, "points is .*not a valid PointLabel"),
        (("actions", 2, "prompts", "box"), [3, 3, 1, 1], r"actions\[2\].prompts.box.*empty"),
        (("actions", 2, "prompts", "mask", "logits"), "eJw=", "mask.logits is"),
        (("actions", 2, "model", "hq"), "always", 'model.hq is .*"only" is needed'),
        (("actions", 4, "candidates"), "all", r"actions\[4\]: candidates is 'all'"),
        (("actions", 4, "config"), {"min_area_px": -3}, "min_area_px is -3"),
        (("actions", 5, "mask"), "13", "add up to 4 pixels"),
        (("actions", 5, "box"), [5, 5, 4, 6], r"actions\[5\].box"),
        (("actions", 6, "patches", 1, "values"), "xx", r"patches\[1\].values"),
        (("actions", 7, "seeds"), [[1, 2]], "split needs two clicks"),
        (("actions", 7, "operation"), "explode", "no operation 'explode'"),
        (("drafts", 0, "index"), "4", r"drafts\[0\].index is '4': a list"),
        (("drafts", 0, "prompts"), None, r"drafts\[0\]: A draft needs prompts or shapes"),
        (("drafts", 2, "shapes", 1, "type"), "star", r"shapes\[1\]: There is no shape 'star'"),
        (("drafts", 2, "shapes", 3, "vertices"), [[1, 2]], r"shapes\[3\].*has 2 vertices, not 1"),
        (("drafts", 2, "shapes", 4, "vertices", 0), [1, 2, 3], r"shapes\[4\].vertices is"),
        (("drafts", 2, "shapes", 0, "label"), -1, r"shapes\[0\]: A shape is on the object"),
        (("actions", 2, "drawn"), {}, r"actions\[2\].drawn: Nothing was drawn"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, place: tuple[Any, ...], value: object, says: str
) -> None:
    document = copy.deepcopy(session_to_json(full_session()))
    inside: Any = document
    for name in place[:-1]:
        inside = inside[name]
    if value is None:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    path = tmp_path / "s.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ReadError, match=says) as caught:
        read_session(path)
    assert str(path) in str(caught.value)


def places_of(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    below = [found for name, one in items for found in places_of(one, (*place, name))]
    return [place, *below] if place else below


def test_whatever_is_damaged_it_is_a_read_error() -> None:
    whole = json.dumps(session_to_json(full_session()))
    junk: tuple[Any, ...] = (None, -1, 2**70, 1e300, "", "x", True, [], [[]], {}, [None, "a"])
    for place in places_of(json.loads(whole)):
        if place[0] == "settings":
            continue
        document = json.loads(whole)
        inside = document
        for name in place[:-1]:
            inside = inside[name]
        for value in junk:
            inside[place[-1]] = value
            with contextlib.suppress(ReadError):  # some junk is allowed, such as an empty name
                session_from_json(document)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    path = write_session(tmp_path / "s.json", full_session())
    path.write_text(path.read_text(encoding="utf-8")[:-200], encoding="utf-8")
    with pytest.raises(ReadError, match="no JSON document, or it is damaged"):
        read_session(path)
    with pytest.raises(ReadError, match="does not exist"):
        read_session(tmp_path / "other.json")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReadError, match="not a text file"):
        read_session(path)
    with pytest.raises(ReadError, match=r"is \[1\]; an object"):
        session_from_json([1])
    with pytest.raises(ReadError, match="cannot be read"):
        read_session(tmp_path)


def test_objects_follow_the_actions() -> None:
    session = full_session()
    objects = session.objects()
    # 3 was merged into 2, 4 deleted, 9 split off 5
    assert sorted(objects) == [1, 2, 5, 6, 9]
    assert len(objects[1].commits) == 1  # the second commit replaced the first
    refined = objects[1].prompts((4,))
    assert refined is not None
    assert refined.low_res_mask is not None
    assert objects[1].prompts((3,)) is None
    batch = objects[2].prompts((4,))
    assert batch is not None
    assert batch.points[0].y == 1
    model = objects[2].model(session)
    assert model is not None
    assert model.hq is True
    assert objects[5].model(session) == session.model
    assert objects[6].model(session) is None
    assert objects[9].model(session) is None
    assert objects[5].prompts((4,)) is None
    assert objects[5].outcome().stability is None
    undone = session.without_last(3)
    assert sorted(undone.objects()) == [1, 2, 3, 4, 5, 6, 9]
    assert undone.objects()[4].outcome().predicted_iou == 0.9
    assert not session.with_action(LabelsLoaded("x.tif")).objects()
    assert session.without_last(99).actions == ()


def test_delete_in_one_plane_keeps_the_others() -> None:
    session = small(
        ObjectCommit(1, (0,), click(1, 1)),
        ObjectCommit(1, (1,), click(2, 2)),
        ObjectEdit("delete", (1,), (0,)),
    )
    assert session.objects()[1].prompts((0,)) is None
    assert session.objects()[1].prompts((1,)) is not None


def test_edits_that_miss_something_are_refused() -> None:
    with pytest.raises(ConfigError, match="one id and a plane"):
        ObjectEdit("fill_holes", (1,))
    with pytest.raises(ConfigError, match="needs its radius"):
        ObjectEdit("smooth", (1,), ())


def test_writing_sessions_down_loads_no_torch() -> None:
    code = "import sys, litesam.session, litesam.objects; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_label_axes_of_an_image() -> None:
    image = full_session().image
    assert (image.label_axes, image.label_shape) == ("ZYX", (12, 40, 50))


def test_hash_of_labels_is_of_values_and_shape() -> None:
    labels = np.arange(12).reshape(3, 4)
    assert labels_hash(labels) == labels_hash(labels.astype(np.uint8))
    assert labels_hash(labels) != labels_hash(labels.reshape(4, 3))
    assert labels_hash(labels) != labels_hash(labels + 1)
