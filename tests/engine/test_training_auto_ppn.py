"""AutoPPN on frozen embeddings: trained, exported, and proposing in everything mode."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import litesam
from litesam.cli import main
from litesam.errors import Cancelled, ConfigError, ModelMismatchError, WeightsError
from litesam.frames import fit_longest_side
from litesam.io import LabelledImage
from litesam.models.auto_ppn import AutoPPN
from litesam.models.registry import get_spec
from litesam.predictors import load_predictor, load_proposer
from litesam.predictors.base import Predictor
from litesam.predictors.proposing import propose_prompts
from litesam.training.auto_ppn import PpnConfig, PpnTrainer, labels_in_frame
from litesam.training.synthetic import SyntheticSet
from litesam.types import EverythingConfig
from weights import filled_weights

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def items() -> list[LabelledImage]:
    drawn = SyntheticSet("cells", seed=4)
    return [LabelledImage(f"{n}", drawn[n].rgb, drawn[n].labels) for n in range(2)]


def _config(folder: Path) -> PpnConfig:
    return PpnConfig(
        run_folder=str(folder),
        model="lite_sam",
        steps=32,
        warmup_steps=4,
        learning_rate=4e-3,
        ema_decay=0.8,
        batch=4,
    )


def test_learns_where_objects_are_and_proposes_for_its_model(
    items: list[LabelledImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tmp_path / "run")
    trainer = PpnTrainer(config, items)
    with pytest.raises(Cancelled):
        trainer.precompute(cancelled=lambda: True)
    assert trainer.precompute() == 2
    batch = trainer._batch([0, 1])
    with torch.no_grad():
        before = sum(trainer.losses(batch)[0].values())
    with pytest.raises(Cancelled):
        trainer.run(cancelled=lambda: True)
    trainer = PpnTrainer(config, items)
    assert trainer.step == 1
    trainer.run()
    trainer.averaged()
    with torch.no_grad():
        assert sum(trainer.losses(batch)[0].values()) < 0.7 * before

    file = tmp_path / "ppn.safetensors"
    assert trainer.export(file) < 1_000_000
    model = load_predictor("lite_sam", device="cpu")
    proposer = load_proposer(file, model)
    assert isinstance(proposer, Predictor)
    item = items[0]
    # The same embeddings: a proposal is asked of what the model has encoded.
    embedding = model.encode(item.image)
    found = proposer.propose(embedding, top_n=10, confidence_threshold=0.05)
    assert found is not None
    assert len(found.points) >= 3
    at = np.round(found.points).astype(int)
    assert (item.labels[at[:, 0], at[:, 1]] > 0).mean() >= 0.7
    config = EverythingConfig(
        confidence_threshold=0.05,
        top_n=20,
        prompt_kind="point",
        predicted_iou_threshold=0.0,
        stability_threshold=0.0,
    )
    calls, encode = [], model.encode

    def counted(*args, **keywords):
        calls.append(None)
        return encode(*args, **keywords)

    monkeypatch.setattr(model, "encode", counted)
    _, records = litesam.segment_everything(
        item.image, model, "auto_ppn", config, proposer=proposer
    )
    assert records
    assert len(calls) == 1


def test_proposer_belongs_to_one_encoder(items: list[LabelledImage], tmp_path: Path) -> None:
    trainer = PpnTrainer(_config(tmp_path / "run"), items)
    file = tmp_path / "ppn.safetensors"
    trainer.export(file)
    other = load_predictor("lite_sam", filled_weights("lite_sam", tmp_path), "cpu")
    with pytest.raises(ModelMismatchError, match="litesam train-ppn --model lite_sam"):
        load_proposer(file, other)
    own = load_predictor("lite_sam", device="cpu")
    # A whole Lite-SAM is a proposer, too.
    whole = load_proposer(filled_weights("lite_sam", tmp_path), own)
    assert whole.encoder_hash == other.encoder_hash
    with pytest.raises(WeightsError, match="does not exist"):
        load_proposer(tmp_path / "nothing.safetensors", own)
    tensors = load_file(file)
    del tensors["head.bias"]
    known = {"model": "auto_ppn", "encoder": "lite_sam", "encoder_hash": own.encoder_hash}
    save_file(tensors, tmp_path / "short.safetensors", metadata=known)
    with pytest.raises(WeightsError, match="tensors of an AutoPPN"):
        load_proposer(tmp_path / "short.safetensors", own)
    with pytest.raises(ConfigError, match="began with other weights"):
        PpnTrainer(
            replace(_config(tmp_path / "run"), model_weights=str(tmp_path / "lite_sam.pt")), items
        )


def test_frames_of_any_size_give_the_same_places() -> None:
    """SAM's input has 1024 pixels, Lite-SAM's 512; the grid of the embedding is the same."""
    torch.manual_seed(0)
    network, image = AutoPPN(8, width=12).eval(), torch.randn(1, 8, 64, 64)
    with torch.no_grad():
        small, large = (
            propose_prompts(
                network(image),
                fit_longest_side((200, 400), side, (10, 20)),
                top_n=20,
                confidence_threshold=0.0,
            )
            for side in (512, 1024)
        )
    assert len(small.points) == len(large.points) > 10
    # Pixel centres shift by a fraction of a pixel of the input.
    np.testing.assert_allclose(small.points, large.points, atol=0.5)
    np.testing.assert_allclose(small.boxes, large.boxes, atol=1.0)
    assert small.boxes[:, :2].min(axis=0).tolist() >= [10, 20]


def test_labels_stand_where_the_model_sees_them() -> None:
    labels = np.zeros((100, 50), np.int32)
    labels[10:30, 20:40] = 700
    labels[80:90, 5:15] = 3
    spec = get_spec("mobile_sam")
    seen = labels_in_frame(labels, spec)
    assert seen.shape == (512, 512)
    assert sorted(np.unique(seen)) == [0, 1, 2]
    assert seen[round(20 * 5.12), round(30 * 5.12)] == 2
    assert not seen[:, 257:].any()
    assert (labels_in_frame(np.full((9, 9), 5, np.int32), spec) == 1).all()
    squashed = labels_in_frame(labels, get_spec("efficient_sam_vitt"))
    assert squashed[round(20 * 5.12), round(30 * 10.24)] == 2


def test_nothing_to_learn_from(tmp_path: Path, items: list[LabelledImage]) -> None:
    config = replace(
        _config(tmp_path / "run"), model_weights=str(filled_weights("lite_sam", tmp_path))
    )
    empty = [LabelledImage("a", items[0].image, np.zeros_like(items[0].labels))]
    with pytest.raises(ConfigError, match="No object is labelled"):
        PpnTrainer(config, empty)


def test_command(
    tmp_path: Path, items: list[LabelledImage], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    Image.fromarray(items[0].image).save(folder / "images" / "a.png")
    Image.fromarray(items[0].labels.astype(np.uint8)).save(folder / "labels" / "a.png")
    weights = filled_weights("lite_sam", tmp_path)
    file, image = tmp_path / "ppn.safetensors", folder / "images" / "a.png"
    words = ["train-ppn", str(folder), "--model", "lite_sam", "--from", str(weights), "--steps"]
    words += ["1", "--run", str(tmp_path / "run"), "--export", str(file), "--threads", "1", "-q"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tiles"] == 1
    label = ["label", str(image), "-o", str(tmp_path / "out.tif"), "--weights", str(weights)]
    label += ["--proposals", "auto_ppn", "--proposer", str(file), "--device", "cpu", "-q"]
    assert main(label) == 0
    assert (tmp_path / "out.tif").is_file()
