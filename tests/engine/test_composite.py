"""Several grey images as the colours of one: pixels, laziness, and sessions that replay."""

from __future__ import annotations

import json
import pickle
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile

import litesam
from engine.threshold_predictor import CENTRES, ThresholdPredictor, discs
from litesam.errors import ImageError, ReadError, SessionError
from litesam.objects import apply_change, commit_mask
from litesam.preprocess import Composite, CompositePart, extract_plane, large, open_plane, to_rgb
from litesam.session import (
    Session,
    image_reference,
    model_reference,
    read_session,
    record_object,
    replay,
    session_from_json,
    session_to_json,
    write_session,
)
from litesam.types import NormalizeConfig, PointPrompt, Prompts

RNG = np.random.default_rng(5)
NUCLEI = RNG.integers(0, 4000, (4, 60, 50)).astype(np.uint16)
MEMBRANES = RNG.normal(0, 1, (4, 60, 50)).astype(np.float32)
LIMITS = NormalizeConfig(limits=(100.0, 2500.0), gamma=0.7)


def stack() -> Composite:
    """Membranes in red, nothing in green, nuclei in blue."""
    parts = [CompositePart(MEMBRANES, "ZYX"), None, CompositePart(NUCLEI, "ZYX", None, LIMITS)]
    return Composite(parts)


def expected(z: int) -> Any:
    """A plane of it, made as the three images alone would be."""
    red = to_rgb(MEMBRANES[z]).rgb[..., 0]
    blue = to_rgb(NUCLEI[z], LIMITS).rgb[..., 0]
    return np.stack([red, np.zeros_like(red), blue], axis=-1)


def test_each_colour_has_the_contrast_of_its_own_image() -> None:
    image = stack()
    assert (image.shape, image.axes, image.ndim, image.dtype) == ((4, 60, 50, 3), "ZYXC", 4, "u1")
    for z in range(4):
        np.testing.assert_array_equal(extract_plane(image, "ZYXC", z), expected(z))
    whole = np.asarray(image)
    np.testing.assert_array_equal(whole, np.stack([expected(z) for z in range(4)]))
    np.testing.assert_array_equal(open_plane(image, "ZYXC", 2, None).rgb, expected(2))


@pytest.mark.parametrize(
    "key",
    [
        2,
        -1,
        (1, slice(10, 20)),
        (slice(None, None, 2), slice(5, 50, 3), slice(40, 3, -2)),
        (..., 0),
        (slice(1, 3), ..., slice(0, 2)),
        (3, 7, 9, 2),
        (0, slice(9, 9)),
        (slice(3, 0, -1), 5, slice(None, None, -1), slice(None, None, -1)),
    ],
)
def test_it_is_indexed_as_an_array(key) -> None:
    found = stack()[key]
    np.testing.assert_array_equal(found, np.asarray(stack())[key])


@pytest.mark.parametrize("key", [(0, 0, 0, 0, 0), (9,), (0, 0, 0, 3)])
def test_indices_outside_are_refused(key) -> None:
    with pytest.raises(IndexError):
        stack()[key]


def test_channels_of_one_image_and_pickles() -> None:
    both = np.stack([NUCLEI, NUCLEI[:, ::-1]], axis=1)
    parts = [CompositePart(both, "ZCYX", 1), CompositePart(both, "ZCYX", 0)]
    image = pickle.loads(pickle.dumps(Composite(parts)))
    assert image.shape == (4, 60, 50, 3)
    np.testing.assert_array_equal(image[2, ..., 0], to_rgb(NUCLEI[2, ::-1]).rgb[..., 0])
    np.testing.assert_array_equal(image[2, ..., 1], to_rgb(NUCLEI[2]).rgb[..., 0])
    assert not image[2, ..., 2].any()


def test_only_the_plane_that_is_asked_for_is_read() -> None:
    read: list[int] = []

    def tell(block: Any, block_info: Any = None) -> Any:
        if block_info:
            read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(NUCLEI, chunks=(1, 60, 50)).map_blocks(tell, dtype=NUCLEI.dtype)
    image = Composite([CompositePart(lazy, "ZYX"), CompositePart(MEMBRANES, "ZYX")])
    image[2, 5:10]
    image[2, 20:30, 4:8]
    assert read == [2], "its contrast and all its regions need one reading"


def test_large_planes_are_read_by_regions(monkeypatch) -> None:
    monkeypatch.setattr(large, "LARGE_FROM_PX", 1000)
    image = Composite([CompositePart(NUCLEI[0], "YX", None, LIMITS)])
    plane = open_plane(image, "YXC", None, None)
    assert isinstance(plane, large.LargePlane)
    np.testing.assert_array_equal(
        plane.region(slice(5, 25), slice(30, 50)), np.asarray(image)[5:25, 30:50]
    )
    np.testing.assert_array_equal(image[..., 0], to_rgb(NUCLEI[0], LIMITS).rgb[..., 0])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([], "one to three"),
        ([None], "one to three"),
        ([CompositePart(NUCLEI, "ZYX")] * 4, "one to three"),
        ([CompositePart(NUCLEI, "ZYX"), CompositePart(NUCLEI[:2], "ZYX")], "of one shape"),
        ([CompositePart(NUCLEI, "ZYX"), CompositePart(NUCLEI, "TYX")], "of one shape"),
        ([CompositePart(NUCLEI, "CYX")], "say which one"),
        ([CompositePart(NUCLEI, "CYX", 4)], "not there"),
        ([CompositePart(NUCLEI, "ZYX", 0)], "not there"),
        ([CompositePart(NUCLEI, "YX")], "does not fit"),
    ],
)
def test_what_cannot_be_composed_is_refused(parts, says) -> None:
    with pytest.raises(ImageError, match=says):
        Composite(parts)


def test_other_indices_are_refused() -> None:
    with pytest.raises(ImageError, match="slices"):
        stack()[[0, 1]]


# ----------------------------------------------------------------------------------------- sessions


@pytest.fixture
def annotated(tmp_path, monkeypatch):
    """A session of a composite of two files, its folder and its labels."""
    predictor = ThresholdPredictor()
    monkeypatch.setattr("litesam.predictors.load_predictor", lambda *_, **__: predictor)
    image, _ = discs((128, 128), CENTRES)
    nuclei, membranes = image.astype(np.uint16) * 10, image.copy()  # bright in two colours
    tifffile.imwrite(tmp_path / "nuclei.tif", nuclei)
    tifffile.imwrite(tmp_path / "membranes.tif", membranes)
    parts = [
        None,
        CompositePart(membranes, "YX", path="membranes.tif"),
        CompositePart(nuclei, "YX", None, NormalizeConfig(limits=(0, 2500)), "nuclei.tif"),
    ]
    segmenter = litesam.Segmenter(Composite(parts), model=predictor, axes="YXC")
    session = Session(image_reference(segmenter), model_reference(predictor, "lite_sam"))
    labels = np.zeros((128, 128), np.int32)
    for number, (y, x) in enumerate(CENTRES, start=1):
        said = Prompts((PointPrompt(y, x),))
        result = segmenter.segment(said)
        apply_change(labels, commit_mask(labels, result.record, number=number).change)
        session = session.with_action(record_object(number, (), said, result))
    return session, tmp_path, labels


def test_a_session_is_written_read_and_replayed(annotated) -> None:
    session, folder, labels = annotated
    write_session(folder / "cells.json", session)
    read = read_session(folder / "cells.json")
    assert read.image == session.image
    assert read.image.colours[0] is None
    assert read.image.colours[2].path == "nuclei.tif"
    done = replay(read, folder=folder)
    np.testing.assert_array_equal(done.labels, labels)
    assert not done.different
    assert len(np.unique(labels)) == 4


def test_a_replay_without_its_files_is_refused(annotated) -> None:
    session, folder, _ = annotated
    with pytest.raises(SessionError, match="one file is none"):
        replay(session, folder / "nuclei.tif")
    tifffile.imwrite(folder / "membranes.tif", np.zeros((2, 128, 128), np.uint8))
    with pytest.raises(SessionError, match=r"green is uint8 of shape .*several layers of one file"):
        replay(session, folder=folder)
    (folder / "membranes.tif").unlink()
    with pytest.raises(ReadError, match="The green of the session"):
        replay(session, folder=folder)
    values = session_to_json(session)
    del values["image"]["colours"][1]["path"]
    with pytest.raises(SessionError, match="green is in no file"):
        replay(session_from_json(json.loads(json.dumps(values))), folder=folder)
    values["image"]["colours"] = [None, None, None]
    with pytest.raises(ReadError, match="needs red, green and blue"):
        session_from_json(values)
