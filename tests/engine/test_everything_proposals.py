from __future__ import annotations

import numpy as np
import pytest

from engine.threshold_predictor import ThresholdPredictor, discs
from litesam.errors import ConfigError
from litesam.everything import choose_proposals, grid_points, resolve_config
from litesam.everything.proposals import CORE_MARGIN_PX, propose
from litesam.models.registry import get_spec
from litesam.types import Box, EverythingConfig, Tile


def test_grid_points_are_the_centres_of_equal_cells_row_by_row() -> None:
    points = grid_points(Box(10, 100, 14, 108), 2)
    assert points.tolist() == [[11, 102], [11, 106], [13, 102], [13, 106]]


def test_default_proposals_are_the_first_that_the_model_has() -> None:
    assert choose_proposals(get_spec("lite_sam")) == "auto_ppn"
    assert choose_proposals(get_spec("mobile_sam")) == "grid"


def test_proposals_that_the_model_lacks_are_refused_with_what_is_possible() -> None:
    with pytest.raises(ConfigError, match=r"'mobile_sam' cannot .* proposals='grid'.*lite_sam"):
        choose_proposals(get_spec("mobile_sam"), "auto_ppn")
    with pytest.raises(ConfigError, match="'stars' are not known; use proposals='auto_ppn' or 'g"):
        choose_proposals(get_spec("lite_sam"), "stars")


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


def _propose(kind: str, tile: Tile = WHOLE, proposals: str = "auto_ppn"):
    predictor = ThresholdPredictor()
    image, _ = discs((120, 120), CENTRES)
    embedding = predictor.encode(np.repeat(image[..., None], 3, axis=2))
    config = EverythingConfig(prompt_kind=kind, points_per_side=4)  # type: ignore[arg-type]
    config = resolve_config(predictor.spec, proposals, config)
    return propose(predictor, embedding, tile, proposals, config)


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
    grid = _propose("point", tile, "grid")
    assert grid.points[:, 1].max() <= core.x1 + CORE_MARGIN_PX
    assert len(grid.points) == 12  # columns at 15, 45, 75; the one at 105 is far


def test_no_place_means_no_prompts() -> None:
    predictor = ThresholdPredictor()
    embedding = predictor.encode(np.zeros((50, 50, 3), dtype=np.uint8))
    config = resolve_config(predictor.spec, "auto_ppn")
    assert propose(predictor, embedding, WHOLE, "auto_ppn", config) is None
