"""Slices are linked into the objects that they were cut from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from litesam.errors import ConfigError, ImageError
from litesam.evaluation import mean_segmentation_accuracy
from litesam.io import read_labels
from litesam.merge import Links, SliceLinker, count_overlaps
from litesam.samples import SAMPLES, sample_path
from litesam.types import LinkConfig

VOLUMES = Path(__file__).parents[3] / "shared" / "data" / "volumes"

Labels = npt.NDArray[np.int32]


def renumbered(volume: npt.NDArray[np.integer], seed: int = 0) -> Labels:
    """Every slice with numbers of its own, 1 … N in a random order."""
    random = np.random.default_rng(seed)
    slices = np.zeros(volume.shape, dtype=np.int32)
    for source, target in zip(volume, slices, strict=True):
        names = np.unique(source[source > 0])
        for name, number in zip(names, random.permutation(len(names)) + 1, strict=True):
            target[source == name] = number
    return slices


def linked(slices: Labels, config: LinkConfig | None = None) -> tuple[Labels, Links]:
    linker = SliceLinker(config)
    for labels in slices:
        linker.add(labels)
    links = linker.finish()
    parts = [links.relabel(i, labels) for i, labels in enumerate(slices)]
    return np.array(parts, dtype=np.int32).reshape(slices.shape), links


def same_partition(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> bool:
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).T
    a, b = pairs.T
    return len(set(a)) == len(pairs) == len(set(b)) and bool(((a == 0) == (b == 0)).all())


def rows(*pictures: str) -> Labels:
    """Slices of one row, a digit a pixel."""
    return np.array([[[int(c) for c in picture]] for picture in pictures], dtype=np.int32)


@st.composite
def balls(draw: st.DrawFn) -> npt.NDArray[np.integer]:
    """Up to seven balls with two pixels of background between any two of them."""
    depth = draw(st.integers(4, 14))
    volume = np.zeros((depth, 40, 44), dtype=np.int32)
    z, y, x = np.indices(volume.shape)
    for name in range(1, 1 + draw(st.integers(0, 7))):
        radius = draw(st.floats(2.0, 7.0))
        centre = [draw(st.floats(0, size - 1)) for size in volume.shape]
        near = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2
        if not volume[near <= (radius + 2) ** 2].any():
            volume[near <= radius**2] = name
    return volume


@settings(max_examples=60, deadline=None)
@given(balls(), st.integers(0, 99))
def test_balls_cut_into_slices_come_back(volume: npt.NDArray[np.integer], seed: int) -> None:
    result, links = linked(renumbered(volume, seed))
    assert same_partition(result, volume)
    assert links.count == len(np.unique(volume)) - 1
    assert links.gaps == ()
    for number in range(1, links.count + 1):
        used = np.flatnonzero((result == number).any(axis=(1, 2)))
        assert links.extents[number].tolist() == [used[0], used[-1]]


@settings(max_examples=30, deadline=None)
@given(balls(), st.integers(0, 99), st.integers(0, 14), st.sampled_from([0.0, 5.0]))
def test_a_saved_linker_goes_on_as_if_nothing_had_happened(
    volume: npt.NDArray[np.integer], seed: int, pause: int, max_shift_px: float
) -> None:
    config = LinkConfig(max_gap=2, max_shift_px=max_shift_px, waist=0.7)
    slices = renumbered(volume, seed)
    slices[len(slices) // 2] = 0  # a gap
    linker = SliceLinker(config)
    for labels in slices[:pause]:
        linker.add(labels)
    linker = SliceLinker.from_state(config, linker.state())
    for labels in slices[pause:]:
        linker.add(labels)
    resumed, whole = linker.finish(), linked(slices, config)[1]
    assert [ids.tolist() for ids in resumed.ids] == [ids.tolist() for ids in whole.ids]
    assert resumed.gaps == whole.gaps
    assert resumed.extents.tolist() == whole.extents.tolist()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["iou", "smaller"]),
    st.sampled_from([0.0, 4.0]),
    st.integers(0, 2),
)
def test_numbers_within_a_slice_do_not_matter(
    seed: int, measure: str, max_shift_px: float, max_gap: int
) -> None:
    # Random patches, with splits, merges and ties.
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(6, 18, 18)), (0.5, 1.5, 1.5)) > 0.02
    slices = np.array([ndimage.label(part)[0] for part in noise], dtype=np.int32)
    config = LinkConfig(
        measure=measure, max_gap=max_gap, max_shift_px=max_shift_px, min_overlap=0.2
    )
    first, second = linked(slices, config)[0], linked(renumbered(slices, seed), config)[0]
    assert same_partition(first, second)


def test_one_cross_section_goes_on_as_one_object() -> None:
    # 1 and 2 touch in the second slice, and are apart again in the third.
    result, links = linked(rows("1110022", "1111111", "2220011"))
    assert result.tolist() == rows("1110022", "1111111", "1110022").tolist()
    # 2 was missing: its gap is that of its own pixels.
    assert [(gap.above, gap.below, gap.id) for gap in links.gaps] == [(0, 2, 2)]


def test_a_split_goes_on_in_the_larger_part() -> None:
    result, _ = linked(rows("11111110", "22220011", "22220011"))
    assert result.tolist() == rows("11111110", "11110022", "11110022").tolist()


def test_a_chain_of_touching_objects_stays_apart() -> None:
    # Each touches two below it, brick by brick.
    result, _ = linked(rows("1122334455", "0112233445", "1122334455"))
    assert len(np.unique(result[:, 0, 5])) == 1
    assert links_are_one_to_one(result)


def links_are_one_to_one(result: Labels) -> bool:
    return all(
        ndimage.label(labels == name)[1] == 1
        for labels in result
        for name in np.unique(labels[labels > 0])
    )


def test_an_object_goes_on_behind_a_gap_but_not_behind_a_longer_one() -> None:
    slices = rows("110", "000", "220", "000", "000", "110")
    slices[2][slices[2] == 2] = 1
    result, links = linked(slices, LinkConfig(max_gap=1))
    assert result[:, 0, 0].tolist() == [1, 0, 1, 0, 0, 2]
    (gap,) = links.gaps
    assert (gap.above, gap.below, gap.label_above, gap.label_below, gap.id) == (0, 2, 1, 1, 1)
    assert links.gaps_of(1) == (gap,)
    assert links.gaps_of(2) == ()
    assert linked(slices, LinkConfig(max_gap=2))[1].count == 1
    assert linked(slices, LinkConfig(max_gap=0))[1].count == 3


def test_who_is_seen_is_not_waited_for() -> None:
    # In the third slice both parts fit what was seen in the first; one only may have it.
    result, links = linked(rows("1111", "1111", "1102"), LinkConfig(max_gap=3))
    assert result.tolist() == rows("1111", "1111", "1102").tolist()
    assert links.gaps == ()


def test_objects_in_too_few_slices_are_dropped_and_ids_stay_dense() -> None:
    slices = rows("1020", "0010", "0010", "0000")
    result, links = linked(slices, LinkConfig(min_extent=3))
    assert result.tolist() == rows("0010", "0010", "0010", "0000").tolist()
    assert links.extents.tolist() == [[-1, -1], [0, 2]]
    assert [ids.tolist() for ids in links.ids] == [[0, 0, 1], [0, 1], [0, 1], [0]]


def test_iou_measures_the_change_of_size_too() -> None:
    slices = rows("1111", "1000")
    assert linked(slices, LinkConfig(measure="smaller"))[1].count == 1
    assert linked(slices, LinkConfig(measure="iou"))[1].count == 2
    assert linked(slices, LinkConfig(measure="iou", min_overlap=0.25))[1].count == 1


def test_moving_cells_are_tracked_by_shape_and_distance() -> None:
    slices = np.zeros((5, 20, 80), dtype=np.int32)
    for t, labels in enumerate(slices):  # 8 px wide, 9 px to the right in every frame: no overlap
        labels[2:8, 9 * t : 9 * t + 8] = 1
        labels[12:18, 9 * t + 20 : 9 * t + 28] = 2
    assert linked(slices)[1].count == 10
    result, links = linked(slices, LinkConfig(max_shift_px=12.0))
    assert same_partition(result, slices)
    assert links.count == 2


def test_a_cell_that_stands_in_its_neighbours_old_place_is_not_its_neighbour() -> None:
    slices = np.zeros((2, 10, 50), dtype=np.int32)
    for number, x in enumerate((0, 10, 20), start=1):
        slices[0, 1:9, x : x + 9] = number
        slices[1, 1:9, x + 6 : x + 15] = number  # closer to where the next one was
    assert not same_partition(linked(slices, LinkConfig(min_overlap=0.2))[0], slices)
    config = LinkConfig(min_overlap=0.2, max_shift_px=30.0)
    assert same_partition(linked(slices, config)[0], slices)


def test_stacked_objects_are_cut_at_their_waist() -> None:
    slices = rows("11100", "11111", "11110", "01000", "11100", "11111", "00110")
    assert linked(slices)[1].count == 1
    result, links = linked(slices, LinkConfig(waist=0.5))
    assert result[:, 0, 2].tolist() == [1, 1, 1, 0, 2, 2, 2]
    assert links.extents.tolist() == [[-1, -1], [0, 2], [3, 6]]


def test_a_long_stack_is_linked_in_the_memory_of_its_window() -> None:
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[10:20, 10:20] = 1
    linker = SliceLinker(LinkConfig(max_gap=2))
    for _ in range(2000):
        linker.add(labels)
    assert linker.finish().count == 1
    state = linker.state()
    assert state["window"].shape == (3, 64, 64)
    assert sum(array.nbytes for array in state.values()) < 3 * 64 * 64 * 4 + 2000 * 50


def test_nothing_links_to_nothing() -> None:
    for config in (LinkConfig(), LinkConfig(waist=0.5, max_shift_px=3.0)):
        links = SliceLinker(config).finish()
        assert (links.count, links.ids, links.gaps) == (0, (), ())
        _, links = linked(np.zeros((3, 4, 4), dtype=np.int32), config)
        assert [ids.tolist() for ids in links.ids] == [[0], [0], [0]]


def test_large_planes_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    slices = random.integers(0, 5, (4, 37, 23), dtype=np.int32)
    config = LinkConfig(min_overlap=0.1)
    whole = linked(slices, config)[0]
    monkeypatch.setattr("litesam.merge.overlaps._PIXELS_AT_ONCE", 50)
    np.testing.assert_array_equal(linked(slices, config)[0], whole)


@pytest.mark.parametrize("max_gap", [0, 2])
def test_counted_overlaps_link_like_pixels(max_gap: int) -> None:
    """Counted elsewhere, in strips of any height, and linked without the pixels."""
    slices = np.random.default_rng(3).integers(0, 5, (6, 37, 23), dtype=np.int32)
    slices[2] = 0
    config = LinkConfig(min_overlap=0.1, max_gap=max_gap, waist=0.5)
    linker = SliceLinker(config)
    for index, labels in enumerate(slices):
        earlier = slices[max(0, index - max_gap - 1) : index][::-1]
        overlaps = [
            count_overlaps((above[row : row + 5], labels[row : row + 5]) for row in range(0, 37, 5))
            for above in earlier
        ]
        linker.add_counted(np.bincount(labels.ravel()), overlaps)
    _, expected = linked(slices, config)
    got = linker.finish()
    assert [ids.tolist() for ids in got.ids] == [ids.tolist() for ids in expected.ids]
    assert got.gaps == expected.gaps
    with pytest.raises(ConfigError, match="2 overlaps were given"):
        SliceLinker(config).add_counted(np.array([3, 4]), overlaps[:1] * 2)
    with pytest.raises(ConfigError, match="in pixels"):
        SliceLinker(LinkConfig(max_shift_px=3)).add_counted(np.array([3, 4]), [])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((2, 2, 2), int), "(H, W) integers"),
        (np.zeros((2, 2)), "(H, W) integers"),
        (np.zeros((3, 2), int), "one shape"),
        (np.full((2, 2), -1), "from -1 to -1"),
        (np.full((2, 2), 9), "from 9 to 9"),
    ],
)
def test_what_is_no_slice_is_refused(labels: npt.NDArray[np.integer], words: str) -> None:
    linker = SliceLinker()
    linker.add(np.zeros((2, 2), dtype=np.uint8))
    with pytest.raises(ImageError) as caught:
        linker.add(labels)
    assert words in str(caught.value)
    assert len(linker) == 1


def test_a_state_of_other_parameters_is_refused() -> None:
    linker = SliceLinker(LinkConfig(max_gap=3))
    with pytest.raises(ConfigError, match="other parameters"):
        SliceLinker.from_state(LinkConfig(max_gap=2), linker.state())


# ---------------------------------------------------------------------------- real volumes

#: Volume, parameters, smallest mSA in 3-D: with all slices of the truth given, and with every
#: fourth one alone (coarse steps).
REAL = [
    ("embryo16", LinkConfig(), 1.0, 1.0),
    ("fib25", LinkConfig(min_overlap=0.3), 0.95, 0.7),
    ("synthetic_nuclei", LinkConfig(max_gap=0, min_overlap=0.7, waist=0.8), 0.95, 0.5),
]


@pytest.mark.parametrize(("name", "config", "fine", "coarse"), REAL, ids=[r[0] for r in REAL])
def test_true_slices_of_real_volumes_come_back(
    name: str, config: LinkConfig, fine: float, coarse: float
) -> None:
    path = VOLUMES / f"{name}_labels.tif"
    if name == "embryo16":
        path = sample_path("embryo").with_name(SAMPLES["embryo"].labels_file)
    elif not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    truth = np.asarray(read_labels(path).array)
    for step, least in ((1, fine), (4, coarse)):
        result, _ = linked(renumbered(truth[::step]), config)
        assert mean_segmentation_accuracy(truth[::step], result) >= least
