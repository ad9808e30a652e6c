"""Models of the user's own: kept, listed, used, removed; and made by `litesam finetune`."""

from __future__ import annotations

import json
import logging
from shutil import copyfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import litesam
from litesam.cli import main
from litesam.errors import ConfigError, UnknownModelError, WeightsError
from litesam.models.own_models import own_models_file
from litesam.models.registry import get_spec
from litesam.models.weights_files import bundled_dir
from litesam.weights import (
    add_own_model,
    import_weights,
    recognise_weights,
    remove_own_model,
    verify_weights,
    weights_status,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LITESAM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tuned(tmp_path):
    """Weights of Lite-SAM with another decoder."""
    state = load_file(bundled_dir() / "lite_sam.safetensors")
    for name, tensor in state.items():
        if name.startswith("mask_decoder.") and tensor.is_floating_point():
            state[name] = tensor * 1.5
    path = tmp_path / "tuned.safetensors"
    save_file(state, path)
    return path


def test_own_model_is_listed_loaded_and_removed(home, tuned):
    status = add_own_model(tuned, "my_nuclei")
    assert status.present
    assert status.path.parent == home / "weights"
    spec = get_spec("my_nuclei")
    assert litesam.list_models()[-1] == spec
    assert spec.weights.own
    assert spec.encoder_name == "lite_sam"
    predictor = litesam.load_predictor("my_nuclei", device="cpu")
    base = litesam.load_predictor("lite_sam", device="cpu")
    assert predictor.encoder_hash == base.encoder_hash
    assert predictor.weights_hash != base.weights_hash
    assert verify_weights("my_nuclei").ok
    assert remove_own_model("my_nuclei") == (status.path,)
    assert not status.path.exists()
    with pytest.raises(UnknownModelError):
        get_spec("my_nuclei")
    with pytest.raises(UnknownModelError, match="no model 'my_nuclei' of your own"):
        remove_own_model("my_nuclei")


def test_segmenters_share_the_embedding_with_the_base(home, tuned):
    add_own_model(tuned, "my_nuclei")
    image = np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8)
    segmenter = litesam.Segmenter(image, "lite_sam", device="cpu")
    segmenter.embed()
    assert segmenter.with_model("my_nuclei", device="cpu").is_embedded()


@pytest.mark.parametrize("name", ["", "Mine", "../mine", "my nuclei", "-x", "a" * 65, "a/b"])
def test_names_that_name_no_file_are_refused(home, tuned, name):
    with pytest.raises(ConfigError, match="cannot be the name"):
        add_own_model(tuned, name)
    assert not home.exists()


def test_names_of_other_models_are_refused(home, tuned):
    with pytest.raises(ConfigError, match="is a model of litesam"):
        add_own_model(tuned, "mobile_sam")
    add_own_model(tuned, "mine")
    with pytest.raises(ConfigError, match="already"):
        add_own_model(tuned, "mine")
    add_own_model(tuned, "mine", overwrite=True)


def test_files_of_no_model_are_refused(home, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="no model that is known"):
        add_own_model(path, "mine")
    with pytest.raises(WeightsError, match="lite_sam"):
        add_own_model(path, "mine", base="lite_sam")
    assert not own_models_file().exists()


def test_a_lost_or_changed_file_is_told(home, tuned):
    status = add_own_model(tuned, "mine")
    content = bytearray(status.path.read_bytes())
    content[-1] ^= 1
    status.path.write_bytes(content)
    assert not verify_weights("mine").ok
    status.path.unlink()
    with pytest.raises(WeightsError, match=r"your model 'mine' are missing.*models remove mine"):
        litesam.load_predictor("mine", device="cpu")


def test_damaged_lists_take_no_models_away(home, tuned, caplog):
    add_own_model(tuned, "mine")
    entries = json.loads(own_models_file().read_text())
    bad = {
        "lite_sam": entries["mine"],
        "../../evil": entries["mine"],
        "no_base": entries["mine"] | {"base": "nothing"},
        "no_suffix": entries["mine"] | {"suffix": "/../../x.pt"},
        "text": "text",
    }
    own_models_file().write_text(json.dumps(entries | bad))
    with caplog.at_level(logging.WARNING):
        assert [spec.name for spec in litesam.list_models() if spec.weights.own] == ["mine"]
    assert caplog.text.count("is left out") == len(bad)
    own_models_file().write_text("{broken")
    assert get_spec("lite_sam").name == "lite_sam"
    assert not [spec for spec in litesam.list_models() if spec.weights.own]
    add_own_model(tuned, "again")
    assert own_models_file().with_name("own_models.json.damaged").read_text() == "{broken"
    assert get_spec("again").weights.own


def test_own_models_do_not_confuse_recognition(home, tuned, tmp_path):
    add_own_model(tuned, "mine")
    assert recognise_weights(tuned) == ("lite_sam",)
    with pytest.raises(WeightsError, match="in the package"):
        import_weights(tuned)


def test_command_line_keeps_and_removes(home, tuned, capsys):
    assert main(["models", "import", str(tuned), "--name", "mine"]) == 0
    assert "a model of yours now" in capsys.readouterr().out
    assert main(["models", "show", "mine"]) == 0
    assert "mine (Lite-SAM" in capsys.readouterr().out
    assert main(["models", "verify", "mine"]) == 0
    assert "unchanged since it came" in capsys.readouterr().out
    assert main(["models", "import", str(tuned), "--name", "mine"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["models", "remove", "mine"]) == 0
    assert main(["models", "show", "mine"]) == 1


@pytest.fixture
def labelled(tmp_path):
    """Four images of bright squares, without index.csv."""
    root, random = tmp_path / "data", np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for number in range(4):
        labels = np.zeros((64, 64), np.uint8)
        for label, (y, x) in enumerate(((4, 4), (6, 40), (36, 20)), start=1):
            labels[y : y + 14, x : x + 14] = label
        image = np.where(labels > 0, 180, 30) + random.integers(0, 20, labels.shape)
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(labels).save(root / "labels" / f"{number}.png")
    return root


def test_finetune_makes_a_model_that_commands_use(home, labelled, tmp_path, capsys):
    command = ["finetune", str(labelled), "--name", "squares", "--steps", "2", "-q", "--json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["held_back"] == ["3"]
    assert result["images"] == ["0", "1", "2"]
    assert set(result["before"]) == set(result["after"])
    assert 0 <= result["after"]["click_iou"] <= 1
    assert weights_status("squares").present
    assert not (home / "finetune" / "squares").exists()
    image, labels = tmp_path / "image.png", tmp_path / "labels.tif"
    copyfile(labelled / "images" / "0.png", image)
    assert main(["label", str(image), "-o", str(labels), "--model", "squares", "-q"]) == 0
    assert labels.is_file()
    assert main(command) == 1
    assert "You have a model 'squares' already" in capsys.readouterr().err


def test_finetune_refuses_before_it_works(home, labelled, tmp_path, capsys):
    assert main(["finetune", str(labelled), "--name", "Bad Name"]) == 1
    assert main(["finetune", str(tmp_path / "nothing"), "--name", "fine"]) == 1
    assert "not a data set" in capsys.readouterr().err
    assert main(["finetune", str(labelled), "--name", "fine", "--steps", "0"]) == 1
