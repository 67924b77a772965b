"""`prstack sft`: a training set → a fine-tuned model, trained by a group of ranks and exported for Hugging Face and vLLM.

    distill/packed ──► Batches ──► ranks (Ray actors in a placement group) ──► sft/checkpoints ──► sft/model
                                       └─► sft/steps.jsonl, metrics.jsonl, W&B, progress bar

A run that was cut off goes on from its newest checkpoint: steps after it are trained again, and their lines in
`steps.jsonl` with them, so that the file is always the one curve of the model that lies there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prstack.config import fingerprint, to_dict
from prstack.errors import UserError
from prstack.report.tracking import Tracker, read_metrics
from prstack.settings import Config
from prstack.stages.cluster import ray_session
from prstack.stages.distill import content_of
from prstack.stages.models import resolve_model, resolve_tokenizer
from prstack.store.parts import write_text
from prstack.store.records import data_files
from prstack.store.rundir import Manifest, RunDir
from trainers import launch
from trainers.batches import Batches, read_packs
from trainers.hf_files import check_tokenizer
from trainers.layout import Layout
from trainers.loop import train
from trainers.spec import ModelSpec
from trainers.worker import Setup

FREE = ("model", "input", "ranks", "threads", "checkpoint_every", "keep")
"""Keys of trainer that do not decide what is trained, or (model, input) do so by their content."""


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Trains to the end of the schedule and exports. Raises UserError before anything starts for a model and data that do
    not fit each other, and trainers.loop.Diverged."""
    settings = config.trainer
    data = Path(settings.input) if settings.input else run.path / "distill" / "packed"
    files = data_files(data, "trainer.input" if settings.input else "the training set of this run (`prstack distill` makes it)")
    base = resolve_model(settings.model)
    spec = ModelSpec.from_hf(base)
    made = Manifest.load(data.parent)
    if made and made.stage == "distill":
        check_tokenizer(base, resolve_tokenizer(made.config["tokenizer"]))
    inputs = {
        "data": content_of(files),
        "base": content_of(sorted([*base.glob("*.safetensors"), base / "config.json", base / "tokenizer.json"])),
        "trainer": fingerprint(settings, *FREE),
    }
    stage = run.stage("sft", inputs, to_dict(settings))
    if stage.done:
        print(f"sft: trained already, {stage.folder / 'model'}", flush=True)
        return stage.manifest
    layout = Layout.of(settings.ranks, settings.tp, settings.pp, settings.ep)
    layout.check(spec)
    packs = read_packs(data, spec.vocab, settings.context)
    setup = Setup(
        str(base),
        layout,
        dtype=settings.dtype,
        context=settings.context,
        clip=settings.clip,
        weight_decay=settings.weight_decay,
        aux_loss=settings.aux_loss,
        recompute=settings.recompute,
        seed=settings.seed,
    )
    with ray_session(config.ray):
        print(f"sft: {settings.model} on {layout.ranks} ranks (ep {layout.ep}, tp {layout.tp}, pp {layout.pp}, dp {layout.dp})", flush=True)
        group, state = launch.start(setup, stage.folder / "checkpoints", settings.threads)
        with group:
            batches = Batches(packs, settings.global_batch, settings.micro_batch, group.dp, settings.seed)
            steps = settings.steps or batches.steps(settings.epochs)
            if state:
                print(f"sft: taking up again after step {state['step']} of {steps}", flush=True)
            with Curve(stage.folder / "steps.jsonl", state["step"] if state else 0, steps, tracker) as curve:
                train(group, batches, settings, stage.folder / "checkpoints", curve, state)
            group.export(stage.folder / "model")
            memory = max(group.memory_mb())
    counts, summary = curve.summary()
    weights = content_of(sorted((stage.folder / "model").glob("*.safetensors")))
    return stage.finish(counts | {"ranks": layout.ranks}, weights, summary | {"peak_rank_mb": round(memory)})


class Curve:
    """Called with the metrics of every step: a line of `steps.jsonl`, the tracker, the progress bar.

    `step`: the steps that were done before; later lines of the file, of an attempt that was cut off, are taken out.
    """

    def __init__(self, file: Path, step: int, steps: int, tracker: Tracker):
        kept = [r for r in read_metrics(file) if r["step"] <= step] if file.exists() else []
        if [r["step"] for r in kept] != list(range(1, step + 1)):
            raise UserError(f"{file}: does not hold the {step} steps that the checkpoint was trained for; remove {file.parent} to train anew")
        write_text("".join(_line(r) for r in kept), file)
        self.rows: list[dict[str, Any]] = kept
        self._file = open(file, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self._tracker = tracker
        self._bar = tqdm(total=steps, initial=step, desc="sft", unit=" steps", mininterval=1.0)

    def __call__(self, metrics: dict[str, Any]) -> None:
        self.rows.append(json.loads(_line(metrics)))
        self._file.write(_line(metrics))
        self._file.flush()
        shown = {k: metrics[k] for k in ("loss", "grad_norm", "lr", "tokens_per_second", "epoch", "aux_loss") if k in metrics}
        if load := metrics.get("expert_load"):
            shown["busiest_expert_share"] = max(max(shares) for shares in load.values())
        self._tracker.log({f"sft/{k}": v for k, v in shown.items()}, step=metrics["step"])
        self._bar.set_postfix({"loss": f"{metrics['loss']:.3f}", "tok/s": f"{metrics['tokens_per_second']:.0f}"}, refresh=False)
        self._bar.update()

    def summary(self) -> tuple[dict[str, int], dict[str, float]]:
        """Counts and figures over all steps, earlier sessions included."""
        rows, last = self.rows, self.rows[-10:]
        seconds = sum(r["seconds"] for r in rows)
        counts = {"steps": len(rows), "tokens": sum(r["tokens"] for r in rows), "learned_tokens": sum(r["targets"] for r in rows)}
        return counts, {
            "first_loss": round(rows[0]["loss"], 4),
            "last_loss": round(sum(r["loss"] for r in last) / len(last), 4),
            "tokens_per_second": round(counts["tokens"] / max(seconds, 1e-9)),
        }

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._bar.close()


def _line(metrics: dict[str, Any]) -> str:
    return json.dumps(metrics) + "\n"
