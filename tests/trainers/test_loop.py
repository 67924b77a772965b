"""Whole training runs: the same curve on one rank and two, resumed or killed; bad losses stop with a name."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from prstack.errors import UserError
from prstack.settings import TrainerConfig
from tests.trainers.models import make, make_packs
from trainers import checkpoint
from trainers.batches import Batch, Batches, read_packs, write_packs
from trainers.hf_files import Reader
from trainers.layout import Layout
from trainers.loop import Diverged, Watch, learning_rate, train
from trainers.policy import PolicyLoss
from trainers.worker import Setup

pytestmark = pytest.mark.slow

CONFIG = {"lr": 3e-3, "warmup": 2, "checkpoint_every": 1000, "keep": 2}


def run(group, setup: Setup, folder: Path, steps: int, stop_at: int | None = None, resume: bool = False, **over) -> list[dict]:
    """Trains `setup` on the fixed packs; the metrics of each step."""
    found = checkpoint.latest(folder) if resume else None
    group.setup(setup, weights_from_base=found is None)
    state = group.load(found) if found else None
    seen: list[dict] = []
    batches = Batches(make_packs(10, seed=6), 4, 1, group.dp, seed=5)
    train(group, batches, TrainerConfig(steps=steps, **(CONFIG | over)), folder, seen.append, state, stop_at=stop_at)
    return seen


def losses(metrics: list[dict]) -> list[float]:
    return [m["loss"] for m in metrics]


def test_schedule() -> None:
    lr = [learning_rate(s, 100, 1.0, 10) for s in range(100)]
    assert lr[0] == pytest.approx(0.1) and lr[9] == lr[10] == pytest.approx(1.0)
    assert lr[99] == pytest.approx(0.1) and all(a >= b for a, b in itertools.pairwise(lr[10:]))
    assert learning_rate(54, 100, 1.0, 10) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 44 / 89)))
    assert learning_rate(0, 1, 1.0, 0) == 1.0


def test_training_learns_and_reports(local, tmp_path: Path) -> None:
    make("mixtral", tmp_path / "base")
    seen = run(local, Setup(str(tmp_path / "base"), aux_loss=0.01), tmp_path / "ck", steps=30)
    assert losses(seen)[-1] < 0.7 * losses(seen)[0]
    last = seen[-1]
    assert last["step"] == 30 and last["tokens_per_second"] > 0 and last["epoch"] == 11
    for layer in (0, 1):
        assert sum(last["expert_load"][layer]) == pytest.approx(1.0) and len(last["expert_load"][layer]) == 4
    assert 0.9 < last["aux_loss"] < 4.0


def test_aux_loss_evens_out_the_experts(local, tmp_path: Path) -> None:
    make("mixtral", tmp_path / "base")
    spread = {}
    for aux in (0.0, 1.0):
        seen = run(local, Setup(str(tmp_path / "base"), aux_loss=aux), tmp_path / f"ck{aux}", steps=30)
        spread[aux] = np.mean([np.std(seen[-1]["expert_load"][i]) for i in (0, 1)])
    assert spread[1.0] < 0.7 * spread[0.0]


@pytest.mark.parametrize("layout", [Layout(2, ep=2), Layout(2, tp=2), Layout(2, pp=2)], ids=["ep2", "tp2", "pp2"])
def test_two_ranks_draw_the_curve_of_one(local, pair, tmp_path: Path, layout: Layout) -> None:
    make("qwen3_moe", tmp_path / "base")
    one = run(local, Setup(str(tmp_path / "base")), tmp_path / "one", steps=12)
    two = run(pair, Setup(str(tmp_path / "base"), layout), tmp_path / "two", steps=12)
    assert np.abs(np.subtract(losses(one), losses(two))).max() < 1e-4
    assert one[-1]["loss"] < 0.9 * one[0]["loss"]
    for a, b in zip(one, two):
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    for layer, row in one[0]["expert_load"].items():  # tensor ranks pad to an even length
        assert two[0]["expert_load"][layer] == pytest.approx(row, abs=0 if layout.tp == 1 else 0.01)


def test_aux_loss_is_the_same_on_two_ranks(local, pair, tmp_path: Path) -> None:
    make("mixtral", tmp_path / "base")
    one = run(local, Setup(str(tmp_path / "base"), aux_loss=0.1), tmp_path / "one", steps=6)
    two = run(pair, Setup(str(tmp_path / "base"), Layout(2, ep=2), aux_loss=0.1), tmp_path / "two", steps=6)
    assert np.abs(np.subtract(losses(one), losses(two))).max() < 1e-4
    assert [m["aux_loss"] for m in one] == pytest.approx([m["aux_loss"] for m in two], abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ten_and_ten_steps_are_twenty(local, tmp_path: Path, dtype: str) -> None:
    make("qwen3_moe", tmp_path / "base", tie_word_embeddings=True)
    setup = Setup(str(tmp_path / "base"), aux_loss=0.01, dtype=dtype)
    whole = run(local, setup, tmp_path / "whole", steps=20)
    first = run(local, setup, tmp_path / "parts", steps=20, stop_at=10)
    second = run(local, setup, tmp_path / "parts", steps=20, resume=True)
    assert losses(first + second) == losses(whole)
    assert [m["grad_norm"] for m in first + second] == [m["grad_norm"] for m in whole]


def test_resume_over_two_ranks_is_exact(pair, tmp_path: Path) -> None:
    make("qwen3_moe", tmp_path / "base")
    setup = Setup(str(tmp_path / "base"), Layout(2, ep=2))
    whole = run(pair, setup, tmp_path / "whole", steps=8)
    first = run(pair, setup, tmp_path / "parts", steps=8, stop_at=4)
    second = run(pair, setup, tmp_path / "parts", steps=8, resume=True)
    assert losses(first + second) == losses(whole)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("qwen3_moe", Layout(2)), ("qwen3_moe", Layout(2, pp=2)), ("qwen2_moe", Layout(2, tp=2))],
    ids=["ep1", "pp2", "tp2-shared"],
)
def test_resume_under_another_layout(pair, tmp_path: Path, kind: str, layout: Layout) -> None:
    make(kind, tmp_path / "base")
    setup = Setup(str(tmp_path / "base"), Layout(2, ep=2))
    whole = run(pair, setup, tmp_path / "whole", steps=8)
    run(pair, setup, tmp_path / "parts", steps=8, stop_at=4)
    second = run(pair, Setup(str(tmp_path / "base"), layout), tmp_path / "parts", steps=8, resume=True)
    assert np.abs(np.subtract(losses(second), losses(whole)[4:])).max() < 1e-4


def test_checkpoints_are_kept_and_a_torn_one_is_passed_over(local, tmp_path: Path) -> None:
    make("llama", tmp_path / "base")
    folder = tmp_path / "ck"
    run(local, Setup(str(tmp_path / "base")), folder, steps=8, checkpoint_every=2)
    assert sorted(p.name for p in folder.iterdir()) == ["latest", "step-00000006", "step-00000008"]
    (folder / ".step-00000010.tmp").mkdir()
    (folder / "latest").write_text("step-00000099\n")
    assert checkpoint.latest(folder).name == "step-00000008"


def test_another_model_s_checkpoint_and_other_data_are_refused(local, tmp_path: Path) -> None:
    make("llama", tmp_path / "base")
    make("llama", tmp_path / "wide", intermediate_size=128)
    run(local, Setup(str(tmp_path / "base")), tmp_path / "ck", steps=2)
    with pytest.raises(UserError, match="checkpoint of another model: ffn is 128, there it is 96"):
        run(local, Setup(str(tmp_path / "wide")), tmp_path / "ck", steps=4, resume=True)
    local.setup(Setup(str(tmp_path / "base")))
    state = local.load(checkpoint.latest(tmp_path / "ck"))
    with pytest.raises(UserError, match="10 as packs of the data, now it is 3"):
        train(local, Batches(make_packs(3), 3, 1, 1, seed=5), TrainerConfig(), tmp_path, print, state)


def test_a_loss_that_is_no_number_stops_before_the_weights_change(local, tmp_path: Path) -> None:
    make("mixtral", tmp_path / "base")
    local.setup(Setup(str(tmp_path / "base")))
    batches = Batches(make_packs(8), 4, 1, 1, seed=5)
    model = local._worker.model
    clean = {n: p.detach().clone() for n, p in model.named_parameters()}

    def poison(m: dict) -> None:
        if m["step"] == 3:
            clean.update({n: p.detach().clone() for n, p in model.named_parameters()})
            with torch.no_grad():
                model.decoder.layers[1].self_attention.linear_proj.weight[0, 0] = float("nan")

    with pytest.raises(Diverged) as e:
        train(local, batches, TrainerConfig(steps=10, lr=1e-3, warmup=0), tmp_path, poison)
    assert str(e.value).startswith("step 4: loss is nan. Batch: pack ")
    again = read_packs(tmp_path / "diverged-step-4.parquet")
    assert len(again) == 4
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, clean[n])]
    assert changed == ["decoder.layers.1.self_attention.linear_proj.weight"]


def test_an_exploding_loss_is_noticed() -> None:
    watch = Watch()
    for loss in (5.0, 4.0, 3.0, 4.5, 3.5, 3.0):
        watch.see(loss)
    with pytest.raises(ArithmeticError, match=r"loss 12\.000 explodes"):
        watch.see(12.0)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_jump_is_an_error_only_where_packs_are_drawn_at_random(shuffle: bool, tmp_path: Path) -> None:
    class Jumps:
        ranks = dp = 1

        def __init__(self) -> None:
            self.losses = iter([2.0] * 8 + [9.0] * 4)

        def step(self, shares: list, lr: float, loss: str) -> dict:
            return {"loss": next(self.losses), "tokens": 1, "seconds": 1.0}

        def save(self, *_: object) -> None: ...

    seen: list[dict] = []
    config = TrainerConfig(steps=12, shuffle=shuffle)
    try:
        train(Jumps(), Batches(make_packs(4), 4, 1, 1, seed=5), config, tmp_path, seen.append)
    except Diverged as e:
        assert str(e).startswith("step 9: loss 9.000 explodes")
    assert len(seen) == (8 if shuffle else 12)


def test_a_stream_follows_the_model_before_each_checkpoint(tmp_path: Path) -> None:
    happened: list = []

    class Ranks:
        ranks = dp = 1

        def step(self, shares: list, lr: float, loss: object) -> dict:
            happened.append(("step", shares))
            return {"loss": 1.0, "tokens": 1, "seconds": 1.0}

        def save(self, folder: Path, state: dict, keep: int) -> None:
            happened.append(("save", state))

    class Rollouts:
        played = 0

        def steps(self, epochs: float) -> int:
            return round(2 * epochs)

        def __next__(self) -> Batch:
            self.played += 1
            return Batch([[[self.played]]], 0, PolicyLoss())

        def after_step(self, metrics: dict) -> dict:
            happened.append(("after", metrics["step"]))
            return {"reward": 0.5}

        def state(self) -> dict:
            return {"played": self.played}

        def restore(self, state: dict) -> None:
            self.played = state["played"]

    seen: list[dict] = []
    config = TrainerConfig(epochs=1.0, checkpoint_every=1)
    train(Ranks(), Rollouts(), config, tmp_path, seen.append, {"step": 1, "data": {"played": 7}})
    assert happened == [("step", [[[8]]]), ("after", 2), ("save", {"step": 2, "data": {"played": 8}, "steps": 2})]
    assert seen[0]["reward"] == 0.5 and seen[0]["step"] == 2


@pytest.mark.slow
def test_kill_in_the_middle_then_again_gives_the_undisturbed_curve(local, tmp_path: Path) -> None:
    make("mixtral", tmp_path / "base")
    write_packs(make_packs(10, seed=6), tmp_path / "data" / "part-000000.parquet")
    local.setup(Setup(str(tmp_path / "base"), aux_loss=0.01))
    want: list[dict] = []
    config = TrainerConfig(steps=400, checkpoint_every=100, lr=3e-3, warmup=2)
    train(local, Batches(read_packs(tmp_path / "data"), 4, 1, 1, seed=5), config, tmp_path / "whole", want.append, stop_at=60)

    log = tmp_path / "log"
    args = [str(tmp_path / x) for x in ("base", "data", "ck")]
    command = [sys.executable, "-m", "tests.trainers._job", *args, "400", str(log)]
    root = Path(__file__).resolve().parents[2]

    def done() -> int:
        return int(log.read_text().splitlines()[-1].split()[0]) if log.exists() and log.read_text().strip() else 0

    def kill_after(step: int) -> None:
        process = subprocess.Popen(command, cwd=root, start_new_session=True)
        deadline = time.monotonic() + 120
        while done() < step and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL

    kill_after(18)
    reached = done()
    resumed_from = checkpoint.progress(checkpoint.latest(tmp_path / "ck"))["step"]
    assert 0 < resumed_from <= reached
    kill_after(reached + 12)
    curve = [line.split() for line in log.read_text().splitlines()]
    steps = [int(s) for s, _ in curve]
    assert steps == [*range(1, reached + 1), *range(resumed_from + 1, done() + 1)]
    expected = {m["step"]: m["loss"] for m in want}
    for step, loss in curve:
        if int(step) in expected:
            assert float(loss) == expected[int(step)], step


@pytest.mark.parametrize(("ranks", "layout"), [(1, Layout()), (2, Layout(2, ep=2)), (2, Layout(2, pp=2)), (2, Layout(2, tp=2))], ids=["one", "ep2", "pp2", "tp2"])
def test_what_is_frozen_stays_and_the_rest_learns_as_before(local, pair, tmp_path: Path, ranks: int, layout: Layout) -> None:
    make("qwen3_moe", tmp_path / "base", tie_word_embeddings=True)
    group, gradients = {1: local, 2: pair}[ranks], []
    for frozen in ((), ("router", "embeddings")):
        group.setup(Setup(str(tmp_path / "base"), layout, clip=0.0, freeze=frozen, recompute=bool(frozen)))
        group.step([[[p]] for p in make_packs(group.dp)], lr=0.0)
        gradients.append(group.gradients())
    still = [n for n in gradients[0] if n.endswith("mlp.gate.weight") or "embed_tokens" in n]
    assert len(still) == 3
    for name, g in gradients[0].items():
        assert np.abs(gradients[1][name] - (0 if name in still else g)).max() <= 1e-6, name
    seen = run(group, Setup(str(tmp_path / "base"), layout, freeze=("router", "embeddings")), tmp_path / "ck", steps=6, stop_at=3)
    seen += run(group, Setup(str(tmp_path / "base"), layout, freeze=("router", "embeddings")), tmp_path / "ck", steps=6, resume=True)
    assert losses(seen)[-1] < losses(seen)[0]
    group.export(tmp_path / "out")
    before, after = Reader(tmp_path / "base"), Reader(tmp_path / "out")
    assert all(torch.equal(before.get(n), after.get(n)) == (n in still) for n in before.names())


@pytest.mark.timeout(600)
def test_a_save_that_is_killed_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    """Twenty kills at random moments of a run that does little but save: a whole checkpoint is always there, and each run goes on from it."""
    make("mixtral", tmp_path / "base")
    write_packs(make_packs(10, seed=6), tmp_path / "data" / "part-0.parquet")
    where = [str(tmp_path / name) for name in ("base", "data", "ck", "log")]
    done = subprocess.run([sys.executable, "-m", "tests.trainers._kills", *where, "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = [int(line) for line in done.stdout.split()]
    assert len(seen) == 20 and seen == sorted(seen) and seen[-1] > seen[0] > 0
    steps = [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]
    begun = [b for a, b in itertools.pairwise([0, *steps]) if b != a + 1]
    assert begun and {step - 1 for step in begun} <= {0, *seen}  # each run goes on after the newest whole checkpoint
