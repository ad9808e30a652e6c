"""HQ: one refined mask, switched on without encoding again, and refused with a reason."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import litesam
from litesam.cli import build_parser
from litesam.cli.options import separate_hq
from litesam.embedder import Embedder
from litesam.errors import ConfigError, WeightsError
from litesam.models.hq import hq_spec, why_no_hq
from litesam.models.registry import MODELS, get_spec
from litesam.models.weights import holds_model, load_state_dict
from litesam.predictors import load_predictor
from litesam.preprocess import to_rgb
from litesam.segmenter import Segmenter
from litesam.store import MemoryStore
from litesam.tiling import make_tiles
from litesam.types import (
    BoxPrompt,
    EverythingConfig,
    NormalizeConfig,
    PointPrompt,
    PromptBatch,
    Prompts,
    TilingConfig,
)
from weights import filled_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from litesam.predictors import Predictor
    from litesam.types import Embedding

CLICK = PromptBatch(points=[[[40, 60]]], labels=[[1]])
#: A model, its HQ model, and whether the pair is slow to test.
PAIRS = [
    pytest.param("lite_sam", id="lite_sam"),
    pytest.param("mobile_sam", id="mobile_sam"),
    pytest.param("sam_vit_b", id="sam_vit_b", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def hq_file(folder: Path) -> Path:
    return filled_weights("sam_hq_vit_tiny", folder)


@pytest.fixture(scope="module")
def plain_file(folder: Path) -> Path:
    return filled_weights("mobile_sam", folder)


@pytest.fixture(scope="module")
def hq(hq_file: Path) -> Predictor:
    return load_predictor("mobile_sam", hq_file, "cpu", hq=True)


@pytest.fixture(scope="module")
def token_only(hq_file: Path) -> Predictor:
    return load_predictor("mobile_sam", hq_file, "cpu", hq="only")


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(5)
    yy, xx = np.mgrid[:90, :120]
    spots = 150 * ((yy - 40) ** 2 + (xx - 60) ** 2 < 300)
    return (spots + random.normal(50, 8, (90, 120))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def embedding(hq: Predictor, image: npt.NDArray[np.uint8]) -> Embedding:
    return hq.encode(np.repeat(image[..., None], 3, axis=2))


# -------------------------------------------------------------------------------------------- masks


def test_early_feature_is_kept_in_half_precision(embedding: Embedding) -> None:
    assert embedding.features["early"].dtype == np.float16
    assert embedding.features["early"].shape == (160, 64, 64)
    # float32 256 × 64 × 64 and float16 160 × 64 × 64
    assert embedding.nbytes == 4_194_304 + 1_310_720


@pytest.mark.parametrize("multimask", [True, False])
def test_modes_differ_in_logits_and_agree_on_quality(
    hq: Predictor, token_only: Predictor, embedding: Embedding, multimask: bool
) -> None:
    both = hq.decode(embedding, CLICK, multimask=multimask)
    alone = token_only.decode(embedding, CLICK, multimask=multimask)
    assert both.logits.shape == alone.logits.shape == (1, 1, 256, 256)
    assert np.abs(both.logits - alone.logits).max() > 0.1
    np.testing.assert_array_equal(both.predicted_iou, alone.predicted_iou)


def test_features_of_the_image_are_computed_once(
    hq: Any, embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _count(hq._network, "details", monkeypatch)
    one = replace(embedding)
    wanted = hq.decode(one, CLICK).logits
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: hq.decode(one, CLICK).logits, range(8)))
    assert len(calls) == 1
    for logits in results:
        np.testing.assert_array_equal(logits, wanted)
    # Another object may hold other numbers.
    hq.decode(replace(embedding), CLICK)
    assert len(calls) == 2


def test_features_of_few_images_are_kept(hq: Any, embedding: Embedding) -> None:
    for _ in range(6):
        hq.decode(replace(embedding), CLICK)
    assert len(hq._recent) == 4


def test_earlier_mask_is_taken_as_a_prompt(hq: Predictor, embedding: Embedding) -> None:
    first = hq.decode(embedding, CLICK)
    again = hq.decode(embedding, replace(CLICK, low_res_masks=first.logits[:, 0]))
    assert np.abs(again.logits - first.logits).max() > 0.1


# -------------------------------------------------------------------------------- shared embeddings


def _count(target: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with every call of a method."""
    calls: list[None] = []
    original: Callable[..., Any] = getattr(target, name)

    def counted(*args: Any, **keywords: Any) -> Any:
        calls.append(None)
        return original(*args, **keywords)

    monkeypatch.setattr(target, name, counted)
    return calls


@pytest.mark.parametrize("name", PAIRS)
def test_switching_hq_encodes_nothing_again(
    name: str,
    folder: Path,
    image: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompts = Prompts(points=(PointPrompt(40, 60),))
    without = Segmenter(image, name, weights=filled_weights(name, folder), device="cpu")
    plain = without.segment(prompts)
    # The HQ file may come later than the embedding.
    file = filled_weights(get_spec(name).hq or "", folder)
    with caplog.at_level(logging.INFO):
        with_hq = without.with_model(name, device="cpu", weights=file, hq=True)
    encoded = [_count(one.predictor, "encode", monkeypatch) for one in (without, with_hq)]
    assert with_hq.is_embedded()
    refined = with_hq.segment(prompts)
    assert not any(encoded)
    assert "encoded again" not in caplog.text
    assert (plain.candidates, refined.candidates) == (3, 1)
    assert with_hq.predictor.spec.name == get_spec(name).hq
    assert without.predictor.spec.name == name
    # And back again.
    np.testing.assert_array_equal(without.segment(prompts).mask, plain.mask)
    assert not any(encoded)


def test_other_encoder_weights_encode_again_and_say_so(
    folder: Path,
    plain_file: Path,
    hq_file: Path,
    image: npt.NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = load_state_dict(hq_file)
    state["image_encoder.neck.0.weight"] = state["image_encoder.neck.0.weight"] * 1.01
    torch.save(state, folder / "other_encoder.pt")
    without = Segmenter(image, "mobile_sam", weights=plain_file, device="cpu")
    without.embed()
    with caplog.at_level(logging.INFO):
        with_hq = without.with_model(
            "mobile_sam", device="cpu", weights=folder / "other_encoder.pt", hq=True
        )
    assert "other weights of the encoder" in caplog.text
    calls = _count(with_hq.predictor, "encode", monkeypatch)
    assert not with_hq.is_embedded()
    with_hq.segment(Prompts(points=(PointPrompt(40, 60),)))
    assert len(calls) == 1


def test_stored_embeddings_without_early_feature_are_computed_again(
    hq: Predictor, image: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions of the program kept the image feature alone."""
    store = MemoryStore()
    plane = to_rgb(image, NormalizeConfig())
    (tile,) = make_tiles(plane.shape_yx, TilingConfig())
    first = Embedder(hq, store).embed(plane, tile)
    (key,) = store.keys()
    entry = store.get(key)
    assert entry is not None
    store.put(key, {"image": entry["image"]}, entry.metadata)
    calls = _count(hq, "encode", monkeypatch)
    again = Embedder(hq, store).embed(plane, tile)
    assert len(calls) == 1
    np.testing.assert_array_equal(again.features["early"], first.features["early"])


# ---------------------------------------------------------------------------------- everything mode


def test_everything_mode_has_one_mask_for_each_prompt(
    hq: Predictor, image: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    original = hq.decode

    def seen(*args: Any, **keywords: Any) -> Any:
        masks = original(*args, **keywords)
        shapes.append(masks.logits.shape)
        return masks

    monkeypatch.setattr(hq, "decode", seen)
    config = EverythingConfig(
        points_per_side=3, predicted_iou_threshold=0.0, stability_threshold=0.0
    )
    labels, records = litesam.segment_everything(image, hq, "grid", config)
    assert sum(shape[0] for shape in shapes) == 9
    assert {shape[1] for shape in shapes} == {1}
    assert labels.max() == len(records)


# ------------------------------------------------------------------------------------------ choices


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_every_model_has_hq_or_a_reason(spec: litesam.ModelSpec) -> None:
    reason = why_no_hq(spec)
    assert hq_spec(spec, False) is spec
    if spec.hq is not None:
        assert reason is None
        target = hq_spec(spec, "only")
        assert target.family.startswith("hq_")
        assert target.encoder_name == spec.encoder_name
        assert target.feature_shapes == spec.feature_shapes
        return
    assert reason is not None
    assert repr(spec.name) in reason
    assert "'mobile_sam'" in reason
    assert "'sam_vit_b'" in reason
    with pytest.raises(ConfigError, match="has no HQ decoder"):
        hq_spec(spec)


def test_refusals_say_what_to_do(hq: Predictor, image: npt.NDArray[np.uint8]) -> None:
    refused = r"'edge_sam' has no HQ decoder.*choose 'lite_sam', 'mobile_sam'"
    with pytest.raises(ConfigError, match=refused):
        load_predictor("edge_sam", hq=True)
    with pytest.raises(ConfigError, match="choose False, True or 'only'"):
        load_predictor("mobile_sam", hq="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="loaded already"):
        Segmenter(image, hq, hq=True)
    with pytest.raises(ConfigError, match="loaded already"):
        litesam.segment_everything(image, hq, hq="only")


def test_weights_without_hq_head_are_refused(plain_file: Path) -> None:
    with pytest.raises(WeightsError, match=r"25 tensors missing \(mask_decoder.hf_token.weight"):
        load_predictor("mobile_sam", plain_file, "cpu", hq=True)


def test_file_may_lack_the_unused_classifier_and_nothing_else(
    folder: Path, hq_file: Path, hq: Predictor
) -> None:
    state = load_state_dict(hq_file)
    short = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(("image_encoder.norm_head.", "image_encoder.head."))
    }
    assert len(state) - len(short) == 4
    torch.save(short, folder / "short.pt")
    predictor = load_predictor("sam_hq_vit_tiny", folder / "short.pt", "cpu")
    assert predictor.encoder_hash == hq.encoder_hash
    assert holds_model(get_spec("sam_hq_vit_tiny"), short)
    del short["mask_decoder.hf_token.weight"]
    torch.save(short, folder / "shorter.pt")
    with pytest.raises(WeightsError, match="1 tensors missing"):
        load_predictor("sam_hq_vit_tiny", folder / "shorter.pt", "cpu")


def test_box_prompt_of_a_segmenter_with_hq(hq_file: Path, image: npt.NDArray[np.uint8]) -> None:
    segmenter = Segmenter(image, "mobile_sam", weights=hq_file, device="cpu", hq="only")
    result = segmenter.segment(Prompts(box=BoxPrompt(20, 40, 60, 80)))
    assert result.candidates == 1
    assert result.mask.shape == image.shape


@pytest.mark.parametrize(
    ("words", "hq_mode", "images"),
    [
        ("label a.tif -o b.tif", False, ["a.tif"]),
        ("label a.tif -o b.tif --hq", True, ["a.tif"]),
        ("label --hq a.tif -o b.tif", True, ["a.tif"]),
        ("label --hq only a.tif -o b.tif", "only", ["a.tif"]),
        ("label a.tif --hq only -o b.tif", "only", ["a.tif"]),
        ("label a.tif --hq=only -o b.tif", "only", ["a.tif"]),
    ],
)
def test_hq_on_the_command_line(words: str, hq_mode: object, images: list[str]) -> None:
    args = build_parser().parse_args(separate_hq(words.split()))
    assert args.hq == hq_mode
    assert [path.name for path in args.images] == images


def test_unknown_hq_mode_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert litesam.cli.main(["label", "a.tif", "-o", "b.tif", "--hq=best"]) == 2
    assert "'best' is no HQ mode; write --hq or --hq only" in capsys.readouterr().err
    assert separate_hq([]) == []
