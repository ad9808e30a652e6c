"""Every model computes what its official code computes, from the image to the mask.

The reference values are outputs of the official code with deterministic weights. Where the kit says
by how much they move when every weight is changed in its last bit (``sensitivity``), ten times that
is taken as the noise of float32 sums in another order; elsewhere a share of their spread.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from litesam.preprocess.resize import resize_rgb
from parity.variants import VARIANTS, Loaded, Variant, digest_tensors, list_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parity.goldens import Goldens

NOISE = 10.0
#: Where no sensitivity is known: the tolerance as a share of the values' standard deviation.
SPREAD = {"embedding": 1e-3, "low_res": 3e-3}
#: Images on which a network moves more than on the one that the kit measured: largest change when
#: every weight is changed in its last bit, of three tries. Folded weights are rounded once more.
MEASURED = {
    ("edge_sam", "c"): {"embedding": 8e-4, "low_res": 4e-2, "iou": 1.4e-4, "stability": 5e-3},
}
#: Noise of the stability score: it counts pixels between two thresholds.
STABILITY = 2e-4
#: The early feature is kept in half precision: eleven bits.
HALF = 2.0**-11
#: Prompts that the predictor refuses although the official code cuts them.
REFUSED = {"points7"}


@pytest.fixture(scope="module")
def last() -> Iterator[dict[Variant, Loaded]]:
    """The variant that was loaded last; the tests come variant by variant (`conftest`)."""
    held: dict[Variant, Loaded] = {}
    yield held
    for one in held.values():
        one.file.unlink()


@pytest.fixture
def loaded(
    request: pytest.FixtureRequest,
    last: dict[Variant, Loaded],
    tmp_path_factory: pytest.TempPathFactory,
) -> Loaded:
    variant: Variant = request.param
    if variant not in last:
        for one in last.values():
            one.file.unlink()  # a gigabyte or two for the large ones
        last.clear()
        last[variant] = Loaded(variant, tmp_path_factory.mktemp("weights"))
    return last[variant]


#: Images on which models with a twin, or with an encoder that takes ten seconds, are compared in
#: the fast run. The others differ in size and prompts, and what is done about these is the same
#: code for the model in brackets, which is compared on all images.
FEW_IMAGES = {
    "sam_vit_b": {"b"},  # mobile_sam; its encoder is that of sam_hq_vit_b
    "sam_hq_vit_b": {"b", "c"},  # sam_hq_vit_tiny
    "efficient_sam_vits": {"b"},  # efficient_sam_vitt
    "edge_sam_3x": {"b"},  # edge_sam
}


def _marks(
    variant: Variant, goldens: Goldens, small: bool, image: str
) -> list[pytest.MarkDecorator]:
    few = FEW_IMAGES.get(variant.model, {image})
    marks = [pytest.mark.slow] if variant.slow or image not in few else []
    if not small and not goldens.present:
        marks.append(pytest.mark.skip(reason="the conformance kit is not beside the checkout"))
    return marks


def _cases(*endings: str) -> list[pytest.ParameterSet]:
    """``(variant, goldens, array name)`` of all sets; one skipped case where the kit is absent."""
    cases = []
    for variant in VARIANTS:
        for small, goldens in ((True, variant.small), (False, variant.complete)):
            if small and not goldens.present:
                continue
            names = goldens.index["arrays"] if goldens.present else [f"b.point1.multi{endings[0]}"]
            chosen = [name for name in names if name.endswith(endings)]
            cases += [
                pytest.param(
                    variant,
                    goldens,
                    name,
                    id=f"{variant.model}-{'small' if small else 'kit'}-{name}",
                    marks=_marks(variant, goldens, small, name.split(".")[0]),
                )
                for name in chosen
                if not REFUSED & set(name.split("."))
            ]
    return cases


def _parametrize(*endings: str) -> Any:
    return pytest.mark.parametrize(
        ("loaded", "goldens", "name"), _cases(*endings), indirect=["loaded"]
    )


def _measured(goldens: Goldens, name: str) -> dict[str, float] | None:
    return MEASURED.get((goldens.index.get("variant", ""), name.split(".")[0]))


def _tolerance(goldens: Goldens, what: str, name: str) -> float:
    known = goldens.index.get("sensitivity")
    measured = _measured(goldens, name)
    if measured is not None:
        # One more rounding of the weights moves the values by as much again, not by ten times that.
        return 3.0 * measured[what]
    if what == "stability":
        return NOISE * STABILITY
    if known is not None:
        return NOISE * float(known[what])
    return 1e-4 if what == "iou" else SPREAD[what] * goldens.index["arrays"][name]["std"]


def _assert_close(goldens: Goldens, name: str, ours: Any, atol: float, rtol: float = 0.0) -> None:
    np.testing.assert_allclose(
        goldens.cut(name, ours), goldens.arrays[name], rtol=rtol, atol=atol, err_msg=name
    )


# ---------------------------------------------------------------------------------- names and input


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.model)
def test_state_dict_has_the_entries_of_the_official_module(variant: Variant) -> None:
    ours = list_tensors(variant.model)
    assert digest_tensors(ours) == variant.small.index["state_dict_sha256"]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.model)
def test_state_dict_equals_the_manifest(variant: Variant) -> None:
    path = variant.complete.folder / "manifest.json"
    if not path.is_file():
        pytest.skip("the conformance kit is not beside the checkout")
    tensors = json.loads(path.read_text())["tensors"]
    official = {
        name: (tuple(shape), dtype.removeprefix("torch.")) for name, shape, dtype in tensors
    }
    ours = {name: (shape, dtype) for name, shape, dtype in list_tensors(variant.model)}
    assert ours == official


@_parametrize(".preprocessed")
def test_network_input(loaded: Loaded, goldens: Goldens, name: str) -> None:
    image = name.split(".")[0]
    rgb = goldens.rgb(image)
    predictor = loaded.predictor
    frame = loaded.embed(goldens, image).frame
    facts = goldens.index["images"][image]
    if predictor.spec.resize == "longest_side":
        assert frame.content_yx == tuple(facts["prompt_frame_hw"])
        # Pillow's resampling is integer arithmetic: every byte is the same.
        pixels = resize_rgb(rgb, tuple(facts["resized_hw"]))
        assert zlib.crc32(pixels.tobytes()) == facts["resized_uint8_crc32"]
    ours = predictor.preprocess(rgb, frame)[0].numpy()
    # One subtraction and one division of float32, and an interpolation for squashed images.
    _assert_close(goldens, name, ours, 1e-6 if predictor.spec.resize == "longest_side" else 2e-5)


# ----------------------------------------------------------------------------------------- features


@_parametrize(".embedding")
def test_embedding(loaded: Loaded, goldens: Goldens, name: str) -> None:
    image = name.split(".")[0]
    embedding = loaded.embed(goldens, image).features["image"]
    assert embedding.dtype == np.float32
    atol = _tolerance(goldens, "embedding", name)
    _assert_close(goldens, name, embedding, atol)
    for statistic in ("mean", "std"):
        whole = getattr(embedding, statistic)(axis=(1, 2), dtype=np.float64)
        wanted = goldens.arrays.get(f"{image}.embedding_channel_{statistic}")
        if wanted is not None:
            np.testing.assert_allclose(whole, wanted, rtol=0, atol=atol)


@_parametrize(".early_feature")
def test_early_feature(loaded: Loaded, goldens: Goldens, name: str) -> None:
    early = loaded.embed(goldens, name.split(".")[0]).features["early"]
    assert early.dtype == np.float16
    ours = early.astype(np.float32).transpose(1, 2, 0)
    _assert_close(goldens, name, ours, _tolerance(goldens, "embedding", name), rtol=HALF)


# -------------------------------------------------------------------------------------------- masks


def _stored(masks: Any, batched: bool) -> tuple[Any, Any]:
    if batched:
        return masks.logits, masks.predicted_iou
    return masks.logits[0], masks.predicted_iou[0]


@_parametrize(".low_res")
def test_logits_and_predicted_iou(loaded: Loaded, goldens: Goldens, name: str) -> None:
    image, prompt, *modes, _ = name.split(".")
    mode = ".".join(modes)
    iou_name = f"{image}.{prompt}.{mode}.iou"
    arrays = goldens.index["arrays"]
    batched = len(arrays[iou_name]["full_shape"]) == 2
    if mode == "n4":  # all four: the single mask, then the three of an ambiguous prompt
        parts = [
            _stored(loaded.decode(goldens, image, prompt, how), batched)
            for how in ("single", "multi")
        ]
        axis = 1 if batched else 0
        logits, iou = (np.concatenate(values, axis=axis) for values in zip(*parts, strict=True))
        # EdgeSAM's own quality is not what its predictor reports, see its class.
        iou_name = f"{image}.{prompt}.{mode}.stability"
    else:
        masks = loaded.decode(goldens, image, prompt, mode)
        assert masks.logits.dtype == masks.predicted_iou.dtype == np.float32
        logits, iou = _stored(masks, batched)
    _assert_close(goldens, name, logits, _tolerance(goldens, "low_res", name))
    iou_tolerance = _tolerance(goldens, "stability" if mode == "n4" else "iou", iou_name)
    np.testing.assert_allclose(iou, goldens.arrays[iou_name], rtol=0, atol=iou_tolerance)
    # All pixels by their share of positive logits; one in a thousand may flip, and more of them
    # where the logits move more.
    shares = arrays[name].get("fraction_positive")
    if shares is not None:
        ours = (logits > 0).mean(axis=(-2, -1))
        atol = 3e-3 if _measured(goldens, name) else 1e-3
        np.testing.assert_allclose(np.ravel(ours), np.ravel(shares), rtol=0, atol=atol)


def _mode(name: str) -> tuple[str, str, str]:
    image, prompt, *modes, _ = name.split(".")
    mode = {"n1": "single", "n4": "single"}.get(modes[0], ".".join(modes))
    return image, prompt, mode


@_parametrize(".full_logits")
def test_logits_of_the_original_image_size(loaded: Loaded, goldens: Goldens, name: str) -> None:
    image, prompt, mode = _mode(name)
    masks = loaded.decode(goldens, image, prompt, mode)
    rows, columns = masks.frame.resampling(masks.low_res_yx)
    full = np.stack([rows @ logits @ columns.T for logits in masks.logits[0]])
    # Interpolation averages: no more noise than the logits have.
    low_res = name.replace(".n1.", ".n4.").replace(".full_logits", ".low_res")
    _assert_close(goldens, name, full, _tolerance(goldens, "low_res", low_res))


@_parametrize(".mask")
def test_masks_of_the_original_image_size(loaded: Loaded, goldens: Goldens, name: str) -> None:
    image, prompt, mode = _mode(name)
    masks = loaded.decode(goldens, image, prompt, mode)
    wanted = goldens.mask(name)
    ours = masks.to_image()[0, : len(wanted)]
    assert ours.shape == wanted.shape
    # Two empty masks are the same.
    overlap = (ours & wanted).sum() / (ours | wanted).sum() if (ours | wanted).any() else 1.0
    # A logit next to 0 may flip; more of them lie at the border where the image was resampled.
    scale = loaded.predictor.spec.frame_px / max(wanted.shape[1:])
    assert overlap > (0.999 if scale == 1 else 0.99)
