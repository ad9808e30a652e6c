"""Planes much smaller than the network's input are enlarged by a limited factor only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import litesam
from litesam.evaluation.metrics import average_precision, mask_iou
from litesam.frames import fit_longest_side
from litesam.io import read_image, read_labels
from litesam.models.registry import get_spec
from litesam.preprocess import to_rgb
from litesam.samples import sample_labels_path, sample_path
from litesam.store import tile_key
from litesam.tiling import make_tiles
from litesam.training.data import AugmentConfig, CropStream, DataSetConfig, RgbImage
from litesam.training.targets import describe_objects
from litesam.types import PointPrompt, Prompts, TilingConfig

#: Slices of the sample *embryo*, 120 × 122 px.
SLICES = (16, 22, 28)


@pytest.mark.parametrize(
    ("size", "content"),
    [
        ((120, 122), (300, 305)),
        ((1, 1), (3, 3)),
        ((205, 205), (512, 512)),
        ((256, 128), (512, 256)),
        ((1024, 512), (512, 256)),
    ],
)
def test_the_factor_has_a_limit(size: tuple[int, int], content: tuple[int, int]) -> None:
    frame = fit_longest_side(size, 512, (30, 40), max_enlargement=2.5)
    assert frame.content_yx == content
    assert frame.input_yx == (512, 512)
    points = np.array([[30.0, 40.0], [30.0 + size[0], 40.0 + size[1]]])
    np.testing.assert_allclose(frame.points_to_model(points)[1], content[::-1])
    np.testing.assert_allclose(frame.points_to_image(frame.points_to_model(points)), points)


def test_models_of_others_fill_their_input() -> None:
    assert get_spec("lite_sam").frame((60, 57)).content_yx == (162, 154)
    for name in ("mobile_sam", "efficient_sam_vitt"):
        assert max(get_spec(name).frame((60, 57)).content_yx) == 1024


def test_embeddings_of_another_limit_are_others() -> None:
    class Encoder:
        spec = get_spec("lite_sam")
        encoder_hash = "0" * 64

    plane = to_rgb(np.arange(900, dtype=np.uint16).reshape(30, 30))
    (tile,) = make_tiles(plane.shape_yx, TilingConfig())
    mine, other = Encoder(), Encoder()
    other.spec = replace(Encoder.spec, max_enlargement=None)
    assert tile_key(mine, plane, tile) != tile_key(other, plane, tile)


def test_nuclei_of_small_slices_are_found_and_clicked() -> None:
    """Enlarged 4.2 times to fill the input, AP50 was 0.12 and the click's IoU 0.56."""
    stack = np.asarray(read_image(sample_path("embryo")).array)
    truth = np.asarray(read_labels(sample_labels_path("embryo")).array)
    segmenter = litesam.Segmenter(stack, axes="ZYX", device="cpu")
    found, clicked = [], []
    for z in SLICES:
        kept = np.bincount(truth[z].ravel()) >= 20
        plane = np.where(kept[truth[z]], truth[z], 0)
        _, numbered = np.unique(plane, return_inverse=True)
        numbered = numbered.reshape(plane.shape).astype(np.int32)
        labels, _ = segmenter.everything(z)
        found.append(average_precision(numbered, labels)[0])
        objects = describe_objects(numbered)
        for label in range(1, numbered.max() + 1):
            own = np.where(numbered == label, objects.centrality, 0.0)
            y, x = np.unravel_index(own.argmax(), own.shape)
            prompts = Prompts(points=(PointPrompt(float(y), float(x)),))
            clicked.append(mask_iou(segmenter.segment(prompts, z).mask, numbered == label))
    assert np.mean(found) > 0.5
    assert np.mean(clicked) > 0.7


def test_crops_for_training_are_enlarged_as_for_inference() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[20:40, 20:40] = 1
    image = RgbImage("small", np.zeros((64, 64, 3), np.uint8), labels)
    plain = AugmentConfig(scale_range=(1.0, 1.0))

    def area(limit: float | None) -> int:
        stream = CropStream(
            [[image]],
            [DataSetConfig("a", 1.0)],
            crop_px=(512,),
            batch=(1,),
            max_enlargement=limit,
            augment=plain,
        )
        return int(np.count_nonzero(stream.crops_of(0)[0].labels))

    assert area(2.5) == 50 * 50
    assert area(None) == 160 * 160
