"""With trained weights no product takes subnormal numbers: they slow a CPU a hundredfold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import litesam
from litesam.io import read_image
from litesam.samples import sample_path
from litesam.types import BoxPrompt, PointPrompt, Prompts

PRODUCTS = ("matmul", "linear", "baddbmm", "conv2d", "conv_transpose2d")


class Products(TorchDispatchMode):
    """Counts products of matrices and of kernels, and the subnormal numbers that go into them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.subnormal = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if func.overloadpacket.__name__ in PRODUCTS:
            self.count += 1
            for x in args:
                if isinstance(x, torch.Tensor):
                    size = x.abs()
                    self.subnormal += int(((size > 0) & (size < torch.finfo(x.dtype).tiny)).sum())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", ["lite_sam", "lite_sam_hq"])
@pytest.mark.parametrize("asked", ["click", "box", "everything"])
def test_shipped_weights(model: str, asked: str) -> None:
    image = read_image(sample_path("nuclei")).array
    predictor = litesam.load_predictor(model)
    segmenter = litesam.Segmenter(image, predictor)
    with Products() as products:
        if asked == "everything":
            _, records = litesam.segment_everything(image, predictor)
            assert len(records) > 5
        elif asked == "click":
            segmenter.segment(Prompts(points=(PointPrompt(60, 70),)))
        else:
            segmenter.segment(Prompts(box=BoxPrompt(20, 20, 60, 60)))
    assert products.count > 50
    assert products.subnormal == 0
