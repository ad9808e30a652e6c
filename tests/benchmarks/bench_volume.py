"""What a volume job takes outside the network, and whether the cost model says so.

Parts: ``passes`` times painting, linking and writing of label volumes without a network; ``model``
labels a volume with the bundled model and compares the time with the estimate; ``tiles`` gives the
time of one tile for planes of 1, 4, 16 and 64 of them; ``memory`` labels a large synthetic plane
and prints the peak memory of the process; ``scores`` is the table of 3-D scores beside slice-wise
connected components; ``scale`` shows how the size of the canvas of small planes changes the scores
of single slices.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

import litesam
from litesam.types import LinkConfig, TilingConfig
from litesam.volume import ProcessExecutor, estimate_cost, make_plan, probe_image, tiling_for
from litesam.volume.cost import tiles_of
from litesam.volume.source import VolumeSource

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "volumes"


PARTS = ("passes", "model", "tiles", "memory", "scores", "scale")


class Discs:
    """A predictor that costs nothing: bright objects, found by a threshold in one call."""

    def __new__(cls) -> Any:
        """Borrow the test predictor."""
        import sys

        sys.path.insert(0, str(Path(__file__).parents[1]))
        from engine.threshold_predictor import ThresholdPredictor

        return ThresholdPredictor()


def noisy_discs(shape: tuple[int, ...], path: Path, step: int = 40) -> None:
    """Write planes of discs and noise as a chunked zarr, uint16, block by block."""
    rng = np.random.default_rng(0)
    side = 1000
    array = zarr.create_array(
        path, shape=shape, chunks=(*(1,) * (len(shape) - 2), 1000, 1000), dtype=np.uint16
    )
    yy, xx = np.mgrid[:side, :side]
    discs = np.hypot(yy % step - step / 2, xx % step - step / 2) < step / 4
    block = (np.where(discs, 2000, 300) + rng.normal(0, 60, (side, side))).astype(np.uint16)
    for index in np.ndindex(shape[:-2]):
        for y in range(0, shape[-2], side):
            for x in range(0, shape[-1], side):
                h, w = min(side, shape[-2] - y), min(side, shape[-1] - x)
                array[(*index, slice(y, y + h), slice(x, x + w))] = block[:h, :w]


def bench_passes(folder: Path) -> None:
    """Time what is done to every voxel, and to every object, outside the network."""
    print("planes   px  objects  ns/voxel: compare  write   µs/object: link   s/block: write")
    for planes, px in ((8, 512), (8, 1024), (8, 2048)):
        noisy_discs((planes, px, px), folder / "passes.zarr")
        marks: dict[str, float] = {}

        def note(progress: Any, marks: dict[str, float] = marks) -> None:
            marks[progress.message.split(",")[0].split()[-1]] = time.perf_counter()

        result = litesam.label_volume(
            folder / "passes.zarr",
            folder / "out.zarr",
            Discs(),
            axes="ZYX",
            proposals="auto_ppn",
            tiling=TilingConfig(512, 64, 512),
            on_progress=note,
            overwrite=True,
        )
        voxels, cross_sections = planes * px * px, planes * result.objects
        compare = (marks["compared"] - marks["labelled"]) / voxels * 1e9
        link = (marks["linked"] - marks["compared"]) / cross_sections * 1e6
        write = marks["written"] - marks["linked"]
        print(
            f"{planes:6d} {px:4d} {cross_sections:8d} {compare:17.1f} "
            f"{write / voxels * 1e9:6.1f} {link:17.1f} {write / planes:16.3f}"
        )
        shutil.rmtree(folder / "passes.zarr")


def bench_model(folder: Path, planes: int, workers: int) -> None:
    """Label real slices with the bundled model; estimate beside measurement, and shares."""
    image = tifffile.imread(DATA / "fib25_image.tif")[:planes]
    image = np.tile(image, (1, 3, 3))[:, :512, :512]
    np.save(folder / "image.npy", image)
    source = folder / "image.npy"
    plan = make_plan(source, axes="ZYX")
    predictor = litesam.load_predictor("lite_sam")
    probe = probe_image(VolumeSource(source, plan.source), plan, predictor)
    about: list[dict[str, Any]] = []

    def note(progress: Any) -> None:
        if progress.message.startswith("0 of") and "written" in progress.message:
            from litesam.volume.folder import JobFolder

            job = JobFolder(folder / "labels.zarr.job")
            about.extend(job.about("label", n) for n in job.finished("label"))

    print("planes workers  tile s  estimated s  measured s  slices/min  outside the model")
    for count in (1, workers) if workers > 1 else (1,):
        executor = None if count == 1 else ProcessExecutor(count, 1)
        about.clear()
        start = time.perf_counter()
        litesam.label_volume(
            source,
            folder / "labels.zarr",
            "lite_sam",
            executor,
            axes="ZYX",
            on_progress=note,
            overwrite=True,
        )
        seconds = time.perf_counter() - start
        model = sum(one["model_s"] for one in about) / count
        cost = estimate_cost(plan, probe, count)
        print(
            f"{planes:6d} {count:7d} {probe.tile_s:7.2f} {cost.seconds:12.1f} {seconds:11.1f} "
            f"{planes / seconds * 60:11.1f} {1 - model / seconds:17.0%}"
        )


def bench_memory(folder: Path, px: int, model: str) -> None:
    """Label a large plane; peak memory of this process."""
    noisy_discs((px, px), folder / "plane.zarr", step=100)
    start = time.perf_counter()
    result = litesam.label_volume(
        folder / "plane.zarr",
        folder / "labels.zarr",
        Discs() if model == "threshold" else model,
        proposals="auto_ppn",
        tiling=TilingConfig(512, 64, 512),
    )
    print(
        f"{model}, {px} × {px} uint16: {result.objects} objects, {result.blocks} blocks, "
        f"{time.perf_counter() - start:.0f} s, peak resident {_peak_bytes() / 1e9:.2f} GB"
    )


def bench_tiles(folder: Path, model: str) -> None:
    """Seconds for each tile of planes of 1, 4, 16 and 64 tiles."""
    predictor = Discs() if model == "threshold" else litesam.load_predictor(model)
    print("   px  tiles  seconds  s/tile  peak GB")
    for px in (512, 512, 896, 1664, 3200):  # the first one warms up
        noisy_discs((px, px), folder / "plane.zarr", step=100)
        plan = make_plan(folder / "plane.zarr", predictor, tiling=TilingConfig(512, 64, 512))
        start = time.perf_counter()
        litesam.label_volume(
            folder / "plane.zarr",
            folder / "labels.zarr",
            predictor,
            proposals="auto_ppn",
            tiling=TilingConfig(512, 64, 512),
            overwrite=True,
        )
        seconds, tiles = time.perf_counter() - start, tiles_of(plan)
        print(
            f"{px:5d} {tiles:6d} {seconds:8.1f} {seconds / tiles:7.2f} {_peak_bytes() / 1e9:8.2f}",
            flush=True,
        )
        shutil.rmtree(folder / "plane.zarr")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bench_scores(folder: Path, names: list[str], link: LinkConfig, diameter: float) -> None:
    """3-D mSA of Lite-SAM everything + link beside slice-wise components that are linked alike."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    from litesam.merge import SliceLinker

    tiling = tiling_for(diameter)
    print("volume            way                              objects  AP50   mSA")
    for name in names:
        image = tifffile.imread(DATA / f"{name}_image.tif")
        truth = tifffile.imread(DATA / f"{name}_labels.tif").astype(np.int32)
        _say(name, "truth", truth, truth)
        for canvas, how in ((0, "as it is"), (tiling.tile_px, f"diameter {diameter:g}")):
            start = time.perf_counter()
            result = litesam.label_volume(
                image,
                folder / "labels.zarr",
                "lite_sam",
                axes="ZYX",
                link=link,
                tiling=tiling if canvas else None,
                canvas_px=canvas,
                overwrite=True,
            )
            seconds = time.perf_counter() - start
            got = zarr.open_array(result.path / "0", mode="r")[...]
            _say(name, f"lite_sam, {how} ({seconds:.0f} s)", got, truth)
        mask = image > threshold_otsu(image)
        linker = SliceLinker(link)
        planes = [ndimage.label(plane)[0] for plane in mask]
        for plane in planes:
            linker.add(plane)
        links = linker.finish()
        linked = np.stack([links.relabel(z, plane) for z, plane in enumerate(planes)])
        _say(name, "components of slices + link", linked, truth)
        _say(name, "components in 3-D", ndimage.label(mask)[0], truth)


def bench_scale(names: list[str]) -> None:
    """Scores of two slices of each volume on canvases of several sizes."""
    from litesam.evaluation import average_precision
    from litesam.preprocess import to_rgb
    from litesam.types import NormalizeConfig
    from litesam.volume.canvas import off_canvas, on_canvas

    predictor = litesam.load_predictor("lite_sam")
    print("volume            canvas px  AP50   mSA")
    for name in names:
        image = tifffile.imread(DATA / f"{name}_image.tif")
        truth = tifffile.imread(DATA / f"{name}_labels.tif")
        limits = tuple(np.percentile(image, (0.1, 99.9)))
        for side in (0, 128, 192, 256, 384, 512, 768):
            scores = []
            for z in (len(image) // 3, len(image) * 2 // 3):
                plane = to_rgb(image[z], NormalizeConfig(limits=limits))
                canvas = on_canvas(plane, side).rgb
                labels, _ = litesam.segment_everything(
                    canvas, predictor, axes="YXC", tiling=TilingConfig(512, 64, 1024)
                )
                found, _ = off_canvas(labels, plane.shape_yx)
                true = np.unique(truth[z], return_inverse=True)[1].reshape(plane.shape_yx)
                scores.append(average_precision(true.astype(np.int32), found))
            if side == 0 or side > max(plane.shape_yx):
                mean = np.mean(scores, axis=0)
                print(f"{name:17s} {side or 'none':>9} {mean[0]:6.3f} {mean.mean():5.3f}")


def _say(name: str, way: str, got: Any, truth: Any) -> None:
    from litesam.evaluation import average_precision

    scores = average_precision(truth, got.astype(np.int32))
    count = len(np.unique(got)) - 1
    print(f"{name:17s} {way:32s} {count:7d} {scores[0]:5.3f} {np.mean(scores):5.3f}", flush=True)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--planes", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--px", type=int, default=20_000)
    parser.add_argument("--model", default="threshold", help="of memory and tiles")
    parser.add_argument("--volumes", nargs="+", default=["embryo16", "synthetic_nuclei", "fib25"])
    parser.add_argument("--min-extent", type=int, default=3)
    parser.add_argument("--diameter", type=float, default=13.5)
    parser.add_argument("--waist", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in args.parts:
            if part == "passes":
                bench_passes(folder)
            elif part == "model":
                bench_model(folder, args.planes, args.workers)
            elif part == "memory":
                bench_memory(folder, args.px, args.model)
            elif part == "tiles":
                bench_tiles(folder, args.model)
            elif part == "scale":
                bench_scale(args.volumes)
            else:
                config = LinkConfig(min_extent=args.min_extent, waist=args.waist)
                bench_scores(folder, args.volumes, config, args.diameter)


if __name__ == "__main__":
    main()
