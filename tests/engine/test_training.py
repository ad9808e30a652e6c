"""Targets, losses and the training loop, small enough for every run of the suite."""

import csv
import json
import math
import os
import shutil
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from scipy import ndimage

import litesam
from litesam.cli import main
from litesam.errors import Cancelled, ConfigError
from litesam.io import read_labelled_folder
from litesam.models.auto_ppn import BOX_UNITS
from litesam.models.registry import get_spec
from litesam.models.weights import load_network
from litesam.training.batches import BatchStream, GroupTensors
from litesam.training.data import (
    AugmentConfig,
    CropStream,
    DataSetConfig,
    RgbImage,
    load_folder,
    warp,
)
from litesam.training.export import export_weights
from litesam.training.finetune import finetune
from litesam.training.lite_sam import (
    TrainConfig,
    Trainer,
    click_loss,
    corrected_boxes,
    correction_clicks,
    unheard,
)
from litesam.training.losses import (
    box_loss,
    confidence_loss,
    mask_iou,
    mask_loss,
    presence_loss,
)
from litesam.training.prompts import make_prompts
from litesam.training.synthetic import KINDS, SyntheticSet
from litesam.training.targets import describe_objects, jitter_box, proposal_targets, sample_point
from litesam.types import PointPrompt, Prompts


@pytest.fixture
def labels():
    labels = np.zeros((32, 32), np.int32)
    labels[4:13, 4:13] = 1  # 9×9, centre (8, 8)
    labels[4:13, 13:20] = 2  # touches object 1
    return labels


class TestTargets:
    def test_centrality_is_one_at_the_centre_and_low_at_the_edge(self, labels):
        objects = describe_objects(labels)
        assert objects.centrality[8, 8] == 1.0
        # nine pixels wide: ring distances 1 … 5 of 5
        assert objects.centrality[4, 8] == pytest.approx(1 / 5)
        assert objects.centrality[0, 0] == 0.0

    def test_touching_objects_have_an_edge_between_them(self, labels):
        objects = describe_objects(labels)
        assert objects.centrality[8, 12] == pytest.approx(1 / 5)
        assert objects.centrality[8, 13] == pytest.approx(1 / 4)

    def test_boxes_are_half_open(self, labels):
        np.testing.assert_array_equal(
            describe_objects(labels).boxes, [[4, 4, 13, 13], [4, 13, 13, 20]]
        )

    def test_objects_cut_by_the_crop_keep_their_peak_inside(self):
        labels = np.zeros((16, 16), np.int32)
        labels[:8, :8] = 1
        centrality = describe_objects(labels).centrality
        assert np.unravel_index(centrality.argmax(), (16, 16)) == (3, 3)

    def test_no_objects(self):
        objects = describe_objects(np.zeros((8, 8), np.int32))
        assert objects.boxes.shape == (0, 4)
        targets = proposal_targets(objects, 4, 512, exhaustive=True)
        assert not targets.confidence.any()
        assert targets.valid.all()

    def test_proposals_stand_in_the_group_of_the_object_size(self, labels):
        objects = describe_objects(labels)
        small = proposal_targets(objects, 4, 512, exhaustive=True)
        assert small.confidence[0].max() == 1.0
        assert not small.confidence[1:].any()
        # The same objects are "large" in an input of 32 pixels.
        large = proposal_targets(objects, 4, 32, exhaustive=True)
        assert large.confidence[2].max() == 1.0
        assert not large.confidence[:2].any()

    def test_sides_point_to_the_box_from_the_cell_centre(self, labels):
        targets = proposal_targets(describe_objects(labels), 4, 512, exhaustive=True)
        # cell (2, 2) covers pixels 8 … 11, its centre is 9.5
        np.testing.assert_allclose(targets.sides[:, 2, 2], [5.5, 5.5, 3.5, 3.5])

    def test_unlabelled_background_is_ignored(self, labels):
        targets = proposal_targets(describe_objects(labels), 4, 512, exhaustive=False)
        assert targets.valid[:, 2, 2].all()
        assert not targets.valid[:, 7, 7].any()

    def test_clicks_lie_on_the_object(self, labels):
        random = np.random.default_rng(0)
        objects = describe_objects(labels)
        for _ in range(50):
            y, x = sample_point(objects, 2, random)
            assert labels[int(y), int(x)] == 2

    def test_jittered_boxes_stay_in_the_crop_and_are_not_empty(self):
        random = np.random.default_rng(0)
        for _ in range(100):
            box = jitter_box(np.array([0, 0, 2, 32]), 32, random)
            assert (box[2:] > box[:2]).all()
            assert box.min() >= 0
            assert box[:2].max() < 32


class TestLosses:
    def test_perfect_masks_cost_nothing_and_inverted_ones_much(self):
        target = torch.zeros(1, 1, 8, 8)
        target[..., 2:6, 2:6] = 1
        logits = (target * 2 - 1) * 20
        assert mask_loss(logits, target).item() < 0.01
        assert mask_loss(-logits, target).item() > 10
        assert mask_iou(logits, target).item() == 1.0
        assert mask_iou(-logits, target).item() == 0.0

    def test_only_the_hardest_background_counts(self):
        target = torch.zeros(1, 3, 40, 40)
        logits = torch.full((1, 3, 40, 40), -20.0)
        logits[0, 0, :8, :8] = 20.0  # 64 wrong cells: exactly those are mined
        loss = confidence_loss(logits, target, torch.ones_like(target, dtype=torch.bool))
        assert loss.item() == pytest.approx(1 / 3, abs=1e-4)

    def test_ignored_cells_cost_nothing(self):
        target = torch.zeros(1, 3, 8, 8)
        logits = torch.full_like(target, 20.0)
        nothing = torch.zeros_like(target, dtype=torch.bool)
        assert confidence_loss(logits, target, nothing).item() == 0.0
        assert presence_loss(logits, target, nothing).item() == 0.0

    def test_group_without_cells_of_its_own_is_held_down_by_other_groups(self):
        # Not exhaustive: only cells of objects count, and none is of the first group.
        target = torch.zeros(1, 3, 4, 4)
        target[0, 1, 0, 0] = 1.0
        valid = (target.amax(dim=1, keepdim=True) > 0).expand_as(target)
        wrong = torch.full_like(target, 20.0)
        right = torch.where(target > 0, 20.0, -20.0)
        assert confidence_loss(wrong, target, valid).item() == pytest.approx(0.5 / 3, abs=1e-4)
        assert confidence_loss(right, target, valid).item() == pytest.approx(0.0, abs=1e-4)

    def test_boxes_are_compared_in_units_of_their_group(self):
        sides = torch.full((1, 4, 2, 2), 100.0)
        groups = torch.full((1, 2, 2), 1)
        distances = torch.full((1, 3, 4, 2, 2), 100.0)
        central = torch.ones(1, 2, 2, dtype=torch.bool)
        assert box_loss(distances, sides, groups, central).item() == 0.0
        distances[:, 1] += BOX_UNITS[1]
        # smooth L1 with beta 0.1 of an error of one unit, and half of what is missing to IoU 1
        iou = 200**2 / (200 + 2 * BOX_UNITS[1]) ** 2
        expected = 0.95 + 0.5 * (1 - iou)
        assert box_loss(distances, sides, groups, central).item() == pytest.approx(expected)

    def test_corrections_fall_into_the_error(self):
        target = torch.zeros(2, 16, 16)
        target[:, 4:12, 4:12] = 1
        logits = target * 20 - 10
        logits[0, 4:12, 8:12] = -10  # missed
        logits[1, 0:2, 0:2] = 10  # too much
        torch.manual_seed(0)
        points, signs = correction_clicks(logits, target, _windows((1, 2), (1, 2)), stride=8)
        assert signs.tolist() == [[1], [0]]
        # Two model pixels per pixel; the window begins at cell (1, 2) of a crop that begins at 40.
        x, y = ((points[:, 0] - 40 - torch.tensor([16.0, 8.0]) - 0.5) / 2).unbind(-1)
        assert 8 <= x[0] < 12
        assert 4 <= y[0] < 12
        assert max(x[1], y[1]) < 2

    def test_box_of_an_object_that_is_corrected(self):
        logits = torch.full((3, 16, 16), -5.0)
        logits[0, 3:5, 6:10] = 5
        logits[1, 3:5, 6:10] = 5
        asked = _windows((0, 0), (0, 0), (0, 0))
        points = torch.tensor([[[55.0, 47.0]], [[70.0, 41.0]], [[70.0, 41.0]]])
        labels = torch.tensor([[1], [1], [0]])
        before = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(3, 4)
        boxes = corrected_boxes(logits, asked, 8, points, labels, before)
        # Columns 6 … 9 are model pixels 12 … 20 of the window, which begins at 40.
        assert boxes[0].tolist() == [52, 46, 60, 50]
        assert boxes[1].tolist() == [52, 40.5, 70.5, 50]  # and holds the click on the object
        assert boxes[2].tolist() == [1, 2, 3, 4]  # no mask: the box of before
        whole = corrected_boxes(logits, asked, 8, points, labels, None)
        assert whole[2].tolist() == [40, 40, 72, 72]

    def test_clicks_are_heard_where_the_logits_agree_with_them(self):
        logits = torch.full((2, 16, 16), -4.0)
        logits[:, 4:8, 4:8] = 4
        asked = _windows((0, 0), (0, 0))
        inside, outside, elsewhere = (48.9, 47.6), (60.0, 60.0), (200.0, 200.0)
        points = torch.tensor([[inside, outside], [inside, elsewhere]])
        agreed = torch.tensor([[1, 0], [1, 1]])
        assert unheard(logits, points, agreed, asked, 8) == 0
        small = click_loss(logits, points, agreed, asked, 8)
        torch.testing.assert_close(small, torch.full((2,), math.log1p(math.exp(-4))))
        assert unheard(logits, points, torch.tensor([[1, 0], [0, 1]]), asked, 8) == 0.5
        large = click_loss(logits, points, torch.tensor([[0, 0], [0, 1]]), asked, 8)
        assert large[0] == pytest.approx((4.01815 + 0.01815) / 2, abs=1e-4)
        assert large[1] == pytest.approx(4.01815, abs=1e-4)  # the click elsewhere does not count


def _windows(*origins):
    """Windows of a crop that begins at model pixel 40, nothing else."""
    count = len(origins)
    return GroupTensors(
        images=torch.zeros(count, dtype=torch.long),
        origins=torch.tensor(origins),
        target=torch.zeros(0),
        points=torch.zeros(count, 1, 2),
        labels=torch.ones(count, 1, dtype=torch.long),
        boxes=None,
        offset_xy=(40, 40),
    )


class TestPrompts:
    def test_windows_hold_small_objects_and_stay_in_the_crop(self):
        labels = np.zeros((256, 256), np.int32)
        labels[:20, :20] = 1
        labels[100:250, 60:255] = 2
        random = np.random.default_rng(0)
        for _ in range(20):
            for group in make_prompts([describe_objects(labels)], 32, 8, 10, random):
                for label, origin in zip(group.labels, group.origins, strict=True):
                    assert min(origin) >= 0
                    assert max(origin) + group.side <= 32
                    assert group.side == 32 or label == 1


@pytest.fixture
def data_root(tmp_path):
    """A data set of bright squares on a dark ground."""
    random = np.random.default_rng(0)
    root = tmp_path / "data" / "squares"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    rows = [("id", "split")]
    for number in range(4):
        labels = np.zeros((64, 64), np.uint16)
        for label, (y, x) in enumerate(((4, 4), (6, 40), (36, 20)), start=1):
            side = int(random.integers(10, 20))
            labels[y : y + side, x : x + side] = label
        image = np.where(labels > 0, 180, 30) + random.integers(0, 20, labels.shape)
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(labels).save(root / "labels" / f"{number}.png")
        rows.append((str(number), "train"))
    with (root / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "data"


def _config(data_root, tmp_path, **changes):
    config = TrainConfig(
        data_root=str(data_root),
        run_folder=str(tmp_path / "run"),
        sets=(DataSetConfig("squares", 1.0),),
        steps=2,
        crop_px=(128,),
        batch=(4,),
        prompts_per_crop=2,
        correction_share=1.0,
        workers=0,
        threads=0,
    )
    return replace(config, **changes)


def _crops_of(labels, *, crop_px, scale, batch=4):
    """Crops of an image whose objects are white, as they are but for flips and quarter turns."""
    rgb = np.repeat((255 * (labels > 0)).astype(np.uint8)[..., None], 3, axis=2)
    names = {field.name: 0.0 for field in fields(AugmentConfig)}
    calm = AugmentConfig(**{**names, "scale_range": (scale, scale)})
    stream = CropStream(
        [[RgbImage("drawn", rgb, labels)]],
        [DataSetConfig("drawn", 1.0)],
        crop_px=(crop_px,),
        batch=(batch,),
        augment=calm,
    )
    return next(iter(stream))


class TestRun:
    def test_crops_are_seeded_and_numbered_without_gaps(self, data_root):
        sets = [load_folder(data_root / "squares", "train")]

        def first(start=0):
            stream = CropStream(
                sets, [DataSetConfig("squares", 1.0)], crop_px=(96,), batch=(3,), start=start
            )
            return next(iter(stream))

        for a, b in zip(first(), first(), strict=True):
            np.testing.assert_array_equal(a.rgb, b.rgb)
            np.testing.assert_array_equal(a.labels, b.labels)
            assert a.rgb.shape == (96, 96, 3)
            assert set(np.unique(a.labels)) <= set(range(a.labels.max() + 1))
        assert any((a.rgb != b.rgb).any() for a, b in zip(first(), first(1), strict=True))

    def test_image_and_labels_are_moved_together(self, data_root):
        sets = [load_folder(data_root / "squares", "train")]
        plain = AugmentConfig(elastic=1, invert=0, gamma=0, noise=0, blur=0, tint=0)
        stream = CropStream(
            sets, [DataSetConfig("squares", 1.0)], crop_px=(128,), batch=(8,), augment=plain
        )
        for crop in next(iter(stream)):
            # What is bright is labelled, but for crumbs and interpolated edges.
            bright = crop.rgb[..., 0] > 128
            bright &= ~np.all(crop.rgb == (124, 116, 104), axis=-1)
            assert np.mean(bright == (crop.labels > 0)) > 0.95

    def test_lines_that_fall_apart_when_made_smaller_stay_one_object(self):
        columns = np.arange(10, 390)
        labels = np.zeros((400, 400), np.int32)
        labels[np.round(150 + 0.3 * columns).astype(int), columns] = 1  # a line of one pixel
        labels[20:24, 20:60] = 2
        labels[300, 50:53] = 3  # a crumb
        for crop in _crops_of(labels, crop_px=512, scale=0.5):  # 0.64 of the image's pixels
            assert sorted(np.unique(crop.labels)) == [0, 1, 2]
            pieces = [
                ndimage.label(crop.labels == name, structure=np.ones((3, 3)))[1] for name in (1, 2)
            ]
            line = 1 + np.argmax(pieces)
            assert min(pieces) == 1
            assert max(pieces) > 10
            assert (crop.labels == line).sum() == pytest.approx(0.64**2 * 380, rel=0.15)

    def test_of_an_object_that_the_crop_parts_the_largest_piece_stays(self):
        labels = np.zeros((400, 400), np.int32)
        labels[190:200, 20:380] = 1  # a double comb
        for number, column in enumerate(range(20, 380, 20)):
            labels[190 - 8 * number : 200 + 10 * number, column : column + 6] = 1
        parted = 0
        for crop in _crops_of(labels, crop_px=128, scale=1.0, batch=24):
            assert ndimage.label(crop.labels, structure=np.ones((3, 3)))[1] <= 1
            parted += int(np.count_nonzero(crop.rgb[..., 0] > 150) > 1.2 * (crop.labels > 0).sum())
        assert parted >= 3

    @pytest.mark.parametrize("own", ["", "AVX2"])
    def test_bfloat16_does_without_amx(self, data_root, tmp_path, monkeypatch, own):
        """Its kernels ended the process; what the user says counts more."""
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", own)
        if not own:
            monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
        Trainer(_config(data_root, tmp_path))
        assert os.environ.get("ONEDNN_MAX_CPU_ISA", "") == own
        Trainer(_config(data_root, tmp_path, bf16=True))
        assert os.environ["ONEDNN_MAX_CPU_ISA"] == (own or "AVX512_CORE_BF16")

    def test_warps_are_smooth_small_and_seeded(self):
        rows, columns = np.indices((128, 128), dtype=np.int32)
        names = 1 + rows // 8 + 16 * (columns // 8)  # squares of 8 px: a map of places
        rgb = np.repeat((2 * columns).astype(np.uint8)[..., None], 3, axis=2)
        bent, moved = warp(rgb, names, np.random.default_rng(4))
        again, _ = warp(rgb, names, np.random.default_rng(4))
        np.testing.assert_array_equal(bent, again)
        assert (bent != rgb).mean() > 0.5
        shift = (bent[..., 0].astype(float) - rgb[..., 0]) / 2  # pixels to the right
        assert np.abs(shift).max() < 0.08 * 128
        assert np.abs(np.diff(shift, axis=0)).max() <= 1.0  # neighbours stay neighbours
        inside = slice(16, -16)
        taken = (moved - 1) // 16 * 8 + 3.5  # column in the middle of the square it came from
        difference = taken - bent[..., 0].astype(float) / 2
        assert np.abs(difference[inside, inside]).max() <= 4.5, "labels are bent like colours"

    def test_channels_are_mixed_in_coloured_crops_alone(self, data_root):
        images = load_folder(data_root / "squares", "train")
        red = [replace(image, rgb=image.rgb * np.uint8([1, 0, 0])) for image in images]
        calm = AugmentConfig(elastic=0, invert=0, gamma=0, noise=0, blur=0, tint=0, grey=0, mix=1)

        def crops(of):
            stream = CropStream(
                [of], [DataSetConfig("squares", 1.0)], crop_px=(64,), batch=(6,), augment=calm
            )
            return [crop.rgb.astype(int) for crop in next(iter(stream))]

        def content(rgb):
            return rgb[~np.all(rgb == (124, 116, 104), axis=-1)]

        # Every channel has a share of the red one.
        assert any((content(rgb)[:, 1:].max(axis=0) > 20).all() for rgb in crops(red))
        assert all((np.ptp(content(rgb), axis=1) == 0).all() for rgb in crops(images))

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_drawn_images_are_seeded_labelled_and_in_contrast(self, kind):
        images, again = SyntheticSet(kind, seed=3), SyntheticSet(f"synthetic:{kind}", seed=3)
        other = SyntheticSet(kind, seed=4)
        differences = []
        for number in range(6):
            image = images[number]
            assert image.rgb.shape == (256, 256, 3)
            assert image.rgb.dtype == np.uint8
            assert set(np.unique(image.labels)) <= set(range(image.labels.max() + 1))
            assert len(np.unique(image.labels)) == image.labels.max() + 1
            assert image.labels.max() >= 1
            np.testing.assert_array_equal(image.rgb, again[number].rgb)
            np.testing.assert_array_equal(image.labels, again[number].labels)
            assert (image.rgb != other[number].rgb).any()
            grey = image.rgb.mean(axis=2)
            differences.append(abs(grey[image.labels > 0].mean() - grey[image.labels == 0].mean()))
        assert np.median(differences) > 5

    def test_unknown_drawing_is_refused(self):
        with pytest.raises(ValueError, match="choose one of"):
            SyntheticSet("synthetic:dogs")

    def test_run_on_drawn_images_from_given_weights(self, data_root, tmp_path):
        first = Trainer(_config(data_root, tmp_path))
        first.run()
        weights = tmp_path / "first.safetensors"
        export_weights(first, weights)
        config = _config(
            data_root,
            tmp_path,
            run_folder=str(tmp_path / "second"),
            sets=(DataSetConfig("synthetic:cells", 1.0),),
            start_from=str(weights),
            steps=1,
        )
        trainer = Trainer(config)
        expected = load_network(get_spec("lite_sam"), weights).state_dict()
        for name, value in trainer.model.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
        trainer.run()
        assert trainer.step == 1

    def test_decoder_alone_is_trained_and_hears_corrections(self, data_root, tmp_path):
        first = tmp_path / "first.safetensors"
        export_weights(Trainer(_config(data_root, tmp_path)), first)
        last, run = tmp_path / "last.safetensors", tmp_path / "decoder"
        argv = ["train", str(data_root), "--run", str(run), "--from", str(first), "--quiet"]
        assert main([*argv, "--decoder-only", "--steps", "1", "--export", str(last)]) == 0
        before, after = (load_network(get_spec("lite_sam"), f).state_dict() for f in (first, last))
        changed = {name.split(".")[0] for name in before if (before[name] != after[name]).any()}
        assert changed == {"prompt_encoder", "mask_decoder"}

    @pytest.mark.parametrize("kind", ["auto", "proposal", "box"])
    def test_corrections_follow_one_another(self, data_root, tmp_path, monkeypatch, kind):
        """Each has all clicks so far, the mask so far, and that mask's box or the user's."""
        trainer = Trainer(_config(data_root, tmp_path, most_corrections=3))
        trainer.model.eval()
        stream = BatchStream(
            CropStream(trainer.sets, trainer.config.sets, crop_px=(128,), batch=(4,)),
            stride=8,
            proposal_stride=4,
            prompts_per_crop=2,
            correction_share=1.0,
            most_corrections=3,
            auto_from=0,
            shares={kind: 1.0},
        )
        batch = next(one for one in stream if one.corrections == 3 and one.prompts)
        asked = []
        decode = trainer.model.decode_windows
        monkeypatch.setattr(
            trainer.model, "decode_windows", lambda *args: asked.append(args[4]) or decode(*args)
        )
        losses, figures = trainer.losses(batch)
        assert torch.isfinite(losses["mask"])
        assert {"iou_corrected_3", "unheard_3"} <= set(figures)
        first, *corrections = asked[:4]
        assert first.mask_logits is None
        clicks = 0 if kind in ("box", "proposal") else 1
        for number, said in enumerate(corrections, start=1):
            assert said.points.shape[1] == clicks + number
            assert said.mask_logits is not None
            assert torch.equal(said.boxes, first.boxes) == (kind == "box")

    def test_run_resumes_where_it_was_cut_off_and_exports(self, data_root, tmp_path):
        Trainer(_config(data_root, tmp_path)).run()
        again = Trainer(_config(data_root, tmp_path, steps=3))
        assert again.step == 2
        again.run()
        lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [2, 3]
        assert all(np.isfinite(list(json.loads(line).values())).all() for line in lines)

        target = tmp_path / "out.safetensors"
        size = export_weights(again, target)
        assert size < 12_000_000
        network = load_network(get_spec("lite_sam"), target)
        for name, value in network.state_dict().items():
            # half precision: 11 significant bits
            torch.testing.assert_close(value, again.ema[name], rtol=1e-3, atol=1e-6)
        with safe_open(target, "pt") as file:
            metadata = file.metadata()
        assert metadata["step"] == "3"
        assert str(data_root) not in str(metadata)

    def test_checkpoint_of_a_network_whose_parts_stood_in_another_order(self, data_root, tmp_path):
        Trainer(_config(data_root, tmp_path)).run()
        first = Trainer(_config(data_root, tmp_path))
        state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
        # As a network would write it that declares its parts the other way round; written before
        # names of parameters were kept.
        names = state.pop("optimizer_names")
        groups = state["optimizer"]["param_groups"]
        ends = np.cumsum([0, *(len(group["params"]) for group in groups)])
        order = np.concatenate([np.arange(low, high)[::-1] for low, high in pairwise(ends)])
        moments = state["optimizer"]["state"]
        state["optimizer"]["state"] = {
            new: moments[int(old)] for new, old in enumerate(order) if int(old) in moments
        }
        state["model"] = dict(reversed(state["model"].items()))
        torch.save(state, tmp_path / "run" / "checkpoint.pt")
        again = Trainer(_config(data_root, tmp_path))
        assert len(names) == ends[-1]
        learned = 0
        for name, parameter in again.model.named_parameters():
            ours = again.optimizer.state.get(parameter, {})
            theirs = first.optimizer.state.get(dict(first.model.named_parameters())[name], {})
            assert ours.keys() == theirs.keys()  # none for what no prompt has used yet
            if ours:
                learned += 1
                torch.testing.assert_close(ours["exp_avg"], theirs["exp_avg"], rtol=0, atol=0)
        assert learned > 100

    def test_a_run_goes_on_with_the_optimizer_that_it_began_with(self, data_root, tmp_path):
        Trainer(_config(data_root, tmp_path, optimizer="muon")).run()
        again = Trainer(_config(data_root, tmp_path, optimizer="muon", steps=3))
        assert again.step == 2
        assert any("mean" in state for state in again.optimizer.state.values())
        again.run()
        with pytest.raises(ConfigError, match="began with another optimiser than adamw"):
            Trainer(_config(data_root, tmp_path))

    @pytest.mark.parametrize("optimizer", ["adamw", "muon"])
    def test_a_step_learns(self, data_root, tmp_path, optimizer):
        trainer = Trainer(
            _config(data_root, tmp_path, learning_rate=2e-3, warmup_steps=1, optimizer=optimizer)
        )
        crops = next(iter(trainer.batches()))
        losses = [sum(trainer.train_step(crops).values()) for _ in range(8)]
        assert losses[-1] < losses[0]

    def test_command_leaves_out_what_it_is_told_to(self, data_root, tmp_path):
        shutil.copytree(data_root / "squares", tmp_path / "sets" / "seen")
        shutil.copytree(data_root / "squares", tmp_path / "sets" / "unseen")
        run = tmp_path / "run"
        words = ["train", str(tmp_path / "sets"), "--run", str(run), "--steps", "1", "-q"]
        assert main([*words, "--no-synthetic", "--leave-out", "unseen"]) == 0
        config = json.loads((run / "config.json").read_text())
        assert [kept["name"] for kept in config["sets"]] == ["seen"]


class TestFinetune:
    @pytest.fixture
    def items(self, data_root):
        return list(read_labelled_folder(data_root / "squares", "train"))

    def test_only_the_decoders_change(self, items, tmp_path):
        target = tmp_path / "mine.safetensors"
        seen = []
        finetune(items, target, tmp_path / "run", steps=3, on_progress=seen.append)
        assert [progress.done for progress in seen] == [1, 2, 3]
        base = litesam.load_predictor("lite_sam", device="cpu")
        mine = litesam.load_predictor("lite_sam", weights=target, device="cpu")
        assert mine.weights_hash != base.weights_hash
        assert mine.encoder_hash == base.encoder_hash  # embeddings serve both
        rgb = np.repeat(np.asarray(items[0].image)[..., None], 3, axis=2)
        embedding = base.encode(rgb)
        prompts = Prompts(points=(PointPrompt(12, 12),)).to_batch()
        first, second = (p.decode(embedding, prompts).logits for p in (base, mine))
        assert np.abs(first - second).max() > 0

    def test_a_cancelled_run_goes_on(self, items, tmp_path):
        target, run = tmp_path / "mine.safetensors", tmp_path / "run"
        with pytest.raises(Cancelled, match="step 1 of 3"):
            finetune(items, target, run, steps=3, cancelled=lambda: True)
        assert not target.exists()
        seen = []
        finetune(items, target, run, steps=3, on_progress=seen.append)
        assert [progress.done for progress in seen] == [2, 3]
        assert target.is_file()

    def test_too_few_objects_are_refused(self, items, tmp_path):
        with pytest.raises(ConfigError, match="3 labelled objects; at least 5"):
            finetune(items[:1], tmp_path / "mine.safetensors", tmp_path / "run")
