"""What the commands that train have in common: options, data sets, what becomes of the result."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_output_options
from litesam.cli.terminal import say, say_json, size_text
from litesam.errors import ConfigError, ReadError, WriteError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from litesam.training.data import DataSetConfig
    from litesam.training.run import TrainingRun


def add_run_options(
    parser: argparse.ArgumentParser, *, steps: int, learning_rate: float, start: str
) -> None:
    """Add the options of every training run.

    Parameters
    ----------
    parser
        The command's.
    steps, learning_rate
        Defaults.
    start
        What ``--from`` gives.
    """
    parser.add_argument("--run", required=True, type=Path, dest="run_folder", metavar="DIR")
    parser.add_argument("--from", type=Path, dest="start_from", metavar="FILE", help=start)
    parser.add_argument("--steps", type=int, default=steps, help=f"total steps (default: {steps})")
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=learning_rate,
        help=f"largest one (default: {learning_rate:g})",
    )
    parser.add_argument(
        "--optimizer",
        choices=("adamw", "muon"),
        default="adamw",
        help="muon learns more from as many steps of small batches (default: adamw)",
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


def add_name_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that keep the result as a model of the user's own."""
    parser.add_argument(
        "--name", metavar="NAME", help="at the end keep it as a model of your own, of this name"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a model of this name")


def add_synthetic_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves drawn images out."""
    parser.add_argument(
        "--no-synthetic",
        action="store_true",
        help="only the images in the folder, no drawn ones",
    )


def show_log(args: argparse.Namespace) -> None:
    """Let the lines of the training's log be seen, unless ``--quiet``."""
    if not args.quiet:
        logging.getLogger("litesam.training").setLevel(logging.INFO)


def run_values(args: argparse.Namespace) -> dict[str, Any]:
    """Options of `add_run_options` as fields of a `RunConfig`; files aside.

    Raises
    ------
    ConfigError
        If a number is out of range, or there is no such device.
    WriteError
        If the run folder or a file at the end of the run could not be written.
    """
    _check_run(args)
    return {
        "run_folder": str(args.run_folder),
        "steps": args.steps,
        "learning_rate": args.learning_rate,
        "optimizer": args.optimizer,
        "seed": args.seed,
        "device": args.device,
        "threads": args.threads,
        "bf16": args.bf16,
    }


def _check_run(args: argparse.Namespace) -> None:
    """Find mistakes before hours of work."""
    from litesam.io import check_output
    from litesam.predictors.base import resolve_device

    if args.steps < 1:
        raise ConfigError(f"--steps is {args.steps}; at least 1 is needed.")
    if not 0 < args.learning_rate < math.inf:
        raise ConfigError(
            f"--learning-rate is {args.learning_rate:g}; a number above 0 is needed, such as 0.001."
        )
    if args.threads < 0:
        raise ConfigError(f"--threads is {args.threads}; 1 or more is needed, or 0 for all.")
    resolve_device(args.device)
    if args.run_folder.exists() and not args.run_folder.is_dir():
        raise WriteError(f"{args.run_folder} is a file; --run needs a folder of its own.")
    for file in (args.export, getattr(args, "export_decoder", None)):
        if file is not None:
            check_output(file, overwrite=True)


def keep_result(
    args: argparse.Namespace, run: TrainingRun[Any, Any, Any], base: str
) -> dict[str, Any]:
    """Write the weights of a run where ``--export`` and ``--name`` want them.

    Parameters
    ----------
    args
        With `add_run_options`, and `add_name_options` if there are own models.
    run
        A run that is done.
    base
        Name of the model whose tensors they are.

    Returns
    -------
    dict
        What `say_run` says of it.
    """
    from litesam.training.export import export_weights
    from litesam.weights import add_own_model

    result: dict[str, Any] = {}
    if args.export is not None:
        result["bytes"] = export_weights(run, args.export, base)
        result["weights"] = str(args.export)
    name = getattr(args, "name", None)
    if name is not None:
        file = run.folder / "weights.safetensors"
        export_weights(run, file, base)
        status = add_own_model(file, name, base=base, overwrite=args.overwrite)
        file.unlink()
        result |= {"name": name, "path": str(status.path)}
    return result


def data_sets(
    folder: Path,
    known: Sequence[DataSetConfig],
    *,
    synthetic: bool,
    leave_out: Sequence[str] = (),
) -> tuple[DataSetConfig, ...]:
    """Every data set in the folder; known ones keep their share and flags. Then the drawn ones.

    Parameters
    ----------
    folder
        Holds the data sets.
    known
        Shares and flags of some.
    synthetic
        Whether drawn ones are added.
    leave_out
        Names of sets that are not learned from.

    Raises
    ------
    ReadError
        If the folder holds none, or not those that are to be left out.
    """
    from litesam.training.data import DataSetConfig
    from litesam.training.synthetic import PREFIX

    names = sorted(path.parent.name for path in folder.glob("*/index.csv"))
    if not names:
        raise ReadError(_no_data_set(folder))
    if unknown := sorted(set(leave_out) - set(names)):
        raise ReadError(
            f"{folder} holds no data set {unknown[0]!r} to leave out; it holds {', '.join(names)}."
        )
    names = [name for name in names if name not in leave_out]
    if not names:
        raise ReadError(f"All data sets of {folder} are left out; none is left to learn from.")
    shares = {config.name: config for config in known}
    if synthetic:
        names += [name for name in shares if name.startswith(PREFIX)]
    return tuple(shares.get(name) or DataSetConfig(name, weight=0.1) for name in names)


def _no_data_set(folder: Path) -> str:
    """Why a folder has nothing to train on."""
    if not folder.is_dir():
        return f"There is no folder {folder}; give a folder that holds data sets."
    if (folder / "images").is_dir():
        around = folder.resolve().parent
        return f"{folder} is a data set itself; give the folder that it lies in: {around}."
    if found := sorted(path.parent.name for path in folder.glob("*/images")):
        return (
            f"{folder / found[0]} has no index.csv; write one with the columns id and split, where "
            "the rows with the split train are learned from."
        )
    return f"{folder} holds no data set; each is a folder with images/, labels/ and index.csv."


def say_run(args: argparse.Namespace, step: int, result: dict[str, Any]) -> None:
    """Say where a run is and what came of it: ``weights`` and ``bytes``, ``name``."""
    if args.json:
        say_json({"run": str(args.run_folder), "step": step} | result)
        return
    say(f"{args.run_folder} is at step {step}.")
    if "weights" in result:
        say(f"{result['weights']}: {size_text(result['bytes'])}")
    if "name" in result:
        name = result["name"]
        say(f"{name} is a model of yours now: litesam label IMAGE -o LABELS --model {name}")
