"""The benchmark of models, with a predictor that thresholds."""

import csv

import numpy as np
import pytest
import tifffile
from PIL import Image

from engine.threshold_predictor import ThresholdPredictor
from litesam.errors import ConfigError, ReadError, WriteError
from litesam.evaluation import evaluate, evaluate_image, summarize, write_scores
from litesam.evaluation.baselines import otsu_watershed
from litesam.evaluation.simulated import (
    bounding_box,
    central_click,
    correction_click,
    jittered_box,
)
from litesam.io import LabelledImage, read_labelled_folder
from litesam.types import Box, PointLabel, PointPrompt


@pytest.fixture
def squares():
    labels = np.zeros((64, 64), np.int32)
    labels[8:24, 8:24] = 1
    labels[36:56, 30:50] = 2
    return LabelledImage("squares", np.where(labels > 0, 200, 20).astype(np.uint8), labels)


def test_central_click_hits_the_middle_of_the_object():
    mask = np.ones((5, 7), bool)
    prompts = central_click(mask, Box(10, 20, 15, 27))
    assert prompts.points[0].y == 12
    assert 22 <= prompts.points[0].x <= 24


def test_bounding_box_is_half_open():
    box = bounding_box(np.ones((5, 7), bool), Box(10, 20, 15, 27)).box
    assert (box.y0, box.x0, box.y1, box.x1) == (10, 20, 15, 27)


def test_correction_goes_to_the_middle_of_the_larger_error():
    true, predicted = np.zeros((2, 40, 40), bool)
    true[5:25, 5:25] = True
    predicted[5:25, 5:16] = True  # columns 16 to 24 are missing
    predicted[30:35, 5:12] = True  # a smaller part is too much
    click = correction_click(true, predicted)
    assert click == PointPrompt(click.y, 20.0, PointLabel.FOREGROUND)
    assert 9 <= click.y <= 20
    predicted[:, 16:25] |= true[:, 16:25]
    assert correction_click(true, predicted).label is PointLabel.BACKGROUND
    assert correction_click(true, true) is None


def test_jittered_box_is_near_and_inside():
    box, random = Box(0, 10, 20, 60), np.random.default_rng(0)
    boxes = [jittered_box(box, (64, 64), random).box for _ in range(200)]
    sides = np.array([(b.y0, b.x0, b.y1, b.x1) for b in boxes])
    assert sides.min() >= 0
    assert sides.max() <= 64
    assert np.abs(sides - (0, 10, 20, 60)).max() <= 20
    assert sides[:, 2].std() == pytest.approx(2.0, rel=0.3)  # a tenth of 20 rows


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
    assert 0.0 <= scores.jittered_box_iou <= 1.0
    assert 0.0 <= scores.click_biou <= 1.0
    assert 0.0 < scores.clicks3_iou <= 1.0
    assert 0.0 < scores.clicks5_iou <= 1.0
    assert scores.baseline_ap50 == 1.0
    assert 0.0 <= scores.msa <= scores.ap75 <= scores.ap50 <= 1.0
    assert 0.0 <= scores.ar1000 <= 1.0
    assert scores.encode_s > 0


def test_only_asked_tasks_run(squares):
    scores = evaluate_image(ThresholdPredictor(), squares, tasks=("baseline",))
    assert scores.click_iou is None
    assert scores.msa is None


def test_unknown_task_is_refused(squares):
    with pytest.raises(ConfigError, match="scribbles"):
        evaluate_image(ThresholdPredictor(), squares, tasks=("scribbles",))


def test_summary_is_the_mean_over_images(squares):
    rows = evaluate(ThresholdPredictor(), [squares, squares], tasks=("click",))
    summary = summarize(rows)
    assert summary["images"] == 2
    assert summary["objects"] == 2
    assert summary["click_iou"] == pytest.approx(rows[0].click_iou)
    assert "msa" not in summary


def test_five_clicks_correct_a_mask(squares):
    """The predictor takes one more object for each click on one, and a click beside it away."""
    one = evaluate_image(ThresholdPredictor(), squares, tasks=("click", "clicks"))
    assert one.clicks5_iou >= one.clicks3_iou >= one.click_iou - 1e-9


def test_scores_are_written_for_each_image(squares, tmp_path):
    path = tmp_path / "scores.csv"
    rows = evaluate(ThresholdPredictor(), [squares], tasks=("click",))
    write_scores(path, {"mine": rows})
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["set"] == "mine"
    assert row["name"] == "squares"
    assert float(row["click_iou"]) == rows[0].click_iou
    assert row["msa"] == ""
    with pytest.raises(WriteError, match="exists"):
        write_scores(path, {"mine": rows})


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
        ([("missing", "val")], "index.csv lists"),
        ([("../../etc/passwd", "val")], "index.csv lists"),
    ],
)
def test_bad_folders_are_refused(tmp_path, squares, rows, message):
    root = _write_folder(tmp_path / "set", rows)
    for kind in ("images", "labels"):
        Image.fromarray(squares.labels.astype(np.uint8)).save(root / kind / "a.png")
    with pytest.raises(ReadError, match=message):
        list(read_labelled_folder(root, "val"))


def test_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(ReadError, match="not a data set"):
        list(read_labelled_folder(tmp_path, "val"))


def test_folder_without_index_has_all_pairs(tmp_path, squares, caplog):
    root = _write_folder(tmp_path / "set", [])
    (root / "index.csv").unlink()
    tifffile.imwrite(root / "images" / "a.tif", squares.image)
    tifffile.imwrite(root / "labels" / "a.tiff", squares.labels.astype(np.uint16))
    Image.fromarray(squares.image).save(root / "images" / "unlabelled.png")
    (item,) = read_labelled_folder(root, "val")
    assert item.name == "a"
    assert item.labels.dtype == np.int32
    np.testing.assert_array_equal(item.labels, squares.labels)
    assert "1 images have no labels" in caplog.text


def test_stacks_are_refused(tmp_path, squares):
    root = _write_folder(tmp_path / "set", [])
    (root / "index.csv").unlink()
    for kind in ("images", "labels"):
        np.save(root / kind / "a.npy", np.stack([squares.labels] * 5))
    with pytest.raises(ReadError, match="one plane is needed"):
        list(read_labelled_folder(root))
