"""``litesam train``: train Lite-SAM on labelled images, from nothing or where a run stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command
from litesam.cli.recipes import (
    add_run_options,
    add_synthetic_option,
    data_sets,
    keep_result,
    run_values,
    say_run,
    show_log,
)
from litesam.errors import ConfigError

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
  litesam train data/ --run runs/first --steps 3000
  litesam train data/ --run runs/first --steps 5000    goes on from the last checkpoint
  litesam train data/ --run runs/first --export lite_sam.safetensors
  litesam train data/ --run runs/unseen --leave-out usiigaci_phase
  litesam train data/ --run runs/masks --from lite_sam.safetensors --decoder-only
  torchrun --nproc-per-node 2 --no-python -- litesam train data/ --run runs/first --threads 1
                                                       two processes, twice the batch
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
    add_synthetic_option(parser)
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="NAME",
        help="a data set of the folder that is not learned from, to measure the model on what it "
        "has never seen; may be given again",
    )
    parser.add_argument(
        "--decoder-only",
        action="store_true",
        help="train how masks are made of prompts, and leave the encoder and AutoPPN as they are: "
        "embeddings and proposals stay the same; needs --from",
    )
    add_run_options(
        parser,
        steps=3000,
        learning_rate=2e-3,
        start="weights to start from (default: random ones)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.training.lite_sam import DEFAULT_SETS, TrainConfig, Trainer

    show_log(args)
    if args.decoder_only and args.start_from is None:
        raise ConfigError(
            "--decoder-only leaves the encoder as it is, which would be random: give the weights "
            "to start from with --from."
        )
    config = TrainConfig(
        data_root=str(args.data),
        sets=data_sets(
            args.data, DEFAULT_SETS, synthetic=not args.no_synthetic, leave_out=args.leave_out
        ),
        start_from=None if args.start_from is None else str(args.start_from),
        frozen_encoder=args.decoder_only,
        frozen_proposals=args.decoder_only,
        **run_values(args),
    )
    trainer = Trainer(config)
    trainer.run()
    if trainer.group.rank:  # of several processes one writes the result
        return 0
    say_run(args, trainer.step, keep_result(args, trainer, "lite_sam"))
    return 0
