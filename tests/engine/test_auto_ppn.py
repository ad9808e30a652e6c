"""AutoPPN's output: from hand-made maps to points and boxes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from litesam.models.auto_ppn import BOX_UNITS, GROUP_BOUNDS, AutoPPN, decode_proposals
from weights import fill_network

GROUPS, SIDE, STRIDE = 3, 16, 4.0


class Maps:
    """Empty maps into which objects are put."""

    def __init__(self) -> None:
        self.confidence = torch.zeros(GROUPS, SIDE, SIDE)
        self.distances = torch.ones(GROUPS, 4, SIDE, SIDE)

    def put(
        self, group: int, row: int, column: int, confidence: float, sides: tuple[float, ...]
    ) -> Maps:
        """Sides: model pixels from the cell's centre to left, top, right and bottom."""
        self.confidence[group, row, column] = confidence
        self.distances[group, :, row, column] = torch.tensor(sides)
        return self

    def decode(self, threshold: float = 0.1, top_n: int = 50) -> tuple[Tensor, Tensor, Tensor]:
        return decode_proposals(self.confidence, self.distances, STRIDE, threshold, top_n)


SMALL = (3.0, 3.0, 3.0, 3.0)


def test_point_is_the_centre_of_the_cell_and_sides_go_out_from_it() -> None:
    points, boxes, scores = Maps().put(1, 2, 5, 0.8, (7.0, 3.0, 9.0, 5.0)).decode()
    # Cell 5 of stride 4 is pixels 20 … 23, whose middle is 21.5; row 2 is pixels 8 … 11.
    torch.testing.assert_close(points, torch.tensor([[21.5, 9.5]]))
    torch.testing.assert_close(boxes, torch.tensor([[14.5, 6.5, 30.5, 14.5]]))
    torch.testing.assert_close(scores, torch.tensor([0.8]))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, SIDE - 1), (SIDE - 1, 3)])
def test_peaks_at_the_border(row: int, column: int) -> None:
    points, _, _ = Maps().put(0, row, column, 0.5, SMALL).decode()
    assert points.tolist() == [[4 * column + 1.5, 4 * row + 1.5]]


def test_only_peaks_of_three_by_three_cells() -> None:
    maps = Maps().put(0, 5, 5, 0.9, SMALL)
    for row, column in ((4, 4), (4, 5), (5, 6), (6, 6)):
        maps.put(0, row, column, 0.7, (0.1, 0.1, 0.1, 0.1))
    maps.put(0, 5, 7, 0.6, SMALL)  # beside a 0.7 that is no peak itself
    maps.put(0, 5, 9, 0.5, SMALL)
    _, _, scores = maps.decode()
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.5]))


def test_threshold_is_not_a_proposal() -> None:
    maps = Maps().put(0, 3, 3, 0.5, SMALL).put(0, 10, 10, 0.6, SMALL)
    assert len(maps.decode(threshold=0.5)[0]) == 1
    assert len(maps.decode(threshold=0.4)[0]) == 2


def test_nothing_above_the_threshold() -> None:
    points, boxes, scores = Maps().decode()
    assert (points.shape, boxes.shape, scores.shape) == ((0, 2), (0, 4), (0,))


def test_best_first_and_at_most_top_n() -> None:
    maps = Maps()
    wanted = []
    for number in range(6):
        confidence = 0.3 + 0.1 * ((number * 5) % 6)
        maps.put(number % GROUPS, 2 + 2 * number, 13 - 2 * number, confidence, SMALL)
        wanted.append(confidence)
    wanted.sort(reverse=True)
    assert maps.decode()[2].tolist() == pytest.approx(wanted)
    assert maps.decode(top_n=4)[2].tolist() == pytest.approx(wanted[:4])


def test_same_object_of_two_groups_is_proposed_once() -> None:
    maps = Maps()
    maps.put(0, 6, 6, 0.6, (9.0, 9.0, 9.0, 9.0))
    maps.put(1, 6, 6, 0.9, (10.0, 10.0, 10.0, 10.0))
    _, boxes, scores = maps.decode()
    torch.testing.assert_close(scores, torch.tensor([0.9]))
    torch.testing.assert_close(boxes[0, 2:] - boxes[0, :2], torch.tensor([20.0, 20.0]))


def test_same_object_from_two_places_of_a_group() -> None:
    # Two peaks, three cells apart, that mean one box.
    maps = Maps().put(1, 8, 5, 0.7, (6.0, 12.0, 18.0, 12.0)).put(1, 8, 8, 0.8, (18.0, 12.0, 6, 12))
    _, boxes, scores = maps.decode()
    assert scores.tolist() == pytest.approx([0.8])
    torch.testing.assert_close(boxes, torch.tensor([[15.5, 21.5, 39.5, 45.5]]))


def test_small_object_inside_a_large_one_is_another_object() -> None:
    maps = Maps().put(0, 6, 6, 0.6, SMALL).put(2, 6, 6, 0.9, (24.0, 24.0, 24.0, 24.0))
    assert len(maps.decode()[0]) == 2


def test_neighbours_that_touch_are_two_objects() -> None:
    # Two cells apart, each 8 pixels wide.
    maps = Maps().put(0, 6, 6, 0.6, (4.0,) * 4).put(0, 6, 8, 0.9, (4.0,) * 4)
    assert len(maps.decode()[0]) == 2


def test_box_is_the_mean_of_what_cells_around_the_peak_see_of_the_object() -> None:
    # The right side is at 49.5 as the peak sees it and at 53.5 as its neighbour does.
    maps = Maps().put(1, 8, 8, 0.8, (16.0,) * 4).put(1, 8, 9, 0.4, (20.0, 16.0, 16.0, 16.0))
    _, boxes, _ = maps.decode()
    far = (0.8**2 * 49.5 + 0.4**2 * 53.5) / (0.8**2 + 0.4**2)
    torch.testing.assert_close(boxes, torch.tensor([[17.5, 17.5, far, 49.5]]))


def test_cells_that_see_another_object_or_lie_further_off_have_no_say_in_a_box() -> None:
    alone = Maps().put(1, 8, 8, 0.8, (16.0,) * 4).decode()[1]
    # One sees another object, one lies three cells off, one belongs to another group.
    maps = Maps().put(1, 8, 8, 0.8, (16.0,) * 4).put(1, 8, 9, 0.7, (2.0, 16.0, 40.0, 16.0))
    maps.put(1, 8, 11, 0.7, (26.0, 16.0, 5.0, 16.0)).put(0, 8, 8, 0.7, (15.0,) * 4)
    torch.testing.assert_close(maps.decode()[1][:1], alone)


@pytest.mark.parametrize("place", [(0, 0), (SIDE - 1, SIDE - 1), (0, 9)])
def test_nothing_outside_of_the_image_has_a_say_in_a_box(place: tuple[int, int]) -> None:
    maps = Maps().put(0, *place, 0.8, (8.0, 7.0, 6.0, 5.0))
    maps.confidence[0, 1:-1, 1:-1] += 0.01  # sides of 1 pixel: no cell sees this box
    row, column = place
    x, y = 4 * column + 1.5, 4 * row + 1.5
    torch.testing.assert_close(maps.decode()[1], torch.tensor([[x - 8, y - 7, x + 6, y + 5]]))


def test_suppressed_proposal_suppresses_nothing() -> None:
    # b overlaps a and c by more than 0.6, a and c overlap by less: a and c stay.
    maps = Maps()
    for column, confidence in ((3, 0.9), (6, 0.8), (9, 0.7)):
        maps.put(0, 8, column, confidence, (30.0, 30.0, 30.0, 30.0))
    assert maps.decode()[2].tolist() == pytest.approx([0.9, 0.7])


def test_suppressed_proposals_do_not_count_as_top_n() -> None:
    maps = Maps()
    maps.put(0, 6, 6, 0.9, (8.0,) * 4).put(1, 6, 6, 0.8, (8.0,) * 4).put(2, 12, 12, 0.5, (8.0,) * 4)
    assert maps.decode(top_n=2)[2].tolist() == pytest.approx([0.9, 0.5])


def test_network_predicts_two_cells_per_cell_and_sides_of_all_groups() -> None:
    network = fill_network(AutoPPN(embed_dim=16, width=12)).eval()
    embedding = torch.randn((2, 16, 6, 5), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        confidence, distances = network(embedding)
    assert len(GROUP_BOUNDS) == len(BOX_UNITS) == GROUPS
    assert confidence.shape == (2, GROUPS, 12, 10)
    assert distances.shape == (2, GROUPS, 4, 12, 10)
    assert (distances >= 0).all()


def test_untrained_network_proposes_nothing() -> None:
    torch.manual_seed(0)
    network = AutoPPN(embed_dim=16, width=12).eval()
    with torch.inference_mode():
        confidence, _ = network(torch.randn(1, 16, 8, 8))
    assert float(confidence.sigmoid().max()) < 0.5
