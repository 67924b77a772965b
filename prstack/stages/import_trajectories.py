"""`prstack distill import`: others' trajectories → a training set, as `prstack distill` makes one of prstack's own.

    JSONL, Parquet ──► conversations ──► filters, rendering, context, near-duplicates ──► distill/

Invariants: read = kept + rejected + quarantined; a record that is no conversation, and the second one of an id, is quarantined with file,
line and field. What is committed is done: an import that was cut off reads the input again and makes what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from prstack.config import fingerprint, to_dict
from prstack.dialogue.render import TEMPLATES
from prstack.distill.committed import Quarantine, Store, remembered, take
from prstack.distill.distiller import Outcome
from prstack.distill.imports.formats import Conversation, conversations
from prstack.distill.imports.importer import Importer, as_record
from prstack.distill.pipeline import COMMIT_TOKENS, Tally
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.settings import Config, DistillConfig
from prstack.stages.distill import FREE, content_of, finish, write_layouts
from prstack.stages.models import resolve_tokenizer
from prstack.store.records import Bad, data_files, to_row
from prstack.store.rundir import Manifest, RunDir


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Imports what is not there yet, then packs, counts and describes what there is. Raises UserError."""
    settings = config.distill
    if not settings.input:
        raise UserError("prstack distill import: say what, with distill.input=FILE or FOLDER of .jsonl or .parquet files (docs/datasets.md)")
    files = data_files(settings.input, "distill.input")
    tokenizer = resolve_tokenizer(settings.tokenizer)
    judge = Importer(settings, tokenizer)
    inputs = {
        "imported": content_of(files),
        "distill": fingerprint(settings, *FREE, "internalise", "attempts"),
        "tokenizer": content_of([tokenizer / "tokenizer.json"]),
        "template": content_of([TEMPLATES[settings.chat_template]]),
    }
    stage = run.stage("distill", inputs, to_dict(settings))
    store = Store.open(stage.folder)
    if stage.done:
        print(f"import: made already, {stage.folder}", flush=True)
        write_layouts(store, settings)
        return stage.manifest
    return finish(config, run, stage, store, import_files(files, store, judge, settings), judge.steps, tracker)


def import_files(files: list[Path], store: Store, judge: Importer, settings: DistillConfig) -> Tally:
    """Brings the conversations of the files into the store, a part at a time."""
    tally, seen, bad, selection = Tally(), set[str](), list[Bad](), remembered(store, settings.filters)
    uncommitted = tokens = 0
    with Quarantine(store.folder / "quarantine.jsonl") as quarantine, tqdm(desc="import", unit=" records", mininterval=1.0) as bar:
        for found in _records(files, bad):
            tally.read += 1
            bar.update()
            if isinstance(found, Bad):
                quarantine.add(asdict(found))
                continue
            file, line, c = found
            if c.id in seen:
                quarantine.add(asdict(Bad(str(file), line, "id", "this id came before", c.id)))
                continue
            seen.add(c.id)
            if c.id in store.dataset or c.id in store.rejected:
                continue
            out = judge(c)
            take(store, selection, _row(c, out))
            tally.new, uncommitted, tokens = tally.new + 1, uncommitted + 1, tokens + len(out.input_ids)
            if uncommitted >= settings.part_records or tokens >= COMMIT_TOKENS:
                store.commit()
                uncommitted = tokens = 0
        store.commit()
        tally.quarantined = quarantine.count
    if tally.read != len(store.dataset) + len(store.rejected) + tally.quarantined:
        raise RuntimeError(f"{store.folder}: {tally.read} read, but {len(store.dataset)} kept, {len(store.rejected)} rejected, {tally.quarantined} quarantined")
    return tally


def _row(c: Conversation, out: Outcome) -> dict:
    """What became of a conversation, as `take` reads it."""
    if out.rejected:
        return {"kind": "rejected", "id": c.id, "record": json.dumps(to_row(out.rejected))}
    return {
        "kind": "kept",
        "id": c.id,
        "record": json.dumps(out.row),
        "input_ids": out.input_ids,
        "loss_mask": out.loss_mask,
        "pairs": "[]",
        "signature": out.signature,
        "rejection": None,
        "source": as_record(c),
    }


def _records(files: list[Path], bad: list[Bad]) -> Iterator[Bad | tuple[Path, int, Conversation]]:
    """Every record in order: a conversation with its place, or what is wrong with it."""
    for file in files:
        for line, c in conversations(file, bad.append):
            yield from bad
            bad.clear()
            yield file, line, c
        yield from bad
        bad.clear()
