"""`prstack distill`: trajectories → a training set with its preference pairs, packs, layouts, funnel and card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from actors.openai_engine import api_key
from actors.synthesis import named_engines
from actors.writer import open_writer
from prstack import __version__
from prstack.config import fingerprint, to_dict
from prstack.dialogue.render import TEMPLATES
from prstack.distill import card, funnel, layouts, packing
from prstack.distill.distiller import AFTER_FILTERS, AS_IT_WAS, Frame
from prstack.distill.filters import chain
from prstack.distill.filters.contamination import KEY as EVALUATION
from prstack.distill.pipeline import Store, Tally, distil
from prstack.distill.reading import known_total
from prstack.distill.writing import PROMPT, Writer
from prstack.distill.writing import tally as tally_reflections
from prstack.errors import UserError
from prstack.prompts import Prompts
from prstack.report.tracking import Tracker
from prstack.settings import Config, DistillConfig
from prstack.stages.cluster import ray_session
from prstack.stages.models import resolve_model, resolve_tokenizer
from prstack.store.parts import Parts
from prstack.store.records import canonical_json, data_files
from prstack.store.rundir import Manifest, RunDir, Stage
from prstack.tools import own

LOG_EVERY = 200
"""Records between two lines of metrics."""
PACKED_PART_TOKENS = 500_000
"""Tokens a part of packed/."""
FREE = ("input", "workers", "part_records", "layouts")
"""Keys of distill that do not decide what is made, or (input) do so by their content."""


def _as_ever(settings: DistillConfig) -> list[str]:
    """Keys that leave the data set what it was before there were such keys."""
    return [*(["internalise"] if settings.internalise == "rule" else []), *(["attempts"] if settings.internalise != "llm" else [])]


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Distils every trajectory of the input that is not done yet, then packs, counts and describes what there is."""
    settings = config.distill
    check(settings)
    files = data_files(settings.input or run.path / "synthesis" / "trajectories", "distill.input")
    steps = [*chain(settings.filters), *AFTER_FILTERS]
    tokenizer = resolve_tokenizer(settings.tokenizer)
    prompts = Prompts(config.agents.prompts)
    frame = Frame(prompts.render("research_system"), own.all_schemas(config.tools.extra), config.agents.prompts)
    inputs = {
        "input": content_of(files),
        "evaluation": content_of([f for path in settings.filters.evaluation for f in data_files(path, EVALUATION)]),
        "distill": fingerprint(settings, *FREE, *_as_ever(settings)),
        "tokenizer": content_of([tokenizer / "tokenizer.json"]),
        "template": content_of([TEMPLATES[settings.chat_template]]),
        "frame": hashlib.sha256(canonical_json([frame.system, frame.tools]).encode()).hexdigest(),
    }
    if settings.internalise == "turns":
        inputs["prompts"] = prompts.hash("research_feedback")
    model = writing_model(config) if settings.internalise == "llm" else None
    if settings.internalise == "llm":
        weights = content_of(sorted(model.glob("*.safetensors"))) if model else ""
        inputs["writer"] = fingerprint(config.engine, "replicas", "kv_cache_mb", "endpoint") | {"weights": weights, "prompt": prompts.hash(PROMPT)}
    stage = run.stage("distill", inputs, to_dict(settings))
    if stage.done:
        print(f"distillation: made already, {stage.folder}", flush=True)
        write_layouts(Store.open(stage.folder), settings)
        return stage.manifest
    store = Store.open(stage.folder)
    if done := len(store.dataset) + len(store.rejected):
        print(f"distillation: taking up again, {done} trajectories are done", flush=True)

    with ray_session(config.ray), _writer(config, model) as writer, _Progress(files, tracker) as progress:
        tally = distil(settings, files, store, tokenizer, frame, progress, writer)
    return finish(config, run, stage, store, tally, steps, tracker)


def check(settings: DistillConfig) -> None:
    """Raises UserError for settings that say different things of what was sent back."""
    if settings.internalise in AS_IT_WAS and settings.wrong_actions == "drop":
        raise UserError(f"distill.wrong_actions=drop: with distill.internalise={settings.internalise} what was sent back stays; leave one of them out")
    if settings.internalise == "none" and "llama_factory" in settings.layouts:
        raise UserError("distill.layouts: llama_factory needs turns that alternate; with distill.internalise=none two assistant turns may follow each other")


def writing_model(config: Config) -> Path | None:
    """The checkpoint that writes reflections, None where an endpoint does. Raises UserError for an engine that is no language model."""
    if config.engine.name == "expert":
        raise UserError("distill.internalise=llm: the engine is the scripted expert, which writes no reflections; set engine=vllm or engine=openai")
    if config.engine.name == "openai":
        api_key(config.engine.endpoint)
        return None
    return resolve_model(config.engine.model)


@contextmanager
def _writer(config: Config, model: Path | None) -> Iterator[Callable[[], Writer] | None]:
    """What a worker makes its writer of reflections with, while its engines are up; None where none is asked for."""
    if config.distill.internalise != "llm":
        yield None
        return
    with named_engines(config, model) as engines:
        yield partial(open_writer, engines, config.agents.prompts, config.distill.attempts)


def finish(config: Config, run: RunDir, stage: Stage, store: Store, tally: Tally, steps: list[str], tracker: Tracker) -> Manifest:
    """Packs, counts and describes what was committed, and ends the stage. `steps`: what can have rejected a record, in order."""
    settings = config.distill
    packs = pack(store, settings)
    counts = {"read": tally.read, "kept": len(store.dataset), "rejected": len(store.rejected), "quarantined": tally.quarantined}
    counts |= packs[0].counts | totals(store)
    written = tally_reflections(store.dataset.rows(["reflections", "by_model", "fallbacks"]))
    if settings.internalise == "llm":
        counts |= {"reflections": written["reflections"], "reflections_by_model": written["by_model"], "fallbacks": sum(written["fallbacks"].values())}
    for p in packs if settings.more_contexts else []:
        counts |= {f"packs_{p.context}": p.counts["packs"], f"left_out_{p.context}": p.left_out}
    funnelled = funnel.build(steps, store.dataset.rows(["source_tokens", "spared"]), store.rejected.rows(["id", "stage", "reason", "detail", "tokens"]))
    funnelled["reflections"] = written
    funnel.write(stage.folder, funnelled)
    write_layouts(store, settings)
    statistics = card.Statistics.of(store.dataset.rows([*card.MEASURED, "category", "world"]), store.preferences.rows(["kind"]))
    card.write(stage.folder, run.path.name, counts, funnelled, packs, statistics, describe(store, config), settings.chat_template)
    tracker.log({f"distill/{k}": v for k, v in counts.items()})
    if settings.internalise == "llm":
        why = ", ".join(f"{reason} {n}" for reason, n in written["fallbacks"].items())
        print(f"distillation: the model wrote {written['by_model']} of {written['reflections']} reflections, the rule the others" + (f" ({why})" if why else ""), flush=True)
    if not counts["kept"]:
        print(f"distillation: nothing was kept; {stage.folder / 'funnel.json'} says why", flush=True)
    if counts["quarantined"]:
        print(f"distillation: {counts['quarantined']} records could not be read; {stage.folder / 'quarantine.jsonl'} says which and why", flush=True)
    content_hash = hashlib.sha256(f"{store.dataset.content_hash} {store.tokens.content_hash}".encode()).hexdigest()
    return stage.finish(counts, content_hash, {"kept_share": round(counts["kept"] / max(counts["read"], 1), 4)})


def pack(store: Store, settings: DistillConfig) -> list[card.Packs]:
    """Packs what fits, for each context: `distill.context` into packed/, each further one into packed_<length>/."""
    lengths = {row["id"]: row["tokens"] for row in store.dataset.rows(["id", "tokens"])}
    made = []
    for context in dict.fromkeys([settings.context, *settings.more_contexts]):
        fitting = {id for id, n in lengths.items() if n <= context}
        folder = "packed" if context == settings.context else f"packed_{context}"
        packed = Parts(store.folder / folder, schema=packing.PACKED_SCHEMA, flush_every=max(1, PACKED_PART_TOKENS // context))
        with tqdm(total=len(fitting), desc=f"packing into {context}", unit=" samples", mininterval=1.0) as bar:
            counts = packing.pack(store.tokens, packed, fitting, context, bar.update)
        made.append(card.Packs(folder, context, counts, len(lengths) - len(fitting)))
    return made


def write_layouts(store: Store, settings: DistillConfig) -> None:
    layouts.write(store.folder, settings.layouts, store.dataset.rows, store.preferences.rows)


def content_of(files: list[Path]) -> str:
    """A hash of what the files hold, in this order; not of where they lie."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as f:
            digest.update(hashlib.file_digest(f, "sha256").digest())
    return digest.hexdigest()


def totals(store: Store) -> dict[str, int]:
    """Sums over the kept conversations: opened products on which they speak a verdict (a model learns to refuse only from refusals), and
    preference pairs beside the other reports that gave none. `corrected`: those with a reflection; `spared`: those that only the floor on them
    keeps (`filters.min_corrected`)."""
    names = {"accepted_products": "accepted", "refused_products": "refused", "preference_pairs": "pairs", "unpaired": "unpaired"}
    sums = dict.fromkeys(names, 0)
    sums |= {"corrected": 0, "spared": 0}
    for row in store.dataset.rows([*names.values(), "reflections", "spared"]):
        for name, column in names.items():
            sums[name] += row[column]
        sums["corrected"] += row["reflections"] > 0
        sums["spared"] += bool(row["spared"])
    return sums


def describe(store: Store, config: Config) -> dict[str, str]:
    """What the data set was made with."""
    teachers, prompts = set(), set()
    for row in store.dataset.rows(["teacher", "prompt_version"]):
        teachers.add(row["teacher"])
        prompts.add(row["prompt_version"])
    settings = config.distill
    told = {
        "prstack": __version__,
        "teacher": ", ".join(sorted(teachers - {""})),
        "prompts": ", ".join(sorted(prompts - {""})),
        "tokenizer": settings.tokenizer,
        "chat template": settings.chat_template,
        "internalised": _how(config) if prompts - {""} else "",
        "wrong actions": settings.wrong_actions if prompts - {""} else "",
        "contexts": ", ".join(map(str, [settings.context, *settings.more_contexts])),
    }
    return {k: v for k, v in told.items() if v}


def _how(config: Config) -> str:
    """What became of corrections, for the card."""
    by_model = f"reflections by a model ({config.engine.name}: {config.engine.model}), by rule where its own were refused"
    return {"rule": "reflections by rule", "llm": by_model, "turns": "no; corrections stay as user turns", "none": "no; corrections are left out, what they were about is not"}[config.distill.internalise]


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
