"""``litesam train-hq``: train an HQ decoder for Lite-SAM or another model of the SAM family."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command
from litesam.cli.recipes import (
    add_name_options,
    add_run_options,
    add_synthetic_option,
    data_sets,
    keep_result,
    run_values,
    say_run,
    show_log,
)

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
  litesam train-hq data/ --run runs/hq --export lite_sam_hq.safetensors
  litesam models import lite_sam_hq.safetensors      now --hq works for Lite-SAM
  litesam train-hq data/ --run runs/vessels --model mobile_sam --name vessels
  litesam label retina.tif -o labels.tif --model vessels
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train-hq",
        "train an HQ decoder for finer outlines",
        "Train an HQ token and its features for a model, with everything else frozen, on every "
        "data set (a folder with images/, labels/ and index.csv) in a folder; thin and ragged "
        "objects teach most. Embeddings of the model serve its HQ decoder, too. A run may be "
        "stopped at any time; the same command goes on from its last checkpoint.",
        _EXAMPLES,
    )
    parser.add_argument("data", type=Path, metavar="FOLDER", help="folder of data sets")
    parser.add_argument(
        "--model",
        default="lite_sam",
        help="model that gets the HQ decoder, such as mobile_sam or sam_vit_b; an HQ model is "
        "trained further (default: lite_sam)",
    )
    add_synthetic_option(parser)
    add_name_options(parser)
    add_run_options(
        parser,
        steps=2000,
        learning_rate=1e-3,
        start="weights of the model (default: its standard file)",
    )
    parser.add_argument(
        "--export-decoder",
        type=Path,
        metavar="FILE",
        help="at the end write the HQ decoder alone, for use beside the very weights that it was "
        "trained with",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.training.export import export_weights
    from litesam.training.hq import FINE_SETS, HqConfig, HqTrainer
    from litesam.weights import check_own_name

    if args.name is not None:
        check_own_name(args.name, overwrite=args.overwrite)
    show_log(args)
    config = HqConfig(
        data_root=str(args.data),
        sets=data_sets(args.data, FINE_SETS, synthetic=not args.no_synthetic),
        model=args.model,
        start_from=None if args.start_from is None else str(args.start_from),
        **run_values(args),
    )
    trainer = HqTrainer(config)
    trainer.run()
    if trainer.group.rank:  # of several processes one writes the result
        return 0
    if args.export_decoder is not None:
        export_weights(trainer, args.export_decoder, trainer.base, beside=trainer.beside)
    say_run(args, trainer.step, keep_result(args, trainer, trainer.base))
    return 0
