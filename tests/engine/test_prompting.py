"""Scribbles, outlines, masks and label images as prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.draw import polygon

import litesam
import litesam.predictors
from engine.threshold_predictor import NORMALIZE, TILING, ThresholdPredictor, discs
from litesam.cli import main
from litesam.errors import ConfigError, PromptError
from litesam.frames import fit_letterbox, fit_longest_side
from litesam.io import read_image, read_labels, write_labels
from litesam.models.registry import get_spec, list_models
from litesam.prompting import (
    MASK_LOGIT,
    drawings_from_labels,
    mask_prompt,
    outline,
    prompts_from_drawing,
)
from litesam.samples import sample_path
from litesam.segmenter import Segmenter
from litesam.tiling import make_tiles
from litesam.types import (
    Box,
    BoxPrompt,
    Drawing,
    PointLabel,
    PointPrompt,
    Polygon,
    Scribble,
    TilingConfig,
)

if TYPE_CHECKING:
    from pathlib import Path

BESIDE = PointLabel.BACKGROUND
SAM = get_spec("sam_vit_b")
FEW = get_spec("efficient_sam_vitt")  # points and boxes, six points at most
CENTRES = [(30, 30), (30, 90), (90, 60)]


def one_tile(shape: tuple[int, int]) -> tuple[litesam.types.Tile, ...]:
    return tuple(make_tiles(shape, TilingConfig(single_up_to_px=1024)))


def ious(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


# ------------------------------------------------------------------------------------- coverage


@pytest.mark.parametrize(
    "frame", [fit_longest_side((70, 100), 128), fit_letterbox((70, 100), 128)], ids=str
)
def test_coverage_of_a_full_mask_is_the_content(frame: litesam.frames.Frame) -> None:
    low = (frame.input_yx[0] // 4, frame.input_yx[1] // 4)
    rows, columns = frame.coverage(low)
    share = rows @ np.ones((70, 100), np.float32) @ columns.T
    assert share.max() == pytest.approx(1.0, abs=1e-5)
    # The sum over all cells is the area of the content.
    assert share.sum() * 16 == pytest.approx(np.prod(frame.content_yx), rel=1e-5)


def test_coverage_by_hand() -> None:
    frame = fit_longest_side((4, 4), 8)  # a pixel is two model pixels, a cell four
    rows, columns = frame.coverage((2, 2))
    np.testing.assert_allclose(rows, [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    mask = np.zeros((4, 4), np.float32)
    mask[0, 0] = mask[3, 2:] = 1
    np.testing.assert_allclose(rows @ mask @ columns.T, [[0.25, 0], [0, 0.5]])


# ----------------------------------------------------------------------------------------- masks


def test_mask_prompt_says_inside_outside_and_half() -> None:
    (tile,) = one_tile((1024, 512))
    mask = np.ones((40, 42), bool)
    logits = mask_prompt(mask, Box(100, 200, 140, 242), SAM, tile)
    assert logits.shape == (256, 256)
    assert logits.dtype == np.float32
    assert logits[25:35, 50:60].min() == pytest.approx(MASK_LOGIT, abs=1e-3)
    np.testing.assert_allclose(logits[25:35, 60], 0.0, atol=1e-5)  # columns 240, 241 of 240 … 243
    assert logits[:24].max() == pytest.approx(-MASK_LOGIT, abs=1e-3)
    with pytest.raises(PromptError, match="outside of the tile"):
        mask_prompt(mask, Box(2000, 0, 2040, 42), SAM, tile)
    with pytest.raises(PromptError, match="takes no mask as a prompt"):
        mask_prompt(mask, Box(100, 200, 140, 242), FEW, tile)


@pytest.mark.parametrize("name", [s.name for s in list_models() if "mask" in s.prompts])
def test_mask_prompts_have_the_size_that_the_network_wants(name: str) -> None:
    spec = get_spec(name)
    (tile,) = one_tile((300, 200))
    logits = mask_prompt(np.ones((9, 9), bool), Box(3, 3, 12, 12), spec, tile)
    assert logits.shape == (256, 256)


# -------------------------------------------------------------------------------------- outlines


def test_outline_becomes_box_and_mask_or_box_and_point() -> None:
    tiles = one_tile((100, 120))
    square = Polygon(((20, 30), (20, 49), (39, 49), (39, 30)))
    prompts = prompts_from_drawing(Drawing(polygons=(square,)), SAM, tiles)
    assert prompts.box == BoxPrompt(20, 30, 40, 50)
    assert prompts.points == ()
    assert prompts.low_res_mask is not None
    prompts = prompts_from_drawing(Drawing(polygons=(square,)), FEW, tiles)
    assert prompts.low_res_mask is None
    assert prompts.box == BoxPrompt(20, 30, 40, 50)
    (point,) = prompts.points
    assert abs(point.y - 29.5) <= 0.5
    assert abs(point.x - 39.5) <= 0.5
    drawn = Drawing(polygons=(square,), box=BoxPrompt(10, 10, 60, 60))
    assert prompts_from_drawing(drawn, SAM, tiles).box == drawn.box


def test_outlines_are_joined_cut_out_and_clipped_to_the_image() -> None:
    tiles = one_tile((100, 120))
    left = Polygon(((-20, -20), (-20, 10), (10, 10), (10, -20)))
    hole = Polygon(((0, 0), (0, 4), (4, 4), (4, 0)), BESIDE)
    mask = np.ones((5, 6), bool)
    drawing = Drawing(polygons=(left, hole), mask=(Box(90, 110, 95, 116), mask))
    prompts = prompts_from_drawing(drawing, SAM, tiles)
    assert prompts.box == BoxPrompt(0, 0, 95, 116)
    logits = prompts.low_res_mask
    assert logits is not None
    cell = 120 / 256
    assert logits[int(2 / cell), int(2 / cell)] < 0 < logits[int(8 / cell), int(8 / cell)]
    assert logits[int(92 / cell), int(113 / cell)] > 0
    outside = Polygon(((-20, -20), (-20, -10), (-10, -10)))
    for drawn in (
        Drawing(polygons=(outside,)),
        Drawing(polygons=(left, replace(left, label=BESIDE))),
    ):
        with pytest.raises(PromptError, match="holds no pixel"):
            prompts_from_drawing(drawn, SAM, tiles)
    with pytest.raises(PromptError, match="Nothing is drawn"):
        Drawing()
    with pytest.raises(PromptError, match="needs 3 at least"):
        Polygon(((1, 1), (2, 2)))
    with pytest.raises(PromptError, match="not finite"):
        Scribble(((1, float("nan")),))
    with pytest.raises(PromptError, match="mask is empty"):
        Drawing(mask=(Box(0, 0, 1, 1), np.zeros((1, 1), bool)))


# ------------------------------------------------------------------------------------- scribbles


def test_scribbles_become_points_along_them() -> None:
    tiles = one_tile((400, 400))
    long = Scribble(((100, 50), (100, 350)))
    beside = Scribble(((300, 300), (300, 310)), BESIDE)
    prompts = prompts_from_drawing(Drawing(scribbles=(long, beside)), SAM, tiles)
    on = [p for p in prompts.points if p.label == PointLabel.FOREGROUND]
    off = [p for p in prompts.points if p.label == BESIDE]
    assert (len(on), len(off)) == (9, 1)
    assert [p.x for p in on] == pytest.approx(50 + (np.arange(9) + 0.5) / 9 * 300)
    assert (off[0].y, off[0].x) == (300, 305)
    assert prompts.low_res_mask is None
    dot = prompts_from_drawing(Drawing(scribbles=(Scribble(((5, 6),)),)), SAM, tiles)
    assert dot.points == (PointPrompt(5, 6),)


def test_scribbles_may_be_written_into_the_mask_prompt() -> None:
    tiles = one_tile((256, 256))  # a cell is a pixel
    on, off = Scribble(((10, 20), (10, 40))), Scribble(((50, 50), (70, 50)), BESIDE)
    drawing = Drawing(scribbles=(on, off))
    logits = prompts_from_drawing(drawing, SAM, tiles, scribble_mask=True).low_res_mask
    assert logits is not None
    assert (logits[10, 21:40] == np.float32(MASK_LOGIT)).all()
    assert (logits[51:70, 50] == np.float32(-MASK_LOGIT)).all()
    assert np.count_nonzero(logits) <= 42
    assert prompts_from_drawing(drawing, FEW, tiles, scribble_mask=True).low_res_mask is None


def test_models_that_look_at_few_points_get_few() -> None:
    tiles = one_tile((400, 400))
    long = Scribble(((100, 50), (100, 350)))
    box = BoxPrompt(50, 20, 150, 380)
    assert len(prompts_from_drawing(Drawing(scribbles=(long,)), FEW, tiles).points) == 6
    drawn = Drawing((PointPrompt(1, 1),), box, (long, long))
    assert len(prompts_from_drawing(drawn, FEW, tiles).points) == 4
    with pytest.raises(PromptError, match=r"5 scribbles and 0 points beside a box .*'mobile_sam'"):
        prompts_from_drawing(Drawing(box=box, scribbles=(long,) * 5), FEW, tiles)
    blind = replace(FEW, prompts=("box",), max_points=None)
    with pytest.raises(PromptError, match="takes no points"):
        prompts_from_drawing(Drawing(scribbles=(long,)), blind, tiles)


def test_drawings_segment_real_cells() -> None:
    """Lite-SAM on the bundled nuclei: every way of drawing finds the object of a box."""
    image = np.asarray(read_image(sample_path("nuclei")).array)
    segmenter = Segmenter(image)
    records = segmenter.find_objects(proposals="auto_ppn")
    records = sorted(records, key=lambda one: -one.score)[:6]
    spec, tiles = segmenter.predictor.spec, segmenter.tiles
    found: dict[str, list[float]] = {"mask": [], "outline": [], "scribble": []}
    for record in records:
        truth = record.mask(segmenter.plane_shape)
        rows, columns = np.nonzero(truth)
        centre, radius = (rows.mean(), columns.mean()), (np.ptp(rows) / 2, np.ptp(columns) / 2)
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        outline = np.stack(
            [centre[0] + radius[0] * np.sin(angle), centre[1] + radius[1] * np.cos(angle)], axis=1
        )
        stroke = ((centre[0], centre[1] - radius[1] / 2), (centre[0], centre[1] + radius[1] / 2))
        for name, drawing in (
            ("mask", Drawing(mask=(record.box, record.crop))),
            ("outline", Drawing(polygons=(Polygon(tuple((y, x) for y, x in outline)),))),
            ("scribble", Drawing(scribbles=(Scribble(stroke),))),
        ):
            prompts = prompts_from_drawing(drawing, spec, tiles)
            found[name].append(ious(segmenter.segment(prompts).mask, truth))
    assert np.median(found["mask"]) > 0.85
    assert np.median(found["outline"]) > 0.8
    assert np.median(found["scribble"]) > 0.8


# ---------------------------------------------------------------------------------- label images


def test_labels_become_points_boxes_or_masks() -> None:
    labels = np.zeros((2, 9, 9), np.uint16)
    labels[1, 2:7, 3:8] = 4
    labels[1, 0, 0] = 2
    both = drawings_from_labels(labels)
    assert list(both) == [(1,)]
    first, second = both[(1,)]
    assert first.points == (PointPrompt(0, 0),)
    assert second.points == (PointPrompt(4, 5),)
    assert second.box == BoxPrompt(2, 3, 7, 8)
    assert drawings_from_labels(labels, "point")[(1,)][1].box is None
    assert drawings_from_labels(labels[1], "box")[()][1].points == ()
    mask = drawings_from_labels(labels, "mask")[(1,)][1].mask
    assert mask is not None
    assert mask[0] == Box(2, 3, 7, 8)
    with pytest.raises(ConfigError, match="'point', 'box', 'both', 'mask'"):
        drawings_from_labels(labels, "outline")


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_, **__: predictor)
    monkeypatch.chdir(tmp_path)
    image, labels = discs((128, 120), CENTRES)
    tifffile.imwrite("cells.tif", image)
    assert NORMALIZE.limits
    assert TILING.tile_px == 128
    return labels


@pytest.mark.parametrize("seed", range(6))
def test_an_outline_holds_its_mask(seed: int) -> None:
    """Exactly while a few vertices are enough, else nearly; a single pixel has an outline, too."""
    random = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(random.normal(size=(96, 96)), 4 + seed)
    components, _ = ndimage.label(ndimage.binary_fill_holes(blurred > blurred.mean()))
    mask = components == np.bincount(components.ravel())[1:].argmax() + 1
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = Box(rows.start + 5, columns.start + 7, rows.stop + 5, columns.stop + 7)
    found = outline(mask[rows, columns], box)
    assert 3 <= len(found.path) <= 120
    path = np.array(found.path) - (5, 7)
    drawn = np.zeros_like(mask)
    drawn[polygon(path[:, 0], path[:, 1], mask.shape)] = True
    assert ious(drawn, mask) > 0.97


def test_outline_of_one_pixel() -> None:
    path = np.array(outline(np.ones((1, 1), bool), Box(4, 9, 5, 10)).path)
    np.testing.assert_allclose(path.mean(axis=0), (4, 9))
    assert len(path) >= 3


@pytest.mark.parametrize("kind", [[], ["--prompts-as", "point"], ["--prompts-as", "mask"]])
def test_label_image_as_prompts_on_the_command_line(
    scene: np.ndarray, kind: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rough = np.zeros_like(scene)
    for number, (y, x) in enumerate(CENTRES, start=5):
        rough[y - 5 : y + 4, x - 5 : x + 6] = number
    write_labels("rough.tif", rough)
    argv = ["label", "cells.tif", "-o", "l.tif", "--prompts", "rough.tif", *kind, "--json"]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)[0]["objects"] == 3
    np.testing.assert_array_equal(read_labels("l.tif").array, scene)


def test_napari_files_as_prompts_on_the_command_line(
    scene: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "points.csv").write_text("index,axis-0,axis-1\n0.0,30.0,30.0\n1.0,90.0,60.0\n")
    assert main(["label", "cells.tif", "-o", "l.tif", "--prompts", "points.csv"]) == 0
    labels = np.asarray(read_labels("l.tif").array)
    np.testing.assert_array_equal(labels > 0, (scene == 1) | (scene == 3))
    (tmp_path / "shapes.csv").write_text(
        "index,shape-type,vertex-index,axis-0,axis-1\n"
        "0,path,0,30,86\n0,path,1,30,94\n"
        "1,polygon,0,83,60\n1,polygon,1,90,53\n1,polygon,2,97,60\n1,polygon,3,90,67\n"
    )
    argv = ["label", "cells.tif", "-o", "s.tif", "--prompts", "shapes.csv"]
    assert main(argv) == 0
    labels = np.asarray(read_labels("s.tif").array)
    np.testing.assert_array_equal(labels > 0, (scene == 2) | (scene == 3))
    assert main([*argv, "--overwrite", "--prompts-as", "box"]) == 2
    assert main(["label", "cells.tif", "-o", "x.tif", "--prompts-as", "box"]) == 2
    write_labels("none.tif", np.zeros((128, 120), int))
    assert main(["label", "cells.tif", "-o", "x.tif", "--prompts", "none.tif"]) == 1
    err = capsys.readouterr().err
    assert "--prompts-as is for label images" in err
    assert "--prompts-as goes with --prompts" in err
    assert "only background" in err
