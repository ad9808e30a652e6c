"""Text prompts: the message without the extra, and the way of words through a small CLIP."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import litesam
import litesam.predictors
from litesam.cli import main
from litesam.errors import ConfigError, PromptError, WeightsError
from litesam.io import write_labels
from litesam.predictors import load_text_scorer
from litesam.types import Box, MaskRecord
from weights import filled_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from litesam.predictors import Predictor


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_weights("fastsam_s", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def predictor(weights: Path) -> Predictor:
    return litesam.load_predictor("fastsam_s", weights=weights, device="cpu")


def _picture() -> npt.NDArray[np.uint8]:
    """Noise in which deterministic weights find instances."""
    return np.random.default_rng(3).integers(0, 256, (120, 160), dtype=np.uint8)


def _without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)


class DarkScorer:
    def __call__(
        self, pictures: Sequence[npt.NDArray[np.uint8]], text: str
    ) -> npt.NDArray[np.float64]:
        return np.array([-float(picture.mean()) for picture in pictures])


# -------------------------------------------------------------------------------- without the extra


def test_message_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_transformers(monkeypatch)
    with pytest.raises(ConfigError, match=r'pip install "napari-litesam\[text\]"'):
        load_text_scorer()


def test_command_without_the_extra(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _without_transformers(monkeypatch)
    image = tmp_path / "image.tif"
    write_labels(image, _picture().astype(np.int32), "YX")
    arguments = ["label", str(image), "-o", str(tmp_path / "out.tif"), "--text", "a cell"]
    code = main([*arguments, "--model", "fastsam_s", "--weights", str(weights)])
    assert code != 0
    assert "napari-litesam[text]" in capsys.readouterr().err


def test_words_choose_among_the_objects_of_any_model() -> None:
    picture = np.full((120, 160), 20, np.uint8)
    picture[20:45, 20:45], picture[70:95, 100:125] = 120, 250
    segmenter = litesam.Segmenter(picture, model="lite_sam")
    objects = [_square(20, 20), _square(70, 100)]
    found = segmenter.segment_text("a dark one", scorer=DarkScorer(), objects=objects)
    assert found is not None
    assert found.box == objects[0].box
    # Without objects everything mode of the model finds them.
    own = segmenter.segment_text("a dark one", scorer=DarkScorer())
    assert own is not None
    assert own.box in {record.box for record in segmenter.find_objects()}


def _square(y: int, x: int) -> MaskRecord:
    return MaskRecord(Box(y, x, y + 25, x + 25), np.ones((25, 25), np.bool_), 1.0, 1.0, 1.0)


def test_segmenter_takes_the_object_that_fits_best(predictor: Predictor) -> None:
    segmenter = litesam.Segmenter(_picture(), model=predictor)
    objects = [record for record in segmenter.find_objects() if record.area > 100]
    assert len(objects) > 1
    found = segmenter.segment_text("a dark one", scorer=DarkScorer())
    assert found is not None
    assert any(found.box == record.box for record in objects)
    assert 0 < found.score <= 1
    with pytest.raises(PromptError, match="text is empty"):
        segmenter.segment_text(" ", scorer=DarkScorer())


def test_segmenter_finds_nothing(predictor: Predictor) -> None:
    segmenter = litesam.Segmenter(np.zeros((40, 40), np.uint8), model=predictor)
    assert segmenter.segment_text("a cell", scorer=DarkScorer(), objects=[]) is None


# ----------------------------------------------------------------------------------- with the extra


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, saved as published ones are."""
    transformers = pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    import torch

    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    last = len(tokens) - 1
    special: dict[str, Any] = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": 24,
    }
    config = transformers.CLIPConfig(
        text_config={**sizes, **special, "vocab_size": len(tokens), "max_position_embeddings": 20},
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _noise(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_clip_of_a_folder_scores_each_picture(clip_folder: Path) -> None:
    scorer = load_text_scorer(clip_folder)
    pictures = [_noise(20, 30, 0), _noise(90, 7, 1), _noise(1, 1, 2)]
    scores = scorer(pictures, "a cell")
    assert scores.shape == (3,)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scorer(pictures[1:2], "a cell"), scores[1:2], atol=1e-4)
    assert np.abs(scorer(pictures, "another thing") - scores).max() > 1e-4
    assert len(scorer([], "a cell")) == 0
    many = scorer([pictures[0]] * 70, "a cell")
    np.testing.assert_allclose(many, np.full(70, scores[0]), atol=1e-4)


def test_text_that_is_too_long(clip_folder: Path) -> None:
    with pytest.raises(PromptError, match="CLIP reads 20"):
        load_text_scorer(clip_folder)([_noise(9, 9, 0)], "cell " * 30)


def test_folder_without_a_clip(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no folder"):
        load_text_scorer(tmp_path / "none")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_text_scorer(tmp_path)


def test_command_labels_the_object_that_fits_best(
    clip_folder: Path, weights: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.tif"
    write_labels(image, _picture().astype(np.int32), "YX")
    arguments = ["label", str(image), "-o", str(tmp_path / "out.tif"), "--quiet"]
    arguments += ["--text", "a cell", "--text-model", str(clip_folder)]
    code = main([*arguments, "--model", "fastsam_s", "--weights", str(weights)])
    assert code == 0
    labels = tifffile.imread(tmp_path / "out.tif")
    assert set(np.unique(labels)) == {0, 1}


# ------------------------------------------------------------------------------- before a download


def _ask_for_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str | None, *options: str
) -> tuple[int, list[bool]]:
    """Exit code of a run whose CLIP is not on this computer, and which calls might download it."""
    asked = []

    def load(place: str, device: str = "cpu", *, download: bool = True) -> DarkScorer:
        asked.append(download)
        if not download:
            raise WeightsError("not here")
        return DarkScorer()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return answer is not None

    monkeypatch.setattr(litesam.predictors, "load_text_scorer", load)
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: answer is not None)
    image = tmp_path / "image.tif"
    write_labels(image, _picture().astype(np.int32), "YX", overwrite=True)
    arguments = ["label", str(image), "-o", str(tmp_path / "out.tif"), "--text", "a dark cell"]
    return main([*arguments, "--quiet", "--overwrite", *options]), asked


def test_clip_is_not_downloaded_without_being_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ask_for_words(monkeypatch, tmp_path, None) == (1, [False])
    said = capsys.readouterr().err
    assert "605 MB, licence MIT" in said
    assert "add --text-download" in said.lower()
    assert _ask_for_words(monkeypatch, tmp_path, "n") == (1, [False])
    said = capsys.readouterr().err
    assert "[y/N]" in said
    assert "nothing was downloaded" in said
    assert not (tmp_path / "out.tif").exists()


def test_clip_is_downloaded_after_the_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    assert _ask_for_words(monkeypatch, tmp_path, "y") == (0, [False, True])
    assert _ask_for_words(monkeypatch, tmp_path, None, "--text-download") == (0, [False, True])
    assert "Getting CLIP" in capsys.readouterr().err


def test_wrong_words_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["label", "a.tif", "-o", str(tmp_path / "out.tif")]
    assert main([*command, "--text", " "]) == 2
    assert main([*command, "--text-download"]) == 2
    assert main([*command, "--text-model", "x"]) == 2
    assert capsys.readouterr().err.count("litesam: --text") == 3
