"""Alignment: the decoder learns the teacher's masks on embeddings that are not quite its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from litesam.cli import main
from litesam.errors import Cancelled, ConfigError
from litesam.models.registry import get_spec
from litesam.models.weights import build_network, load_state_dict
from litesam.predictors import load_predictor
from litesam.training.align import AlignConfig, AlignTrainer
from litesam.training.export import export_weights
from litesam.training.pictures import find_pictures
from litesam.types import PromptBatch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as a training begins with: what a few steps do to them is foreseeable."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "teacher.pt"
    torch.save(build_network(get_spec("mobile_sam")).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """The teacher whose encoder's last layer gives somewhat other embeddings."""
    state = load_state_dict(teacher)
    weight = state["image_encoder.neck.3.weight"]
    noise = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1))
    state["image_encoder.neck.3.weight"] = weight * (0.7 + 0.6 * noise)
    file = tmp_path_factory.mktemp("student") / "student.pt"
    torch.save(state, file)
    return file


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    yy, xx = np.mgrid[:60, :90]
    pixels = 200.0 * ((yy - 30) ** 2 + (xx - 40) ** 2 < 300) + 20
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "disc.png")
    return folder


def test_decoder_comes_nearer_to_the_teacher_and_the_encoder_stays(
    tmp_path: Path, teacher: Path, student: Path, images: Path
) -> None:
    config = AlignConfig(
        run_folder=str(tmp_path / "run"),
        teacher="mobile_sam",
        teacher_weights=str(teacher),
        student="mobile_sam",
        start_from=str(student),
        steps=8,
        warmup_steps=1,
        learning_rate=5e-4,
        prompts=2,
        ema_decay=0.5,
        threads=1,
    )
    pictures = find_pictures(images)
    trainer = AlignTrainer(config, pictures)
    with pytest.raises(ConfigError, match="call precompute first"):
        next(trainer.batches())
    assert trainer.precompute() == 1
    batch = next(trainer.batches())
    assert batch.image.shape == (1, 256, 64, 64)
    points, boxes = batch.asked
    assert points.logits.shape == (2, 3, 256, 256)
    assert boxes.logits.shape[1:] == (1, 256, 256)

    # What is asked is asked in the frame of the model, of the teacher's own embedding.
    predictor = load_predictor("mobile_sam", teacher, "cpu")
    embedding = predictor.encode(pictures[0].rgb)
    places = embedding.frame.points_to_image(points.points.numpy())
    again = predictor.decode(embedding, PromptBatch(points=places, labels=[[1]] * 2))
    np.testing.assert_allclose(again.logits, points.logits.numpy(), atol=2e-2)

    def distance() -> torch.Tensor:
        trainer.model.eval()
        with torch.no_grad():
            return sum(trainer.losses(batch)[0].values(), torch.zeros(()))

    before = distance()
    with pytest.raises(Cancelled):
        trainer.run(cancelled=lambda: True)
    trainer = AlignTrainer(config, pictures)
    assert trainer.step == 1
    trainer.precompute()
    trainer.run()
    trainer.averaged()
    assert distance() < 0.7 * before

    file = tmp_path / "aligned.safetensors"
    export_weights(trainer, file, trainer.base)
    found, began = load_state_dict(file), load_state_dict(student)
    for name, tensor in began.items():
        if not name.startswith("mask_decoder."):
            assert torch.equal(found[name].float(), tensor.float()), name
    assert load_predictor("mobile_sam", file, "cpu").weights_hash

    with pytest.raises(ConfigError, match="began with other weights"):
        AlignTrainer(
            AlignConfig(
                run_folder=config.run_folder,
                teacher="mobile_sam",
                teacher_weights=str(student),
                student="mobile_sam",
                start_from=str(student),
            ),
            pictures,
        )


def test_command_distils_then_aligns(
    tmp_path: Path,
    teacher: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    words = ["distill", str(images), "--teacher", "mobile_sam", "--student", "mobile_sam"]
    words += ["--teacher-weights", str(teacher), "--from", str(teacher), "--steps", "1"]
    words += ["--run", str(tmp_path / "run"), "--batch", "1", "--threads", "1", "--name", "near"]
    assert main([*words, "--align", "2", "-q", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["step"], result["aligned"], result["name"]) == (1, 2, "near")
    assert (tmp_path / "run" / "align-1" / "log.jsonl").is_file()
    assert get_spec("near").title == "near (MobileSAM)"
    assert main([*words, "--overwrite", "--align", "-1"]) == 1
    assert "--align is -1" in capsys.readouterr().err
    lite = ["lite_sam" if word == "mobile_sam" else word for word in words]
    assert main([*lite, "--overwrite", "--align", "5"]) == 1
    assert "cannot be aligned" in capsys.readouterr().err
