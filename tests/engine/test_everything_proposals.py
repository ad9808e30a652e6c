from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.threshold_predictor import TILING, ThresholdPredictor, discs
from litesam.errors import ConfigError, PromptError
from litesam.everything import choose_proposals, grid_points, resolve_config
from litesam.everything.proposals import CORE_MARGIN_PX, grid_prompts, network_prompts
from litesam.everything.sources import check_boxes, share_boxes
from litesam.models.registry import MODELS, get_spec
from litesam.tiling import make_tiles
from litesam.types import PROPOSALS, Box, EverythingConfig, Proposals, Tile

if TYPE_CHECKING:
    from litesam.everything.proposals import ProposedPrompts


def test_grid_points_are_the_centres_of_equal_cells_row_by_row() -> None:
    points = grid_points(Box(10, 100, 14, 108), 2)
    assert points.tolist() == [[11, 102], [11, 106], [13, 102], [13, 106]]


def test_default_proposals_are_the_first_that_the_model_has() -> None:
    assert choose_proposals(get_spec("lite_sam")) == "auto_ppn"
    assert choose_proposals(get_spec("mobile_sam")) == "grid"


def test_proposals_that_the_model_lacks_are_refused_with_what_is_possible() -> None:
    only_grid = ThresholdPredictor(proposes=False).spec
    with pytest.raises(ConfigError, match=r"'threshold' cannot .* proposals='grid'.*lite_sam"):
        choose_proposals(only_grid, "auto_ppn")
    with pytest.raises(ConfigError, match="'stars' are not known; use proposals='auto_ppn' or 'g"):
        choose_proposals(get_spec("lite_sam"), "stars")


def test_boxes_of_the_caller_choose_the_boxes_mode_and_no_other() -> None:
    assert choose_proposals(get_spec("mobile_sam"), with_boxes=True) == "boxes"
    assert choose_proposals(get_spec("lite_sam"), "boxes", with_boxes=True) == "boxes"
    with pytest.raises(ConfigError, match="'grid' do not use them"):
        choose_proposals(get_spec("mobile_sam"), "grid", with_boxes=True)
    with pytest.raises(ConfigError, match="cannot propose prompts with 'boxes'"):
        choose_proposals(ThresholdPredictor(proposes=False).spec, with_boxes=True)


def test_every_model_that_is_listed_has_only_known_proposals() -> None:
    for spec in MODELS:
        assert spec.proposals
        assert set(spec.proposals) <= set(PROPOSALS)
        for proposals in spec.proposals:
            config = resolve_config(spec, proposals)
            assert all(getattr(config, option.name) is not None for option in fields(config))


def test_given_options_stay_and_missing_ones_are_the_models() -> None:
    spec = get_spec("mobile_sam")
    config = resolve_config(spec, "grid", EverythingConfig(stability_threshold=0.5))
    assert (config.stability_threshold, config.predicted_iou_threshold) == (0.5, 0.88)


def test_options_under_the_name_of_the_proposals_win() -> None:
    spec = ThresholdPredictor().spec
    spec = type(spec)(
        **{
            **{name: getattr(spec, name) for name in spec.__dataclass_fields__},
            "everything": {"min_visible": 0.1, "grid": {"min_visible": 0.2}},
        }
    )
    assert resolve_config(spec, "grid").min_visible == 0.2
    assert resolve_config(spec, "auto_ppn").min_visible == 0.1


CENTRES = [(20, 20), (60, 30), (100, 100)]
WHOLE = Tile(0, Box(0, 0, 120, 120), Box(0, 0, 120, 120))


def _propose(kind: str, tile: Tile = WHOLE) -> ProposedPrompts | None:
    predictor = ThresholdPredictor()
    image, _ = discs((120, 120), CENTRES)
    embedding = predictor.encode(np.repeat(image[..., None], 3, axis=2))
    found = predictor.propose(embedding, top_n=512, confidence_threshold=0.0)
    assert found is not None
    return network_prompts(found, tile, kind)


@pytest.mark.parametrize("kind", ["point", "box", "both"])
def test_network_proposals_become_points_boxes_or_both(kind: str) -> None:
    wanted = _propose(kind)
    assert wanted is not None
    assert sorted(wanted.points.tolist()) == pytest.approx(np.array(CENTRES, float), abs=1)
    assert (wanted.prompts.points is not None) == (kind != "box")
    assert (wanted.prompts.boxes is not None) == (kind != "point")
    assert wanted.multimask == (kind == "point")
    assert len(wanted.confidence) == len(wanted.prompts) == 3


def test_places_far_outside_the_core_are_left_to_the_neighbour() -> None:
    core = Box(0, 0, 120, 60)
    tile = Tile(0, core, WHOLE.padded)
    assert len(_propose("both", tile).prompts) == 2
    grid = grid_prompts(tile.padded, tile, 4)
    assert grid.points[:, 1].max() <= core.x1 + CORE_MARGIN_PX
    assert len(grid.points) == 12  # columns at 15, 45, 75; the one at 105 is far


def test_no_place_means_no_prompts() -> None:
    nothing = np.zeros((0, 2), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    assert network_prompts(Proposals(*nothing), WHOLE, "both") is None
    far = Tile(0, Box(0, 0, 40, 40), WHOLE.padded)
    assert grid_prompts(Box(80, 80, 120, 120), far, 4) is None


# ------------------------------------------------------------------------------ boxes of the caller


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        ([1, 2, 3, 4], r"shape \(4,\)"),
        ([[0, 0, 4, 4], [5, 5, 5, 9]], "Box 1: .*empty"),
        ([[0, 0, 4, np.nan]], "Box 0: .*finite"),
        ([[0, 0, 4, 4], [1]], "no numbers"),
        ("stars", "no numbers"),
    ],
)
def test_what_is_no_box_is_refused(boxes: object, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        check_boxes(boxes)  # type: ignore[arg-type]


def test_no_boxes_are_boxes() -> None:
    assert check_boxes([]).shape == (0, 4)
    assert check_boxes(np.zeros((0, 4))).shape == (0, 4)


TILES = make_tiles((300, 200), TILING)


def test_each_box_goes_to_the_one_tile_that_shows_it_best() -> None:
    boxes = check_boxes([(y, x, y + 18, x + 15) for y in range(-5, 290, 13) for x in range(0, 190)])
    shared = share_boxes(boxes, TILES)
    assert sorted(map(tuple, np.concatenate(shared))) == sorted(map(tuple, boxes))
    for tile, mine in zip(TILES, shared, strict=True):
        clipped = np.clip(mine, 0, (300, 200, 300, 200))
        assert (clipped[:, :2] >= (tile.padded.y0, tile.padded.x0)).all()
        assert (clipped[:, 2:] <= (tile.padded.y1, tile.padded.x1)).all()


def test_a_box_larger_than_a_tile_goes_to_all_tiles_that_it_touches() -> None:
    shared = share_boxes(check_boxes([(2, 2, 298, 30)]), TILES)
    holders = [tile for tile, mine in zip(TILES, shared, strict=True) if len(mine)]
    assert len(holders) > 2
    assert {tile.core.x0 for tile in holders} == {0}


def test_a_box_outside_the_plane_is_named() -> None:
    with pytest.raises(PromptError, match=r"Box 1: .*outside"):
        share_boxes(check_boxes([(0, 0, 9, 9), (400, 0, 409, 9)]), TILES)
