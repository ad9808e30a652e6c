"""``litesam finetune``: adapt Lite-SAM to a handful of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command, add_output_options
from litesam.cli.terminal import complain, progress_bars, say, say_json, say_table
from litesam.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from litesam.io import LabelledImage
    from litesam.predictors import Predictor

_EXAMPLES = """\
  litesam finetune mydata/ --name my_nuclei          images/ and labels/ in the folder
  litesam label cells.tif -o labels.tif --model my_nuclei
  litesam finetune mydata/ --name my_nuclei --some   not every object is labelled
"""
#: What is measured before and after.
_SCORES = {
    "1 click IoU": "click_iou",
    "1 box IoU": "box_iou",
    "everything AP50": "ap50",
    "mSA": "msa",
}


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "finetune",
        "adapt Lite-SAM to your own labelled images",
        "Adapt the decoders of Lite-SAM to images that you have labelled, and keep the result as a "
        "model of your own, which the panel and all commands know by its name. The folder holds "
        "images/ and labels/ with files of equal names; some five images with a hundred objects "
        "are a good start. One image in four is held back to measure the model before and after. "
        "A run that was stopped goes on with the same command.",
        _EXAMPLES,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of labelled images")
    parser.add_argument("--name", required=True, help="name of your model")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument(
        "--some",
        action="store_true",
        help="only some objects are labelled: the rest does not count as background",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to start from")
    parser.add_argument("--seed", type=int, default=2026, help="random seed (default: 2026)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument("--overwrite", action="store_true", help="replace a model of this name")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from shutil import rmtree

    from litesam.io import read_labelled_folder
    from litesam.models.weights_files import data_dir
    from litesam.predictors import load_predictor
    from litesam.training.finetune import finetune, hold_back
    from litesam.weights import add_own_model, check_own_name

    if args.steps < 1:
        raise ConfigError(f"--steps is {args.steps}; at least 1 is needed.")
    check_own_name(args.name, overwrite=args.overwrite)
    learned, held_back = hold_back(list(read_labelled_folder(args.folder)))
    folder = data_dir() / "finetune" / args.name
    with progress_bars(quiet=args.quiet) as bars:
        base = load_predictor("lite_sam", weights=args.weights, device=args.device)
        bars.begin(f"measuring {base.spec.title} on {len(held_back)} images")
        before = _scores(base, held_back)
        bars.begin(f"training on {len(learned)} images")
        try:
            finetune(
                learned,
                folder / "weights.safetensors",
                folder,
                weights=args.weights,
                steps=args.steps,
                exhaustive=not args.some,
                seed=args.seed,
                threads=args.threads,
                device=args.device,
                on_progress=bars.part(0),
            )
        except KeyboardInterrupt:
            complain("Interrupted; the same command goes on from the last checkpoint.")
            return 130
        status = add_own_model(
            folder / "weights.safetensors", args.name, base="lite_sam", overwrite=args.overwrite
        )
        bars.begin(f"measuring {args.name}")
        after = _scores(load_predictor(args.name, device=args.device), held_back)
    rmtree(folder)
    if args.json:
        say_json(
            {
                "name": args.name,
                "path": str(status.path),
                "images": [item.name for item in learned],
                "held_back": [item.name for item in held_back],
                "before": before,
                "after": after,
            }
        )
    else:
        _say_result(args.name, len(held_back), before, after)
    return 0


def _scores(predictor: Predictor, items: list[LabelledImage]) -> dict[str, float]:
    from litesam.evaluation import evaluate, summarize

    if not items:
        return {}
    summary = summarize(evaluate(predictor, items, tasks=("click", "box", "everything")))
    return {field: summary[field] for field in _SCORES.values() if field in summary}


def _say_result(
    name: str, held_back: int, before: dict[str, float], after: dict[str, float]
) -> None:
    say(f"{name} is a model of yours now: litesam label IMAGE -o LABELS --model {name}")
    if not held_back:
        say("With fewer than 4 images none was held back, so nothing was measured.")
        return
    say(f"\nOn {held_back} images that it has not seen in training:\n")
    rows = [["", "before", "after"]]
    rows += [
        [title, f"{before[field]:.3f}", f"{after[field]:.3f}"]
        for title, field in _SCORES.items()
        if field in after
    ]
    say_table(rows, right=(1, 2))
    if after.get("msa", 0.0) < before.get("msa", 0.0):
        say(
            "\nEverything mode got worse. Label more images, or, if not every object is labelled, "
            "add --some."
        )
