"""`prstack pretrain`: a small base model from random weights and world text.

    documents ──► tokenizer ──► packed/ ──► prstack.stages.training ──► pretrain/model
                      └──► init/ (configuration, tokenizer, random weights)

The text is made while it is packed; a run that was cut off goes on where it was, in packing and in training. The model that is
shipped as `world-9m` was made by `prstack pretrain preset=world_9m` (docs/experiments/base-model.md).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from prstack.config import fingerprint, to_dict
from prstack.distill.packing import PACKED_SCHEMA
from prstack.errors import UserError
from prstack.pretrain import base
from prstack.pretrain import tokenizer as bpe
from prstack.report.tracking import Tracker
from prstack.settings import Config, PretrainConfig
from prstack.stages.training import FREE, PART_PACKS, train_model
from prstack.store.parts import Parts
from prstack.store.rundir import Manifest, RunDir
from trainers.init import write_first

POSITIONS = 8192
"""Longest context of the model; what it learned of distances ends at the length of its packs."""


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Makes tokenizer, first weights and packs where they are missing, then trains. Raises UserError for a layout that does
    not fit the model and for adapters, and trainers.loop.Diverged."""
    settings, text = config.trainer, config.pretrain
    if settings.lora.rank:
        raise UserError(f"trainer.lora.rank={settings.lora.rank}: pretraining begins with random weights, on which adapters alone learn nothing of use")
    inputs = {"pretrain": fingerprint(text), "trainer": fingerprint(settings, *FREE)}
    stage = run.stage("pretrain", inputs, to_dict(text))
    if stage.done:
        print(f"pretrain: made already, {stage.folder / 'model'}", flush=True)
        return stage.manifest
    init = stage.folder / "init"
    if not init.is_dir():
        _write_init(text, init)
    packs = Parts(stage.folder / "packed", schema=PACKED_SCHEMA, flush_every=PART_PACKS)
    base.write_packs(text, bpe.load(init), settings.context, packs)
    settings = dataclasses.replace(settings, model="random weights", rehearsal=0.0)
    return train_model(dataclasses.replace(config, trainer=settings), init, stage.folder / "packed", stage, tracker)


def _write_init(text: PretrainConfig, init: Path) -> None:
    """The tokenizer and the first weights; the folder appears by one rename."""
    print(f"pretrain: making a tokenizer of {text.vocabulary:,} tokens", flush=True)
    tokenizer = base.make_tokenizer(text)
    shell = init.with_name(".shell")
    bpe.save(tokenizer, shell, POSITIONS)
    config = base.model_config(text, tokenizer, POSITIONS)
    (shell / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    spec = write_first(shell, init, text.seed, text.copying, text.comparing)
    shutil.rmtree(shell)
    print(f"pretrain: {spec.parameters() / 1e6:.1f} million parameters", flush=True)
