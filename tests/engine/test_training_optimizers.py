"""Muon: orthogonal steps for matrices, AdamW's own for all else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from litesam.training.optimizers import Muon, make_optimizer, orthogonalized


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),  # 32 x 27: a matrix
        nn.BatchNorm2d(32),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),  # 32 x 9: none
        nn.Conv2d(32, 24, 1),
        nn.Flatten(),
        nn.Linear(24 * 16, 20),
    )


@pytest.mark.parametrize("shape", [(5, 16, 40), (3, 40, 16), (1, 32, 32)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    found = orthogonalized(matrices)
    assert found.shape == shape
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    turned = left.mT @ found @ right.mT
    values = turned.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.3
    assert values.max() < 1.3
    off = turned - torch.diag_embed(values)
    assert off.abs().max() < 1e-4
    assert not orthogonalized(torch.zeros(shape)).any()


def test_what_is_no_matrix_learns_as_with_adamw() -> None:
    ours, theirs = network(), network()
    muon = make_optimizer(ours, "muon", 1e-2, 0.1)
    adamw = make_optimizer(theirs, "adamw", 1e-2, 0.1)
    assert isinstance(muon, Muon)
    assert sum(len(group["params"]) for group in muon.param_groups) == len(list(ours.parameters()))
    random = torch.Generator().manual_seed(2)
    for _ in range(3):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=random)
            other.grad = mine.grad.clone()
        muon.step()
        adamw.step()
    matrices = {"0.weight", "3.weight", "5.weight"}
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-7) != (name in matrices), name


def test_steps_of_matrices_have_the_size_of_adamws() -> None:
    """Of 0.2 for a rate of 1, whatever the size of the gradient."""
    for scale in (1e-6, 1.0, 1e6):
        matrix = nn.Parameter(torch.zeros(48, 96))
        muon = Muon([{"params": [matrix], "orthogonal": True}], lr=1.0)
        matrix.grad = scale * torch.randn(48, 96, generator=torch.Generator().manual_seed(3))
        muon.step()
        assert matrix.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.25)


def test_weights_decay_and_parameters_without_gradients_stay() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    muon = make_optimizer(model, "muon", 0.1, 0.5)
    model[0].weight.grad = torch.zeros_like(model[0].weight)
    muon.step()
    after = model.state_dict()
    torch.testing.assert_close(after["0.weight"], before["0.weight"] * (1 - 0.1 * 0.5))
    assert all(torch.equal(after[n], before[n]) for n in before if n != "0.weight")


def test_a_network_learns_with_it() -> None:
    model = network()
    random = torch.Generator().manual_seed(4)
    images = torch.randn(16, 3, 4, 4, generator=random)
    wanted = torch.randn(16, 20, generator=random)
    muon = make_optimizer(model, "muon", 1e-2, 0.0)
    losses = []
    for _ in range(40):
        loss = (model(images) - wanted).square().mean()
        muon.zero_grad()
        torch.autograd.backward(loss)
        muon.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
