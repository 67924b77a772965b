"""`prstack distill`: trajectories → a training set with its packs, its funnel and its card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tqdm import tqdm

from prstack import __version__
from prstack.config import fingerprint, to_dict
from prstack.dialogue.render import TEMPLATE
from prstack.distill import export, funnel, packing
from prstack.distill.distiller import AFTER_FILTERS, Frame
from prstack.distill.filters import chain
from prstack.distill.pipeline import Store, Tally, distil, known_total
from prstack.prompts import Prompts
from prstack.report.tracking import Tracker
from prstack.settings import Config
from prstack.stages.cluster import ray_session
from prstack.stages.models import resolve_tokenizer
from prstack.store.parts import Parts, write_text
from prstack.store.records import canonical_json, data_files
from prstack.store.rundir import Manifest, RunDir
from prstack.tools import own

LOG_EVERY = 200
"""Records between two lines of metrics."""
PACKED_PART_TOKENS = 500_000
"""Tokens a part of packed/."""


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Distils every trajectory of the input that is not done yet, then packs, counts and describes what there is."""
    settings = config.distill
    files = data_files(settings.input or run.path / "synthesis" / "trajectories", "distill.input")
    steps = [*chain(settings.filters), *AFTER_FILTERS]
    tokenizer = resolve_tokenizer(settings.tokenizer)
    frame = Frame(Prompts(config.agents.prompts).render("research_system"), own.all_schemas(config.tools.extra))
    inputs = {
        "input": content_of(files),
        "distill": fingerprint(settings, "input", "workers", "part_records"),
        "tokenizer": content_of([tokenizer / "tokenizer.json"]),
        "template": content_of([TEMPLATE]),
        "frame": hashlib.sha256(canonical_json([frame.system, frame.tools]).encode()).hexdigest(),
    }
    stage = run.stage("distill", inputs, to_dict(settings))
    if stage.done:
        print(f"distillation: made already, {stage.folder}", flush=True)
        return stage.manifest
    store = Store.open(stage.folder)
    if done := len(store.dataset) + len(store.rejected):
        print(f"distillation: taking up again, {done} trajectories are done", flush=True)

    with ray_session(config.ray), _Progress(files, tracker) as progress:
        tally = distil(settings, files, store, tokenizer, frame, progress)
    packed = Parts(stage.folder / "packed", schema=packing.PACKED_SCHEMA, flush_every=max(1, PACKED_PART_TOKENS // settings.context))
    with tqdm(total=len(store.dataset), desc="packing", unit=" samples", mininterval=1.0) as bar:
        packs = packing.pack(store.tokens, packed, store.dataset.ids, settings.context, bar.update)

    counts = {"read": tally.read, "kept": len(store.dataset), "rejected": len(store.rejected), "quarantined": tally.quarantined} | packs
    counts |= verdicts(store)
    funnelled = funnel.build(steps, store.dataset.rows(["source_tokens"]), store.rejected.rows(["id", "stage", "reason", "tokens"]))
    write_text(json.dumps(funnelled, indent=1, ensure_ascii=False) + "\n", stage.folder / "funnel.json")
    versions, worlds = describe(store, run, config)
    export.write_card(stage.folder, run.path.name, counts, funnelled, versions, worlds)
    tracker.log({f"distill/{k}": v for k, v in counts.items()})
    if not counts["kept"]:
        print(f"distillation: nothing was kept; {stage.folder / 'funnel.json'} says why", flush=True)
    content_hash = hashlib.sha256(f"{store.dataset.content_hash} {store.tokens.content_hash}".encode()).hexdigest()
    return stage.finish(counts, content_hash, {"kept_share": round(counts["kept"] / max(counts["read"], 1), 4)})


def content_of(files: list[Path]) -> str:
    """A hash of what the files hold, in this order; not of where they lie."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            digest.update(hashlib.file_digest(f, "sha256").digest())
    return digest.hexdigest()


def verdicts(store: Store) -> dict[str, int]:
    """Opened products on which the kept conversations speak a verdict: a model learns to refuse only from refusals."""
    rows = list(store.dataset.rows(["accepted", "refused"]))
    return {f"{name}_products": sum(row[name] for row in rows) for name in ("accepted", "refused")}


def describe(store: Store, run: RunDir, config: Config) -> tuple[dict[str, str], list[str]]:
    """What the data set was made with, and the kinds of world behind it."""
    teachers, prompts, worlds = set(), set(), set()
    for row in store.dataset.rows(["teacher", "prompt_version", "world"]):
        teachers.add(row["teacher"])
        prompts.add(row["prompt_version"])
        worlds.add(row["world"])
    world = None if config.distill.input else Manifest.load(run.path / "world")
    versions = {
        "prstack": __version__,
        "teacher": ", ".join(sorted(teachers)),
        "prompts": ", ".join(sorted(prompts)),
        "tokenizer": config.distill.tokenizer,
        "wrong actions": config.distill.wrong_actions,
        "context": str(config.distill.context),
    }
    return versions, [world.fingerprint["kind"]] if world else sorted(worlds)


class _Progress:
    """The progress bar of the stream, and a line of metrics now and then."""

    def __init__(self, files: list[Path], tracker: Tracker):
        self.bar = tqdm(total=known_total(files), desc="distillation", unit=" trajectories", mininterval=1.0)
        self.tracker = tracker

    def __enter__(self) -> _Progress:
        return self

    def __call__(self, tally: Tally) -> None:
        self.bar.update()
        if tally.quarantined:
            self.bar.set_postfix({"quarantined": tally.quarantined}, refresh=False)
        if tally.read % LOG_EVERY == 0:
            rate = tally.new / max(self.bar.format_dict["elapsed"], 1e-9)
            self.tracker.log({"distill/progress": tally.read, "distill/quarantined_so_far": tally.quarantined, "distill/new_per_second": round(rate, 1)})

    def __exit__(self, *_: object) -> None:
        self.bar.close()
