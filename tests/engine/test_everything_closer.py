"""Small objects are looked at again in smaller tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.threshold_predictor import NORMALIZE, ThresholdPredictor, discs, same_objects
from litesam.errors import Cancelled, ConfigError
from litesam.everything import find_objects, resolve_config, segment_everything
from litesam.everything.closer import closer_tiles, usual_diameter
from litesam.models.registry import get_spec
from litesam.tiling import make_tiles
from litesam.tiling.closer import SMALL_PX
from litesam.types import Box, EverythingConfig, Proposals, TilingConfig
from litesam.volume import make_plan

CLOSER = EverythingConfig(small_objects="closer")
AS_TILED = EverythingConfig(small_objects="as_tiled")
WHOLE = TilingConfig(512, 64, 1024)
CENTRES = [(y, x) for y in range(20, 500, 60) for x in range(20, 500, 55)]


def run(predictor, image, config, tiling=WHOLE, **options):
    return segment_everything(
        image, predictor, "auto_ppn", config, normalize=NORMALIZE, tiling=tiling, **options
    )


def proposals(*boxes: tuple[float, float, float, float]) -> Proposals:
    array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    centres = (array[:, :2] + array[:, 2:]) / 2
    return Proposals(centres, array, np.ones(len(array), dtype=np.float32))


def squares(side: float, count: int) -> Proposals:
    return proposals(*[(30.0 * i, 5.0, 30.0 * i + side, 5.0 + side) for i in range(count)])


def test_small_objects_are_exact_only_if_looked_at_closer() -> None:
    image, truth = discs((512, 512), CENTRES)
    coarse, _ = run(ThresholdPredictor(), image, AS_TILED)
    assert not same_objects(coarse, truth)
    labels, records = run(ThresholdPredictor(), image, CLOSER)
    assert same_objects(labels, truth)
    assert len(records) == len(CENTRES)


def test_large_objects_are_not_looked_at_twice() -> None:
    """What was proposed is used, and nothing else is encoded."""
    image = np.zeros((512, 512), dtype=np.uint8)
    for y in (60, 190, 320, 450):
        image[y - 50 : y + 50, 100:200] = image[y - 50 : y + 50, 300:420] = 200
    predictor, other = ThresholdPredictor(), ThresholdPredictor()
    labels, _ = run(predictor, image, CLOSER)
    expected, _ = run(other, image, AS_TILED)
    np.testing.assert_array_equal(labels, expected)
    assert labels.max() == 8
    assert predictor.encoded == other.encoded == 1


def test_an_empty_plane_and_few_objects_stay_as_tiled() -> None:
    assert usual_diameter([squares(10, 3)]) is None
    image, truth = discs((512, 512), CENTRES[:2])
    predictor = ThresholdPredictor()
    run(predictor, image, CLOSER)
    run(predictor, np.zeros_like(image), CLOSER)
    assert predictor.encoded == 2
    assert truth.max() == 2


def test_size_of_the_tiles() -> None:
    """Lite-SAM sees 512 px, and enlarges by 2.7 at most."""
    spec = get_spec("lite_sam")
    large = make_tiles((1400, 1400))
    assert max(large[0].padded.size_yx) == 512

    def sides(diameter: float) -> set[int] | None:
        found = closer_tiles(spec, (1400, 1400), large, [squares(diameter, 20)])
        return None if found is None else {max(tile.padded.size_yx) for tile in found}

    assert sides(SMALL_PX) is None
    assert sides(SMALL_PX - 1) == {368}
    assert sides(18) == {256}
    assert sides(14) == sides(3) == {192}  # pixels are enlarged 2.83 times at most
    # Small planes are enlarged already.
    for side, largest in ((192, None), (256, 192)):
        whole = make_tiles((side, side))
        found = closer_tiles(spec, (side, side), whole, [squares(9, 20)])
        assert (found and max(max(t.padded.size_yx) for t in found)) == largest
    # A model that does not enlarge at all.
    plain = replace(spec, max_enlargement=1.0)
    assert closer_tiles(plain, (1400, 1400), large, [squares(9, 20)]) is None
    many = make_tiles((1400, 1400), TilingConfig(1024, 64, 1400))
    found = closer_tiles(plain, (1400, 1400), many, [squares(9, 20)])
    assert found is not None
    assert {max(tile.padded.size_yx) for tile in found} == {512}


def test_a_part_of_a_plane_stays_a_part() -> None:
    spec = get_spec("lite_sam")
    tiles = make_tiles((1400, 1400))
    part = tiles[:1]
    found = closer_tiles(spec, (1400, 1400), part, [squares(12, 20)])
    assert found is not None
    all_of_it = closer_tiles(spec, (1400, 1400), tiles, [squares(12, 20)] * len(tiles))
    assert all_of_it is not None
    assert set(found) < set(all_of_it)
    core = part[0].core
    covered = np.zeros((1400, 1400), dtype=bool)
    for tile in found:
        covered[tile.core.y0 : tile.core.y1, tile.core.x0 : tile.core.x1] = True
    assert covered[core.y0 : core.y1, core.x0 : core.x1].all()
    assert not covered[core.y1 + 256 :].any()


def test_cancelled_while_looking_at_sizes() -> None:
    image, _ = discs((512, 512), CENTRES)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 2

    predictor = ThresholdPredictor()
    with pytest.raises(Cancelled):
        run(predictor, image, CLOSER, TilingConfig(128, 24, 128), cancelled=cancelled)
    assert predictor.encoded == 2


def test_objects_of_a_region_are_found_in_its_tiles() -> None:
    """The panel gives the tiles that see a region alone."""
    from litesam.segmenter import Segmenter

    image, truth = discs((512, 512), CENTRES)
    segmenter = Segmenter(
        image, ThresholdPredictor(), normalize=NORMALIZE, tiling=TilingConfig(256, 24, 256)
    )
    first = segmenter.tiles[:1]
    records = find_objects(
        segmenter.predictor, segmenter.embedder, segmenter.plane(), first, "auto_ppn", CLOSER
    )
    inside = truth[: first[0].core.y1 - 20, : first[0].core.x1 - 20]
    whole = [n for n in np.unique(inside) if n and (truth == n).sum() == (inside == n).sum()]
    found = {truth[(r.box.y0 + r.box.y1) // 2, (r.box.x0 + r.box.x1) // 2] for r in records}
    assert set(whole) <= found
    assert all(isinstance(record.box, Box) for record in records)


def test_a_large_plane_is_not_asked_everywhere_first() -> None:
    """The tiles that were asked are not asked again; objects in all of them are found."""
    image = np.zeros((128 * 8, 128 * 8), dtype=np.uint8)
    for y in range(40, 1000, 160):
        for x in range(40, 1000, 160):
            image[y : y + 60, x : x + 60] = 200
    predictor, other = ThresholdPredictor(), ThresholdPredictor()
    tiling = TilingConfig(128, 32, 128)
    seen: list[str] = []
    labels, _ = run(
        predictor, image, CLOSER, tiling, on_progress=lambda told: seen.append(told.message)
    )
    expected, _ = run(other, image, AS_TILED, tiling)
    np.testing.assert_array_equal(labels, expected)
    assert labels.max() == 36
    assert predictor.encoded == other.encoded
    assert 0 < seen.count("how large the objects are") <= 25 < predictor.encoded


def test_what_models_do_by_themselves() -> None:
    own = resolve_config(get_spec("lite_sam"), "auto_ppn")
    assert own.small_objects == "closer"
    assert resolve_config(get_spec("mobile_sam"), "auto_ppn").small_objects == "as_tiled"
    kept = resolve_config(get_spec("lite_sam"), "auto_ppn", AS_TILED)
    assert kept.small_objects == "as_tiled"


def test_a_job_says_that_it_keeps_one_scale() -> None:
    with pytest.raises(ConfigError, match="object-diameter"):
        make_plan(np.zeros((64, 64), np.uint8), config=CLOSER)
    with pytest.raises(ConfigError, match="closer"):
        EverythingConfig(small_objects="yes")  # type: ignore[arg-type]
