"""Training in several processes, with two real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from engine.parallel_training import config_of
from litesam.cli.train import _EXAMPLES
from litesam.errors import ConfigError
from litesam.io.labelled_folder import LabelledImage
from litesam.training.auto_ppn import PpnConfig, PpnTrainer
from litesam.training.finetune import finetune
from litesam.training.lite_sam import Trainer
from litesam.training.parallel import ProcessGroup, own_device

SCRIPT = Path(__file__).with_name("parallel_training.py")


def _item() -> LabelledImage:
    labels = np.zeros((64, 64), np.int32)
    labels[10:30, 10:30] = 1
    return LabelledImage("square", (labels * 200).astype(np.uint8), labels)


def _together(folder: Path, steps: int) -> list[dict[str, Any]]:
    """What two processes have after so many steps."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), str(folder), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_do_the_step_of_both_their_batches(tmp_path: Path) -> None:
    first, second = _together(tmp_path, 1)
    assert first["began"] == second["began"] == 0
    for name, value in first["model"].items():
        torch.testing.assert_close(value, second["model"][name], rtol=0, atol=0, msg=name)
    # The same by hand: the gradients of both batches from the same start, and their mean.
    gradients: list[dict[str, torch.Tensor | None]] = []
    pictures = []
    for rank in (0, 1):
        trainer = Trainer(replace(config_of(tmp_path), run_folder=str(tmp_path / "alone")))
        before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        trainer.group = ProcessGroup(rank, 1)
        batch = next(iter(trainer.batches()))
        pictures.append(batch.rgb)
        trainer.set_mode(batch)
        torch.stack(list(trainer.losses(batch)[0].values())).sum().backward()  # type: ignore[no-untyped-call]
        named = trainer.model.named_parameters()
        gradients.append({n: p.grad for n, p in named})
    assert not torch.equal(*pictures)
    assert any(one[name] is None for one in gradients for name in one)  # no step for these
    for group in trainer.optimizer.param_groups:
        group["lr"] = config_of(tmp_path).learning_rate
    for name, parameter in trainer.model.named_parameters():
        known = [one[name] for one in gradients if one[name] is not None]
        parameter.grad = torch.stack(known).sum(dim=0) / 2 if known else None
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    moved = 0
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(first["model"][name], parameter.data, rtol=1e-3, atol=1e-5)
        moved += int(not torch.equal(before[name], first["model"][name]))
    assert moved > len(before) / 2


def test_one_process_writes_and_both_go_on_from_its_checkpoint(tmp_path: Path) -> None:
    _together(tmp_path, 2)
    first, second = _together(tmp_path, 3)
    assert first["began"] == second["began"] == 2
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [2, 3]


def test_the_command_as_it_is_typed(tmp_path: Path) -> None:
    """As the help of ``litesam train`` says: torchrun has options of its own, hence the ``--``."""
    (typed,) = (line for line in _EXAMPLES.splitlines() if "torchrun" in line)
    folder = tmp_path / "data" / "squares"
    for kind, pixels in (("images", _item().image), ("labels", _item().labels.astype(np.uint16))):
        (folder / kind).mkdir(parents=True)
        Image.fromarray(np.asarray(pixels)).save(folder / kind / "1.png")
    (folder / "index.csv").write_text("id,split\n1,train\n")
    script = str(Path(sys.executable).with_name("litesam"))
    parts = [script if part == "litesam" else part for part in typed.split()[1:]]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *parts]
    command += ["--no-synthetic", "--steps", "1", "--export", "mine.safetensors"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mine.safetensors") == 1  # one of them writes
    with safe_open(tmp_path / "mine.safetensors", "pt") as file:
        assert json.loads(file.metadata()["config"])["processes"] == 2


def test_a_recipe_for_one_process_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="trains in one process; start it without torchrun"):
        PpnTrainer(PpnConfig(run_folder=str(tmp_path), model="lite_sam"), [_item()])
    with pytest.raises(ConfigError, match="start it without torchrun"):
        finetune([_item()], tmp_path / "mine.safetensors", tmp_path / "run")


def test_all_must_begin_at_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessGroup, "gather", lambda self, number: [number, number + 5])
    with pytest.raises(ConfigError, match=r"different steps \(0, 5\).*a disk that they share"):
        Trainer(config_of(tmp_path))


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device("cuda") == torch.device("cuda")
    assert own_device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("cuda") == torch.device("cuda", 1)
    assert own_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="a GPU of its own; give the device 'cuda' instead of"):
        own_device("cuda:1")
