"""Optimisers: AdamW, and Muon, which learns more from as many steps of small batches."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

OptimizerName = Literal["adamw", "muon"]
_BETAS, _EPSILON = (0.9, 0.98), 1e-8
#: Of Muon, as in its authors' code.
_MOMENTUM, _ROUNDS = 0.95, 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
#: Root mean square of AdamW's steps, to which Muon's are scaled (Liu et al. 2025, Sec. 2.2).
_RMS = 0.2
#: Matrices with a side below this, such as kernels of depthwise convolutions, are left to AdamW.
_SMALLEST_SIDE = 16


def make_optimizer(
    model: nn.Module, name: OptimizerName, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Make the optimiser of a run.

    Parameters
    ----------
    model
        Its parameters that require gradients are learned. Matrices and kernels decay; biases,
        norms, scales and embeddings do not.
    name
        ``"adamw"`` or ``"muon"``.
    learning_rate, weight_decay
        Of both.
    """
    decayed, free = _by_decay(model)
    if name == "adamw":
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS)
    turned = [p for p in decayed if min(p.shape[0], p[0].numel()) >= _SMALLEST_SIDE]
    chosen = {id(p) for p in turned}
    rest = [p for p in decayed if id(p) not in chosen]
    return Muon(
        [
            {"params": turned, "weight_decay": weight_decay, "orthogonal": True},
            {"params": rest, "weight_decay": weight_decay},
            {"params": free, "weight_decay": 0.0},
        ],
        learning_rate,
    )


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised momentum of matrices; AdamW for all other parameters.

    Parameters
    ----------
    groups
        Groups of parameters with ``weight_decay``; those with ``orthogonal`` hold matrices, or
        kernels that are taken for matrices (out, in · height · width).
    lr
        Learning rate of all groups. Muon's steps have the size of AdamW's for the same rate.

    Notes
    -----
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks": the momentum of
    a matrix is replaced by the orthogonal matrix that is nearest to it, found by Newton-Schulz
    iterations of the fifth order, so that rare directions count as much as frequent ones. Scale of
    the steps: Liu et al. 2025, "Muon is scalable for LLM training", eq. 4. torch's own (2.9) takes
    no kernels, and no parameters for AdamW beside them.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Do one step along the gradients that are there."""
        del closure
        for group in self.param_groups:
            rate = group["lr"]
            learned = [p for p in group["params"] if p.grad is not None]
            if not learned:
                continue
            for p in learned:
                p.mul_(1.0 - rate * group["weight_decay"])
            (self._orthogonal if group["orthogonal"] else self._adam)(learned, rate)

    def _adam(self, parameters: list[Tensor], rate: float) -> None:
        first, second = _BETAS
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
            count = float(state["step"])
            state["mean"].lerp_(p.grad, 1.0 - first)
            state["square"].mul_(second).addcmul_(p.grad, p.grad, value=1.0 - second)
            size = (state["square"] / (1.0 - second**count)).sqrt_().add_(_EPSILON)
            p.addcdiv_(state["mean"], size, value=-rate / (1.0 - first**count))

    def _orthogonal(self, parameters: list[Tensor], rate: float) -> None:
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["mean"] = torch.zeros_like(p)
            state["mean"].lerp_(p.grad, 1.0 - _MOMENTUM)
            ahead = p.grad.lerp(state["mean"], _MOMENTUM).flatten(1)  # Nesterov
            alike[(ahead.shape[0], ahead.shape[1])].append((p, ahead))
        for (rows, columns), pairs in alike.items():
            steps = orthogonalized(torch.stack([ahead for _, ahead in pairs]))
            scale = rate * _RMS * max(rows, columns) ** 0.5
            for (p, _), step in zip(pairs, steps, strict=True):
                p.add_(step.reshape(p.shape), alpha=-scale)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return matrices whose singular values are all near 1, with the same singular vectors.

    Parameters
    ----------
    matrices
        (N, rows, columns).

    Notes
    -----
    Newton-Schulz iteration with the coefficients of Jordan et al. 2024, which are quick rather than
    exact: singular values between 0.7 and 1.2.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def _by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, matrices and kernels, and those that do not: biases, norms, scales
    and embeddings.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        embedding = "embed" in name or "token" in "".join(name.split(".")[-2:-1])
        plain = parameter.ndim >= 2 and not embedding and "scale" not in name
        (decayed if plain else free).append(parameter)
    return decayed, free
