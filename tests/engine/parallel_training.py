"""What each process of a training in several does; started by torchrun from the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from litesam.training.data import DataSetConfig
from litesam.training.lite_sam import TrainConfig, Trainer


def config_of(folder: Path, steps: int = 1) -> TrainConfig:
    """A short run on drawn cells."""
    return TrainConfig(
        data_root=str(folder),
        run_folder=str(folder / "run"),
        sets=(DataSetConfig("synthetic:cells", 1.0),),
        steps=steps,
        warmup_steps=1,
        crop_px=(128,),
        batch=(4,),
        prompts_per_crop=2,
        correction_share=0.0,
        optimizer="muon",
        workers=0,
    )


def main() -> None:
    folder = Path(sys.argv[1])
    trainer = Trainer(config_of(folder, int(sys.argv[2])))
    began = trainer.step
    trainer.run()
    rank = trainer.group.rank
    torch.save({"model": trainer.model.state_dict(), "began": began}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main()
