"""The whole stage on real Ray: what is kept, rejected and quarantined, cut off and taken up again, and read by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prstack.config import load
from prstack.dialogue.render import TEMPLATE, Renderer
from prstack.distill import pipeline
from prstack.distill.export import DATASET_SCHEMA
from prstack.distill.packing import TOKENS_SCHEMA
from prstack.distill.pipeline import Store
from prstack.distill.reading import known_total
from prstack.errors import UserError
from prstack.report.tracking import Tracker
from prstack.stages import distill
from prstack.stages.models import resolve_tokenizer
from prstack.store.parts import Parts
from prstack.store.records import to_row
from prstack.store.rundir import RunDir
from prstack.types import Persona, Trajectory
from tests.factories import trajectories, trajectory

pytestmark = pytest.mark.usefixtures("ray_local")


def settings(source: Path, *more: str):
    own = ["distill.tokenizer=smollm2-135m-instruct", "distill.context=8192", "distill.wrong_actions=keep_corrected", "distill.part_records=8"]
    return load([f"distill.input={source}", *own, "tracking.wandb=disabled", *more])


def run_stage(folder: Path, source: Path, *more: str):
    config = settings(source, *more)
    run = RunDir(folder, {})
    try:
        with Tracker(run.path, config.tracking, "test", {}) as tracker:
            return distill.run(config, run, tracker)
    finally:
        run.close()


def write_jsonl(path: Path, rows: list) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(to_row(row))) + "\n" for row in rows))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """12 good episodes in JSONL and 28 in Parquet; two broken lines, two ids that come twice, five episodes to reject."""
    folder = tmp_path_factory.mktemp("source")
    good = [trajectory(i, id=f"a{i:02d}", duplicate=i % 3 == 0, bad_report=i % 4 == 0) for i in range(12)]
    bad_field = to_row(trajectory(0, id="a90")) | {"seed": "many"}
    good[0].steps[-2].reasoning = "P100 is quiet, I keep it. P101 is not, I drop it."
    rows = [*good[:5], '{"id": "a91", "cut', "", json.dumps(bad_field), *good[5:], good[2]]
    write_jsonl(folder / "a.jsonl", rows)
    rejects = [trajectory(1, id=f"r{i}", termination="time") for i in range(3)] + [trajectory(4, id="r3", scores=[1.0], rubric=[])]
    rejects.append(trajectory(5, id="r4", persona=Persona("Shops for tents.", "Tents", [])))
    with Parts(folder, Trajectory, flush_every=15) as parts:
        for t in [*(trajectory(100 + i, id=f"b{i:02d}", vague_plan=i % 2 == 0) for i in range(28)), *rejects]:
            parts.add(t)
    second = trajectory(7, id="b01", termination="time")  # the same id as in a file before, with another fate
    write_jsonl(folder / "z.jsonl", [second])
    return folder


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run_stage(folder, source)


def ids(folder: Path) -> list[str]:
    return sorted(r["id"] for r in Parts(folder, schema=DATASET_SCHEMA).rows(["id"]))


def verdicts_of(folder: Path) -> tuple[int, int]:
    rows = list(Parts(folder / "distill" / "dataset", schema=DATASET_SCHEMA).rows(["accepted", "refused"]))
    return sum(r["accepted"] for r in rows), sum(r["refused"] for r in rows)


def test_everything_that_was_read_is_somewhere(made, source):
    folder, manifest = made
    assert manifest.status == "complete"
    assert {k: manifest.counts[k] for k in ("read", "kept", "rejected", "quarantined")} == {"read": 49, "kept": 40, "rejected": 5, "quarantined": 4}
    assert (manifest.counts["accepted_products"], manifest.counts["refused_products"]) == verdicts_of(folder) == (1, 1)
    assert ids(folder / "distill" / "dataset") == sorted([f"a{i:02d}" for i in range(12)] + [f"b{i:02d}" for i in range(28)])
    assert {(r["id"], r["stage"], r["reason"]) for r in Parts(folder / "distill" / "rejected", schema=DATASET_SCHEMA).rows(["id", "stage", "reason"])} == {
        *((f"r{i}", "distill/termination", "termination:time") for i in range(3)),
        ("r3", "distill/score", "score"),
        ("r4", "distill/held_out", "held_out_category"),
    }
    bad = [json.loads(line) for line in (folder / "distill" / "quarantine.jsonl").read_text().splitlines()]
    assert [(Path(b["file"]).name, b["line"], b["field"]) for b in bad] == [("a.jsonl", 6, ""), ("a.jsonl", 8, "seed"), ("a.jsonl", 16, "id"), ("z.jsonl", 1, "id")]


def test_packs_hold_the_tokens_of_the_data_set(made):
    folder, manifest = made
    rows = {r["id"]: r for r in Parts(folder / "distill" / "dataset", schema=DATASET_SCHEMA).rows()}
    renderer = Renderer(resolve_tokenizer("smollm2-135m-instruct"))
    packed = 0
    for pack in Parts(folder / "distill" / "packed", schema=TOKENS_SCHEMA).rows():
        at = 0
        for id, n in zip(pack["sample_ids"], pack["segment_lengths"], strict=True):
            messages = [{k: v for k, v in m.items() if v is not None} for m in rows[id]["messages"]]
            again = renderer.render(messages, json.loads(rows[id]["tools"]))
            assert (pack["input_ids"][at : at + n], pack["loss_mask"][at : at + n]) == (again.input_ids, again.loss_mask)
            at, packed = at + n, packed + 1
    assert packed == 40 and manifest.counts["tokens"] == sum(r["tokens"] for r in rows.values())


def test_others_load_the_data_set(made, tmp_path):
    datasets = pytest.importorskip("datasets", reason="the data set is read with Hugging Face datasets")
    folder = made[0] / "distill"
    rows = datasets.load_dataset("parquet", data_dir=str(folder / "dataset"), split="train", cache_dir=str(tmp_path))
    assert len(rows) == 40 and {t["function"]["name"] for t in json.loads(rows[0]["tools"])} == {"product_search", "visit_product", "web_search", "web_visit"}
    for row in rows:
        roles = [m["role"] for m in row["messages"]]
        assert roles[:2] == ["system", "user"] and roles[2::2] == ["assistant"] * len(roles[2::2]) and roles[3::2] == ["tool"] * len(roles[3::2])
        assert all(m["tool_calls"] is None and m["tool_call_id"] is None for m in row["messages"] if m["role"] in ("system", "user"))
        calls = [c for m in row["messages"] for c in m["tool_calls"] or []]
        assert [c["id"] for c in calls] == [m["tool_call_id"] for m in row["messages"] if m["role"] == "tool"]
        assert all(isinstance(json.loads(c["function"]["arguments"]), dict) for c in calls)
    card = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert card.column_names == rows.column_names and len(card) == 40
    assert len(datasets.load_dataset(str(folder), "packed", split="train", cache_dir=str(tmp_path))) == made[1].counts["packs"]


def test_the_card_and_the_template_lie_beside_it(made):
    folder = made[0] / "distill"
    card = (folder / "README.md").read_text()
    assert "| termination | 45 | 42 |" in card and "held_out_category 1" in card and "| kept | 40 |" in card and "## Licence" in card and "expert" in card
    assert (folder / "chat_template.jinja").read_text() == TEMPLATE.read_text() and "{% generation %}" in TEMPLATE.read_text()
    stages = {s["name"]: s for s in json.loads((folder / "funnel.json").read_text())["stages"]}
    assert stages["format"]["in"] == 45 and stages["context"]["out"] == 40
    assert stages["termination"]["examples"] == {"termination:time": ["r0", "r1", "r2"]}
    assert stages["format"]["tokens_in"] > stages["context"]["tokens_out"] > 0


def test_a_stage_that_is_done_is_left_alone(made, source, capsys):
    folder, manifest = made
    before = {p: p.stat().st_mtime_ns for p in (folder / "distill").rglob("*") if p.is_file()}
    again = run_stage(folder, source, "distill.workers=2", "distill.part_records=9")
    assert (again.counts, again.content_hash, again.seconds) == (manifest.counts, manifest.content_hash, manifest.seconds)
    assert "made already" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "distill").rglob("*") if p.is_file()}


def test_other_settings_are_refused_by_name(made, source):
    with pytest.raises(UserError, match="wrong_actions"):
        run_stage(made[0], source, "distill.wrong_actions=drop")


def test_the_result_depends_neither_on_workers_nor_on_parts(made, source, tmp_path):
    again = run_stage(tmp_path / "run", source, "distill.workers=2", "distill.part_records=100")
    assert again.content_hash == made[1].content_hash and again.counts == made[1].counts


class Cut(Exception):
    pass


@pytest.mark.parametrize("where", ["between records", "between tokens and data set", "while packing"])
def test_what_was_cut_off_goes_on_without_loss_or_repeat(where, made, source, tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        if where == "between records":
            call = distill._Progress.__call__
            m.setattr(distill._Progress, "__call__", lambda self, tally: cut_if(tally.new == 30) or call(self, tally))
        elif where == "between tokens and data set":
            m.setattr(Store, "commit", lambda self: (self.tokens.flush(), cut_if(len(self.tokens) > 20), self.dataset.flush(), self.rejected.flush()))
        else:
            m.setattr(distill.packing, "packed_row", lambda *a: cut_if(True))
        with pytest.raises(Cut):
            run_stage(tmp_path / "run", source)
    committed = ids(tmp_path / "run" / "distill" / "dataset")
    assert 0 < len(committed) <= 40
    assert json.loads((tmp_path / "run" / "distill" / "manifest.json").read_text())["status"] == "partial"
    again = run_stage(tmp_path / "run", source)
    found = ids(tmp_path / "run" / "distill" / "dataset")
    assert len(found) == len(set(found)) == 40 and set(committed) <= set(found)
    assert again.counts == made[1].counts and again.content_hash == made[1].content_hash


def cut_if(condition: bool) -> None:
    if condition:
        raise Cut


def test_a_file_that_cannot_be_read_at_all_is_one_clear_error(tmp_path):
    for name, text, want in (("x.parquet", "no parquet", "not readable Parquet"), ("y.txt", "", "holds no .parquet or .jsonl")):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(UserError, match=want):
            run_stage(tmp_path / f"run-{name}", folder)
    with pytest.raises(UserError, match=r"distill\.input: no such file or folder"):
        run_stage(tmp_path / "run", tmp_path / "nowhere")


def test_a_failing_filter_of_the_user_is_one_clear_error(source, tmp_path):
    with pytest.raises(UserError, match=r"^distill\.filters\.extra: json:loads failed on trajectory \w+: TypeError"):
        run_stage(tmp_path / "run", source, "distill.filters.extra=['json:loads']")
    with pytest.raises(UserError, match=r"distill\.filters\.extra: 'no_such_module:f'"):
        run_stage(tmp_path / "run2", source, "distill.filters.extra=['no_such_module:f']")
    assert not (tmp_path / "run2" / "distill").exists()


def test_when_nothing_is_kept_the_stage_ends_and_says_so(tmp_path, capsys):
    write_jsonl(tmp_path / "t.jsonl", [trajectory(0, termination="time"), "{"])
    manifest = run_stage(tmp_path / "run", tmp_path / "t.jsonl")
    assert (manifest.counts["kept"], manifest.counts["rejected"], manifest.counts["quarantined"], manifest.counts["packs"]) == (0, 1, 1, 0)
    assert "nothing was kept" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_in_the_middle_of_the_command(tmp_path):
    """kill -9 of the whole process group once parts are there, then the same command again."""
    with Parts(tmp_path / "in", Trajectory, flush_every=100) as parts:
        for t in trajectories(800):
            parts.add(t)
    command = [sys.executable, "-m", "prstack.cli", "distill", f"distill.input={tmp_path / 'in'}", f"run_dir={tmp_path / 'run'}"]
    command += ["distill.part_records=20", "tracking.wandb=disabled", "ray.dashboard=false"]
    dataset = tmp_path / "run" / "distill" / "dataset"
    log = tmp_path / "log"
    with open(log, "w") as output:
        process = subprocess.Popen(command, start_new_session=True, stdout=output, stderr=output)
    deadline = time.monotonic() + 200
    while len(list(dataset.glob("part-*.parquet"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, log.read_text()[-3000:]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    manifest = tmp_path / "run" / "distill" / "manifest.json"
    assert json.loads(manifest.read_text())["status"] == "partial"
    committed = len(list(dataset.glob("part-*.parquet"))) * 20
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "taking up again" in done.stdout
    counts = json.loads(manifest.read_text())["counts"]
    assert counts["read"] == 800 == counts["kept"] + counts["rejected"] and 0 < committed < 800
    found = ids(dataset)
    assert len(found) == len(set(found)) == counts["kept"]


def test_the_input_is_streamed_file_by_file(tmp_path):
    """Rows come with their file and row, broken Parquet rows included."""
    with Parts(tmp_path, Trajectory, flush_every=3) as parts:
        for i in range(7):
            row = to_row(trajectory(i, id=f"t{i}"))
            if i == 4:
                row["termination"] = "tired"
            parts.add(row)
    assert known_total(sorted(tmp_path.glob("*.parquet"))) == 7
    rows = [r for f in sorted(tmp_path.glob("*.parquet")) for r in pipeline._records(f, frozenset({"t1"}))]
    assert [(r["kind"], r["id"], Path(r["file"]).name[-9:-8], r["line"]) for r in rows] == [
        ("record", "t0", "0", 1), ("done", "t1", "0", 2), ("record", "t2", "0", 3),
        ("record", "t3", "1", 1), ("bad", "", "1", 2), ("record", "t5", "1", 3), ("record", "t6", "2", 1),
    ]  # fmt: skip
