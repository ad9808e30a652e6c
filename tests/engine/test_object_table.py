"""The object table and the COCO document, against values computed by hand."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import litesam.predictors
from engine.threshold_predictor import ThresholdPredictor, discs
from litesam.cli import main
from litesam.errors import ImageError, WriteError
from litesam.io import mask_from_runs, read_labels, runs_from_text
from litesam.objects import (
    ObjectDetails,
    PlaneSums,
    coco_document,
    measure_objects,
    table,
    write_coco,
    write_table,
)
from litesam.segmenter import Segmenter
from litesam.session import (
    ObjectEdit,
    Session,
    image_reference,
    model_reference,
    object_details,
    record_object,
    write_session,
)
from litesam.types import NormalizeConfig, PointPrompt, Prompts

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.array(
    [
        [0, 7, 7, 0],
        [0, 7, 0, 2],
        [0, 0, 0, 2],
    ],
    dtype=np.int32,
)
CENTRES = [(30, 30), (30, 90), (90, 60)]


def test_one_plane() -> None:
    details = {7: ObjectDetails(0.9, 0.8, "lite_sam", False)}
    first, second = measure_objects(LABELS, "YX", (2.0, 0.5), details=details)
    assert (first.id, first.area_px, first.area, first.volume) == (2, 2, 2.0, None)
    assert (first.centroid, first.box) == ((1.5, 3.0), ((1, 3), (3, 4)))
    assert first.planes == ((),)
    assert first.details == ObjectDetails()
    assert second.centroid == pytest.approx((1 / 3, 4 / 3))
    assert (second.box, second.area_px, second.area) == (((0, 2), (1, 3)), 3, 3.0)
    assert second.details.model == "lite_sam"
    assert measure_objects(LABELS)[0].area is None
    assert measure_objects(np.zeros((3, 3), int)) == []


def test_a_stack() -> None:
    stack = np.zeros((2, 5, 3, 4), np.uint16)
    stack[0, 1] = LABELS
    stack[0, 3] = LABELS
    stack[1, 3, 2, 0] = 7
    first, second = measure_objects(stack, "TZYX", (1.0, 3.0, 2.0, 0.5))
    assert (first.id, first.planes) == (2, ((0, 1), (0, 3)))
    assert (first.area_px, first.area, first.volume) == (4, 4.0, 12.0)
    assert first.centroid == (0.0, 2.0, 1.5, 3.0)
    assert first.box == ((0, 1), (1, 4), (1, 3), (3, 4))
    assert second.planes == ((0, 1), (0, 3), (1, 3))
    assert second.centroid == pytest.approx((1 / 7, (3 + 3 * 3 + 3) / 7, (2 * 1 + 2) / 7, 8 / 7))
    assert second.box == ((0, 2), (1, 4), (0, 3), (0, 3))


@given(
    arrays.arrays(
        np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
    )
)
def test_blocks_of_rows_make_no_difference(labels: np.ndarray) -> None:
    whole = measure_objects(labels)
    before = table._ROWS_AT_ONCE
    table._ROWS_AT_ONCE = 2
    try:
        assert measure_objects(labels) == whole
    finally:
        table._ROWS_AT_ONCE = before
    for row in whole:
        mask = labels == row.id
        assert row.area_px == mask.sum()
        assert row.centroid == pytest.approx([axis.mean() for axis in np.nonzero(mask)])


def test_lazy_labels_of_huge_ids() -> None:
    labels = zarr.create_array(store={}, shape=(2, 30, 40), chunks=(1, 8, 8), dtype="int64")
    labels[1, 3:5, 4:6] = 10**12
    (row,) = measure_objects(labels)
    assert (row.id, row.planes, row.area_px) == (10**12, ((1,),), 4)
    assert coco_document(labels)["annotations"][0]["label"] == 10**12


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match="'XY' do not fit"):
        measure_objects(LABELS, "XY")
    with pytest.raises(ImageError, match="one number each"):
        measure_objects(LABELS, "YX", (1.0,))
    with pytest.raises(ImageError, match="not float64"):
        measure_objects(LABELS.astype(float))
    with pytest.raises(ImageError, match="the least is -1"):
        measure_objects(LABELS - 1)


def test_csv(tmp_path: Path) -> None:
    stack = np.zeros((5, 3, 4), np.uint16)
    stack[1] = stack[3] = LABELS
    details = {7: ObjectDetails(0.912345678, 1.0, "mobile_sam", "only")}
    rows = measure_objects(stack, "ZYX", (3.0, 2.0, 0.5), details=details)
    path = write_table(tmp_path / "t.csv", rows, "ZYX", unit="micrometer")
    with path.open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first == {
        "id": "2",
        "planes": "1 3",
        "area_px": "4",
        "area": "4",
        "volume": "12",
        "unit": "micrometer",
        "centroid_z": "2",
        "centroid_y": "1.5",
        "centroid_x": "3",
        "min_z": "1",
        "min_y": "1",
        "min_x": "3",
        "max_z": "3",
        "max_y": "2",
        "max_x": "3",
        "predicted_iou": "",
        "stability": "",
        "model": "",
        "hq": "",
    }
    assert second["predicted_iou"] == "0.9123457"
    assert (second["model"], second["hq"]) == ("mobile_sam", "only")
    with pytest.raises(WriteError, match="exists already"):
        write_table(path, rows, "ZYX")
    plain = write_table(path, measure_objects(LABELS), overwrite=True).read_text("utf-8")
    assert plain.splitlines()[1] == "2,2,,,,1.5,3,1,3,2,3,,,,"


def test_coco_by_hand() -> None:
    details = {7: ObjectDetails(0.9, 0.8, "lite_sam", False)}
    document = coco_document(LABELS, file_name="cells.tif", details=details)
    assert document["images"] == [{"id": 1, "file_name": "cells.tif", "height": 3, "width": 4}]
    assert document["categories"] == [{"id": 1, "name": "object", "supercategory": ""}]
    first, second = document["annotations"]
    # Columns of 2: 000 000 000 011 → 10 background, 2 object.
    assert first == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": {"size": [3, 4], "counts": ":2"},
        "area": 2,
        "bbox": [3, 1, 1, 2],
        "iscrowd": 0,
        "label": 2,
    }
    # Columns of 7: 000 110 100 000 → 3, 2, 1, 1, 5; in differences from the fourth on: 3 2 1 -1 4.
    assert second["segmentation"] == {"size": [3, 4], "counts": "321O4"}
    assert second["bbox"] == [1, 0, 2, 2]
    assert (second["predicted_iou"], second["stability_score"]) == (0.9, 0.8)
    assert (second["model"], second["hq"]) == ("lite_sam", False)


def test_coco_of_a_stack_has_an_image_for_each_plane(tmp_path: Path) -> None:
    stack = np.zeros((2, 2, 3, 4), np.int32)
    stack[1, 0] = LABELS
    stack[1, 1] = LABELS
    document = coco_document(stack, "TZYX")
    assert [image["plane"] for image in document["images"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert [one["image_id"] for one in document["annotations"]] == [3, 3, 4, 4]
    path = write_coco(tmp_path / "c.json", document)
    assert json.loads(path.read_text("utf-8")) == document
    with pytest.raises(WriteError, match="exists already"):
        write_coco(path, document)
    rebuilt = np.zeros_like(stack)
    for one in document["annotations"]:
        index = tuple(document["images"][one["image_id"] - 1]["plane"])
        runs = runs_from_text(one["segmentation"]["counts"])
        rebuilt[index][mask_from_runs(runs, (3, 4))] = one["label"]
    np.testing.assert_array_equal(rebuilt, stack)


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: predictor)
    monkeypatch.chdir(tmp_path)
    pixels = np.stack([discs((128, 120), CENTRES[:count])[0] for count in (1, 3)])
    tifffile.imwrite(
        "stack.ome.tif",
        pixels,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0},
    )
    return pixels


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_on_the_command_line(image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["label", "stack.ome.tif", "-o", "l.tif", "--table", "--coco", "c.json"]
    assert main([*argv, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["table"], result["coco"]) == ("l_objects.csv", "c.json")
    labels = np.asarray(read_labels("l.tif").array)
    rows = rows_of("l_objects.csv")
    assert [int(row["id"]) for row in rows] == [1, 2, 3, 4]
    for row in rows:
        pixels = int((labels == int(row["id"])).sum())
        assert int(row["area_px"]) == pixels
        assert float(row["area"]) == pixels / 4
        assert float(row["volume"]) == pixels / 2
        assert float(row["predicted_iou"]) == pytest.approx(0.95)
        assert (row["model"], row["hq"], row["unit"]) == ("lite_sam", "no", "µm") or row["unit"]
    with open("c.json", encoding="utf-8") as file:
        document = json.load(file)
    assert [i["plane"] for i in document["images"]] == [[0], [1]]
    assert [a["label"] for a in document["annotations"]] == [1, 2, 3, 4]
    assert main(argv) == 1  # nothing is overwritten
    assert main([*argv[:-1], "c.txt", "--overwrite"]) == 2
    assert "let its name end with .json" in capsys.readouterr().err
    assert main(["label", "stack.ome.tif", "stack.ome.tif", "-o", ".", "--table", "t.csv"]) == 2
    assert "With several images --table takes no name" in capsys.readouterr().err


def test_of_a_replayed_session(image: np.ndarray) -> None:
    normalize = NormalizeConfig(limits=(0.0, 255.0))
    segmenter = Segmenter(image, litesam.predictors.load_predictor(), "ZYX", normalize=normalize)
    reference = model_reference(segmenter.predictor, "lite_sam")
    session = Session(image_reference(segmenter, "stack.ome.tif", normalize=normalize), reference)
    for number, (y, x) in ((4, CENTRES[0]), (9, CENTRES[2])):
        prompts = Prompts((PointPrompt(y, x),))
        result = segmenter.segment(prompts, 1)
        session = session.with_action(record_object(number, (1,), prompts, result))
    seeds = ((90.0, 55.0), (90.0, 65.0))
    session = session.with_action(ObjectEdit("split", (9,), (1,), seeds, 12))
    assert object_details(session)[4].predicted_iou == pytest.approx(0.95)
    write_session("s.json", session)
    assert main(["label", "--session", "s.json", "-o", "l.tif", "--table", "--coco"]) == 0
    four, nine, twelve = rows_of("l_objects.csv")
    assert (four["id"], four["planes"], four["model"]) == ("4", "1", "lite_sam")
    assert float(four["volume"]) == int(four["area_px"]) / 2
    assert nine["predicted_iou"] != ""
    assert (twelve["id"], twelve["model"], twelve["predicted_iou"]) == ("12", "", "")
    with open("l_coco.json", encoding="utf-8") as file:
        document = json.load(file)
    assert {one["file_name"] for one in document["images"]} == {"stack.ome.tif"}
    assert len(document["annotations"]) == 3


def test_times_are_rows_of_their_own(tmp_path: Path) -> None:
    movie = np.zeros((4, 3, 4), np.uint16)
    movie[1] = LABELS
    movie[3, 2, 0] = 7
    scale = (30.0, 2.0, 0.5)  # 30 s are no height
    rows = measure_objects(movie, "TYX", scale, each_time=True)
    assert [(row.id, row.planes, row.area, row.volume, row.times) for row in rows] == [
        (2, ((1,),), 2.0, None, 1),
        (7, ((1,),), 3.0, None, 1),
        (7, ((3,),), 1.0, None, 1),
    ]
    write_table(tmp_path / "t.csv", rows, "TYX", unit="micrometer")
    table = rows_of(str(tmp_path / "t.csv"))
    assert [(row["id"], row["t"], row["area"], row["volume"]) for row in table] == [
        ("2", "1", "2", ""),
        ("7", "1", "3", ""),
        ("7", "3", "1", ""),
    ]
    assert (table[2]["centroid_y"], table[2]["centroid_x"]) == ("2", "0")
    assert not {"planes", "centroid_t", "min_t", "max_t"} & set(table[0])
    whole = measure_objects(movie, "TYX", scale)
    assert [(row.id, row.area, row.times) for row in whole] == [(2, 2.0, 1), (7, 4.0, 2)]


def test_volumes_in_time_are_those_of_each_time(tmp_path: Path) -> None:
    movie = np.zeros((2, 3, 3, 4), np.uint16)
    movie[0, 1:] = LABELS
    movie[1, 0] = LABELS
    rows = measure_objects(movie, "TZYX", (9.0, 3.0, 2.0, 0.5), each_time=True)
    assert [(row.id, row.volume) for row in rows] == [(2, 12.0), (2, 6.0), (7, 18.0), (7, 9.0)]
    write_table(tmp_path / "t.csv", rows, "TZYX")
    first, second, *_ = rows_of(str(tmp_path / "t.csv"))
    assert (first["t"], first["planes"]) == ("0", "1 2")
    assert (first["centroid_z"], first["max_z"]) == ("1.5", "2")
    assert (second["t"], second["planes"]) == ("1", "0")


def test_after_a_change_only_that_plane_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 5, (6, 30, 40)).astype(np.int32)
    measured: list[int] = []
    sums_of = table._sums_of
    monkeypatch.setattr(table, "_sums_of", lambda block: measured.append(1) or sums_of(block))
    known = PlaneSums()
    assert measure_objects(stack, known_planes=known) == measure_objects(stack)
    measured.clear()
    stack[4, 3:9, 5:11] = 9
    now = measure_objects(stack, known_planes=known)
    assert len(measured) == 1
    assert now == measure_objects(stack)
    measured.clear()
    stack[4, 3:9, 5:11] = 2  # by whomever
    assert measure_objects(stack, known_planes=known) == measure_objects(stack)
    assert len(measured) == 1 + 6
    assert len(known._known) == 6, "what is gone is forgotten"
