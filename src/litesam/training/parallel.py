"""Training in several processes: each takes crops of its own, and all take the same steps.

They are started by torch's own launcher, on one machine or several, and find each other through the
environment that it sets (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``):
``torchrun --nproc-per-node 2 --no-python -- litesam train …``. A step's gradient is the mean over
the processes, so two of them do steps of twice the batch (data-parallel training).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from litesam.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of a run.

    Attributes
    ----------
    rank
        Number of this one; 0 writes log, checkpoints and results.
    size
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> ProcessGroup:
        """Join the processes that were started with this one; alone if there are none."""
        if processes_wanted() < 2:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def average_step(self, model: nn.Module) -> None:
        """Give every process the mean of the gradients, and of the statistics of batch norm."""
        if self.size < 2:
            return
        parameters = [p for p in model.parameters() if p.requires_grad]
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        used = used.to(parameters[0].device)
        for parameter in parameters:
            if parameter.grad is None:  # not in this process's batch
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        statistics = [
            buffer
            for module in model.modules()
            if isinstance(module, nn.BatchNorm2d) and module.training
            for buffer in module.buffers(recurse=False)
            if buffer.is_floating_point()
        ]
        self._average([*gradients, *statistics, used])
        for parameter, share in zip(parameters, used.tolist(), strict=True):
            if share == 0:  # in nobody's batch: no step, as in a single process
                parameter.grad = None

    def gather(self, number: int) -> list[int]:
        """What each process says, by rank."""
        if self.size < 2:
            return [number]
        said: list[int] = [0] * self.size
        dist.all_gather_object(said, number)
        return said

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size < 2:
            return flag
        told = torch.tensor(float(flag), device=device)
        dist.all_reduce(told)
        return bool(told > 0)

    def _average(self, tensors: Sequence[Tensor]) -> None:
        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.size
            start = 0
            for tensor in tensors:
                tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
                start += tensor.numel()


def processes_wanted() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device(name: str) -> torch.device:
    """Torch device of this process: of several on one machine each has a GPU of its own.

    Raises
    ------
    ConfigError
        If several processes were to share one GPU.
    """
    device = torch.device(name)
    if device.type != "cuda" or processes_wanted() < 2:
        return device
    if name != "cuda":
        raise ConfigError(
            f"Of several processes each takes a GPU of its own; give the device 'cuda' instead of "
            f"{name!r}."
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
