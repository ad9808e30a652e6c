"""``litesam train-ppn``: train an AutoPPN on the embeddings of any SAM-like model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command
from litesam.cli.recipes import add_run_options, run_values, say_run, show_log
from litesam.cli.terminal import progress_bars
from litesam.errors import ConfigError

if TYPE_CHECKING:
    import argparse

_EXAMPLES = """\
  litesam train-ppn mydata/ --model sam_vit_b --run runs/ppn --export cells.safetensors
  litesam label a.tif -o b.tif --model sam_vit_b --proposals auto_ppn --proposer cells.safetensors
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train-ppn",
        "train AutoPPN for any model",
        "Train an AutoPPN, which says where objects are in everything mode, on the embeddings of a "
        "model of the SAM family. The images are encoded once and the encoder stays as it is. "
        "It may be stopped at any time; the same command goes on.",
        _EXAMPLES,
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="folders of labelled images (images/, labels/); with an index.csv its training split",
    )
    parser.add_argument("--model", required=True, help="model whose embeddings it sees")
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="folder of the embeddings, some 5 to 15 MB a tile (default: in the run folder)",
    )
    parser.add_argument("--batch", type=int, default=8, help="tiles in a step (default: 8)")
    parser.add_argument(
        "--some",
        action="store_true",
        help="only some objects are labelled: the rest does not count as background",
    )
    add_run_options(
        parser,
        steps=1000,
        learning_rate=1e-3,
        start="weights of the model (default: its standard file)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.io import read_labelled_folder
    from litesam.training.auto_ppn import PpnConfig, PpnTrainer

    if args.batch < 1:
        raise ConfigError(f"--batch is {args.batch}; at least 1 is needed.")
    show_log(args)
    items = [item for folder in args.folders for item in read_labelled_folder(folder, "train")]
    config = PpnConfig(
        model=args.model,
        model_weights=None if args.start_from is None else str(args.start_from),
        store=None if args.store is None else str(args.store),
        exhaustive=not args.some,
        batch=args.batch,
        **run_values(args),
    )
    trainer = PpnTrainer(config, items)
    with progress_bars(quiet=args.quiet) as bars:
        bars.begin(f"embedding with {args.model}")
        result: dict[str, Any] = {"tiles": trainer.precompute(bars.part(0))}
    trainer.run()
    if args.export is not None:
        result["bytes"] = trainer.export(args.export)
        result["weights"] = str(args.export)
    say_run(args, trainer.step, result)
    return 0
