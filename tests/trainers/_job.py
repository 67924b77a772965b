"""A training run in a process of its own, to be killed: `python -m tests.trainers._job BASE DATA FOLDER STEPS LOG [EVERY]`.

Appends "step loss" to LOG after every step, flushed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prstack.settings import TrainerConfig
from trainers import launch
from trainers.batches import Batches, read_packs
from trainers.loop import train
from trainers.worker import Setup


def main(base: str, data: str, folder: str, steps: str, log: str, every: str = "4") -> None:
    group, state = launch.start(Setup(base, aux_loss=0.01), Path(folder), local=True)
    batches = Batches(read_packs(data), 4, 1, 1, seed=5)
    config = TrainerConfig(steps=int(steps), checkpoint_every=int(every), lr=3e-3, warmup=2)
    with group, open(log, "a") as f:

        def on_step(m: dict) -> None:
            f.write(f"{m['step']} {m['loss']!r}\n")
            f.flush()

        train(group, batches, config, Path(folder), on_step, state)


if __name__ == "__main__":
    main(*sys.argv[1:])
