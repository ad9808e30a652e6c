"""``litesam label`` as a job: links, ranges, what it will take, and what does not go together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from engine.threshold_predictor import same_objects
from engine.volume_scenes import ExactPredictor, read_labels, small_volume
from litesam.cli import build_parser, main
from litesam.cli.links import links_of
from litesam.cli.volume import _executor, _options, _scale
from litesam.errors import ConfigError
from litesam.io import read_image
from litesam.samples import sample_path
from litesam.volume import DaskExecutor, ProcessExecutor, parse_length, tiling_for

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A volume in an empty folder, and the test predictor in place of the model."""
    monkeypatch.chdir(tmp_path)
    metadata = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
    image, _ = small_volume()
    tifffile.imwrite("volume.tif", image, imagej=True, resolution=(4, 4), metadata=metadata)
    monkeypatch.setattr("litesam.cli.volume._scale", lambda args: {"canvas_px": 0})
    for room in ("litesam.predictors", "litesam.predictors.base"):
        monkeypatch.setattr(f"{room}.load_predictor", lambda *args, **options: ExactPredictor())
    return tmp_path


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls the plug here: files need not be flushed."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(["label", *argv, "--limits", "0", "255", "--json", "-q"]) == 0
    return json.loads(capsys.readouterr().out)


def test_link_makes_objects_of_the_volume(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    (result,) = run_json(capsys, "volume.tif", "-o", "labels.ome.zarr", "--link")
    _, truth = small_volume()
    assert (result["objects"], result["planes"], result["linked"]) == (5, 12, True)
    assert same_objects(read_labels(place / "labels.ome.zarr").astype(np.int32), truth)
    assert read_image("labels.ome.zarr").scale == (2.0, 0.25, 0.25)
    (result,) = run_json(capsys, "volume.tif", "-o", "labels.tif", "--link")
    assert same_objects(read_image("labels.tif").array.astype(np.int32), truth)


def test_links_that_would_link_nothing(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    for extra in ((), ("--time", "volumes"), ("--dry-run",)):
        argv = ["label", "volume.tif", "-o", "l.zarr", "--axes", "TYX", "--link", *extra]
        assert main(argv) == 2
        assert "has the axes TYX, planes in time" in capsys.readouterr().err
        assert not list(place.glob("l.*"))
    argv = ("volume.tif", "-o", "l.zarr", "--axes", "TYX", "--link", "--time", "tracks")
    (result,) = run_json(capsys, *argv)
    assert result["objects"] == 5
    tifffile.imwrite("plane.tif", small_volume()[0][5])
    argv = ("plane.tif", "-o", "p.zarr", "--link")
    assert main(["label", *argv, "--limits", "0", "255", "-q"]) == 0
    assert "one plane; --link has nothing to link" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gap", "extent", "slices"),
    [
        ("3", "2", (3, 2)),
        ("5um", "5um", (2, 3)),
        ("4000 nm", "0.004mm", (2, 2)),
        ("1um", "0", None),
    ],
)
def test_links_of_thick_slices_may_be_told_in_lengths(
    place: Path, gap: str, extent: str, slices: tuple[int, int] | None
) -> None:
    """Slices lie 2 µm apart: a gap is filled up to a length, an object spans at least one."""
    argv = ["label", "volume.tif", "-o", "l.zarr", "--link", "--max-gap", gap]
    args = build_parser().parse_args([*argv, "--min-extent", extent])
    if slices is None:
        with pytest.raises(ConfigError, match="min_extent"):
            links_of(args, _options(args))
        return
    found = links_of(args, _options(args))
    assert (found.max_gap, found.min_extent) == slices


def test_balls_of_one_size_stay_whatever_the_slices_are_apart(
    capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    """Five balls of 9 µm and one of 3 µm, in slices that are 1 and 3 µm apart."""
    image, _ = small_volume()
    image[6:9, 46:49, 4:7] = 200
    for apart in (1, 3):
        metadata = {"axes": "ZYX", "spacing": float(apart), "unit": "um"}
        name = f"apart{apart}.tif"
        tifffile.imwrite(name, image[1::apart], imagej=True, resolution=(1, 1), metadata=metadata)
        argv = (name, "-o", f"apart{apart}.zarr", "--link", "--min-extent", "5um")
        assert run_json(capsys, *argv)[0]["objects"] == 5
    np.save("plain.npy", image)
    argv = ("plain.npy", "-o", "l.zarr", "--axes", "ZYX", "--link", "--max-gap", "2um")
    assert main(["label", *argv]) == 1
    assert "how far apart its slices are, so --max-gap 2um" in capsys.readouterr().err
    assert main(["label", "volume.tif", "-o", "l.zarr", "--link", "--max-gap", "some"]) == 2
    assert "no number of slices" in capsys.readouterr().err


def test_parts_and_parameters_of_links(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    argv = ["volume.tif", "-o", "l.zarr", "--range", "z=0:6", "--range", "y=40:"]
    (result,) = run_json(capsys, *argv, "--link", "--min-extent", "6", "--block-px", "64")
    assert result["shape"] == [6, 56, 80]
    assert result["objects"] == 1  # the only one that is seen in all six slices


def test_a_folder_of_planes_is_a_stack(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    image, truth = small_volume()
    (place / "planes").mkdir()
    for number, plane in enumerate(image):
        tifffile.imwrite(place / "planes" / f"{number}.tif", plane)
    (result,) = run_json(capsys, "planes", "-o", "labels.zarr")
    assert (result["axes"], result["linked"]) == ("ZYX", False)
    np.testing.assert_array_equal(read_labels(place / "labels.zarr") > 0, truth > 0)
    assert main(["label", "planes", "-o", "again.zarr", "--limits", "0", "255"]) == 0
    assert "--link makes objects of the volume" in capsys.readouterr().out


def test_a_dry_run_says_what_it_takes_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    cost = run_json(capsys, "volume.tif", "-o", "l.zarr", "--link", "--block-px", "64", "--dry-run")
    assert (cost["blocks"], cost["planes"], cost["axes"]) == (48, 12, "ZYX")
    assert cost["seconds"] > 0
    assert cost["memory_bytes"] > 1e8
    assert cost["disk_bytes"] > cost["result_bytes"] > 0
    argv = ["label", "volume.tif", "-o", "l.zarr", "--workers", "3", "--dry-run"]
    assert main(argv) == 0
    words = capsys.readouterr().out
    assert "12 (12 planes)" in words
    assert "with 3 workers" in words
    assert sorted(path.name for path in place.iterdir()) == ["volume.tif"]


def test_a_dry_run_warns_of_a_small_disk_and_of_a_scheduler_that_is_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    argv = ["label", "volume.tif", "-o", "new/l.zarr", "--link", "--dry-run"]
    assert main(argv) == 1
    assert "does not exist; create it first" in capsys.readouterr().err
    argv[3] = "l.zarr"
    assert main(argv) == 0
    assert "less than it takes" not in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=12))
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "has 12 bytes left, less than it takes" in said.err
    assert "of 12 bytes that are left" in said.out
    assert main([*argv, "--scheduler", "tcp//nowhere"]) == 1
    assert "The scheduler tcp//nowhere did not answer" in capsys.readouterr().err
    for address, words in (("local:0", "0 workers can do"), ("local:some", "no number of workers")):
        assert main([*argv, "--scheduler", address]) == 1
        assert words in capsys.readouterr().err


def test_large_images_are_jobs_without_being_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr("litesam.cli.volume._LARGE_BYTES", 4 * 12 * 96 * 80 - 1)
    (result,) = run_json(capsys, "volume.tif", "-o", "labels.ome.zarr")
    assert result["blocks"] == 12
    assert (
        main(["label", "volume.tif", "-o", "picture.ome.zarr", "--overlay", "--limits", "0", "255"])
        == 0
    )
    assert (place / "picture_overlay.png").exists()  # needs all of it in one place: no job


def test_a_diameter_in_physical_units_sets_the_tiles(place: Path) -> None:
    argv = ["label", "volume.tif", "-o", "l.zarr", "--object-diameter", "3um"]
    scale = _scale(build_parser().parse_args(argv))  # pixels of 0.25 µm
    assert scale["tiling"] == tiling_for(12)
    assert scale["canvas_px"] == scale["tiling"].tile_px == 192
    assert parse_length("12 px", None, None) == 12.0
    assert tiling_for(32).tile_px == 512
    assert tiling_for(8).tile_px == 128
    assert tiling_for(100).tile_px == 1600
    assert tiling_for(100).halo_px >= 125
    assert parse_length("12 px", None, None) == parse_length("12", None, None) == 12.0
    assert parse_length("2um", 0.25, "micrometer") == 8.0
    assert parse_length("500 nm", 0.25, "micrometer") == pytest.approx(2.0)
    for scale, unit, words in (
        (None, None, "pixel is, so 3um"),
        (None, "micrometer", "pixel is, so 3um"),
        (0.5, None, "pixel is: it says 0.5 without a unit, so 3um"),
        (1.0, "parsec", r"known \(it says 1 parsec\), so 3um"),
    ):
        with pytest.raises(ConfigError, match=f"does not say how large a {words}|{words}") as error:
            parse_length("3um", scale, unit)
        assert "None" not in str(error.value)
    with pytest.raises(ConfigError, match="no length"):
        parse_length("a lot", 1.0, "micrometer")
    with pytest.raises(ConfigError, match="1 to 4096"):
        tiling_for(0.1)


def test_options_choose_who_does_the_blocks() -> None:
    """None of them starts anything before the job begins."""
    argv = ["label", "volume.tif", "-o", "l.zarr", "--link"]
    found = [
        _executor(build_parser().parse_args([*argv, *more]))
        for more in (
            [],
            ["--workers", "3"],
            ["--scheduler", "local:2"],
            ["--scheduler", "tcp://127.0.0.1:9"],
        )
    ]
    assert found[0] is None
    assert [type(one) for one in found[1:]] == [ProcessExecutor, DaskExecutor, DaskExecutor]
    assert [one.workers for one in found[1:] if one is not None] == [3, 2, 0]


def test_a_diameter_is_estimated_by_the_bundled_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nuclei of 13 px in planes of 120 px, which the model sees too large at first."""
    monkeypatch.undo()
    argv = ["label", str(sample_path("embryo")), "-o", "l.zarr", "--object-diameter", "auto"]
    scale = _scale(build_parser().parse_args(argv))
    assert 192 <= scale["canvas_px"] <= 288
    assert "px in diameter" in capsys.readouterr().err


def test_a_diameter_is_estimated_where_something_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    """Nuclei of 13 px in one corner of a slide, whose middle and other corners are empty."""
    monkeypatch.undo()
    nuclei = np.tile(np.asarray(read_image(sample_path("embryo")).array)[25], (3, 3))
    rng = np.random.default_rng(0)
    level = float(np.percentile(nuclei, 5))
    slide = rng.normal(level, 0.02 * level, (1600, 1700)).clip(0)
    slide[1200 : 1200 + nuclei.shape[0], 1300 : 1300 + nuclei.shape[1]] = nuclei
    path = place / "slide.tif"
    tifffile.imwrite(path, slide.astype(nuclei.dtype))
    argv = ["label", str(path), "-o", "l.zarr", "--object-diameter", "auto"]
    _scale(build_parser().parse_args(argv))
    diameter = float(capsys.readouterr().err.split("about ")[1].split(" px")[0])
    assert 9 < diameter < 19


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--link", "--table"], "--link goes without --table"),
        (["--workers", "2", "--index", "3"], "--workers goes without --index"),
        (["--max-gap", "3"], "--max-gap goes with --link"),
        (["--link", "--workers", "2", "--scheduler", "tcp://x:1"], "goes without --scheduler"),
        (["--link", "-o", "labels.png"], "ends with .ome.zarr or .tif"),
    ],
)
def test_options_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main(["label", "volume.tif", "-o", "labels.zarr", *argv]) == 2
    assert message in capsys.readouterr().err


def test_a_job_has_one_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "volume.tif", "volume.tif", "-o", "labels.zarr", "--link"]) == 2
    assert "goes with one image, here are 2" in capsys.readouterr().err


def test_ranges_and_diameters_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "volume.tif", "-o", "l.zarr", "--range", "3-9"]) == 2
    assert "write z=10:40" in capsys.readouterr().err
    argv = [
        "label",
        "volume.tif",
        "-o",
        "l.zarr",
        "--object-diameter",
        "2um",
        "--limits",
        "0",
        "255",
    ]
    assert main([*argv, "--range", "z=20:30"]) == 1
    assert "range 20:30 of axis Z is empty" in capsys.readouterr().err


def test_an_interrupted_job_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    import litesam.volume.stages as stages

    label_block = stages.label_block

    def interrupt(job: Any, number: int) -> Any:
        if number == 5:
            raise KeyboardInterrupt
        return label_block(job, number)

    argv = ["label", "volume.tif", "-o", "l.zarr", "--link", "--limits", "0", "255"]
    with monkeypatch.context() as patch:
        patch.setitem(stages._STAGES, "label", interrupt)
        assert main(argv) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    (result,) = run_json(capsys, *argv[1:-3])
    assert result["blocks_before"] == 5
