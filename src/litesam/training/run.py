"""What every training run does: steps, averaged weights, a log, checkpoints to go on from.

A run is a folder. It can be cut off at any time; the same configuration goes on from its last
checkpoint. A recipe derives from `TrainingRun` and says what its batches and its losses are.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from litesam.errors import Cancelled, ConfigError
from litesam.training.optimizers import OptimizerName, make_optimizer
from litesam.training.parallel import ProcessGroup, own_device, processes_wanted
from litesam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from litesam.types import IsCancelled, OnProgress

logger = logging.getLogger(__name__)

#: Steps between two lines of the log.
_LOG_EVERY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What every run depends on.

    Attributes
    ----------
    run_folder
        Folder of log, configuration and checkpoint; made if it does not exist.
    steps
        Total steps, those of earlier calls included.
    learning_rate, warmup_steps
        Rises linearly, then falls as a half cosine to a hundredth.
    optimizer
        ``"adamw"``, or ``"muon"`` (`litesam.training.optimizers`).
    weight_decay
        For matrices and kernels.
    ema_decay
        Decay of the averaged weights, which are the result.
    seed
        Of the weights and of every draw.
    threads
        Of torch; 0: its own choice.
    device, bf16
        Torch device; whether to compute in bfloat16 where that is safe.
    workers
        Processes that prepare batches; 0: none.
    checkpoint_every_s
        Seconds between checkpoints.
    """

    run_folder: str
    steps: int = 4000
    learning_rate: float = 2e-3
    warmup_steps: int = 80
    optimizer: OptimizerName = "adamw"
    weight_decay: float = 0.05
    ema_decay: float = 0.998
    seed: int = 2026
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False
    workers: int = 1
    checkpoint_every_s: float = 300.0


ConfigT = TypeVar("ConfigT", bound=RunConfig)
BatchT = TypeVar("BatchT")
ModelT = TypeVar("ModelT", bound=nn.Module)


class TrainingRun(ABC, Generic[ConfigT, BatchT, ModelT]):
    """One training run.

    Parameters
    ----------
    config
        What it depends on.
    build
        Makes the network, after the seed is set; it may already hold weights to start from.
    trained
        Which tensors of the state dict are trained, by name; None: all. The others are frozen:
        neither averaged nor kept in checkpoints.

    Attributes
    ----------
    model
        The network as it is now.
    ema
        Averaged tensors by name, those that are trained.
    step, seconds
        Steps done, and the time they took.
    group
        The processes that train together (`litesam.training.parallel`).

    Raises
    ------
    ConfigError
        If a run that knows one process only was started in several.
    """

    #: Whether several processes may train together, each on batches of its own.
    parallel: ClassVar[bool] = False

    def __init__(
        self,
        config: ConfigT,
        build: Callable[[], ModelT],
        trained: Callable[[str], bool] | None = None,
    ) -> None:
        if processes_wanted() > 1 and not self.parallel:
            raise ConfigError(
                f"{type(self).__name__} trains in one process; start it without torchrun."
            )
        self.config = config
        self.device = own_device(config.device)
        if config.bf16 and self.device.type == "cpu":
            # The AMX kernels of oneDNN (torch 2.13) write outside of their memory for some batches
            # in bfloat16, which ends the process; those before them take the same time here.
            os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
        self.folder = Path(config.run_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.model = build().to(self.device)
        self._trained = trained or (lambda name: True)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._trained(name))
        self.ema = {name: value.detach().clone() for name, value in self._state().items()}
        self.optimizer = make_optimizer(
            self.model, config.optimizer, config.learning_rate, config.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self._load_checkpoint()
        self.group = ProcessGroup.join(self.device)
        steps = self.group.gather(self.step)
        if len(set(steps)) > 1:
            raise ConfigError(
                f"The processes would go on from different steps ({', '.join(map(str, steps))}): "
                f"all of them need the checkpoint in {self.folder}, on a disk that they share."
            )

    # --------------------------------------------------------------------------------- the recipe

    @abstractmethod
    def batches(self) -> Iterator[BatchT]:
        """Yield the batches from step ``self.step`` on, without end."""

    @abstractmethod
    def losses(self, batch: BatchT) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the parts of the loss, which are added, and what else belongs in the log."""

    def set_mode(self, batch: BatchT) -> None:
        """Choose training or evaluation mode of the network's parts before a step."""
        del batch
        self.model.train()

    # ---------------------------------------------------------------------------------------- run

    def run(
        self, on_progress: OnProgress | None = None, cancelled: IsCancelled | None = None
    ) -> None:
        """Train until ``config.steps``; logs to ``log.jsonl`` in the run folder.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; the checkpoint is written first.
        """
        first = self.group.rank == 0
        if first:
            config = asdict(self.config) | {"processes": self.group.size}
            (self.folder / "config.json").write_text(json.dumps(config, indent=1))
        last_save = time.monotonic()
        log = _Log(self.folder / "log.jsonl")
        if self.step < self.config.steps:
            for batch in self.batches():
                tick = time.monotonic()
                log.add(self.train_step(batch))
                self.seconds += time.monotonic() - tick
                self.step += 1
                last = self.step >= self.config.steps
                if first and (log.count == _LOG_EVERY or last):
                    log.write(self.step)
                if on_progress is not None:
                    on_progress(Progress(self.step, self.config.steps, "training"))
                if last:
                    break
                if self.group.any(cancelled is not None and cancelled(), self.device):
                    self.save_checkpoint()
                    raise Cancelled(
                        f"Cancelled at step {self.step} of {self.config.steps}; the same call goes "
                        f"on from there ({self.folder})."
                    )
                if time.monotonic() - last_save > self.config.checkpoint_every_s:
                    self.save_checkpoint()
                    last_save = time.monotonic()
        self.save_checkpoint()

    def train_step(self, batch: BatchT) -> dict[str, Tensor]:
        """Do one optimiser step; returns the parts of the loss and other figures for the log."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.set_mode(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            losses, figures = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self.group.average_step(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._update_ema()
        return {name: value.detach() for name, value in (losses | figures).items()}

    def averaged(self) -> ModelT:
        """Put the averaged weights into the network, in evaluation mode, and return it."""
        self.model.load_state_dict(self.ema, strict=False)
        return self.model.eval()

    def _learning_rate(self) -> float:
        config = self.config
        if self.step < config.warmup_steps:
            return config.learning_rate * (self.step + 1) / config.warmup_steps
        done = (self.step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        return config.learning_rate * max(0.01, 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))

    def _state(self) -> dict[str, Tensor]:
        """Trained tensors by name, not copied."""
        return {n: value for n, value in self.model.state_dict().items() if self._trained(n)}

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        averaged: list[Tensor] = []
        present: list[Tensor] = []
        for name, value in self._state().items():
            if value.is_floating_point():
                averaged.append(self.ema[name])
                present.append(value)
            else:
                self.ema[name].copy_(value)
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(averaged, present, None)

    # -------------------------------------------------------------------------------- checkpoints

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save_checkpoint(self) -> None:
        """Write everything that the run needs to go on; an old checkpoint is replaced at once or
        not at all. Of several processes one writes.
        """
        if self.group.rank:
            return
        state = {
            "model": self._state(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "optimizer_names": self._optimizer_names(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self._checkpoint.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _optimizer_names(self, order: Sequence[str] | None = None) -> list[str]:
        """Names of the parameters in the order of the optimiser's state.

        ``order``: names in another order than that of the present model.
        """
        parameters = dict(self.model.named_parameters())
        names = list(parameters) if order is None else [n for n in order if n in parameters]
        groups = [{id(p) for p in group["params"]} for group in self.optimizer.param_groups]
        return [n for group in groups for n in names if id(parameters[n]) in group]

    def _load_checkpoint(self) -> None:
        if not self._checkpoint.is_file():
            return
        state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(dict(self.model.state_dict()) | state["model"])
        self.ema = state["ema"]
        groups = len(state["optimizer"]["param_groups"])
        if groups != len(self.optimizer.param_groups):
            raise ConfigError(
                f"{self.folder} began with another optimiser than {self.config.optimizer}; give "
                "the same one (--optimizer), or another folder for a new run."
            )
        # A checkpoint without names is in the order of its own state dict.
        names = state.get("optimizer_names") or self._optimizer_names(list(state["model"]))
        self.optimizer.load_state_dict(
            _reordered(state["optimizer"], names, self._optimizer_names())
        )
        self.step, self.seconds = state["step"], state["seconds"]
        logger.info("resumed at step %d", self.step)


class _Log:
    """Means of figures over some steps, as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start()

    def _start(self) -> None:
        self.count = 0
        self._sums: dict[str, Tensor] = {}
        self._numbers: dict[str, int] = {}
        self._since = time.monotonic()

    def add(self, figures: dict[str, Tensor]) -> None:
        """Add the figures of one step; not every step has all of them."""
        self.count += 1
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
            self._numbers[name] = self._numbers.get(name, 0) + 1

    def write(self, step: int) -> None:
        """Write the means since the last line."""
        line = {n: round(float(total) / self._numbers[n], 4) for n, total in self._sums.items()}
        seconds = (time.monotonic() - self._since) / max(1, self.count)
        line |= {"step": step, "s": round(seconds, 3)}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        logger.info("%s", json.dumps(line))
        self._start()


def _reordered(state: dict[str, Any], old: Sequence[str], new: Sequence[str]) -> dict[str, Any]:
    """Optimiser state for parameters in another order: it knows them by number only."""
    place = {name: number for number, name in enumerate(new)}
    moments = {place[old[number]]: value for number, value in state["state"].items()}
    return {"state": moments, "param_groups": state["param_groups"]}


def step_random(seed: int, step: int) -> np.random.Generator:
    """Source of chance of one step, the same whenever that step is done."""
    return np.random.default_rng((seed, step, 1))
