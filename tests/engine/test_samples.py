"""The bundled samples are complete, readable and fit their labels."""

from __future__ import annotations

import numpy as np
import pytest

from litesam.errors import ReadError
from litesam.io import label_axes, read_image, read_labels
from litesam.samples import SAMPLES, sample_labels_path, sample_path


@pytest.mark.parametrize("name", SAMPLES)
def test_image_and_labels_fit(name: str) -> None:
    sample = SAMPLES[name]
    image = read_image(sample_path(name))
    labels = read_labels(sample_labels_path(name))
    assert image.axes == sample.axes
    assert labels.axes == label_axes(sample.axes)
    spatial = tuple(
        n for n, axis in zip(image.array.shape, sample.axes, strict=True) if axis != "C"
    )
    assert labels.array.shape == spatial
    assert len(sample.scale) == len(spatial)
    values = np.unique(labels.array)
    np.testing.assert_array_equal(values, np.arange(len(values)))
    assert len(values) > 10


def test_few_megabytes_with_licences() -> None:
    folder = sample_path("nuclei").parent
    files = list(folder.iterdir())
    assert sum(file.stat().st_size for file in files) < 3_000_000
    text = (folder / "LICENSES.md").read_text(encoding="utf-8")
    for file in files:
        assert file.name == "LICENSES.md" or f"`{file.name}`" in text
    assert "Copyright (c) 2018 funalab" in text


def test_unknown_sample() -> None:
    with pytest.raises(ReadError, match="choose one of"):
        sample_path("moon")
    with pytest.raises(ReadError, match="choose one of"):
        sample_labels_path("moon")
