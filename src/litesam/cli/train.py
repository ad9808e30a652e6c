"""``litesam train``: train Lite-SAM on labelled images, from nothing or where a run stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command, add_output_options
from litesam.cli.terminal import say, say_json, size_text
from litesam.errors import ReadError

if TYPE_CHECKING:
    import argparse

    from litesam.training.data import DataSetConfig

_EXAMPLES = """\
  litesam train data/ --run runs/first --steps 3000
  litesam train data/ --run runs/first --steps 5000    goes on from the last checkpoint
  litesam train data/ --run runs/first --export lite_sam.safetensors
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        "train Lite-SAM",
        "Train Lite-SAM end to end on every data set (a folder with images/, labels/ and "
        "index.csv) in a folder. A run may be stopped at any time; the same command goes on from "
        "its last checkpoint.",
        _EXAMPLES,
    )
    parser.add_argument("data", type=Path, metavar="FOLDER", help="folder of data sets")
    parser.add_argument("--run", required=True, type=Path, dest="run_folder", metavar="DIR")
    parser.add_argument(
        "--from",
        type=Path,
        dest="start_from",
        metavar="FILE",
        help="weights to start from (default: random ones)",
    )
    parser.add_argument(
        "--no-synthetic",
        action="store_true",
        help="only the images in the folder, no drawn cells, membranes and filaments",
    )
    parser.add_argument("--steps", type=int, default=3000, help="total steps (default: 3000)")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, help="largest one (default: 0.002)"
    )
    parser.add_argument("--seed", type=int, default=2026, help="random seed (default: 2026)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--bf16", action="store_true", help="compute in bfloat16 where that is fast"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="at the end write the weights for inference"
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.training.export import export_weights
    from litesam.training.lite_sam import TrainConfig, Trainer

    if not args.quiet:
        logging.getLogger("litesam.training").setLevel(logging.INFO)
    config = TrainConfig(
        data_root=str(args.data),
        run_folder=str(args.run_folder),
        sets=_data_sets(args.data, synthetic=not args.no_synthetic),
        start_from=None if args.start_from is None else str(args.start_from),
        steps=args.steps,
        learning_rate=args.learning_rate,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        bf16=args.bf16,
    )
    trainer = Trainer(config)
    trainer.run()
    result: dict[str, Any] = {"run": str(args.run_folder), "step": trainer.step}
    if args.export is not None:
        result["bytes"] = export_weights(trainer, args.export)
        result["weights"] = str(args.export)
    if args.json:
        say_json(result)
    else:
        say(f"{args.run_folder} is at step {trainer.step}.")
        if args.export is not None:
            say(f"{args.export}: {size_text(result['bytes'])}")
    return 0


def _data_sets(folder: Path, *, synthetic: bool) -> tuple[DataSetConfig, ...]:
    """Every data set in the folder; known ones keep their share and flags. Then the drawn ones."""
    from litesam.training.data import DataSetConfig
    from litesam.training.lite_sam import DEFAULT_SETS
    from litesam.training.synthetic import PREFIX

    names = sorted(path.parent.name for path in folder.glob("*/index.csv"))
    if not names:
        raise ReadError(
            f"{folder} holds no data set; each is a folder with images/, labels/ and index.csv."
        )
    known = {config.name: config for config in DEFAULT_SETS}
    if synthetic:
        names += [name for name in known if name.startswith(PREFIX)]
    return tuple(known.get(name) or DataSetConfig(name, weight=0.1) for name in names)
