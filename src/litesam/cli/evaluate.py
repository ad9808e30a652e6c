"""``litesam evaluate``: how good is a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import (
    add_command,
    add_model_options,
    add_output_options,
    load_model,
    parse_count,
)
from litesam.cli.terminal import progress_bars, say, say_json
from litesam.types import PROPOSALS

if TYPE_CHECKING:
    import argparse

    from litesam.evaluation import ImageScores

_EXAMPLES = """\
  litesam evaluate mydata/                       images/, labels/ and index.csv in the folder
  litesam evaluate dsb2018_fluo usiigaci_phase --limit 20
  litesam evaluate mydata/ --tasks everything --proposals grid --json
  litesam evaluate mydata/ --csv scores.csv      one row for each image
"""
#: Columns of the table: heading and field of the summary.
_COLUMNS = {
    "images": "images",
    "objects/image": "objects",
    "1 click IoU": "click_iou",
    "3 clicks": "clicks3_iou",
    "5 clicks": "clicks5_iou",
    "1 box IoU": "box_iou",
    "jittered box": "jittered_box_iou",
    "1 click boundary IoU": "click_biou",
    "1 box boundary IoU": "box_biou",
    "everything AP50": "ap50",
    "AP75": "ap75",
    "mSA": "msa",
    "AR@1000": "ar1000",
    "baseline AP50": "baseline_ap50",
    "baseline mSA": "baseline_msa",
    "encode s": "encode_s",
    "everything s": "everything_s",
}


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        "measure a model on labelled images",
        "Measure a model on folders of images with labels: mean IoU and boundary IoU of one click "
        "and of one box per object, IoU after three and five clicks and of an inexact box, AP50, "
        "AP75, mSA and average recall of everything mode, and the same for a classical baseline "
        "(Otsu's threshold and a watershed). A folder holds images/ID.png, labels/ID.png and "
        "index.csv with the columns id and split. The result is a Markdown table.",
        _EXAMPLES,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--split", default="val", help="split of index.csv (default: val)")
    parser.add_argument(
        "--limit", type=parse_count, metavar="N", help="only the first N images of each"
    )
    parser.add_argument(
        "--tasks",
        metavar="LIST",
        help="what to measure, of click, clicks, box, jittered_box, everything, baseline, with "
        "commas between them (default: all)",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the scores of every image to this file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--proposals", choices=PROPOSALS, help="of everything mode")
    add_model_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from itertools import islice

    from litesam.evaluation import TASKS, evaluate, summarize, write_scores
    from litesam.io import check_output, read_labelled_folder

    # Look at files and folders before the model is loaded: mistakes show at once.
    if args.csv is not None:
        check_output(args.csv, overwrite=args.overwrite)
    sets = {
        name: list(islice(read_labelled_folder(folder, args.split), args.limit))
        for name, folder in _names(args.folders).items()
    }
    predictor = load_model(args)
    tasks = TASKS if args.tasks is None else tuple(args.tasks.split(","))
    images: dict[str, list[ImageScores]] = {}
    summaries: dict[str, dict[str, float]] = {}
    with progress_bars(quiet=args.quiet) as bars:
        for name, items in sets.items():
            bars.begin(name)
            images[name] = evaluate(
                predictor,
                items,
                tasks=tasks,
                proposals=args.proposals,
                on_progress=bars.part(0),
            )
            summaries[name] = summarize(images[name])
    if args.csv is not None:
        write_scores(args.csv, images, overwrite=args.overwrite)
    if args.json:
        say_json({"model": predictor.spec.name, "split": args.split, "sets": summaries})
    else:
        _say_markdown(summaries)
    return 0


def _names(folders: list[Path]) -> dict[str, Path]:
    """Folders by their names, or, where two have one name, by all of their paths."""
    found = {folder.resolve().name: folder for folder in folders}
    return found if len(found) == len(folders) else {str(folder): folder for folder in folders}


def _say_markdown(summaries: dict[str, dict[str, float]]) -> None:
    columns = {
        title: field
        for title, field in _COLUMNS.items()
        if any(field in summary for summary in summaries.values())
    }
    say("| data set | " + " | ".join(columns) + " |")
    say("|---|" + "---|" * len(columns))
    for name, summary in summaries.items():
        cells = [_cell(field, summary.get(field)) for field in columns.values()]
        say(f"| {name} | " + " | ".join(cells) + " |")


def _cell(field: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if field in ("images", "objects") else f"{value:.3f}"
