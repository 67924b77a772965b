"""Training a model on packs: the one core of `sft`, of its shuffled control and of `pretrain`.

    packs ──► Batches ──► ranks (Ray actors in a placement group) ──► <stage>/checkpoints ──► <stage>/model
                              └─► <stage>/steps.jsonl, metrics.jsonl, W&B, progress bar

A training that was cut off goes on from its newest checkpoint: steps after it are trained again, and their lines in
`steps.jsonl` with them, so that the file is always the one curve of the model that lies there. One that is asked to stop
(SIGTERM, Ctrl-C) ends its step and writes a checkpoint, so that none is trained twice.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from prstack.config import fingerprint
from prstack.dialogue.render import Renderer
from prstack.distill.packing import PACKED_SCHEMA
from prstack.errors import UserError
from prstack.pretrain.base import write_packs
from prstack.pretrain.tokenizer import END_OF_TEXT
from prstack.report.tracking import Tracker, read_metrics
from prstack.settings import Config
from prstack.stages.cluster import ray_session
from prstack.stages.distill import content_of
from prstack.stages.stopping import Stop, first_signal_asks
from prstack.store.parts import Parts, write_text
from prstack.store.rundir import Manifest, Stage
from trainers import launch
from trainers.batches import Batches, read_packs
from trainers.checkpoint import latest, progress
from trainers.layout import Layout
from trainers.loop import train
from trainers.lora import Lora
from trainers.model import check_dispatcher
from trainers.spec import ModelSpec
from trainers.worker import Setup

T = TypeVar("T")
PART_PACKS, UNSEEN = 200, 100_000_000
"""Packs of text a committed part; number of the first document of a rehearsal, beyond all of pretraining."""
FREE = ("model", "input", "ranks", "threads", "checkpoint_every", "keep", "restarts")
"""Keys of trainer that do not decide what is trained, or (model, input) do so by their content."""


def training_inputs(config: Config, base: Path, files: list[Path]) -> dict[str, Any]:
    """What decides the trained model, for the stage's fingerprint: the content of data and base, and the settings."""
    return {
        "data": content_of(files),
        "base": content_of(sorted([*base.glob("*.safetensors"), base / "config.json", base / "tokenizer.json"])),
        "trainer": fingerprint(config.trainer, *FREE),
    } | ({"rehearsal": fingerprint(config.pretrain)} if config.trainer.rehearsal else {})


def train_model(
    config: Config, base: Path, packs: Path, stage: Stage, tracker: Tracker, counts: dict[str, int] | None = None
) -> Manifest:
    """Trains `base` on the folder `packs` to the end of the schedule, exports to `<stage>/model` and finishes the stage.

    With `trainer.rehearsal` there is text of pretraining among the packs. The stage's name stands before its metrics (`sft/loss`) and its
    messages; `counts` go before its own counts. A rank that is lost costs the steps since the last checkpoint, `trainer.restarts` times.
    Raises UserError before anything starts for a layout, model and data that do not fit each other, and
    trainers.loop.Diverged, launch.RankLost; KeyboardInterrupt where a signal asked it to stop, with a checkpoint.
    """
    settings, spec, setup = config.trainer, ModelSpec.from_hf(base), rank_setup(config, base)
    layout = setup.layout
    data = read_packs(packs, spec.vocab, settings.context)
    if settings.rehearsal:
        tokens = sum(len(p.input_ids) for p in data)
        data += read_packs(rehearsal_packs(config, base, stage.folder / "rehearsal", tokens), spec.vocab, settings.context)
    name = stage.name
    stop = Stop(name, "the step that is under way ends and a checkpoint is written")
    with ray_session(config.ray):
        print(f"{name}: {settings.model} on {layout.ranks} ranks ({layout})", flush=True)
        curve, memory = restarting(stage, settings.restarts, stop, lambda: _to_the_end(config, setup, data, stage, tracker, stop))
    trained, summary = curve.summary()
    weights = content_of(sorted((stage.folder / "model").glob("*.safetensors")))
    return stage.finish((counts or {}) | trained | {"ranks": layout.ranks}, weights, summary | {"peak_rank_mb": round(memory)})


def rank_setup(config: Config, base: Path) -> Setup:
    """What the ranks need to build the model in `base`. Raises UserError for a layout and for adapters that it does not allow."""
    settings, spec = config.trainer, ModelSpec.from_hf(base)
    layout = Layout.of(settings.ranks, settings.tp, settings.pp, settings.ep, settings.cp)
    layout.check(spec, settings.context)
    check_dispatcher(settings.dispatcher)
    lora = Lora.of(settings.lora)
    if lora:
        lora.check(spec, tuple(settings.freeze))
    return Setup(
        str(base),
        layout,
        dtype=settings.dtype,
        context=settings.context,
        clip=settings.clip,
        weight_decay=settings.weight_decay,
        aux_loss=settings.aux_loss,
        recompute=settings.recompute,
        dispatcher=settings.dispatcher,
        freeze=tuple(settings.freeze),
        lora=lora,
        seed=settings.seed,
    )


def restarting(stage: Stage, restarts: int, stop: Stop, attempt: Callable[[], T]) -> T:
    """What `attempt` returns; it is made again when a rank was lost, `restarts` times, and goes on from the last checkpoint. Raises
    launch.RankLost; KeyboardInterrupt where it was asked to stop and then lost a rank."""
    for lost in itertools.count():
        try:
            return attempt()
        except launch.RankLost as e:
            said = str(e).splitlines()[0].partition(";")[0]
            if stop.asked():
                print(f"{stage.name}: {said}; steps after the last checkpoint are lost", flush=True)
                raise stopped(stop, stage) from e
            if lost == restarts:
                raise
            print(f"{stage.name}: {said}; new ranks go on from the last checkpoint ({lost + 1} of {restarts} restarts)", flush=True)
    raise AssertionError("unreachable")


def stopped(stop: Stop, stage: Stage) -> KeyboardInterrupt:
    """What to raise for a request to stop: it says how far the stage is trained, and where that lies."""
    found = latest(stage.folder / "checkpoints")
    if found is None:
        return stop.ended(f"{stage.name} has trained nothing yet")
    at = progress(found)
    return stop.ended(f"{stage.name} is trained to step {at['step']} of {at['steps']}, checkpoint {found}")


def _to_the_end(config: Config, setup: Setup, data: list[Any], stage: Stage, tracker: Tracker, stop: Stop) -> tuple[Curve, float]:
    """One group of ranks, from the newest checkpoint to the end of the schedule and its export; the curve, and the most memory of a rank in
    MiB. Raises launch.RankLost, after which it may be called again; KeyboardInterrupt where it was asked to stop."""
    settings, name, checkpoints = config.trainer, stage.name, stage.folder / "checkpoints"
    group, state = launch.start(setup, checkpoints, settings.threads)
    with group:
        batches = Batches(data, settings.global_batch, settings.micro_batch, group.dp, settings.seed, shuffle=settings.shuffle)
        steps = settings.steps or batches.steps(settings.epochs)
        if state:
            print(f"{name}: taking up again after step {state['step']} of {steps}", flush=True)
        with Curve(stage.folder / "steps.jsonl", state["step"] if state else 0, steps, tracker, name) as curve, first_signal_asks(stop.ask):
            train(group, batches, settings, checkpoints, curve, state, stop=stop.asked)
        if stop.asked():
            raise stopped(stop, stage)
        export(group, setup, stage.folder)
        return curve, max(group.memory_mb())


def export(group: launch.Group, setup: Setup, folder: Path) -> None:
    """Writes `<folder>/model`, and beside it what PEFT loads of the adapters, where there are any (`trainers.lora`)."""
    group.export(folder / "model")
    if setup.lora and "experts" not in setup.lora.targets:
        group.export_adapter(folder / "adapter")


def rehearsal_packs(config: Config, base: Path, folder: Path, tokens: int) -> Path:
    """Packs of text of pretraining beside so many tokens of conversations, in documents that pretraining has not seen. Raises UserError for
    a tokenizer that has no end of a text."""
    share, tokenizer = config.trainer.rehearsal, Renderer(base).tokenizer
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise UserError(f"trainer.rehearsal: the tokenizer of {base} has no {END_OF_TEXT}, with which texts end")
    text = dataclasses.replace(config.pretrain, tokens=max(1, round(share / (1 - share) * tokens)))
    made = Parts(folder, schema=PACKED_SCHEMA, flush_every=PART_PACKS)
    write_packs(text, tokenizer, config.trainer.context, made, first=UNSEEN, curriculum=False)
    return folder


TRACKED = ("loss", "grad_norm", "lr", "tokens_per_second", "epoch", "aux_loss")
BESIDE_THE_BAR = {"loss": ".3f", "tokens_per_second": ".0f"}
"""Metric → how it is written."""


class Curve:
    """Called with the metrics of every step: a line of `steps.jsonl`, the tracker (`<name>/loss`, …), the progress bar.

    `step`: the steps that were done before; later lines of the file, of an attempt that was cut off, are taken out. `tracked`: the metrics
    that go to the tracker, None for every number; `beside_the_bar`: those that the progress bar shows, where they are there.
    """

    def __init__(
        self,
        file: Path,
        step: int,
        steps: int,
        tracker: Tracker,
        name: str,
        tracked: Sequence[str] | None = TRACKED,
        beside_the_bar: Mapping[str, str] = BESIDE_THE_BAR,
    ):
        kept = [r for r in read_metrics(file) if r["step"] <= step] if file.exists() else []
        if [r["step"] for r in kept] != list(range(1, step + 1)):
            raise UserError(f"{file}: does not hold the {step} steps that the checkpoint was trained for; remove {file.parent} to train anew")
        write_text("".join(_line(r) for r in kept), file)
        self.rows: list[dict[str, Any]] = kept
        self._file = open(file, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self._tracker, self._name, self._tracked, self._beside = tracker, name, tracked, beside_the_bar
        self._bar = tqdm(total=steps, initial=step, desc=name, unit=" steps", mininterval=1.0)

    def __call__(self, metrics: dict[str, Any]) -> None:
        self.rows.append(json.loads(_line(metrics)))
        self._file.write(_line(metrics))
        self._file.flush()
        names = self._tracked if self._tracked is not None else [k for k, v in metrics.items() if isinstance(v, int | float) and k != "step"]
        shown = {k: metrics[k] for k in names if k in metrics}
        if load := metrics.get("expert_load"):
            shown["busiest_expert_share"] = max(max(shares) for shares in load.values())
        self._tracker.log({f"{self._name}/{k}": v for k, v in shown.items()}, step=metrics["step"])
        self._bar.set_postfix({k: f"{metrics[k]:{form}}" for k, form in self._beside.items() if k in metrics}, refresh=False)
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
