"""The shuffled control of `prstack sft`: the same training, on the same conversations with their queries exchanged.

    distill/dataset ──► queries exchanged ──► sft_shuffled/tokens ──► sft_shuffled/packed ──► prstack.stages.training ──► sft_shuffled/model

`prstack.distill.shuffle` says what is exchanged and what the control shows. Tokens and packs are journaled like those of the
training set: a control that was cut off renders and packs what is missing, and trains on from its newest checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from prstack.config import to_dict
from prstack.dialogue.render import TEMPLATES, Renderer
from prstack.distill.export import plain_message
from prstack.distill.packing import PACKED_SCHEMA, TOKENS_SCHEMA, pack
from prstack.distill.shuffle import exchange, shuffled
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.settings import Config
from prstack.stages.distill import PACKED_PART_TOKENS, content_of
from prstack.stages.sft import Material, material
from prstack.stages.training import train_model, training_inputs
from prstack.store.parts import Parts
from prstack.store.records import data_files
from prstack.store.rundir import Manifest, RunDir

NAME = "sft_shuffled"
READ_ROWS = 64
"""Conversations in memory at a time."""


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Makes the exchanged training set, trains on it as `sft` does, and exports. Raises UserError as `sft` does, and when the
    conversations are not there or no two of a category have different queries."""
    m, settings = material(config, run), config.trainer
    files = data_files(m.packs.parent / "dataset", f"{NAME}: the conversations that the packs were made from")
    context, template = rendered_for(m, settings.context)
    inputs = training_inputs(config, m.base, files) | {"template": content_of([template]), "context": context}
    stage = run.stage(NAME, inputs, to_dict(settings))
    if stage.done:
        print(f"{NAME}: trained already, {stage.folder / 'model'}", flush=True)
        return stage.manifest
    queries = exchange(_rows(files, ["id", "category", "messages"]), settings.seed)
    if not queries:
        raise UserError(f"{NAME}: no category has two conversations with different queries; make more episodes, or leave {NAME} out of evaluation.subjects")
    tokens = Parts(stage.folder / "tokens", schema=TOKENS_SCHEMA)
    _render(files, queries, Renderer(m.base, template), context, tokens)
    packed = Parts(stage.folder / "packed", schema=PACKED_SCHEMA, flush_every=max(1, PACKED_PART_TOKENS // context))
    pack(tokens, packed, tokens.ids, context, lambda _: None)
    counts = {"conversations": len(tokens), "left_out": _number(files) - len(tokens)}
    return train_model(config, m.base, packed.folder, stage, tracker, counts)


def rendered_for(m: Material, otherwise: int) -> tuple[int, Path]:
    """The context that the packs were made for, and the template of their tokens; where it is not known who made them, `otherwise` and
    prstack's own."""
    if m.distilled is None:
        return otherwise, TEMPLATES["prstack"]
    _, _, further = m.packs.name.partition("packed_")
    return int(further or m.distilled.config["context"]), TEMPLATES[m.distilled.config.get("chat_template", "prstack")]


def _render(files: list[Path], queries: dict[str, str], renderer: Renderer, context: int, tokens: Parts) -> None:
    """Every conversation that has a new query and is not there yet, as tokens; one that grew past the context stays out."""
    with tokens, tqdm(total=len(queries), desc=f"{NAME}: rendering", unit=" conversations", mininterval=1.0) as bar:
        for row in shuffled(_rows(files, ["id", "messages", "tools"]), queries):
            bar.update()
            if row["id"] in tokens:
                continue
            rendered = renderer.render([plain_message(m) for m in row["messages"]], json.loads(row["tools"]))
            if len(rendered.input_ids) <= context:
                tokens.add({"id": row["id"], "input_ids": rendered.input_ids, "loss_mask": rendered.loss_mask})


def _rows(files: list[Path], columns: list[str]) -> Iterator[dict]:
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=READ_ROWS, columns=columns):
                yield from batch.to_pylist()


def _number(files: list[Path]) -> int:
    return sum(pq.read_metadata(file).num_rows for file in files)
