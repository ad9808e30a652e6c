"""Lite-SAM's HQ token: what it adds, where, and that it starts from the masks without it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage

import litesam
from litesam.errors import PromptError
from litesam.evaluation.metrics import mask_iou
from litesam.io import read_image
from litesam.merge import record_from_masks
from litesam.models.lite_sam_hq import DOUBTFUL_IOU, LiteSAMHQ, build, enlarge
from litesam.models.prompt_maps import WindowPrompts
from litesam.models.registry import get_spec
from litesam.models.state_dicts import trained_beside
from litesam.models.weights import check_weights, load_state_dict
from litesam.predictors import load_predictor, make_predictor
from litesam.preprocess import to_rgb
from litesam.samples import sample_labels_path, sample_path
from litesam.types import PromptBatch
from litesam.weights import add_own_model, recognise_weights, weights_status
from weights import build_network, fill_network, filled_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = get_spec("lite_sam_hq")
CLICKS = PromptBatch(points=[[[40, 60]], [[70, 100]]], labels=[[1], [1]])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    random = np.random.default_rng(5)
    yy, xx = np.mgrid[:90, :120]
    spots = 150 * ((yy - 40) ** 2 + (xx - 60) ** 2 < 300)
    grey = (spots + random.normal(50, 8, (90, 120))).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def network() -> LiteSAMHQ:
    network: LiteSAMHQ = fill_network(build_network(SPEC)).eval()
    return network.requires_grad_(False)


def _decode(network: LiteSAMHQ, x: torch.Tensor, *, multimask: bool):
    image = network.encode(x)["image"]
    prompts = WindowPrompts(
        torch.tensor([[[100.0, 120.0]], [[300.0, 200.0]]]), torch.ones(2, 1, dtype=torch.long)
    )
    origins = torch.tensor([[4, 6], [20, 30]])
    positions = network.prompt_encoder.dense_positions()
    details = network.details(image, x)
    parts = network.decode_parts(
        image, details, positions, origins, 16, prompts, multimask=multimask
    )
    masks = slice(1, 4) if multimask else slice(0, 1)
    plain = network.decode_windows(image, positions, origins, 16, prompts, masks)
    return parts, plain, details


@pytest.mark.parametrize("multimask", [False, True])
def test_mask_before_is_the_best_one_of_lite_sam(network: LiteSAMHQ, multimask: bool) -> None:
    torch.manual_seed(0)
    (plain, refined, iou), (logits, all_iou), details = _decode(
        network, torch.randn(1, 3, 512, 512), multimask=multimask
    )
    assert (plain.shape, refined.shape) == ((2, 1, 64, 64), (2, 1, 128, 128))
    assert details.shape == (1, 16, 256, 256)
    best = all_iou.argmax(dim=1)
    torch.testing.assert_close(plain[:, 0], logits[torch.arange(2), best], rtol=0, atol=1e-4)
    torch.testing.assert_close(iou[:, 0], all_iou.amax(dim=1))
    assert refined.std() > 0.1


def test_hq_logits_are_those_of_the_plain_formula(network: LiteSAMHQ) -> None:
    torch.manual_seed(0)
    upscaled, details = torch.randn(2, 32, 8, 8), torch.randn(2, 16, 8, 8)
    token = torch.randn(2, 256)
    head = network.hq
    weights = head.mlp(token + head.token.weight).reshape(2, 2, 2, 17)  # a set for each pixel
    mixed = torch.einsum("fc,pcyx->pfyx", head.mix.weight, upscaled)
    fused = (mixed + details).clamp(min=0.0)
    wanted = torch.einsum("pijf,pfyx->pyixj", weights[..., :-1], fused)
    wanted = wanted + weights[..., -1][:, None, :, None, :]
    result = head(upscaled, details, token)
    assert result.shape == (2, 1, 16, 16)
    torch.testing.assert_close(result[:, 0], wanted.reshape(2, 16, 16), rtol=1e-4, atol=1e-4)


def test_untrained_token_says_nothing() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        (_, refined, _), _, _ = _decode(build().eval(), torch.randn(1, 3, 512, 512), multimask=True)
    assert not refined.any()


def test_details_see_single_pixels(network: LiteSAMHQ) -> None:
    """The embedding's cells are 8 pixels wide, the details 2, and all of these 2 × 2 are seen."""
    x = torch.zeros(1, 3, 512, 512)
    image = network.encode(x)["image"]
    before = network.details(image, x)
    seen = []
    for y, column in ((200, 300), (200, 301), (201, 300), (201, 301)):
        one = x.clone()
        one[0, :, y, column] = 3.0
        difference = network.details(image, one) - before
        changed = difference.abs().amax(dim=1)[0]
        peak = divmod(int(changed.argmax()), changed.shape[1])
        assert abs(peak[0] - 100) <= 2
        assert abs(peak[1] - 150) <= 2
        seen.append(difference[0, :, 98:103, 148:153])
    for first, second in combinations(seen, 2):
        assert (first - second).abs().max() > 0.1 * first.abs().max()


def test_picture_is_kept_as_it_was_and_padded_with_zeros(
    network: LiteSAMHQ, rgb: np.ndarray
) -> None:
    predictor = make_predictor(SPEC, fill_network(build_network(SPEC)), "cpu", "some hash")
    embedding = predictor.encode(rgb)
    picture = embedding.features["picture"]
    assert (picture.dtype, picture.shape) == (np.uint8, (3, 512, 512))
    frame = embedding.frame
    x = predictor.preprocess(rgb, frame)
    image = torch.from_numpy(embedding.features["image"])[None]
    with torch.inference_mode():
        details = predictor._details(embedding, image)
        torch.testing.assert_close(details, predictor._network.details(image, x))


def test_masks_of_both_modes_and_of_lite_sam(tmp_path: Path, rgb: np.ndarray) -> None:
    """The same encoder: one embedding for all; the token masks what is large or doubtful."""
    file = filled_weights("lite_sam_hq", tmp_path)
    plain = load_predictor("lite_sam", filled_weights("lite_sam", tmp_path), "cpu")
    both = load_predictor("lite_sam", file, "cpu", hq=True)
    alone = load_predictor("lite_sam", file, "cpu", hq="only")
    assert both.spec.name == alone.spec.name == "lite_sam_hq"
    assert both.encoder_hash == plain.encoder_hash
    embedding = plain.encode(rgb)
    small_and_large = PromptBatch(boxes=[[30, 50, 50, 70], [5, 5, 85, 115]])
    masks = [
        one.decode(embedding, small_and_large, multimask=False) for one in (plain, both, alone)
    ]
    assert [one.logits.shape[2:] for one in masks] == [(256, 256), (512, 512), (512, 512)]
    assert [one.low_res_yx for one in masks] == [(256, 256), (512, 512), (512, 512)]
    by_token = (masks[0].predicted_iou < DOUBTFUL_IOU) | np.array([[False], [True]])
    images = [one.to_image() for one in masks]
    for row, token in enumerate(by_token[:, 0]):
        before, after, only = (one[row, 0] for one in images)
        agreement = mask_iou(after, only if token else before)
        assert agreement == 1.0 if token else agreement > 0.97, row
        assert mask_iou(before, only) < 0.95
    for one in masks[1:]:
        np.testing.assert_allclose(one.predicted_iou, masks[0].predicted_iou, atol=1e-4)
    assert both.decode(embedding, CLICKS, multimask=True).logits.shape[1] == 1


def test_own_logits_are_mask_prompts_as_their_means_are(
    network: LiteSAMHQ, rgb: np.ndarray
) -> None:
    predictor = make_predictor(SPEC, fill_network(build_network(SPEC)), "cpu", "some hash")
    embedding = predictor.encode(rgb)
    logits = predictor.decode(embedding, CLICKS).whole().logits[:, 0]
    assert logits.shape == (2, 512, 512)
    means = logits.reshape(2, 256, 2, 256, 2).mean(axis=(2, 4))
    fine, coarse = (
        predictor.decode(embedding, replace(CLICKS, low_res_masks=one)) for one in (logits, means)
    )
    np.testing.assert_allclose(fine.logits, coarse.logits, atol=1e-4)
    assert not np.allclose(fine.logits, predictor.decode(embedding, CLICKS).logits, atol=1e-2)
    with pytest.raises(PromptError, match="Mask prompts are 128x128; 256x256"):
        predictor.decode(embedding, replace(CLICKS, low_res_masks=logits[:, ::4, ::4]))


@pytest.mark.parametrize(("cells", "chosen"), [(32, [5.0, -3.0]), (64, [5.0, 5.0])])
def test_token_takes_over_in_the_largest_window_and_where_the_mask_is_doubtful(
    cells: int, chosen: list[float]
) -> None:
    plain = torch.full((2, 1, 4 * cells, 4 * cells), -3.0)
    refined = torch.full((2, 1, 8 * cells, 8 * cells), 5.0)
    iou = torch.tensor([[DOUBTFUL_IOU - 0.01], [DOUBTFUL_IOU]])
    result = LiteSAMHQ.choose(plain, refined, iou)
    assert result.shape == refined.shape
    assert result[:, 0, 0, 0].tolist() == chosen


def test_bundled_decoder_belongs_to_the_bundled_weights(home: Path, rgb: np.ndarray) -> None:
    status = weights_status("lite_sam_hq")
    assert status.origin == "bundled"
    assert trained_beside(status.path) == get_spec("lite_sam").weights.sha256
    check_weights(SPEC, status.path)
    assert SPEC in litesam.list_models()
    plain = load_predictor("lite_sam", device="cpu")
    fine = load_predictor("lite_sam", device="cpu", hq=True)
    embedding = plain.encode(rgb)
    assert fine.encoder_hash == plain.encoder_hash
    assert fine.weights_hash != plain.weights_hash
    box = PromptBatch(boxes=[[22, 42, 58, 78]])
    yy, xx = np.mgrid[:90, :120]
    disc = (yy - 40) ** 2 + (xx - 60) ** 2 < 300
    for predictor in (plain, fine):
        record = record_from_masks(predictor.decode(embedding, box, multimask=False), 0)
        assert mask_iou(record.mask((90, 120)), disc) > 0.75


def test_a_whole_file_takes_the_place_of_the_bundled_decoder(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "trained.safetensors"
    save_file(load_state_dict(filled_weights("lite_sam_hq", tmp_path)), file)
    assert recognise_weights(file) == ("lite_sam_hq",)
    assert load_predictor("lite_sam", file, "cpu", hq="only").spec is SPEC
    add_own_model(file, "mine")
    assert load_predictor("mine", device="cpu", hq=True).spec.name == "mine"


@pytest.fixture(scope="module")
def tissue() -> tuple[np.ndarray, np.ndarray]:
    """A bundled sample and its true labels."""
    image, labels = (
        np.asarray(read_image(path("tissue")).array) for path in (sample_path, sample_labels_path)
    )
    return to_rgb(image).rgb, labels


@pytest.mark.parametrize("prompts", ["boxes", "clicks", "box and clicks"])
def test_finer_logits_lie_where_those_of_lite_sam_do(
    monkeypatch: pytest.MonkeyPatch, tissue: tuple[np.ndarray, np.ndarray], prompts: str
) -> None:
    """Windows, ends at boxes, loose parts and corrections: all as without HQ, but enlarged."""
    rgb, labels = tissue
    monkeypatch.setattr(LiteSAMHQ, "choose", staticmethod(lambda plain, *_: enlarge(plain)))
    plain = load_predictor("lite_sam", device="cpu")
    fine = load_predictor("lite_sam", device="cpu", hq=True)
    embedding = plain.encode(rgb)
    boxes, clicks = [], []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels)[:24], 1):
        inside = np.argwhere(labels == number)
        boxes.append([rows.start, columns.start, rows.stop, columns.stop])
        clicks.append(inside[[len(inside) // 2, 0, -1]])
    roomy = np.clip(np.array([[-4, -4, 4, 4]]) + boxes, 0, np.tile(labels.shape, 2))
    batch = PromptBatch(
        points=None if prompts == "boxes" else clicks,
        labels=None if prompts == "boxes" else np.ones((len(clicks), 3), dtype=np.int64),
        boxes=None if prompts == "clicks" else roomy,
    )
    coarse, finer = (one.decode_windows(embedding, batch, multimask=False) for one in (plain, fine))
    assert finer.logits.shape[-1] == 2 * coarse.logits.shape[-1]
    # A correction starts from the box of the mask so far, whose edges may be half a pixel apart.
    moved = 0 if prompts == "boxes" else 8
    assert np.abs(finer.origins - 2 * coarse.origins).max() <= moved
    same = [
        mask_iou(first[0], second[0])
        for first, second in zip(coarse.to_image(), finer.to_image(), strict=True)
    ]
    assert np.median(same) > 0.97
    assert min(same) > (0.8 if prompts == "clicks" else 0.9)
