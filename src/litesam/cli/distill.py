"""``litesam distill``: teach a small encoder to give the embeddings of a large one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litesam.cli.options import add_command
from litesam.cli.recipes import (
    add_name_options,
    add_run_options,
    keep_result,
    run_values,
    say_run,
    show_log,
)
from litesam.cli.terminal import progress_bars
from litesam.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from litesam.training.align import AlignTrainer
    from litesam.training.distill import DistillConfig, DistillTrainer

_EXAMPLES = """\
  litesam distill images/ --teacher sam_vit_b --student mobile_sam --run runs/small --name small
  litesam distill images/ --teacher sam_vit_h --student mobile_sam --run runs/small --device cuda
  litesam distill images/ --teacher sam_vit_b --student edge_sam --run runs/edge --align 500
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "distill",
        "teach a small encoder the embeddings of a large one",
        "Encode all images of a folder once with a large model (the teacher), then train the "
        "encoder of a small one (the student) to give the same embeddings, and put it together "
        "with the teacher's decoder: the recipe of MobileSAM. No labels are needed. It may be "
        "stopped at any time; the same command goes on.",
        _EXAMPLES,
    )
    parser.add_argument("data", type=Path, metavar="FOLDER", help="images, or data sets")
    parser.add_argument("--teacher", required=True, help="model such as sam_vit_b")
    parser.add_argument("--student", required=True, help="model such as mobile_sam")
    parser.add_argument(
        "--teacher-weights", type=Path, metavar="FILE", help="default: the standard file"
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="folder of the teacher's embeddings, some 5 to 15 MB a tile (default: in the run "
        "folder)",
    )
    parser.add_argument("--batch", type=int, default=4, help="tiles in a step (default: 4)")
    parser.add_argument(
        "--align",
        type=int,
        default=0,
        metavar="STEPS",
        help="then train the decoder for so many steps to give the teacher's masks on the "
        "student's embeddings (default: 0, the teacher's decoder as it is)",
    )
    add_name_options(parser)
    add_run_options(
        parser,
        steps=5000,
        learning_rate=1e-3,
        start="weights of the student to start from (default: random ones)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from litesam.training.align import check_can_align
    from litesam.training.distill import DistillConfig, DistillTrainer
    from litesam.training.pictures import find_pictures
    from litesam.weights import check_own_name

    if args.batch < 1:
        raise ConfigError(f"--batch is {args.batch}; at least 1 is needed.")
    if args.align < 0:
        raise ConfigError(f"--align is {args.align}; 0 or a number of steps is needed.")
    if args.align:
        check_can_align(args.teacher, args.student)
    if args.name is not None:
        check_own_name(args.name, overwrite=args.overwrite)
    show_log(args)
    config = DistillConfig(
        teacher=args.teacher,
        student=args.student,
        batch=args.batch,
        teacher_weights=_text(args.teacher_weights),
        start_from=_text(args.start_from),
        store=_text(args.store),
        **run_values(args),
    )
    trainer = DistillTrainer(config, find_pictures(args.data))
    with progress_bars(quiet=args.quiet) as bars:
        bars.begin(f"embedding with {args.teacher}")
        tiles = trainer.precompute(bars.part(0))
    trainer.run()
    if args.align:
        aligned = _align(args, config, trainer)
        result = {"aligned": aligned.step} | keep_result(args, aligned, aligned.base)
    else:
        result = keep_result(args, trainer, trainer.base)
    say_run(args, trainer.step, {"tiles": tiles} | result)
    return 0


def _align(
    args: argparse.Namespace, config: DistillConfig, trainer: DistillTrainer
) -> AlignTrainer:
    """Train the decoder beside what the distillation made of the encoder."""
    from litesam.training.align import AlignConfig, AlignTrainer
    from litesam.training.export import export_weights
    from litesam.training.pictures import find_pictures

    folder = trainer.folder / f"align-{trainer.step}"  # of other embeddings after more steps
    file = trainer.folder / f"step-{trainer.step}.safetensors"
    if not file.is_file():
        export_weights(trainer, file, trainer.base)
    align = AlignConfig(
        run_folder=str(folder),
        steps=args.align,
        seed=config.seed,
        device=config.device,
        threads=config.threads,
        bf16=config.bf16,
        teacher=config.teacher,
        teacher_weights=config.teacher_weights,
        student=config.student,
        start_from=str(file),
        store=config.store or str(trainer.folder / "embeddings"),
    )
    aligner = AlignTrainer(align, find_pictures(args.data))
    with progress_bars(quiet=args.quiet) as bars:
        bars.begin("embedding with both models")
        aligner.precompute(bars.part(0))
    aligner.run()
    return aligner


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
