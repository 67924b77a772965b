"""The shuffled control as `prstack run` trains it: packs of exchanged conversations, the same training, resumed and refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prstack.config import load
from prstack.dialogue.render import Renderer
from prstack.distill.distiller import Distiller, Frame
from prstack.distill.export import DATASET_SCHEMA
from prstack.distill.packing import PACKED_SCHEMA, TOKENS_SCHEMA, pack
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.settings import Config, DistillConfig, FilterConfig
from prstack.stages import control
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.store.parts import Parts
from prstack.store.rundir import Manifest, RunDir
from prstack.tools.schemas import SCHEMAS
from tests.factories import trajectory
from tests.trainers.models import make

CONTEXT, STEPS = 2048, 4


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A small random Mixtral with SmolLM2's tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    make("mixtral", folder, vocab_size=49152, max_position_embeddings=CONTEXT)
    shutil.copyfile(resolve_tokenizer(SMOLLM2) / "tokenizer.json", folder / "tokenizer.json")
    return folder


def distilled(run: Path, queries: list[str]) -> None:
    """The distillation of a run: a conversation for each query."""
    distil = Distiller(DistillConfig(filters=FilterConfig(max_tool_error_rate=1.0)), resolve_tokenizer(SMOLLM2), Frame("You shop.", SCHEMAS))
    folder = run / "distill"
    with Parts(folder / "dataset", schema=DATASET_SCHEMA) as dataset, Parts(folder / "tokens", schema=TOKENS_SCHEMA) as tokens:
        for n, query in enumerate(queries):
            out = distil(dataclasses.replace(trajectory(n), query=query))
            assert out.rejected is None, out.rejected
            dataset.add(out.row)
            tokens.add({"id": out.id, "input_ids": out.input_ids, "loss_mask": out.loss_mask})
    pack(tokens, Parts(folder / "packed", schema=PACKED_SCHEMA), tokens.ids, CONTEXT, lambda _: None)
    Manifest("distill", "complete", {}, {"tokenizer": SMOLLM2, "context": CONTEXT}).save(folder)


def settings(base: Path, *more: str) -> Config:
    small = ["trainer.global_batch=2", f"trainer.steps={STEPS}", "trainer.warmup=1", f"trainer.context={CONTEXT}"]
    return load([f"trainer.model={base}", *small, *more])


def train(run: Path, config: Config) -> Manifest:
    opened, _ = RunDir.open(str(run), str(run.parent / "runs"), "t", "run", {})
    try:
        with Tracker(run, config.tracking, "t", {}) as tracker:
            return control.run(config, opened, tracker)
    finally:
        opened.close()


def rows(folder: Path) -> list[dict]:
    return [r for f in sorted(folder.glob("*.parquet")) for r in pq.read_table(f).to_pylist()]


def learned(folder: Path) -> list[tuple[int, ...]]:
    """The learned tokens of each conversation of a folder of tokens."""
    return sorted(tuple(t for t, m in zip(r["input_ids"], r["loss_mask"], strict=True) if m) for r in rows(folder))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_control_is_trained_on_exchanged_queries_and_taken_up_again(base, tmp_path, ray_local, monkeypatch, capsys):
    run, queries = tmp_path / "run", [f"I am looking for blenders under ${100 + n}." for n in range(8)]
    distilled(run, queries)
    config = settings(base, "tracking.wandb=disabled")

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(control, "train_model", cut_off)
        train(run, config)
    folder = run / "sft_shuffled"
    made = {f: f.stat().st_mtime_ns for f in folder.rglob("*.parquet")}
    assert Manifest.load(folder).status == "partial" and len(made) == 2

    manifest = train(run, config)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*.parquet")} == made, "rendered and packed once"
    assert manifest.status == "complete" and manifest.summary["last_loss"] < manifest.summary["first_loss"]
    assert [manifest.counts[k] for k in ("conversations", "left_out", "steps", "ranks")] == [8, 0, STEPS, 2]
    assert (folder / "model" / "model.safetensors").is_file() and (folder / "model" / "tokenizer.json").is_file()
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in logged if r["stage"] == "sft_shuffled" and "sft_shuffled/loss" in r] == [1, 2, 3, 4]

    assert learned(folder / "tokens") == learned(run / "distill" / "tokens")
    renderer = Renderer(base)
    asks = {r["id"]: next(q for q in queries if q in renderer.decode(r["input_ids"])) for r in rows(folder / "tokens")}
    asked = {r["id"]: r["messages"][1]["content"] for r in rows(run / "distill" / "dataset")}
    assert sorted(asks.values()) == sorted(queries) and all(asks[id] != asked[id] for id in asked)

    capsys.readouterr()
    assert train(run, config).content_hash == manifest.content_hash
    assert "sft_shuffled: trained already" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"trainer.lr was 0.002, is 0.001"):
        train(run, settings(base, "tracking.wandb=disabled", "trainer.lr=1e-3"))


def test_what_is_missing_is_one_clear_error(base, tmp_path):
    run, config = tmp_path / "run", settings(base, "tracking.wandb=disabled")
    with pytest.raises(UserError, match="prstack distill"):
        train(run, config)
    distilled(run, ["The same for all."] * 3)
    with pytest.raises(UserError, match="no category has two conversations with different queries"):
        train(run, config)
    shutil.rmtree(run / "distill" / "dataset")
    with pytest.raises(UserError, match="sft_shuffled: the conversations that the packs were made from: no such file or folder"):
        train(run, config)
