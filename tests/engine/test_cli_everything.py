"""``litesam label``: the ways of everything mode, and what is chosen of what it finds."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import litesam.cli.label
import litesam.predictors
from engine.threshold_predictor import ThresholdPredictor, discs, same_objects
from litesam.cli import main
from litesam.io import read_labels
from weights import filled_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from litesam.types import Embedding, OnProgress, Progress

CENTRES = [(20, 20), (20, 60), (60, 40), (70, 85)]
IMAGE, TRUTH = discs((96, 128), CENTRES)  # the predictor's size: nothing is resampled
CROPS = ["--points-per-side", "16", "--crop-layers", "1", "--crop-points-downscale", "2"]
CROPS += ["--crop-nms-iou", "0.5", "--crop-overlap-ratio", "0.4"]


class PlainPredictor(ThresholdPredictor):
    """As SAM: no AutoPPN of its own."""

    def __init__(self) -> None:
        super().__init__(proposes=False)
        proposals = ("grid", "auto_ppn", "boxes")
        self.spec = replace(self.spec, name="plain", proposals=proposals, proposer="lite_sam")

    def propose(self, embedding: Embedding, *, top_n: int, confidence_threshold: float) -> None:
        return None


class DarkScorer:
    """Fits any words to dark pictures."""

    def __call__(self, pictures: list[np.ndarray], text: str) -> np.ndarray:
        return np.array([-float(picture.mean()) for picture in pictures])


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("cells.tif", IMAGE)
    empty = np.full_like(IMAGE, 20)
    stack = np.stack([empty, IMAGE, IMAGE, empty])
    tifffile.imwrite("stack.tif", stack, metadata={"axes": "ZYX"}, photometric="minisblack")
    Path("boxes.csv").write_text("y0,x0,y1,x1\n10,10,30,30\n50,30,70,50\n")
    Path("clicks.csv").write_text(
        "object,y,x,label,y0,x0,y1,x1\na,70,85,1,,,,\nb,,,,12,52,28,68\nc,45,45,1,,,,\n"
    )


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was loaded, each time a predictor that is right on bright discs."""
    calls: list[tuple[Any, ...]] = []

    def load(*args: Any) -> ThresholdPredictor:
        calls.append(args)
        return PlainPredictor() if args[0] == "mobile_sam" else ThresholdPredictor()

    def propose(path: Path, predictor: ThresholdPredictor) -> ThresholdPredictor:
        return load("lite_sam", path, predictor.device)

    monkeypatch.setattr(litesam.predictors, "load_predictor", load)
    monkeypatch.setattr(litesam.predictors, "load_proposer", propose)
    return calls


def _label(capsys: pytest.CaptureFixture[str], *argv: str, image: str = "cells.tif") -> np.ndarray:
    assert main(["label", image, "-o", "o.tif", "--overwrite", "--json", *argv]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    labels = np.asarray(read_labels("o.tif").array)
    assert result["objects"] == len(np.unique(labels)) - 1 == labels.max()
    return labels


# -------------------------------------------------------------------------------- ways of proposing


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--proposals", "auto_ppn", "--prompt-kind", "box", "--top-n", "9"],
        ["--proposals", "boxes"],
        ["--proposals", "grid", "--points-per-side", "16", "--min-region-area-px", "5"],
        ["--model", "mobile_sam", "--points-per-side", "16"],
        ["--model", "mobile_sam", *CROPS],
        ["--model", "mobile_sam", "--proposals", "auto_ppn", "--proposer", "mine.safetensors"],
        ["--model", "mobile_sam", "--proposals", "boxes", "--proposer", "mine.safetensors"],
    ],
    ids=" ".join,
)
def test_every_way_finds_the_objects(
    loaded: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    labels = _label(capsys, *options)
    if options[-2:] == CROPS[-2:]:  # of the crops, which are shown larger
        assert labels.max() == len(CENTRES)
        assert ((labels > 0) != (TRUTH > 0)).mean() < 0.01
    else:
        assert same_objects(labels, TRUTH)
    if "--proposer" in options:
        assert loaded[1][:2] == ("lite_sam", Path("mine.safetensors"))


def test_boxes_of_a_file(loaded: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    labels = _label(capsys, "--boxes", "boxes.csv", "--model", "mobile_sam")
    assert [labels[centre] > 0 for centre in CENTRES] == [True, False, True, False]
    Path("boxes.csv").write_text("z,y0,x0,y1,x1\n2,10,10,30,30\n")
    labels = _label(capsys, "--boxes", "boxes.csv", image="stack.tif")
    assert [plane.max() for plane in labels] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--model", "mobile_sam", "--proposals", "instances"], 1, "finds no objects by itself"),
        (["--model", "fastsam_s", "--proposals", "grid"], 1, "finds all objects by itself"),
        (["--model", "fastsam_s", "--boxes", "boxes.csv"], 1, "choose among them as prompts"),
        (["--boxes", "boxes.csv", "--proposals", "grid"], 1, "Boxes were given"),
        (["--boxes", "clicks.csv"], 1, "has points"),
        (["--boxes", "boxes.csv", "--top-n", "4"], 2, "--top-n would have no effect with --boxes"),
        (["--points-per-side", "9"], 2, "the default of lite_sam; add --proposals grid"),
        (["--model", "mobile_sam", "--top-n", "9"], 2, "add --proposals auto_ppn or boxes"),
        (["--model", "fastsam_s", "--crop-layers", "1"], 2, "'instances'"),
        (["--proposals", "auto_ppn", "--crop-layers", "1"], 2, "'auto_ppn'; add --proposals grid"),
        (["--prompts", "clicks.csv", "--stability-threshold", "0"], 2, "with --prompts"),
        (["--prompts", "clicks.csv", "--select", "clicks.csv"], 2, "goes without --select"),
        (["--prompts", "clicks.csv", "--boxes", "boxes.csv"], 2, "goes without --boxes"),
        (["--text", "a", "--select", "clicks.csv"], 2, "goes without --select"),
        (["--boxes", "boxes.csv", "--proposer", "mine"], 2, "goes without --proposer"),
        (["--model", "mobile_sam", "--proposer", "mine"], 2, "--proposals auto_ppn"),
        (["--text-model", "clip"], 2, "goes with --text"),
        (["stack.tif", "--select", "clicks.csv"], 2, "one image, here are 2"),
        (["--model", "none"], 1, "There is no model 'none'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(
    loaded: list[tuple[Any, ...]],
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    code: int,
    message: str,
) -> None:
    assert main(["label", "cells.tif", *argv, "-o", "out"]) == code
    assert message in capsys.readouterr().err
    assert loaded == []


def test_demo_refuses_what_the_model_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "fastsam_s", "--proposals", "grid"]) == 1
    assert "finds all objects by itself" in capsys.readouterr().err
    assert not Path("demo-output").exists()


# ------------------------------------------------------------------------- chosen of what was found


def test_points_and_boxes_choose_of_everything_and_the_decoder_is_not_asked_about_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_: predictor)
    options = ["--proposals", "grid", "--points-per-side", "16"]
    arguments = ["label", "cells.tif", "-o", "o.tif", *options, "--select", "clicks.csv"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "o.tif: 2 objects" in captured.out
    assert "Nothing was found for 1 of 3 prompts" in captured.err
    labels = np.asarray(read_labels("o.tif").array)
    assert [labels[centre] for centre in CENTRES] == [0, 2, 0, 1]
    assert np.array_equal(labels > 0, np.isin(TRUTH, (2, 4)))
    assert sum(predictor.decoded) == 16 * 16


def test_planes_of_a_stack_without_clicks_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = ThresholdPredictor()
    monkeypatch.setattr(litesam.predictors, "load_predictor", lambda *_: predictor)
    Path("clicks.csv").write_text("z,y,x\n1,20,20\n1,20,60\n")
    labels = _label(capsys, "--select", "clicks.csv", image="stack.tif")
    assert [plane.max() for plane in labels] == [0, 2, 0, 0]
    assert predictor.encoded == 1
    Path("clicks.csv").write_text("z,y,x\n1,20,200\n")
    assert main(["label", "stack.tif", "-o", "p.tif", "--select", "clicks.csv"]) == 1
    assert "(20, 200) of plane 1 lies outside the image of 96 × 128" in capsys.readouterr().err


def test_words_choose_of_what_any_way_found(
    loaded: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(*args: Any, **_: Any) -> DarkScorer:
        asked.append(args)
        return DarkScorer()

    monkeypatch.setattr(litesam.predictors, "load_text_scorer", load)
    dim = np.where(TRUTH == 3, np.uint8(150), IMAGE)
    tifffile.imwrite("cells.tif", dim)
    words = ("--text", "a dim one", "--text-model", "clip")
    for way in (["--proposals", "grid", "--points-per-side", "16"], ["--boxes", "boxes.csv"]):
        labels = _label(capsys, *words, *way)
        assert np.array_equal(labels == 1, TRUTH == 3)
    assert asked == [("clip", "cpu")] * 2


# -------------------------------------------------------------------------- progress, real networks


class Recorder:
    """Progress bars that keep what they are told."""

    def __init__(self) -> None:
        self.shares: dict[int, list[float]] = {}

    def begin(self, title: str, parts: int = 1) -> None:
        self.parts = parts

    def part(self, number: int) -> OnProgress:
        def report(progress: Progress) -> None:
            self.shares.setdefault(number, []).append(progress.done / progress.total)

        return report


@pytest.mark.parametrize(
    "options",
    [[], ["--prompts", "z.csv"], ["--select", "z.csv"], ["--boxes", "z.csv"]],
    ids=lambda options: options[0] if options else "everything",
)
def test_progress_ends_for_every_plane(
    loaded: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
) -> None:
    bars = Recorder()

    @contextmanager
    def progress_bars(*, quiet: bool = False) -> Iterator[Recorder]:
        yield bars

    monkeypatch.setattr(litesam.cli.label, "progress_bars", progress_bars)
    Path("z.csv").write_text("z,y0,x0,y1,x1\n1,10,10,30,30\n")
    _label(capsys, *options, image="stack.tif")
    assert bars.parts == 4
    assert [shares[-1] for shares in bars.shares.values()] == [1.0] * 4


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("fastsam_s", []),
        ("fastsam_s", ["--select", "boxes.csv"]),
        ("edge_sam", ["--proposals", "auto_ppn", "--confidence-threshold", "0.2"]),
        ("edge_sam", ["--boxes", "boxes.csv"]),
        ("edge_sam", ["--points-per-side", "3", "--stability-threshold", "0"]),
    ],
)
def test_real_networks(
    made_up_weights: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    model: str,
    options: list[str],
) -> None:
    """Weights that see nothing: what is asked here is that all parts fit together."""
    weights = str(made_up_weights(model))
    labels = _label(capsys, "--model", model, "--weights", weights, "--device", "cpu", *options)
    assert labels.shape == IMAGE.shape


@pytest.fixture(scope="module")
def made_up_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    files: dict[str, Path] = {}

    def get(model: str) -> Path:
        if model not in files:
            files[model] = filled_weights(model, tmp_path_factory.mktemp("weights"))
        return files[model]

    return get
