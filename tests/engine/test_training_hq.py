"""Training of HQ decoders: what learns, what stays, and that the result is a model."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import litesam
from litesam.cli import main
from litesam.errors import Cancelled, ConfigError, WeightsError
from litesam.models.registry import get_spec
from litesam.models.weights import build_network, load_network, load_state_dict
from litesam.models.weights_files import find_weights
from litesam.predictors import load_predictor
from litesam.training.batches import group_tensors
from litesam.training.data import DataSetConfig
from litesam.training.export import export_weights
from litesam.training.hq import HqConfig, HqTrainer, is_of_hq
from litesam.training.synthetic import SyntheticSet
from litesam.types import OUTSIDE_LOGIT, PromptBatch
from weights import filled_weights

if TYPE_CHECKING:
    from pathlib import Path

SET = DataSetConfig("synthetic:filaments", 1.0, proposals=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    return tmp_path


def _config(folder: Path, **changes: object) -> HqConfig:
    config = HqConfig(
        run_folder=str(folder),
        data_root="",
        sets=(SET,),
        crop_px=(128,),
        batch=(2,),
        steps=10,
        warmup_steps=2,
        ema_decay=0.8,
        workers=0,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lite_sam_hq", "sam_hq_vit_tiny"])
def test_names_of_hq_tensors_are_those_that_the_model_without_hq_lacks(name: str) -> None:
    plain = {"lite_sam_hq": "lite_sam", "sam_hq_vit_tiny": "mobile_sam"}[name]
    ours, others = (set(build_network(get_spec(n)).state_dict()) for n in (name, plain))
    assert {n for n in ours if is_of_hq(n)} == ours - others


def test_learns_and_leaves_everything_else(home: Path) -> None:
    trainer = HqTrainer(_config(home / "run", steps=20))
    frozen = load_network(get_spec("lite_sam"), find_weights(get_spec("lite_sam")) or "")
    batch = next(trainer.batches())
    with torch.no_grad():
        losses, figures = trainer.losses(batch)
    # A new token says nothing yet, and Lite-SAM's masks are the token's alone.
    assert figures["iou_hq"] == figures["iou_only"] == 0.0
    trainer.run()
    trainer.averaged()
    with torch.no_grad():
        after, better = trainer.losses(batch)
    assert after["only"] < 0.6 * losses["only"]
    assert after["hq"] + after["only"] < losses["hq"] + losses["only"]
    assert better["iou_without"] == figures["iou_without"]
    assert better["iou_hq"] == better["iou_only"]
    state = trainer.model.state_dict()
    for name, tensor in frozen.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)
    assert {name for name in state if is_of_hq(name)} == set(trainer.ema)
    lines = (home / "run" / "log.jsonl").read_text().splitlines()
    assert {"hq", "only", "iou_without", "iou_hq", "iou_only"} <= set(json.loads(lines[-1]))


def test_goes_on_from_the_same_weights_only(home: Path) -> None:
    config = _config(home / "run", steps=4)
    with pytest.raises(Cancelled):
        HqTrainer(config).run(cancelled=lambda: True)
    again = HqTrainer(config)
    assert again.step == 1
    again.run()
    straight = HqTrainer(replace(config, run_folder=str(home / "other")))
    straight.run()
    for name, tensor in straight.ema.items():
        torch.testing.assert_close(again.ema[name], tensor, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="began with other weights"):
        HqTrainer(replace(config, start_from=str(filled_weights("lite_sam", home))))


def test_result_shares_embeddings_and_loads_as_hq(home: Path) -> None:
    trainer = HqTrainer(_config(home / "run", steps=2))
    trainer.run()
    file = home / "lite_sam_hq.safetensors"
    size = export_weights(trainer, file, trainer.base)
    assert size < 9_500_000
    plain = load_predictor("lite_sam", device="cpu")
    fine = load_predictor("lite_sam", file, "cpu", hq=True)
    assert fine.encoder_hash == plain.encoder_hash
    image = SyntheticSet("filaments", seed=3)[0]
    masks = fine.decode(plain.encode(image.rgb), PromptBatch(boxes=[[20, 20, 90, 90]]))
    assert masks.logits.shape[:2] == (1, 1)
    inside = masks.logits > OUTSIDE_LOGIT
    assert np.abs(masks.logits[inside]).max() > 0.0


@pytest.mark.parametrize("model", ["lite_sam", "lite_sam_hq"])
def test_decoder_alone_works_beside_the_weights_it_was_trained_with(home: Path, model: str) -> None:
    trainer = HqTrainer(_config(home / "run", steps=2, model=model))
    trainer.run()
    whole, alone = home / "whole.safetensors", home / "alone.safetensors"
    export_weights(trainer, whole, trainer.base)
    size = export_weights(trainer, alone, trainer.base, beside=trainer.beside)
    assert size < 450_000
    assert all(name.startswith("hq.") for name in load_state_dict(alone))
    first, second = (load_predictor("lite_sam", file, "cpu", hq=True) for file in (whole, alone))
    image = SyntheticSet("filaments", seed=3)[0]
    prompts = PromptBatch(boxes=[[20, 20, 90, 90]])
    embedding = first.encode(image.rgb)
    assert np.array_equal(
        first.decode(embedding, prompts).logits, second.decode(embedding, prompts).logits
    )
    export_weights(trainer, alone, trainer.base, beside="0" * 64)
    with pytest.raises(WeightsError, match=r"HQ decoder for other weights of 'lite_sam'.*again"):
        load_predictor("lite_sam", alone, "cpu", hq=True)


def test_prompts_of_a_group_stand_where_their_crop_does(home: Path) -> None:
    trainer = HqTrainer(_config(home / "run", steps=1))
    batch = replace(next(trainer.batches()), place=(3, 5))
    for group in batch.prompts:
        asked = group_tensors(batch, group, 8)
        assert asked.offset_xy == (40, 24)
        inside = asked.points[:, 0] - torch.tensor([40.0, 24.0])
        for number, (x, y) in enumerate(inside.tolist()):
            image, label = group.images[number], group.labels[number]
            assert batch.labels[image, int(y), int(x)] == label
            # and in the window, at the same place of the target
            top, left = (8 * v for v in group.origins[number])
            assert asked.target[number, 0, int(y - top) // 2, int(x - left) // 2] > 0


def test_any_model_with_an_hq_network(home: Path) -> None:
    """MobileSAM: one input of full size, because its encoder takes no other."""
    start = filled_weights("mobile_sam", home)
    config = _config(
        home / "run",
        model="mobile_sam",
        start_from=str(start),
        steps=1,
        crop_px=(),
        batch=(),
        prompts_per_crop=1,
    )
    trainer = HqTrainer(config)
    assert (trainer.spec.name, trainer.base) == ("sam_hq_vit_tiny", "sam_hq_vit_tiny")
    before = {name: value.clone() for name, value in trainer._state().items()}
    trainer.run()
    changed = [n for n, v in trainer._state().items() if not torch.equal(v, before[n])]
    assert "mask_decoder.hf_mlp.layers.2.weight" in changed
    file = home / "hq.safetensors"
    export_weights(trainer, file, trainer.base)
    plain = load_predictor("mobile_sam", start, "cpu")
    fine = load_predictor("mobile_sam", file, "cpu", hq=True)
    assert fine.encoder_hash == plain.encoder_hash


def test_models_without_an_hq_network_are_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="'edge_sam' has no HQ decoder"):
        HqTrainer(_config(home / "run", model="edge_sam"))


def test_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "data" / "fine"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    image = SyntheticSet("filaments", seed=1)[0]
    Image.fromarray(image.rgb).save(folder / "images" / "a.png")
    Image.fromarray(image.labels.astype(np.uint8)).save(folder / "labels" / "a.png")
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split"), ("a", "train")])
    run = home / "run"
    words = ["train-hq", str(home / "data"), "--run", str(run), "--steps", "1", "--threads", "1"]
    assert main([*words, "--no-synthetic", "-q", "--name", "fine_lines", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["step"], result["name"]) == (1, "fine_lines")
    assert not (run / "weights.safetensors").exists()
    spec = get_spec("fine_lines")
    assert spec.hq == spec.name
    assert spec in litesam.list_models()
    assert load_predictor("fine_lines", hq="only").spec == spec
    assert main([*words, "--name", "fine_lines"]) == 1
    assert "You have a model 'fine_lines' already" in capsys.readouterr().err
