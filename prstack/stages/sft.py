"""`prstack sft`: a training set → a fine-tuned model, trained by a group of ranks and exported for Hugging Face and vLLM.

    distill/packed ──► prstack.stages.training ──► sft/model
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prstack.config import to_dict
from prstack.report.tracking import Tracker
from prstack.settings import Config
from prstack.stages.models import resolve_model, resolve_tokenizer
from prstack.stages.training import train_model, training_inputs
from prstack.store.records import data_files
from prstack.store.rundir import Manifest, RunDir
from trainers.hf_files import check_tokenizer
from trainers.spec import ModelSpec


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Trains to the end of the schedule and exports. Raises UserError before anything starts for a model and data that do
    not fit each other, and trainers.loop.Diverged."""
    m, settings = material(config, run), config.trainer
    stage = run.stage("sft", training_inputs(config, m.base, m.files), to_dict(settings))
    if stage.done:
        print(f"sft: trained already, {stage.folder / 'model'}", flush=True)
        return stage.manifest
    return train_model(config, m.base, m.packs, stage, tracker)


@dataclass(slots=True)
class Material:
    """What fine-tuning begins with."""

    base: Path
    packs: Path
    """Folder of packed sequences."""
    files: list[Path]
    """The files in it."""
    distilled: Manifest | None
    """The distillation that made them, where they lie in its folder."""


def material(config: Config, run: RunDir) -> Material:
    """The base and the training set that `trainer` names. Raises UserError for what is not there, is no model that can be
    trained, or was rendered with a tokenizer that is not the base's."""
    settings = config.trainer
    packs = Path(settings.input) if settings.input else run.path / "distill" / "packed"
    files = data_files(packs, "trainer.input" if settings.input else "the training set of this run (`prstack distill` makes it)")
    base = resolve_model(settings.model)
    ModelSpec.from_hf(base)
    made = Manifest.load(packs.parent)
    distilled = made if made and made.stage == "distill" else None
    if distilled:
        check_tokenizer(base, resolve_tokenizer(distilled.config["tokenizer"]))
    return Material(base, packs, files, distilled)
