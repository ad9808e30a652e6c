"""FastSAM finds the instances of the reference, and prompts choose the same of them.

The reference values are outputs of the published model code with deterministic weights; the model
was not read, only compared with. Scores and boxes of the reference and of ours differ by sums of
float32 in another order: about 4e-5 and 0.02 px here.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from litesam.models.checkpoints import read_module_tensors
from litesam.models.registry import get_spec
from litesam.models.yolov8_seg import LARGE, SMALL, YoloSeg, YoloShape, shape_of
from litesam.predictors.fast_sam import FastSamPredictor
from litesam.predictors.instances import choose_instances, image_boxes
from litesam.preprocess.letterbox import letterbox_rgb
from litesam.types import Masks, PromptBatch
from parity import variants
from parity.fill import fill_tensor
from parity.goldens import DATA, KIT, Goldens
from weights import fill_network

if TYPE_CHECKING:
    from litesam.frames import FloatArray
    from litesam.types import BoolArray, Embedding

CASES = [
    ("fastsam_s", variants.SMALL, DATA, "b"),
    *(("fastsam_s", KIT, KIT / "images", image) for image in "abc"),
    ("fastsam_x", KIT, KIT / "images", "b"),
]
#: Pixels, where the other side's boxes move in the second decimal.
BOX_PX = 0.05
SCORE = 2e-4


class Case:
    """One image, what the reference says about it and what we find."""

    def __init__(self, model: str, goldens: Goldens, image: str) -> None:
        spec = get_spec(model)
        network = YoloSeg(SMALL if model == "fastsam_s" else LARGE)
        self.predictor = FastSamPredictor(spec, fill_network(network), "cpu", "filled")  # type: ignore[arg-type]
        self.goldens, self.image = goldens, image
        self.rgb = goldens.rgb(image)
        self.embedding: Embedding = self.predictor.encode(self.rgb)

    def __getitem__(self, name: str) -> Any:
        return self.goldens.arrays[f"{self.image}.{name}"]

    def mask(self, name: str) -> BoolArray:
        return self.goldens.mask(f"{self.image}.{name}")

    @property
    def order(self) -> Any:
        """Our instance for each of the reference's: scores closer than noise may change places."""
        ours = _corners(self.embedding)
        distance = np.abs(ours[:, None] - self["boxes"][None, :, :4]).max(axis=2)
        order = distance.argmin(axis=0)
        assert len(set(order.tolist())) == len(order) == len(ours)
        return order


def _corners(embedding: Embedding) -> FloatArray:
    """(x0, y0, x1, y1) image pixels."""
    boxes = image_boxes(embedding.features["boxes"], embedding.frame)
    return boxes[:, [1, 0, 3, 2]]


def _iou(first: BoolArray, second: BoolArray) -> float:
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            case,
            id=f"{case[0]}-{'small' if case[1] == variants.SMALL else 'kit'}-{case[3]}",
            marks=pytest.mark.slow if case[0] == "fastsam_x" else [],
        )
        for case in CASES
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    model, folder, images, image = request.param
    goldens = Goldens(folder / model, images)
    if not goldens.present:
        pytest.skip("the conformance kit is not beside the checkout")
    return Case(model, goldens, image)


# ------------------------------------------------------------------------------------------ network


@pytest.mark.parametrize(
    ("kit", "shape"),
    [
        ("fastsam_s", SMALL),
        ("fastsam_x", LARGE),
        ("mobilesamv2_object_aware", replace(LARGE, prototypes=False)),
    ],
)
def test_state_dict_equals_the_manifest(kit: str, shape: YoloShape) -> None:
    path = KIT / kit / "manifest.json"
    if not path.is_file():
        pytest.skip("the conformance kit is not beside the checkout")
    with torch.device("meta"):
        state = YoloSeg(shape).state_dict()
    ours = [[name, list(t.shape), str(t.dtype).split(".")[1]] for name, t in state.items()]
    assert ours == json.loads(path.read_text())["tensors"]
    assert shape_of(state) == shape


def test_letterbox_is_bit_by_bit_that_of_the_reference(case: Case) -> None:
    facts = case.goldens.index["images"][case.image]
    frame = case.embedding.frame
    assert [1, 3, *frame.input_yx] == facts["network_input"]
    planes = np.ascontiguousarray(letterbox_rgb(case.rgb, frame).transpose(2, 0, 1))
    assert zlib.crc32(planes.tobytes()) == facts["letterboxed_uint8_crc32"]


def test_network_says_the_same_of_every_cell(case: Case) -> None:
    raw = case.predictor.look(case.rgb, case.embedding.frame)
    corners = raw.boxes[0].numpy().T
    values: dict[str, Any] = {
        "raw.boxes": np.concatenate([(corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]]),
        "raw.scores": raw.scores[0].numpy(),
        "raw.coefficients": raw.coefficients[0].numpy().T,
        "raw.protos": None if raw.prototypes is None else raw.prototypes[0].numpy(),
    }
    values |= {f"raw.level{n}": level[0].numpy() for n, level in enumerate(raw.levels)}
    compared = 0
    for what, ours in values.items():
        name = f"{case.image}.{what}"
        if name in case.goldens.arrays:
            scale = case.goldens.index["arrays"][name]["std"]
            theirs = case.goldens.arrays[name]
            np.testing.assert_allclose(
                case.goldens.cut(name, ours), theirs, rtol=0, atol=1e-3 * scale
            )
            compared += 1
    assert compared >= 2


# ---------------------------------------------------------------------------------------- instances


def test_instances_are_those_of_the_reference(case: Case) -> None:
    order = case.order
    np.testing.assert_allclose(
        _corners(case.embedding)[order], case["boxes"][:, :4], rtol=0, atol=BOX_PX
    )
    ours = case.embedding.features["scores"]
    np.testing.assert_allclose(ours[order], case["boxes"][:, 4], rtol=0, atol=SCORE)
    assert (np.diff(ours) <= 0).all()


def test_masks_of_all_instances(case: Case) -> None:
    masks = case.predictor.instances(case.embedding).take(case.order)
    areas = np.array([masks.crop(row)[1].sum() for row in range(len(masks))])
    difference = np.abs(areas - case["mask_areas"])
    assert np.mean(difference <= 2) > 0.8
    # The side of a box may fall on the other side of a line of pixel centres.
    corners = case["boxes"][:, :4]
    assert (difference <= 4 + (corners[:, 2:] - corners[:, :2]).max(axis=1)).all()
    if f"{case.image}.masks_first" not in case.goldens.arrays:
        return
    wanted = case.mask("masks_first")
    ours = masks.take(np.arange(len(wanted))).to_image()[:, 0]
    assert min(map(_iou, ours, wanted)) > 0.999


@pytest.mark.parametrize("name", ["point1", "points3", "points_all"])
def test_points_choose_the_same(case: Case, name: str) -> None:
    masks = case.predictor.decode(
        case.embedding, case.goldens.prompts(case.image, name), multimask=False
    )
    assert _iou(masks.to_image()[0, 0], case.mask(f"prompt.{name}")[0]) > 0.999


@pytest.mark.parametrize("name", ["box", "boxes4"])
def test_boxes_choose_the_same(case: Case, name: str) -> None:
    entry = case.goldens.index["prompts"][case.image][name]
    boxes = np.asarray(entry.get("boxes", [entry.get("box")]))[:, [1, 0, 3, 2]]
    masks = case.predictor.decode(case.embedding, PromptBatch(boxes=boxes), multimask=False)
    wanted = case.mask(f"prompt.{name}")  # a set: the reference forgets the order of the boxes
    for ours in masks.to_image()[:, 0]:
        assert max(_iou(ours, one) for one in wanted) > 0.999


def test_full_image_rule_and_suppression_of_made_up_cells(case: Case) -> None:
    index, arrays = case.goldens.index, case.goldens.arrays
    if index.get("synthetic", {}).get("image") != case.image:
        pytest.skip("this set holds no made-up cells for this image")
    cells = arrays["synthetic.predictions"].T
    centre, size = cells[:, :2], cells[:, 2:4]
    chosen = choose_instances(
        np.concatenate([centre - size / 2, centre + size / 2], axis=1),
        cells[:, 4],
        cells[:, 5:],
        case.embedding.frame.input_yx,
        case.predictor.settings,
    )
    features = {**case.embedding.features, **chosen}
    embedding = replace(case.embedding, features=features)
    np.testing.assert_allclose(
        _corners(embedding), arrays["synthetic.boxes"][:, :4], rtol=0, atol=1e-3
    )
    masks: Masks = case.predictor.instances(embedding)
    wanted = case.goldens.mask("synthetic.masks")
    ours = masks.to_image()[:, 0]
    assert min(map(_iou, ours[: len(wanted)], wanted)) > 0.999
    np.testing.assert_allclose(ours.sum(axis=(1, 2)), arrays["synthetic.mask_areas"], atol=3)


# ------------------------------------------------------------------------------------ its container


def test_whole_pickled_network_without_its_classes() -> None:
    folder = KIT / "fastsam_pickle"
    if not (folder / "tiny-seg.pt").is_file():
        pytest.skip("the conformance kit is not beside the checkout")
    state = read_module_tensors(folder / "tiny-seg.pt")
    tensors = json.loads((folder / "manifest.json").read_text())["tensors"]
    assert [[name, list(t.shape)] for name, t in state.items()] == [t[:2] for t in tensors]
    for name, shape, dtype in tensors:
        wanted = np.asarray(fill_tensor(name, tuple(shape), dtype))
        np.testing.assert_array_equal(state[name].float().numpy(), wanted.astype(np.float32))
    network = YoloSeg(shape_of(state)).eval()
    network.load_state_dict({name: t.float() for name, t in state.items()})
    predictor = FastSamPredictor(get_spec("fastsam_s"), network, "cpu", "tiny")
    goldens = Goldens(folder, KIT / "images")
    embedding = predictor.encode(goldens.rgb("b"))
    ours = embedding.features["prototypes"]
    np.testing.assert_allclose(
        goldens.cut("b.raw.protos", ours), goldens.arrays["b.raw.protos"], rtol=0, atol=1e-4
    )
