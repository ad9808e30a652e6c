"""``litesam embed``: encode an image into a store, so that later prompts are answered at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import (
    add_command,
    add_image_options,
    add_model_options,
    add_output_options,
    load_model,
    open_store,
)
from litesam.cli.terminal import UsageError, progress_bars, say, say_json, size_text

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
  litesam embed cells.tif
  litesam embed stack.ome.zarr --all-planes --store embeddings/
  litesam embed stack.tif --axes ZYX --index 12 --model mobile_sam
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "embed",
        "encode an image into the embedding cache",
        "Encode an image into the embedding cache. What is there already is skipped, so an "
        "interrupted run can be repeated. litesam label --cache with the same options finds the "
        "embeddings again.",
        _EXAMPLES,
    )
    parser.add_argument(
        "image", type=Path, help="TIFF, PNG, JPEG, OME-Zarr or .npy; a folder of planes"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="folder of the embeddings (default: the user's cache)",
    )
    parser.add_argument("--all-planes", action="store_true", help="every plane of a stack")
    add_model_options(parser)
    add_image_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.cli.stack import open_planes
    from litesam.io import read_image

    if args.all_planes and args.index is not None:
        raise UsageError("--all-planes and --index exclude each other.")
    image = read_image(args.image)
    predictor = load_model(args)
    store = open_store(args.store)
    planes = open_planes(image, args, predictor, store)
    if len(planes.indices) > 1 and not args.all_planes:
        raise UsageError(
            f"{args.image} is a stack of {len(planes.indices)} planes; choose one with --index or "
            "all with --all-planes."
        )
    start = time.perf_counter()
    done = 0
    with progress_bars(quiet=args.quiet) as bars:
        bars.begin(args.image.name, len(planes.indices))
        for number, index in enumerate(planes.indices):
            if planes.segmenter.is_embedded(index or None):
                continue
            planes.segmenter.embed(index or None, on_progress=bars.part(number))
            if (error := planes.segmenter.embedder.store_error) is not None:
                raise error  # to go on without the store is for those who want masks
            done += 1
    result = {
        "image": str(args.image),
        "model": predictor.spec.name,
        "planes": len(planes.indices),
        "planes_encoded": done,
        "tiles_per_plane": len(planes.segmenter.tiles),
        "seconds": round(time.perf_counter() - start, 3),
        "store": str(getattr(store, "path", "")),
        "store_bytes": store.nbytes,
    }
    if args.json:
        say_json(result)
    else:
        known = len(planes.indices) - done
        say(
            f"{args.image}: {done} of {len(planes.indices)} planes encoded"
            + (f" ({known} were there already)" if known else "")
            + f", {result['seconds']:.1f} s"
        )
        say(f"{result['store']}: {size_text(store.nbytes)}")
    return 0
