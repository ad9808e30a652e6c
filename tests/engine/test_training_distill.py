"""Distillation: the teacher's embeddings are kept, the student learns them, the result is a model.

The teacher is Lite-SAM with deterministic weights, the student Lite-SAM with random ones: the
cheapest pair whose encoders are real.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from litesam.cli import main
from litesam.errors import Cancelled, ConfigError, ReadError
from litesam.models.registry import get_spec
from litesam.models.weights import load_state_dict
from litesam.predictors import load_predictor
from litesam.training.distill import DistillConfig, DistillTrainer, check_pair
from litesam.training.export import export_weights
from litesam.training.pictures import find_pictures
from litesam.types import PromptBatch
from weights import filled_weights

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_weights("lite_sam", tmp_path_factory.mktemp("weights"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, shape in enumerate(((40, 64), (64, 48))):
        pixels = random.normal(100, 40, shape).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def config(tmp_path: Path, teacher: Path) -> DistillConfig:
    return DistillConfig(
        run_folder=str(tmp_path / "run"),
        teacher="lite_sam",
        teacher_weights=str(teacher),
        student="lite_sam",
        steps=6,
        warmup_steps=2,
        learning_rate=3e-3,
        batch=1,
        ema_decay=0.5,
    )


def _count_encodes(trainer: DistillTrainer, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    encode = trainer._teacher.encode

    def counted(*args, **keywords):
        result = encode(*args, **keywords)
        calls.append(None)  # a picture that is being encoded can be cancelled, too
        return result

    monkeypatch.setattr(trainer._teacher, "encode", counted)
    return calls


def test_precompute_is_cut_off_and_goes_on_then_the_student_learns(
    config: DistillConfig, images: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = find_pictures(images)
    first = DistillTrainer(config, pictures)
    with pytest.raises(ConfigError, match="call precompute first"):
        next(first.batches())
    calls = _count_encodes(first, monkeypatch)
    with pytest.raises(Cancelled):
        first.precompute(cancelled=lambda: bool(calls))
    assert len(calls) == 1

    again = DistillTrainer(config, pictures)
    calls = _count_encodes(again, monkeypatch)
    assert again.precompute() == 2
    assert len(calls) == 1
    assert again.precompute() == 2

    # Every picture once a round, whose order depends on the seed alone.
    assert sorted(again._places(0, 2) + again._places(1, 2)) == [0, 1]
    batch = next(again.batches())
    assert batch.inputs.shape == (1, 3, 512, 512)
    assert batch.targets.shape == (1, 256, 64, 64)
    again.model.eval()
    with torch.no_grad():
        before = again.losses(batch)[0]["mse"]
    with pytest.raises(Cancelled):
        again.run(cancelled=lambda: True)
    last = DistillTrainer(config, pictures)
    assert last.step == 1
    last.run()
    assert last.step == 6
    last.averaged()
    with torch.no_grad():
        assert last.losses(batch)[0]["mse"] < 0.9 * before
    assert len(calls) == 1  # all embeddings came from the store

    # The student with the teacher's decoder is a model.
    file = last.folder / "student.safetensors"
    export_weights(last, file, last.base)
    student, theirs = load_state_dict(file), load_state_dict(teacher)
    for name, tensor in theirs.items():
        same = torch.equal(student[name].float(), tensor.float())
        assert same or name.startswith("image_encoder."), name
    predictor = load_predictor("lite_sam", file, "cpu")
    masks = predictor.decode(
        predictor.encode(pictures[0].rgb), PromptBatch(points=[[[9, 9]]], labels=[[1]])
    )
    assert np.isfinite(masks.logits).all()


def test_inputs_are_those_of_the_students_predictor(
    config: DistillConfig, images: Path, teacher: Path
) -> None:
    """The student sees in training what it sees in use, in the geometry of the embedding."""
    trainer = DistillTrainer(config, find_pictures(images))
    trainer.precompute()
    batch = trainer._batch([(0, 0)])
    predictor = load_predictor("lite_sam", teacher, "cpu")
    rgb = find_pictures(images)[0].rgb
    embedding = predictor.encode(rgb)
    assert torch.equal(batch.inputs, predictor.preprocess(rgb, embedding.frame))
    np.testing.assert_array_equal(batch.targets[0].numpy(), embedding.features["image"])


@pytest.mark.parametrize(
    ("teacher", "student", "reason"),
    [
        ("sam_vit_b", "lite_sam", "decoder is not"),
        ("sam_vit_b", "efficient_sam_vitt", "one fits images by 'longest_side'"),
        ("sam_vit_b", "mobilesamv2", "no encoder of its own"),
        ("sam_vit_b", "fastsam_s", "shapes"),
        ("sam_hq_vit_b", "mobile_sam", "decoder is not"),
    ],
)
def test_pairs_that_do_not_fit_say_why_and_what_does(
    teacher: str, student: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The large ones would be built to name them.
    small = tuple(get_spec(n) for n in ("lite_sam", "mobile_sam", "edge_sam"))
    monkeypatch.setattr("litesam.training.distill.known_models", lambda: small)
    with pytest.raises(ConfigError, match=reason) as caught:
        check_pair(get_spec(teacher), get_spec(student))
    if teacher == "sam_vit_b":
        assert "Students of 'sam_vit_b': 'mobile_sam', 'edge_sam'." in str(caught.value)


def test_pairs_that_fit() -> None:
    for student in ("mobile_sam", "edge_sam", "efficientvit_sam_l0"):
        check_pair(get_spec("sam_vit_b"), get_spec(student))


def test_another_teacher_needs_another_run(
    config: DistillConfig, images: Path, tmp_path: Path, teacher: Path
) -> None:
    DistillTrainer(config, find_pictures(images))
    state = load_state_dict(teacher)
    state["image_encoder.norm.weight"] = state["image_encoder.norm.weight"] * 1.01
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="began with other weights"):
        DistillTrainer(
            replace(config, teacher_weights=str(tmp_path / "other.pt")), find_pictures(images)
        )


def test_pictures_of_folders_and_data_sets(tmp_path: Path, images: Path) -> None:
    assert [path.name for path in find_pictures(images).paths] == ["0.png", "1.png"]
    assert find_pictures(images)[1].rgb.shape == (64, 48, 3)
    assert len(find_pictures(images)[:1]) == 1
    # tmp_path is a data set now; with an index only its training split counts.
    assert len(find_pictures(tmp_path)) == 2
    with (tmp_path / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split"), ("0", "train"), ("1", "val")])
    assert [path.name for path in find_pictures(tmp_path).paths] == ["0.png"]
    assert len(find_pictures(tmp_path.parent)) >= 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="holds no images"):
        find_pictures(tmp_path / "empty")
    np.save(tmp_path / "empty" / "stack.npy", np.zeros((3, 9, 9, 9), np.uint8))
    with pytest.raises(ReadError, match="one plane is needed"):
        find_pictures(tmp_path / "empty")[0]


def test_command(
    images: Path,
    tmp_path: Path,
    teacher: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    words = ["distill", str(images), "--teacher", "lite_sam", "--student", "lite_sam"]
    words += ["--teacher-weights", str(teacher), "--run", str(tmp_path / "run"), "--steps", "1"]
    words += ["--batch", "1", "--threads", "1", "--name", "small", "-q", "--json"]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["tiles"], result["step"], result["name"]) == (2, 1, "small")
    assert get_spec("small").title == "small (Lite-SAM (own weights))"
    assert main([*words[:-1], "--overwrite", "--batch", "0"]) == 1
    assert "--batch is 0" in capsys.readouterr().err
