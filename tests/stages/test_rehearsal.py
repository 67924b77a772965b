"""Rehearsal: text of pretraining among the conversations of fine-tuning."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from prstack.config import load
from prstack.distill.packing import PACKED_SCHEMA
from prstack.errors import UserError
from prstack.pretrain import base
from prstack.pretrain import tokenizer as bpe
from prstack.stages.models import resolve_model
from prstack.stages.sft import run as sft
from prstack.stages.training import rehearsal_packs, training_inputs
from prstack.store.parts import Parts
from trainers.batches import read_packs

BASE = resolve_model("world-9m")
SETTINGS = ("trainer.context=1024", "trainer.model=world-9m", "trainer.rehearsal=0.25")


def ids(packs):
    return [tuple(p.input_ids) for p in packs]


def test_it_is_a_share_of_new_text_of_all_kinds_and_made_once(tmp_path):
    config = load(list(SETTINGS))
    folder = rehearsal_packs(config, BASE, tmp_path / "r", tokens=30_000)
    packs = read_packs(folder, 7168, 1024)
    tokens = sum(len(p.input_ids) for p in packs)
    assert 10_000 <= tokens < 12_000 and 0.1 < sum(p.targets for p in packs) / tokens < 0.9
    text = bpe.load(BASE).decode([i for p in packs for i in p.input_ids.tolist()], skip_special_tokens=False)
    assert "What is left" in text or "My list" in text or "<|im_start|>assistant" in text, "long documents are among it"
    seen = base.packs(load(["pretrain.tokens=40000"]).pretrain, bpe.load(BASE), 1024)
    assert not set(ids(packs)) & {tuple(row["input_ids"]) for row in seen}
    before = {f: f.stat().st_mtime_ns for f in folder.iterdir()}
    assert ids(read_packs(rehearsal_packs(config, BASE, folder, tokens=30_000))) == ids(packs)
    assert {f: f.stat().st_mtime_ns for f in folder.iterdir()} == before


def test_what_is_trained_depends_on_the_text_only_with_it(tmp_path):
    def of(*overrides):
        return training_inputs(load([*SETTINGS, *overrides]), BASE, [])

    assert of("pretrain.seed=1") != of()
    assert of("pretrain.seed=1", "trainer.rehearsal=0") == of("trainer.rehearsal=0")


def test_a_tokenizer_without_an_end_of_text_is_an_error(tmp_path):
    other = (BASE / "tokenizer.json").read_text().replace("<|endoftext|>", "<|end|>")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.json").write_text(other)
    with pytest.raises(UserError, match=r"trainer\.rehearsal: .* has no <\|endoftext\|>"):
        rehearsal_packs(load(list(SETTINGS)), tmp_path / "base", tmp_path / "r", 1000)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_pass_holds_both(tmp_path, ray_local):
    from prstack.report.tracking import Tracker
    from prstack.settings import TrackingConfig
    from prstack.store.rundir import RunDir

    config = load([*SETTINGS, f"trainer.input={tmp_path / 'packs'}", "trainer.epochs=1", "trainer.global_batch=2", "trainer.warmup=1", "trainer.rehearsal=0.5"])
    with Parts(tmp_path / "packs", schema=PACKED_SCHEMA) as out:
        for _, row in zip(range(4), base.packs(load([]).pretrain, bpe.load(BASE), 1024)):
            out.add(row)
    run, resumed = RunDir.open(str(tmp_path / "run"), "runs", "t", "sft", {})
    manifest = sft(config, run, Tracker(run.path, TrackingConfig(wandb="disabled"), "t", {}))
    rows = sum(pq.read_metadata(f).num_rows for f in (run.path / "sft" / "rehearsal").glob("*.parquet"))
    assert not resumed and rows > 1 and manifest.counts["steps"] == -(-(4 + rows) // 2)
    assert json.loads((run.path / "sft" / "steps.jsonl").read_text().splitlines()[-1])["step"] == manifest.counts["steps"]
