"""The commands as a user runs them: whole runs, kills in the middle, and what errors look like."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from prstack import cli
from prstack.cli import COMMANDS

SMALL = ["world.products=300", "world.users=40", "tracking.wandb=disabled"]


def prstack(*args, cwd, check=True, timeout=280, **env):
    done = subprocess.run([sys.executable, "-m", "prstack.cli", *args], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=os.environ | env)
    if check and done.returncode:
        raise AssertionError(f"prstack {' '.join(args)} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def ids(run: Path) -> list[str]:
    return [i for f in sorted((run / "synthesis" / "trajectories").glob("*.parquet")) for i in pq.read_table(f, columns=["id"]).column("id").to_pylist()]


def manifest(run: Path, stage: str) -> dict:
    return json.loads((run / stage / "manifest.json").read_text())


PLANTED = {"OPENAI_API_KEY": "nobodyskey-1", "WANDB_API_KEY": "nobodyskey" + 30 * "2", "HF_TOKEN": "nobodyskey-3", "AWS_SECRET_ACCESS_KEY": "nobodyskey-4", "SERPER_API_KEY": "nobodyskey-5"}
"""Keys in the environment of the run below, which none of its tests needs."""


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A small run, its folder and what it printed. In the folder: `ray`, Ray's session; `arguments.txt`, those of all processes while it ran;
    `listeners.txt`, where its own listened."""
    cwd, ray = tmp_path_factory.mktemp("smoke"), Path(tempfile.mkdtemp(prefix="ps-"))  # short: sockets lie there
    over, seen, listeners = threading.Event(), set(), set()

    def watch():
        while not over.wait(0.5):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    words = " ".join(process.cmdline())
                    seen.add(words)
                    if process.environ().get("RAY_TMPDIR") == str(ray):
                        listeners.update(f"{c.laddr.ip} {c.laddr.port} {words}" for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        done = prstack("run", "preset=smoke", "until=distill", cwd=cwd, RAY_TMPDIR=str(ray), **PLANTED)
    finally:
        over.set()
        watching.join()
    (cwd / "arguments.txt").write_text("\n".join(seen))
    (cwd / "listeners.txt").write_text("\n".join(sorted(listeners)))
    shutil.move(ray, cwd / "ray")
    return cwd, done


def test_no_file_log_payload_or_argument_holds_a_key_of_the_environment(smoke):
    cwd, done = smoke
    assert "nobodyskey" not in done.stdout + done.stderr
    files = [f for f in cwd.rglob("*") if f.is_file() and not f.is_symlink()]
    names = {f.relative_to(cwd).parts[0] for f in files} | {f.suffix for f in files}
    assert {"ray", "runs", "arguments.txt", ".wandb", ".log", ".parquet"} <= names, "there is something to look at"
    assert b"prstack.cli" in (cwd / "arguments.txt").read_bytes()
    assert [f for f in files if b"nobodyskey" in f.read_bytes()] == []


def test_the_dashboard_listens_on_loopback(smoke):
    cwd, done = smoke
    port = re.search(r"Ray dashboard: http://127\.0\.0\.1:(\d+)", done.stdout)[1]
    listeners = [line.split()[:2] for line in (cwd / "listeners.txt").read_text().splitlines()]
    assert {ip for ip, at in listeners if at == port} == {"127.0.0.1"}


def test_a_run_makes_a_training_set(smoke):
    cwd, done = smoke
    run = (cwd / "runs" / "latest").resolve()
    assert len(set(ids(run))) == 12 == manifest(run, "synthesis")["counts"]["trajectories"]
    distilled = manifest(run, "distill")
    counts = distilled["counts"]
    assert counts["read"] == counts["kept"] + counts["rejected"] + counts["quarantined"] == 12 and counts["kept"] >= 6
    for stage in ("world", "synthesis", "distill"):
        m = manifest(run, stage)
        assert m["status"] == "complete" and m["schema_version"] and m["content_hash"] and m["config"]
    for word in ("world", "synthesis", "distill", "trajectories", str(counts["kept"])):
        assert word in done.stdout
    assert (run / "metrics.jsonl").read_text().strip()
    assert not (run / "sft").exists(), "until=distill"


def test_the_training_set_loads_elsewhere(smoke, tmp_path):
    datasets = pytest.importorskip("datasets")
    run = (smoke[0] / "runs" / "latest").resolve()
    loaded = datasets.load_dataset("parquet", data_files=str(run / "distill" / "dataset" / "*.parquet"), cache_dir=str(tmp_path), split="train")
    assert len(loaded) == manifest(run, "distill")["counts"]["kept"]
    row = loaded[0]
    assert [m["role"] for m in row["messages"]][:3] == ["system", "user", "assistant"] and row["messages"][-1]["content"].startswith("<report>")
    assert {t["function"]["name"] for t in json.loads(row["tools"])} == {"product_search", "visit_product", "web_search", "web_visit"}


@pytest.mark.parametrize(
    ("args", "stages"),
    [
        ((), "world synthesize distill sft control rl evaluate report"),
        (("until=distill",), "world synthesize distill"),
        (("preset=smoke",), "world synthesize distill"),
        (("preset=smoke", "until=report"), "world synthesize distill sft evaluate report"),
        (("evaluation.subjects=[sft,sft_shuffled]", "until=evaluate"), "world synthesize distill sft control evaluate"),
        (("evaluation.subjects=[sft,rl]", "until=evaluate"), "world synthesize distill sft rl evaluate"),
        (("evaluation.subjects=[sft]", "until=rl"), "world synthesize distill sft rl"),
        (("until=sft",), "world synthesize distill sft"),
        (("preset=laptop_long", "until=report"), "world synthesize distill sft rl evaluate report"),
        (("until=world",), "world"),
    ],
)
def test_a_run_is_the_loop_up_to_until_with_control_and_rl_when_they_are_evaluated(args, stages, monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "_stages", lambda c, command, names: seen.append((command, names)) or 0)
    assert cli.main(["run", *args]) == 0 and seen == [("run", stages.split())]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_loop_and_again(tmp_path):
    """From nothing to the report, on a base of its own and with the control; the same folder again does nothing, and says so of
    every stage."""
    run, base = tmp_path / "r", tmp_path / "base" / "pretrain" / "model"
    text = ["pretrain.tokens=60000", "pretrain.tokenizer_documents=400", "pretrain.layers=2", "pretrain.hidden=64", "pretrain.copying=false", "pretrain.comparing=false", "trainer.steps=4", "trainer.warmup=1"]
    quiet = ["tracking.wandb=disabled", "trainer.context=4096"]
    prstack("pretrain", "preset=world_9m", *text, *quiet, f"run_dir={tmp_path / 'base'}", cwd=tmp_path)
    args = ["run", "preset=smoke", "until=report", f"trainer.model={base}", f"distill.tokenizer={base}", "distill.context=4096", "engine.max_model_len=4096"]
    args += ["evaluation.subjects=[sft_shuffled,sft,no_check,expert]", "evaluation.max_tokens=64", "evaluation.queries=3", *quiet, f"run_dir={run}"]
    assert prstack(*args, "until=world", cwd=tmp_path) and not (run / "synthesis").exists()
    done = prstack(*args, cwd=tmp_path, timeout=1400)
    made = ("world", "synthesis", "distill", "sft", "sft_shuffled", "evaluation")
    assert all(manifest(run, stage)["status"] == "complete" for stage in made)
    assert manifest(run, "sft")["counts"]["steps"] == manifest(run, "sft_shuffled")["counts"]["steps"] == 4
    results = json.loads((run / "evaluation" / "results.json").read_text())["subjects"]
    assert list(results) == ["sft_shuffled", "sft", "no_check", "expert"] and results["expert"]["finished"] == 1
    assert (run / "report.html").stat().st_size > 1000
    for word in (*made, "4 steps", "prstack chat r", "report.html"):
        assert word in done.stdout
    before = {stage: manifest(run, stage)["content_hash"] for stage in made}
    again = prstack(*args, cwd=tmp_path, timeout=600)
    assert again.stdout.count("made already") + again.stdout.count("trained already") == len(made)
    assert {stage: manifest(run, stage)["content_hash"] for stage in made} == before


@pytest.mark.slow
def test_the_same_run_again_does_nothing_and_more_episodes_add(smoke):
    cwd, _ = smoke
    run = (cwd / "runs" / "latest").resolve()
    before, was = set(ids(run)), manifest(run, "synthesis")["content_hash"]
    again = prstack("synthesize", "preset=smoke", f"run_dir={run}", cwd=cwd)
    assert "made already" in again.stdout and manifest(run, "synthesis")["content_hash"] == was
    prstack("synthesize", "preset=smoke", "synthesis.episodes=16", f"run_dir={run}", cwd=cwd)
    after = ids(run)
    assert len(after) == len(set(after)) == 16 and before < set(after)


def test_other_inputs_in_the_same_folder_are_refused(smoke):
    cwd, _ = smoke
    run = (cwd / "runs" / "latest").resolve()
    done = prstack("synthesize", "preset=smoke", "world.seed=7", f"run_dir={run}", cwd=cwd, check=False)
    assert done.returncode == 2 and "seed was 0, is 7" in done.stderr and "run_dir=" in done.stderr


def test_stages_run_alone_on_files(smoke, tmp_path):
    cwd, _ = smoke
    source = (cwd / "runs" / "latest").resolve() / "synthesis" / "trajectories"
    rows = [r for f in sorted(source.glob("*.parquet")) for r in pq.read_table(f).to_pylist()]
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    lines[2] = lines[2][:200]  # cut off
    lines[3] = lines[3].replace('"rubric": [', '"rubric": 7, "x": [', 1)
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = prstack("distill", f"distill.input={tmp_path / 't.jsonl'}", f"run_dir={tmp_path / 'run'}", "tracking.wandb=disabled", cwd=tmp_path)
    counts = manifest(tmp_path / "run", "distill")["counts"]
    assert counts["read"] == len(rows) == counts["kept"] + counts["rejected"] + counts["quarantined"] and counts["quarantined"] == 2
    text = done.stdout + "".join(p.read_text() for p in (tmp_path / "run" / "distill").glob("*.jsonl"))
    assert "t.jsonl" in text and "rubric" in text


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_in_the_middle_then_again(tmp_path):
    """The whole process group is killed twice; the same command ends with every episode exactly once."""
    command = ["synthesize", *SMALL, "synthesis.episodes=400", "synthesis.part_episodes=10"]
    killed_at = []
    for wanted in (40, 150):
        process = subprocess.Popen(
            [sys.executable, "-m", "prstack.cli", *command], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline and process.poll() is None:
            latest = tmp_path / "runs" / "latest"
            if latest.exists() and len(ids(latest)) >= wanted:
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed_at.append(len(ids(latest)))
    assert 40 <= killed_at[0] < killed_at[1] < 400
    done = prstack(*command, cwd=tmp_path)
    assert "taking up again" in done.stdout
    found = ids(tmp_path / "runs" / "latest")
    assert len(found) == 400 == len(set(found))
    assert len([p for p in (tmp_path / "runs").iterdir() if not p.is_symlink()]) == 1, "taken up again in the same folder"
    assert manifest(tmp_path / "runs" / "latest", "synthesis")["counts"]["trajectories"] == 400


@pytest.mark.slow
def test_sigterm_stops_and_keeps_what_is_done(tmp_path):
    command = [sys.executable, "-m", "prstack.cli", "synthesize", *SMALL, "synthesis.episodes=300", "synthesis.part_episodes=5"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    latest, deadline = tmp_path / "runs" / "latest", time.monotonic() + 120
    while time.monotonic() < deadline and len(list(latest.glob("synthesis/trajectories/part-*.parquet"))) < 2:
        time.sleep(0.1)  # the parts are counted, not read: on a busy machine this process gets little of it
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "takes the run up again" in err
    found = ids(latest)
    assert 10 <= len(found) < 300 and len(found) == len(set(found))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["syntesize"], "did you mean synthesize?"),
        (["run", "synthesis.episods=3"], "did you mean synthesis.episodes?"),
        (["run", "synthesis.episodes=many"], "synthesis.episodes=many: expected int > 0"),
        (["run", "world=tau"], "did you mean world=tau_retail?"),
        (["run", "engine.dtype=bf16"], "did you mean bfloat16?"),
        (["run", "--verbose"], "key=value"),
        (["run", "world=tau_retail", "world.path=/nowhere"], "/nowhere"),
        (["world", "world.histories=/nowhere.jsonl"], "/nowhere.jsonl"),
        (["distill", "distill.input=/nowhere.jsonl"], "/nowhere.jsonl"),
        (["distill"], "there is no run under runs/"),
        (["view"], "no run"),
        (["report"], "there is no run under runs/"),
        (["synthesize", *SMALL, "engine=vllm", "engine.model=/nowhere/model"], "/nowhere/model"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(args, message, tmp_path):
    done = prstack(*args, cwd=tmp_path, check=False)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_broken_line_in_histories_is_quarantined(tmp_path):
    good = {"user_id": "u1", "events": [{"id": "e1", "type": "purchase", "category": "Kettles", "title": "A kettle", "price": 30}]}
    lines = [json.dumps(good), '{"user_id": "u2", "events": [', json.dumps({**good, "user_id": "u3", "events": [{"id": "e1", "type": "bought"}]})]
    (tmp_path / "h.jsonl").write_text("\n".join(lines) + "\n")
    prstack("world", *SMALL, f"world.histories={tmp_path / 'h.jsonl'}", f"run_dir={tmp_path / 'r'}", cwd=tmp_path)
    counts = manifest(tmp_path / "r", "world")["counts"]
    assert counts["users"] == 1 and counts["quarantined"] == 2
    bad = [json.loads(line) for line in (tmp_path / "r" / "world" / "quarantine.jsonl").read_text().splitlines()]
    assert [b["line"] for b in bad] == [2, 3] and "type" in bad[1]["field"] and bad[0]["file"].endswith("h.jsonl")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command, tmp_path):
    done = prstack(command, "--help", cwd=tmp_path)
    assert f"prstack {command}" in done.stdout and "key=value" in done.stdout


@pytest.mark.slow
def test_real_catalogue_to_training_set(shared_data, tmp_path):
    prstack("run", "until=distill", "world=shoppingbench", f"world.path={shared_data('shoppingbench')}", "synthesis.episodes=16", "world.users=20", "tracking.wandb=disabled", "run_dir=r", cwd=tmp_path)
    counts = manifest(tmp_path / "r", "world")["counts"]
    assert counts["products"] == 150 - counts["products_merged"] + counts["partial_read"] - counts["partial_merged"]
    assert len(set(ids(tmp_path / "r"))) == 16 and manifest(tmp_path / "r", "distill")["counts"]["kept"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_real_model_plays_all_three_roles(shared_data, tmp_path):
    """Every episode ends with a reason, be it that its time is up. Quality is not asked of a 135M model."""
    small = ["agents.max_tool_calls=3", "agents.max_plan_rounds=1", "agents.max_report_rounds=1", "agents.max_call_rounds=1", "agents.max_seconds=900"]
    args = ["synthesize", "world=tau_retail", f"world.path={shared_data('tau_retail')}", "engine=vllm", "synthesis.episodes=2", "tracking.wandb=disabled", "run_dir=r"]
    prstack(*args, *small, cwd=tmp_path, timeout=1450)
    counts = manifest(tmp_path / "r", "synthesis")["counts"]
    assert counts["trajectories"] == 2 == sum(counts["terminations"].values())
    rows = [r for f in sorted((tmp_path / "r" / "synthesis" / "trajectories").glob("*.parquet")) for r in pq.read_table(f).to_pylist()]
    assert all(r["termination"] for r in rows) and any(r["steps"] for r in rows)
    assert sum(u["completion_tokens"] for r in rows for u in r["usage"] if u["role"] == "user") > 0
