"""The benchmark of models, with a predictor that thresholds."""

import csv

import numpy as np
import pytest
from PIL import Image

from engine.threshold_predictor import ThresholdPredictor
from litesam.errors import ConfigError, ReadError
from litesam.evaluation import evaluate, evaluate_image, summarize
from litesam.evaluation.benchmark import bounding_box, central_click, otsu_watershed
from litesam.io import LabelledImage, read_labelled_folder


@pytest.fixture
def squares():
    labels = np.zeros((64, 64), np.int32)
    labels[8:24, 8:24] = 1
    labels[36:56, 30:50] = 2
    return LabelledImage("squares", np.where(labels > 0, 200, 20).astype(np.uint8), labels)


def test_central_click_hits_the_middle_of_the_object():
    mask = np.ones((5, 7), bool)
    prompts = central_click(mask, (slice(10, 15), slice(20, 27)))
    assert prompts.points[0].y == 12
    assert 22 <= prompts.points[0].x <= 24


def test_bounding_box_is_half_open():
    box = bounding_box(np.ones((5, 7), bool), (slice(10, 15), slice(20, 27))).box
    assert (box.y0, box.x0, box.y1, box.x1) == (10, 20, 15, 27)


def test_baseline_finds_separate_squares_of_either_polarity(squares):
    rgb = np.repeat(squares.image[..., None], 3, axis=2)
    for image in (rgb, 255 - rgb):
        found = otsu_watershed(image)
        assert found.max() == 2
        assert np.mean((found > 0) == (squares.labels > 0)) > 0.97


def test_baseline_of_a_constant_image_is_empty():
    assert otsu_watershed(np.full((16, 16, 3), 7, np.uint8)).max() == 0


def test_every_task_gives_its_columns(squares):
    scores = evaluate_image(ThresholdPredictor(), squares)
    assert scores.objects == 2
    assert scores.click_iou > 0.8
    assert 0.0 <= scores.box_iou <= 1.0
    assert scores.baseline_ap50 == 1.0
    assert 0.0 <= scores.msa <= scores.ap50 <= 1.0
    assert scores.encode_s > 0


def test_only_asked_tasks_run(squares):
    scores = evaluate_image(ThresholdPredictor(), squares, tasks=("baseline",))
    assert scores.click_iou is None
    assert scores.msa is None


def test_unknown_task_is_refused(squares):
    with pytest.raises(ConfigError, match="clicks"):
        evaluate_image(ThresholdPredictor(), squares, tasks=("clicks",))


def test_summary_is_the_mean_over_images(squares):
    rows = evaluate(ThresholdPredictor(), [squares, squares], tasks=("click",))
    summary = summarize(rows)
    assert summary["images"] == 2
    assert summary["objects"] == 2
    assert summary["click_iou"] == pytest.approx(rows[0].click_iou)
    assert "msa" not in summary


def _write_folder(root, rows):
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "split"), *rows])
    return root


def test_folder_is_read_by_split(tmp_path, squares):
    root = _write_folder(tmp_path / "set", [("b", "val"), ("a", "val"), ("c", "train")])
    for name in "abc":
        Image.fromarray(squares.image).save(root / "images" / f"{name}.png")
        Image.fromarray(squares.labels.astype(np.uint16)).save(root / "labels" / f"{name}.png")
    items = list(read_labelled_folder(root, "val"))
    assert [item.name for item in items] == ["a", "b"]
    np.testing.assert_array_equal(items[0].labels, squares.labels)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "train")], "no image of the split"),
        ([("missing", "val")], "cannot be read"),
        ([("../../etc/passwd", "val")], "leads out"),
    ],
)
def test_bad_folders_are_refused(tmp_path, rows, message):
    root = _write_folder(tmp_path / "set", rows)
    with pytest.raises(ReadError, match=message):
        list(read_labelled_folder(root, "val"))


def test_folder_without_index_is_refused(tmp_path):
    with pytest.raises(ReadError, match="not a data set"):
        list(read_labelled_folder(tmp_path, "val"))
