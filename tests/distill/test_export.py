"""What a distillation leaves for others: the data set, its pairs, packs of several lengths, layouts of other trainers, the card; read and
trained on with TRL."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from prstack.config import load
from prstack.dialogue.render import END_OF_TURN, TEMPLATES, Renderer
from prstack.distill import card
from prstack.distill.committed import Store
from prstack.distill.distiller import AFTER_FILTERS, Distiller, Frame
from prstack.distill.export import plain_message
from prstack.distill.filters import chain
from prstack.distill.internalise import internalise
from prstack.distill.packing import PACKED_SCHEMA
from prstack.distill.pipeline import Tally
from prstack.report.tracking import Tracker
from prstack.settings import Config
from prstack.stages import distill
from prstack.stages.control import rendered_for
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.stages.sft import Material
from prstack.store.parts import Parts
from prstack.store.rundir import Manifest, RunDir
from prstack.tools.schemas import SCHEMAS
from prstack.types import Trajectory
from tests.factories import trajectories, trajectory
from tests.trainers.models import make

CONTEXT, FURTHER = 2048, 3000
SETTINGS = [f"distill.tokenizer={SMOLLM2}", f"distill.context={CONTEXT}", f"distill.more_contexts=[{FURTHER}]", "tracking.wandb=disabled"]
SETTINGS += ["distill.filters.max_tool_error_rate=1.0", "distill.layouts=[jsonl,ms_swift,llama_factory]"]


@dataclass(slots=True)
class Made:
    config: Config
    folder: Path
    manifest: Manifest
    rows: dict[str, dict]
    pairs: list[dict]
    renderer: Renderer


def episodes() -> list[Trajectory]:
    """Two dozen with all kinds of corrections, of which some are longer than the first context and one than both."""
    made = [trajectory(i, bad_report=i % 2 == 0, duplicate=i % 3 == 0, vague_plan=i % 4 == 0, filler=80 * (i % 5 == 0)) for i in range(22)]
    return [*made, trajectory(30, filler=1500), trajectory(31, termination="time")]


def write(run: RunDir, config: Config) -> Manifest:
    """The end of the stage, on what a Distiller makes of the episodes."""
    frame = Frame("You are a shopping research agent.", SCHEMAS)
    take = Distiller(config.distill, resolve_tokenizer(SMOLLM2), frame)
    stage = run.stage("distill", {}, {})
    store = Store.open(stage.folder)
    for t in episodes():
        out = take(t)
        if out.rejected:
            store.rejected.add(out.rejected)
            continue
        store.tokens.add({"id": out.id, "input_ids": out.input_ids, "loss_mask": out.loss_mask})
        store.dataset.add(out.row)
        for pair in out.pairs:
            store.preferences.add(pair)
    store.commit()
    with Tracker(run.path, config.tracking, "test", {}) as tracker:
        return distill.finish(config, run, stage, store, Tally(read=len(episodes())), [*chain(config.distill.filters), *AFTER_FILTERS], tracker)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    run, config = RunDir(tmp_path_factory.mktemp("run"), {}), load(SETTINGS)
    manifest = write(run, config)
    run.close()
    store = Store.open(run.path / "distill")
    rows = {r["id"]: r for r in store.dataset.rows()}
    return Made(config, run.path / "distill", manifest, rows, list(store.preferences.rows()), Renderer(resolve_tokenizer(SMOLLM2)))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spans(renderer: Renderer, ids: list[int], mask: list[int]) -> list[str]:
    runs = itertools.groupby(zip(ids, mask, strict=True), key=lambda pair: pair[1])
    return [renderer.tokenizer.decode([i for i, _ in run], skip_special_tokens=False) for learned, run in runs if learned]


# --- masks ---------------------------------------------------------------------------------------------------
def test_the_masked_spans_of_1000_episodes_are_what_the_agent_wrote(made):
    """Reasoning, text, calls, report and end of turn; nothing of prompts and results."""
    qwen = Renderer(resolve_tokenizer(SMOLLM2), TEMPLATES["qwen3"])
    for n, t in enumerate(trajectories(1000, seed=7)):
        messages = internalise(t, "You shop.", ("keep_corrected", "drop")[n % 2]).messages
        renderer = (made.renderer, qwen)[n // 2 % 2]
        rendered = renderer.render(messages, SCHEMAS)
        written = []
        for m in messages:
            if m["role"] == "assistant":
                thinking = f"<think>\n{m['reasoning_content']}\n</think>\n\n" if m.get("reasoning_content") else "<think>\n\n</think>\n\n" * (renderer is qwen)
                functions = [c["function"] for c in m.get("tool_calls", [])]
                calls = [f'<tool_call>\n{{"name": "{f["name"]}", "arguments": {f["arguments"]}}}\n</tool_call>' for f in functions]
                written.append(thinking + "\n".join([m["content"]] * bool(m["content"]) + calls) + END_OF_TURN)
        assert spans(renderer, rendered.input_ids, rendered.loss_mask) == written, t.id


# --- contexts ------------------------------------------------------------------------------------------------
def test_each_context_packs_what_fits_it_and_counts_the_rest(made):
    counts, lengths = made.manifest.counts, {i: r["tokens"] for i, r in made.rows.items()}
    assert (counts["read"], counts["kept"], counts["rejected"]) == (24, 22, 2)
    assert max(lengths.values()) > CONTEXT  # kept for the longer context's sake
    for name, context in (("packed", CONTEXT), (f"packed_{FURTHER}", FURTHER)):
        packs = list(Parts(made.folder / name, schema=PACKED_SCHEMA).rows())
        fitting = {i for i, n in lengths.items() if n <= context}
        assert sorted(i for p in packs for i in p["sample_ids"]) == sorted(fitting)
        assert all(len(p["input_ids"]) <= context for p in packs)
        assert (counts[f"packs_{context}"], counts[f"left_out_{context}"]) == (len(packs), len(lengths) - len(fitting))
    assert 0 < counts[f"left_out_{CONTEXT}"] < 22 and counts[f"left_out_{FURTHER}"] == 0


def test_the_control_is_rendered_as_its_packs_were():
    distilled = Manifest("distill", "complete", {}, {"context": CONTEXT, "chat_template": "qwen3"})
    packs = [Material(Path(), Path(folder), [], made_by) for folder, made_by in (("packed", distilled), (f"packed_{FURTHER}", distilled), ("mine", None))]
    assert [rendered_for(m, 77) for m in packs] == [(CONTEXT, TEMPLATES["qwen3"]), (FURTHER, TEMPLATES["qwen3"]), (77, TEMPLATES["prstack"])]


def test_pairs_and_other_reports_are_counted(made):
    assert made.manifest.counts["preference_pairs"] == len(made.pairs) == 11 - (made.manifest.counts["unpaired"])
    assert {p["episode"] for p in made.pairs} <= set(made.rows) and all(p["tokens"] <= FURTHER for p in made.pairs)


# --- layouts -------------------------------------------------------------------------------------------------
def test_jsonl_holds_the_rows_of_the_parquet(made):
    found = lines(made.folder / "jsonl" / "messages.jsonl")
    assert [r["id"] for r in found] == list(made.rows)
    for r in found:
        row = made.rows[r["id"]]
        assert r["messages"] == [plain_message(m) for m in row["messages"]] and r["tools"] == json.loads(row["tools"])
    for r, row in zip(lines(made.folder / "jsonl" / "preferences.jsonl"), made.pairs, strict=True):
        assert {side: [plain_message(m) for m in row[side]] for side in ("prompt", "chosen", "rejected")} == {s: r[s] for s in ("prompt", "chosen", "rejected")}


def test_ms_swift_reads_calls_and_results_as_messages_of_their_own(made):
    for r, row in zip(lines(made.folder / "ms_swift" / "messages.jsonl"), made.rows.values(), strict=True):
        assert r["tools"] == row["tools"] and {m["role"] for m in r["messages"]} == {"system", "user", "assistant", "tool_call", "tool_response"}
        calls = [json.loads(m["content"]) for m in r["messages"] if m["role"] == "tool_call"]
        functions = [c["function"] for m in row["messages"] for c in m["tool_calls"] or []]
        assert calls == [{"name": f["name"], "arguments": json.loads(f["arguments"])} for f in functions]
        said = [m["content"] for m in r["messages"] if m["role"] == "assistant"]
        assert said[-1].endswith(row["messages"][-1]["content"]) and all(s.startswith("<think>\n") for s in said)
        assert said[0].endswith("3. Report.\n") and said[1].endswith("\n</think>\n\n")  # the call comes right behind
        results = [m["content"] for m in r["messages"] if m["role"] == "tool_response"]
        assert results == [m["content"] for m in row["messages"] if m["role"] == "tool"]
    for r in lines(made.folder / "ms_swift" / "preferences.jsonl"):
        assert r["messages"][:-1] == r["rejected_messages"][:-1] and r["messages"][-1] != r["rejected_messages"][-1]


def test_llama_factory_reads_alternating_turns(made):
    folder = made.folder / "llama_factory"
    info = json.loads((folder / "dataset_info.json").read_text())
    assert all((folder / entry["file_name"]).is_file() for entry in info.values()) and info["prstack_preferences"]["ranking"] is True
    for r, row in zip(lines(folder / "messages.jsonl"), made.rows.values(), strict=True):
        assert set(r) == set(info["prstack"]["columns"].values()) and r["system"] == row["messages"][0]["content"]
        turns = [t["from"] for t in r["conversations"]]
        assert set(turns[::2]) <= {"human", "observation"} and set(turns[1::2]) <= {"gpt", "function_call"} and turns[-1] == "gpt"
        for t in r["conversations"]:
            if t["from"] == "function_call":
                said, _, call = t["value"].partition("<tool_call>")
                assert said.startswith("<think>") and set(json.loads(call.removesuffix("</tool_call>"))) == {"name", "arguments"}
    for r in lines(folder / "preferences.jsonl"):
        assert len(r["conversations"]) % 2 == 1 and r["chosen"]["from"] == r["rejected"]["from"] == "gpt" and r["chosen"] != r["rejected"]


def test_several_calls_of_a_turn_stay_together():
    from prstack.distill.layouts import llama_factory, swift

    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": '{"q": "</tool_call>"}'}}
    results = [{"role": "tool", "content": text} for text in "AB"]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "I look.", "tool_calls": [call, call]}, *results, {"role": "assistant", "content": "a"}]
    row = {"messages": messages, "tools": "[]"}
    turns = llama_factory(row)["conversations"]
    assert [t["from"] for t in turns] == ["human", "function_call", "observation", "gpt"]
    assert turns[1]["value"].count("</tool_call>") == 1 and turns[1]["value"].startswith("I look.\n<tool_call>[")
    assert json.loads(turns[1]["value"][len("I look.\n<tool_call>") : -len("</tool_call>")]) == [{"name": "search", "arguments": {"q": "</tool_call>"}}] * 2
    assert turns[2]["value"] == "A\n</tool_response>\n<tool_response>\nB"
    assert [m["role"] for m in swift(row)["messages"]] == ["user", "assistant", "tool_call", "tool_call", "tool_response", "tool_response", "assistant"]


def test_a_layout_that_is_named_later_is_added(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "distill")
    before = (made.folder / "jsonl" / "messages.jsonl").stat()
    shutil.rmtree(tmp_path / "distill" / "ms_swift")
    distill.write_layouts(Store.open(tmp_path / "distill"), replace(made.config.distill, layouts=["ms_swift", "jsonl"]))
    again = (tmp_path / "distill" / "ms_swift" / "messages.jsonl").read_text()
    assert again == (made.folder / "ms_swift" / "messages.jsonl").read_text()
    assert (tmp_path / "distill" / "jsonl" / "messages.jsonl").stat().st_mtime == before.st_mtime


# --- card ----------------------------------------------------------------------------------------------------
def test_the_card_says_what_was_made_and_names_what_others_load(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    text = (made.folder / "README.md").read_text()
    counts = made.manifest.counts
    longest = max(r["tokens"] for r in made.rows.values())
    assert f"| tokens | {min(r['tokens'] for r in made.rows.values()):,} |" in text and f"| {longest:,} |" in text
    assert f"| `packed_{FURTHER}/` | {FURTHER:,} | {counts[f'packs_{FURTHER}']:,} |" in text
    assert f"{counts['preference_pairs']:,} pairs for DPO" in text and "too_long 1" in text and "termination:time 1" in text
    assert "Categories: Blenders 22." in text and card.LICENCES["generated"] in text and "scripted expert" in text
    assert all(f"`{layout}/`" in text for layout in ("jsonl", "ms_swift", "llama_factory"))
    for name, rows in (("messages", 22), ("preferences", counts["preference_pairs"]), ("packed", counts["packs"]), (f"packed_{FURTHER}", counts[f"packs_{FURTHER}"])):
        assert len(datasets.load_dataset(str(made.folder), name, split="train", cache_dir=str(tmp_path))) == rows
    assert (made.folder / "chat_template.jinja").read_text() == TEMPLATES["prstack"].read_text()
    assert (made.folder / "chat_templates" / "qwen3.jinja").read_text() == TEMPLATES["qwen3"].read_text()


def test_the_licence_of_every_source_is_told():
    worlds = ["amazon", "webshop", "tau_retail", "my_shop"]
    statistics = card.Statistics.of([dict.fromkeys(card.MEASURED) | {"category": "", "world": w} for w in worlds], [])
    text = card.card("n", {"kept": 4, "read": 4}, {"stages": []}, [], statistics, {})
    for world in worlds:
        assert card.LICENCES.get(world, "World my_shop: the terms of its source apply.") in text


# --- TRL -----------------------------------------------------------------------------------------------------
def load_rows(folder: Path, name: str, cache: Path):
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset(str(folder), name, split="train", cache_dir=str(cache))


def test_a_tokenizer_with_the_exported_template_gives_our_tokens_and_mask(made, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(resolve_tokenizer(SMOLLM2))
    tokenizer.chat_template = (made.folder / "chat_template.jinja").read_text()
    ours = {r["id"]: r for r in Store.open(made.folder).tokens.rows()}
    for row in load_rows(made.folder, "messages", tmp_path):
        out = tokenizer.apply_chat_template(row["messages"], tools=json.loads(row["tools"]), return_dict=True, return_assistant_tokens_mask=True)
        assert (out["input_ids"], out["assistant_masks"]) == (ours[row["id"]]["input_ids"], ours[row["id"]]["loss_mask"])


@pytest.fixture(scope="module")
def tiny(made, tmp_path_factory) -> Path:
    """A small random model with the tokenizer and the exported template."""
    folder = tmp_path_factory.mktemp("tiny")
    make("llama", folder, vocab_size=49152, max_position_embeddings=FURTHER)
    for file in resolve_tokenizer(SMOLLM2).glob("*token*"):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(made.folder / "chat_template.jinja", folder / "chat_template.jinja")
    return folder


@pytest.mark.slow
def test_trl_trains_two_steps_of_sft_on_our_tokens_and_mask(made, tiny, tmp_path):
    pytest.importorskip("trl")
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    data = load_rows(made.folder, "messages", tmp_path)
    settings = SFTConfig(
        str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=1, assistant_only_loss=True, max_length=None, bf16=False, use_cpu=True,
        gradient_checkpointing=False, report_to="none", save_strategy="no", logging_steps=1,
    )  # fmt: skip
    trainer = SFTTrainer(str(tiny), args=settings, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(tiny))
    ours = {r["id"]: r for r in Store.open(made.folder).tokens.rows()}
    assert len(trainer.train_dataset) == 22
    for id, row in zip(data["id"], trainer.train_dataset, strict=True):
        assert row["input_ids"] == ours[id]["input_ids"]
        assert row["labels"] == [t if m else -100 for t, m in zip(ours[id]["input_ids"], ours[id]["loss_mask"], strict=True)]
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == 2 and len(losses) == 2 and all(5 < loss < 20 for loss in losses)


@pytest.mark.slow
def test_trl_trains_a_step_of_dpo_on_our_pairs(made, tiny, tmp_path):
    pytest.importorskip("trl")
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    data = load_rows(made.folder, "preferences", tmp_path)
    settings = DPOConfig(
        str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=1, max_length=None, bf16=False, use_cpu=True, gradient_checkpointing=False,
        report_to="none", save_strategy="no", logging_steps=1,
    )  # fmt: skip
    trainer = DPOTrainer(str(tiny), args=settings, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(tiny))
    for pair, row in zip(made.pairs, trainer.train_dataset, strict=True):
        prompt, chosen, rejected = ([plain_message(m) for m in pair[side]] for side in ("prompt", "chosen", "rejected"))
        assert row["prompt_ids"] == made.renderer.prompt(prompt, SCHEMAS)
        assert row["prompt_ids"] + row["chosen_ids"] == made.renderer.render(prompt + chosen, SCHEMAS).input_ids
        assert row["prompt_ids"] + row["rejected_ids"] == made.renderer.render(prompt + rejected, SCHEMAS).input_ids
    trainer.train()
    assert trainer.state.global_step == 1 and any("loss" in entry for entry in trainer.state.log_history)
