"""`prstack sft` and `prstack upcycle` as a user runs them: training with expert parallelism, kills, export, errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from prstack.cli import main
from prstack.report.tracking import Tracker
from prstack.settings import TrackingConfig
from prstack.stages.models import SMOLLM2, SMOLLM2_MOE, resolve_model, resolve_tokenizer
from prstack.stages.training import Curve
from tests.trainers.models import make, make_packs
from trainers.batches import write_packs
from trainers.checkpoint import latest
from trainers.hf_files import check_tokenizer
from trainers.spec import ModelSpec

STEPS = 12
SETTINGS = [f"trainer.steps={STEPS}", "trainer.checkpoint_every=3", "trainer.global_batch=4", "trainer.lr=3e-3", "trainer.warmup=2", "trainer.context=512"]


def prstack(*args: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, "-m", "prstack.cli", *args], cwd=cwd, capture_output=True, text=True, timeout=400)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """`base`: a small Mixtral; `packs`: a training set."""
    folder = tmp_path_factory.mktemp("sft")
    make("mixtral", folder / "base")
    write_packs(make_packs(10, seed=6), folder / "packs" / "part-0.parquet")
    return folder


def command(material: Path, run: Path) -> list[str]:
    return ["sft", f"run_dir={run}", f"trainer.model={material / 'base'}", f"trainer.input={material / 'packs'}", "tracking.wandb=disabled", "ray.dashboard=false", *SETTINGS]


def curve(run: Path) -> list[tuple[int, float, float]]:
    rows = [json.loads(line) for line in (run / "sft" / "steps.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"], r["grad_norm"]) for r in rows]


@pytest.fixture(scope="module")
def trained(material: Path) -> tuple[Path, subprocess.CompletedProcess]:
    run = material / "run"
    return run, prstack(*command(material, run), cwd=material)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_train_and_export(material, trained):
    from transformers import AutoModelForCausalLM

    run, done = trained
    manifest = json.loads((run / "sft" / "manifest.json").read_text())
    assert manifest["status"] == "complete" and manifest["counts"]["steps"] == STEPS and manifest["counts"]["ranks"] == 2
    assert manifest["summary"]["last_loss"] < manifest["summary"]["first_loss"]
    assert "ep 2" in done.stdout and "sft/" in done.stdout
    rows = [json.loads(line) for line in (run / "sft" / "steps.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == list(range(1, STEPS + 1))
    for r in rows:
        assert r["tokens_per_second"] > 0 and r["grad_norm"] > 0
        assert all(abs(sum(shares) - 1) < 1e-6 and len(shares) == 4 for shares in r["expert_load"].values())
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in logged if r["stage"] == "sft"] == list(range(1, STEPS + 1))
    model = AutoModelForCausalLM.from_pretrained(run / "sft" / "model", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(material / "base", dtype=torch.float32)
    ids = (torch.arange(24)[None] * 7) % 384  # the rule that the packs follow
    assert model(ids, labels=ids).loss < base(ids, labels=ids).loss - 0.1
    again = prstack(*command(material, run), cwd=material)
    assert "trained already" in again.stdout
    other = prstack(*command(material, run), "trainer.lr=1e-3", cwd=material, check=False)
    assert other.returncode == 2 and "trainer.lr was 0.003, is 0.001" in other.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_in_the_middle_then_again_gives_the_undisturbed_curve(material, trained, tmp_path):
    """Driver, Ray and both ranks are killed; the same command goes on from the last checkpoint, to the same losses (fp32, exact)."""
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "prstack.cli", *command(material, run)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    steps = run / "sft" / "steps.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None and not (steps.exists() and len(steps.read_text().splitlines()) >= 5):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 5 <= len(steps.read_text().splitlines()) < STEPS
    step = int(latest(run / "sft" / "checkpoints").name.rpartition("-")[2])
    assert 3 <= step < STEPS
    done = prstack(*command(material, run), cwd=tmp_path)
    assert f"sft: taking up again after step {step} of {STEPS}" in done.stdout
    assert curve(run) == curve(trained[0])
    ours, theirs = ((r / "sft" / "model" / "model.safetensors").read_bytes() for r in (run, trained[0]))
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_asked_to_stop_it_leaves_a_checkpoint_of_the_step_and_goes_on_to_the_undisturbed_curve(material, trained, tmp_path):
    """SIGTERM to the command, as Slurm's script sends it; Ctrl-C to its whole process group, as a terminal does; then to the end (fp32, exact)."""
    run = tmp_path / "run"
    args = [sys.executable, "-m", "prstack.cli", *command(material, run), "trainer.checkpoint_every=1000"]
    steps, checkpoints, reached = run / "sft" / "steps.jsonl", run / "sft" / "checkpoints", 0
    terminal = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a shell gives what runs in its background another one
    for send, number, code in ((os.kill, signal.SIGTERM, 143), (os.killpg, signal.SIGINT, 130)):
        process = subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=terminal)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None and not (steps.exists() and len(steps.read_text().splitlines()) >= reached + 2):
            time.sleep(0.01)
        send(process.pid, number)
        said, error = process.communicate(timeout=200)
        assert process.returncode == code, said[-2000:] + error[-3000:]
        before, reached = reached, len(curve(run))
        assert before + 2 <= reached < STEPS
        (saved,) = [p for p in checkpoints.glob("step-*") if p == latest(checkpoints)]
        assert saved.name == f"step-{reached:08d}" and len(list(checkpoints.glob("step-*"))) == 1 + bool(before), "one of each stop, and no other"
        assert f"sft: {number.name}, the step that is under way ends and a checkpoint is written" in error
        assert f"prstack: stopped: sft is trained to step {reached} of {STEPS}, checkpoint {saved}; the same command takes the run up again" in error
        assert not before or f"sft: taking up again after step {before} of {STEPS}" in said
    done = prstack(*command(material, run), cwd=tmp_path)
    assert f"sft: taking up again after step {reached} of {STEPS}" in done.stdout
    assert curve(run) == curve(trained[0])
    ours, theirs = ((r / "sft" / "model" / "model.safetensors").read_bytes() for r in (run, trained[0]))
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigterm_to_every_process_of_it_ends_it_as_a_request_to_stop(material, tmp_path):
    """As Slurm signals all processes of a step: Ray ends as well, and the exit code is the signal's, without a minute's wait for Ray."""
    run = tmp_path / "run"
    args = [sys.executable, "-m", "prstack.cli", *command(material, run), "trainer.steps=400", "trainer.checkpoint_every=1"]
    process = subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    steps = run / "sft" / "steps.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None and not (steps.exists() and len(steps.read_text().splitlines()) >= 3):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    said, error = process.communicate(timeout=200)
    assert process.returncode == 143, said[-2000:] + error[-3000:]
    found = latest(run / "sft" / "checkpoints")
    assert f"prstack: stopped: sft is trained to step {int(found.name.rpartition('-')[2])} of 400, checkpoint {found}" in error


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lost_rank_costs_no_more_than_the_steps_since_the_checkpoint(material, trained, tmp_path):
    """One of two ranks is killed in the middle: the same process goes on with new ones, to the same curve (fp32, exact)."""
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "prstack.cli", *command(material, run)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    steps = run / "sft" / "steps.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None and not (steps.exists() and len(steps.read_text().splitlines()) >= 5):
        time.sleep(0.02)
    ranks = [p for p in psutil.Process(process.pid).children(recursive=True) if "_Actor" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    ranks[1].kill()
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said[-3000:]
    assert re.search(r"sft: rank \d died in step \(killed, or out of memory\); new ranks go on from the last checkpoint \(1 of 2 restarts\)", said), said[-3000:]
    assert re.search(rf"sft: taking up again after step \d+ of {STEPS}", said)
    assert curve(run) == curve(trained[0])


def test_a_curve_forgets_what_came_after_the_checkpoint(tmp_path):
    file = tmp_path / "steps.jsonl"
    file.write_text("".join(json.dumps({"step": i, "loss": 1.0, "tokens": 5, "targets": 3, "seconds": 1.0}) + "\n" for i in range(1, 6)) + '{"step": 6, "lo')
    with Tracker(tmp_path, TrackingConfig(wandb="disabled"), "t", {}) as tracker, Curve(file, 3, 8, tracker, "sft") as c:
        for step in (4, 5):
            c({"step": step, "loss": 0.5, "tokens": 5, "targets": 3, "seconds": 1.0, "tokens_per_second": 5.0})
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in rows] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 0.5), (5, 0.5)]
    assert c.summary() == ({"steps": 5, "tokens": 25, "learned_tokens": 15}, {"first_loss": 1.0, "last_loss": 0.8, "tokens_per_second": 5})


def test_what_does_not_fit_is_one_clear_error(material, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refused(*args: str) -> str:
        capsys.readouterr()
        assert main(["sft", f"run_dir={tmp_path / 'run'}", "tracking.wandb=disabled", *args]) == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1, error
        return error

    packs, base = f"trainer.input={material / 'packs'}", f"trainer.model={material / 'base'}"
    assert "prstack distill" in refused(base)
    other = tmp_path / "gpt2"
    other.mkdir()
    (other / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    assert "architecture GPT2LMHeadModel is not supported (supported: " in refused(packs, f"trainer.model={other}")
    # Made by a distillation with SmolLM2's tokenizer, to be trained with a base that has another one.
    distilled = tmp_path / "run" / "distill"
    write_packs(make_packs(2), distilled / "packed" / "part-0.parquet")
    manifest = {"stage": "distill", "status": "complete", "fingerprint": {}, "config": {"tokenizer": SMOLLM2}}
    (distilled / "manifest.json").write_text(json.dumps(manifest))
    tokens = {"model": {"vocab": {"a": 0}}}
    strange = tmp_path / "strange"
    make("mixtral", strange)
    (strange / "tokenizer.json").write_text(json.dumps(tokens))
    assert "rendered with another tokenizer" in refused(f"trainer.model={strange}")


def test_the_upcycled_base_keeps_the_tokenizer():
    folder = resolve_model(SMOLLM2_MOE)
    spec = ModelSpec.from_hf(folder)
    assert (spec.architecture, spec.experts, spec.topk, spec.ffn, spec.layers) == ("MixtralForCausalLM", 8, 4, 384, 30)
    check_tokenizer(folder, resolve_tokenizer(SMOLLM2))
    assert resolve_tokenizer(SMOLLM2_MOE) == resolve_tokenizer(SMOLLM2)


def test_upcycling_says_what_it_wrote(tmp_path, capsys):
    make("llama", tmp_path / "dense")
    args = ["upcycle", f"upcycle.model={tmp_path / 'dense'}", "upcycle.kind=simple", "upcycle.experts=4", "upcycle.topk=2"]
    assert main([*args, f"upcycle.out={tmp_path / 'sparse'}"]) == 0
    said = capsys.readouterr().out
    assert "MixtralForCausalLM: 2 layers of 4 experts, 2 active" in said and str(tmp_path / "sparse") in said
    assert main([*args, f"upcycle.out={tmp_path / 'sparse'}"]) == 2 and "exists already" in capsys.readouterr().err
    assert main(["upcycle"]) == 2 and "give upcycle.out=" in capsys.readouterr().err


def test_upcycling_says_what_is_shared_and_what_is_not_the_same(tmp_path, capsys):
    make("llama", tmp_path / "dense", head_dim=16)
    args = ["upcycle", f"upcycle.model={tmp_path / 'dense'}", f"upcycle.out={tmp_path / 'sparse'}", "upcycle.topk=2", "upcycle.shared=1"]
    assert main([*args, "upcycle.reinit=1.5"]) == 2 and "upcycle.reinit" in capsys.readouterr().err
    assert main([*args, "upcycle.shared=3"]) == 2 and "upcycle.topk=2, upcycle.shared=3: the 96 FFN units" in capsys.readouterr().err
    assert not (tmp_path / "sparse").exists()
    assert main([*args, "upcycle.experts=4", "upcycle.noise=0.01"]) == 0
    said = capsys.readouterr().out
    assert "Qwen2MoeForCausalLM: 2 layers of 4 experts, 2 active beside a shared one of 32 units" in said
    assert "Not the dense model's function at step 0: upcycle.noise=0.01, upcycle.reinit=0" in said
