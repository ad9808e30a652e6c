"""Prompts as maps: where they are drawn, and that a window is a cut of the whole frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from litesam.models.lite_sam import cut_windows
from litesam.models.prompt_maps import (
    FADE_PER_SIDE,
    LOGIT_RANGE,
    MapPromptEncoder,
    WindowPrompts,
    fade_outside,
)
from litesam.types import OUTSIDE_LOGIT
from weights import fill_network

#: 128 model pixels, 16 cells of 8, maps of 64 x 64 at two model pixels.
INPUT, GRID, SIDE, SCALE = 128, 16, 64, 2
FOREGROUND, BACKGROUND, BOX = 1, 2, 3
ORIGIN = torch.zeros((1, 2), dtype=torch.int64)


class Drawn:
    """An encoder, and the maps that it drew last."""

    def __init__(self, encoder: MapPromptEncoder) -> None:
        self.encoder = encoder
        self.maps = torch.empty(0)
        encoder.mask_downscaling.register_forward_pre_hook(self._keep)

    def _keep(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.maps = inputs[0].clone()

    def embed(self, prompts: WindowPrompts, corners: Tensor = ORIGIN, side: int = SIDE) -> Tensor:
        with torch.inference_mode():
            return self.encoder.dense_windows(prompts, corners, side)

    def draw(self, prompts: WindowPrompts, corners: Tensor = ORIGIN, side: int = SIDE) -> Tensor:
        self.embed(prompts, corners, side)
        return self.maps


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    encoder = fill_network(MapPromptEncoder(embed_dim=32, input_px=INPUT, grid_side=GRID)).eval()
    return Drawn(encoder)  # type: ignore[arg-type]


def _click(x: float, y: float, label: int = 1) -> WindowPrompts:
    return WindowPrompts(torch.tensor([[[x, y]]]), torch.tensor([[label]]))


def _brightest(channel: Tensor) -> tuple[int, int]:
    row, column = divmod(int(channel.argmax()), channel.shape[1])
    return row, column


def test_maps_have_four_logits_per_cell(drawn: Drawn) -> None:
    assert drawn.encoder.mask_side == SIDE
    assert drawn.draw(_click(5, 5)).shape == (1, 4, SIDE, SIDE)
    assert drawn.embed(_click(5, 5)).shape == (1, 32, GRID, GRID)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (10, 11), (11, 10), (64, 37), (127, 127), (126, 1)])
def test_click_is_brightest_in_its_own_map_pixel(drawn: Drawn, x: int, y: int) -> None:
    maps = drawn.draw(_click(x, y))[0]
    assert _brightest(maps[FOREGROUND]) == (y // SCALE, x // SCALE)
    assert 0.9 < float(maps[FOREGROUND].max()) <= 1.0
    assert float(maps[[0, BACKGROUND, BOX]].abs().max()) == 0.0


def test_click_fades_with_distance(drawn: Drawn) -> None:
    row = drawn.draw(_click(64.5, 64.5))[0, FOREGROUND, 32]
    assert (row[32:].diff() <= 0).all()
    assert float(row[-1]) == pytest.approx(0.0, abs=1e-6)


def test_far_from_a_click_its_map_is_zero(drawn: Drawn) -> None:
    row = drawn.draw(_click(0, 0))[0, FOREGROUND, 0]
    assert float(row[-1]) == 0.0
    tiny = torch.finfo(torch.float32).tiny  # below it a product takes a hundred times as long
    assert not ((row > 0) & (row < tiny)).any()


def test_labels_choose_the_channel(drawn: Drawn) -> None:
    points = torch.tensor([[[20.0, 30.0], [80.0, 90.0], [100.0, 10.0]]])
    maps = drawn.draw(WindowPrompts(points, torch.tensor([[1, 0, -1]])))[0]
    assert _brightest(maps[FOREGROUND]) == (15, 10)
    assert _brightest(maps[BACKGROUND]) == (45, 40)
    # The padding point is nowhere.
    assert float(maps[:, 5, 50].abs().max()) < 1e-6


def test_two_clicks_on_one_place_are_as_bright_as_one(drawn: Drawn) -> None:
    once = drawn.draw(_click(40, 40))
    twice = drawn.draw(
        WindowPrompts(torch.tensor([[[40.0, 40.0], [40.0, 40.0]]]), torch.tensor([[1, 1]]))
    )
    assert float(twice.max()) <= 1.0
    assert (twice >= once - 1e-6).all()


def test_padding_points_change_nothing(drawn: Drawn) -> None:
    padded = WindowPrompts(torch.tensor([[[40.0, 50.0], [0.0, 0.0]]]), torch.tensor([[1, -1]]))
    torch.testing.assert_close(drawn.embed(padded), drawn.embed(_click(40, 50)))


@pytest.mark.parametrize(
    "box", [(10.0, 20.0, 30.0, 28.0), (11.0, 21.0, 14.0, 24.0), (40.25, 50.5, 77.5, 61.75)]
)
def test_box_covers_its_area(drawn: Drawn, box: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = box
    coverage = drawn.draw(WindowPrompts(boxes=torch.tensor([box])))[0, BOX]
    assert float(coverage.min()) >= 0.0
    assert float(coverage.max()) <= 1.0
    area = (x1 - x0) * (y1 - y0) / SCALE**2
    assert float(coverage.sum()) == pytest.approx(area, rel=1e-4)
    rows, columns = torch.nonzero(coverage, as_tuple=True)
    assert int(rows.min()) >= y0 / SCALE - 1
    assert int(rows.max()) <= y1 / SCALE + 1
    assert int(columns.min()) >= x0 / SCALE - 1
    assert int(columns.max()) <= x1 / SCALE + 1
    inside = coverage[int(y0 / SCALE) + 2 : int(y1 / SCALE) - 1]
    assert (inside.amax(dim=1) == 1.0).all()


def test_box_of_the_whole_frame(drawn: Drawn) -> None:
    coverage = drawn.draw(WindowPrompts(boxes=torch.tensor([[0.0, 0.0, INPUT, INPUT]])))[0, BOX]
    assert (coverage[1:-1, 1:-1] == 1.0).all()


def test_earlier_logits_are_scaled_and_cut(drawn: Drawn) -> None:
    logits = torch.zeros(1, SIDE, SIDE)
    logits[0, 3, 5], logits[0, 4, 6], logits[0, 7, 8] = 0.5 * LOGIT_RANGE, 100.0, -100.0
    channel = drawn.draw(WindowPrompts(mask_logits=logits))[0, 0]
    assert (channel[3, 5], channel[4, 6], channel[7, 8]) == (0.5, 1.0, -1.0)


@pytest.mark.parametrize("side", [4, 8])
def test_window_is_the_cut_of_the_whole_frame(drawn: Drawn, side: int) -> None:
    rng = np.random.default_rng(2)
    count = 5
    cells = torch.from_numpy(rng.integers(0, GRID - side + 1, (count, 2)))  # (y, x)
    points = torch.from_numpy(rng.uniform(0, INPUT, (count, 3, 2)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(-1, 2, (count, 3)))
    low = torch.from_numpy(rng.uniform(0, 60, (count, 2)).astype(np.float32))
    size = torch.from_numpy(rng.uniform(5, 60, (count, 2)).astype(np.float32))
    logits = torch.from_numpy(rng.normal(0, 8, (count, SIDE, SIDE)).astype(np.float32))
    prompts = WindowPrompts(points, labels, torch.cat((low, low + size), dim=1), logits)
    whole = drawn.embed(prompts, torch.zeros((count, 2), dtype=torch.int64))
    in_windows = WindowPrompts(
        points,
        labels,
        prompts.boxes,
        torch.stack(
            [
                logits[i, 4 * y : 4 * (y + side), 4 * x : 4 * (x + side)]
                for i, (y, x) in enumerate(cells.tolist())
            ]
        ),
    )
    corners = cells.flip(-1) * (INPUT // GRID)
    windows = drawn.embed(in_windows, corners, 4 * side)
    expected = cut_windows(whole, cells, side, images=torch.arange(count))
    assert windows.shape == (count, 32, side, side)
    # Exact but for the position arithmetic of float32.
    torch.testing.assert_close(windows, expected, rtol=0, atol=1e-4)


def test_prompts_outside_the_window_leave_it_empty(drawn: Drawn) -> None:
    corners = torch.tensor([[64, 64]])
    far = WindowPrompts(
        torch.tensor([[[5.0, 5.0]]]), torch.tensor([[1]]), torch.tensor([[2.0, 2.0, 30.0, 30.0]])
    )
    assert float(drawn.draw(far, corners, 32).abs().max()) < 1e-6


def test_length_is_the_number_of_prompts() -> None:
    points = torch.zeros((3, 2, 2))
    assert len(WindowPrompts(points, torch.zeros((3, 2)))) == 3
    assert len(WindowPrompts(boxes=torch.zeros((4, 4)))) == 4
    assert len(WindowPrompts(mask_logits=torch.zeros((2, 8, 8)))) == 2
    assert len(WindowPrompts()) == 0


def test_cut_windows_takes_the_cells_of_its_image() -> None:
    x = torch.arange(2 * 3 * 6 * 7, dtype=torch.float32).reshape(2, 3, 6, 7)
    origins, images = torch.tensor([[0, 0], [3, 4], [1, 2]]), torch.tensor([0, 1, 1])
    windows = cut_windows(x, origins, 3, images)
    for window, (row, column), image in zip(windows, origins, images, strict=True):
        assert torch.equal(window, x[image, :, row : row + 3, column : column + 3])
    assert torch.equal(cut_windows(x, origins, 3)[2], x[0, :, 1:4, 2:5])


def test_logits_fall_outside_of_a_box_and_stay_inside() -> None:
    logits = torch.full((1, 2, 20, 20), 3.0)
    # A pixel of the logits is two of the model; the box has 16 by 4, so its side is 8.
    box = torch.tensor([[10.0, 12.0, 26.0, 16.0]])
    faded = fade_outside(logits, box, 2.0)
    assert faded.shape == logits.shape
    assert torch.equal(faded[:, :, 6:8, 5:13], logits[:, :, 6:8, 5:13])
    # The centre of the next pixel is one model pixel beyond: an eighth of a side.
    assert float(faded[0, 0, 6, 13]) == pytest.approx(3.0 - FADE_PER_SIDE / 8)
    assert float(faded[0, 1, 5, 4]) == pytest.approx(3.0 - 2 * FADE_PER_SIDE / 8)
    assert float(faded.min()) == 3.0 + OUTSIDE_LOGIT  # no farther than to "certainly not"
    assert (faded[:, :, :6] < logits[:, :, :6]).all()


def test_an_empty_box_ends_the_mask_around_its_place() -> None:
    faded = fade_outside(torch.zeros(1, 1, 8, 8), torch.tensor([[8.0, 8.0, 8.0, 8.0]]), 2.0)
    assert torch.isfinite(faded).all()
    assert float(faded.max()) < 0
