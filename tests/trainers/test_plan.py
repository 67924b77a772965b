"""Plans hold: parameters as built, activations as kept, and a run that does not fit is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from prstack import cli
from prstack.config import load
from tests.trainers.models import VOCAB, make
from trainers import plan
from trainers.batches import Pack
from trainers.layout import Layout
from trainers.shapes import SHAPES
from trainers.spec import ModelSpec
from trainers.worker import Setup

QWEN = ModelSpec.from_config(SHAPES["Qwen/Qwen3-30B-A3B"])
CLUSTERS = ["cluster_8x8", "paper"]


def test_the_parameters_of_qwen3_30b_are_those_of_its_model_card() -> None:
    whole, active = plan.counts(QWEN)
    assert whole == pytest.approx(30.5e9, abs=0.05e9) and active == pytest.approx(3.3e9, abs=0.06e9)


def test_a_shared_expert_is_active_for_every_token() -> None:
    spec = ModelSpec.from_config(SHAPES["Qwen/Qwen1.5-MoE-A2.7B"])
    whole, active = plan.counts(spec)
    assert whole == spec.parameters() and whole == pytest.approx(14.3e9, abs=0.05e9) and active == pytest.approx(2.7e9, abs=0.05e9)  # its model card
    assert plan.layer_numbers(spec, True) - plan.layer_numbers(dataclasses.replace(spec, shared=0), True) == 3 * 5632 + 2048


def test_each_kind_of_parallelism_saves_what_it_should() -> None:
    def needs(layout: Layout, **over: object) -> plan.Memory:
        return plan.memory(QWEN, layout, **({"dtype": "bfloat16", "tokens": 8192, "recompute": True, "fused": True} | over))

    one, ep = needs(Layout(64)), needs(Layout(64, ep=8))
    assert ep.weights < 0.2 * one.weights and ep.optimizer == pytest.approx(one.optimizer)  # experts are 95 % of the model; its optimizer was spread
    assert needs(Layout(64, ep=8, pp=2)).weights < 0.55 * ep.weights
    assert needs(Layout(64, ep=8, tp=4)).activations == pytest.approx(ep.activations / 4)
    assert needs(Layout(64, ep=8), recompute=False).activations > 10 * ep.activations
    assert needs(Layout(128, ep=8)).optimizer == pytest.approx(ep.optimizer / 2)
    assert needs(Layout(64, ep=8), dtype="float32").weights == 2 * ep.weights


def test_operations_are_six_a_parameter_and_attention() -> None:
    _, active = plan.counts(QWEN)
    short, long = plan.flops(QWEN, 1), plan.flops(QWEN, 32768)
    assert short == pytest.approx(6 * (active - QWEN.vocab * QWEN.hidden), rel=1e-3)
    assert long - short == pytest.approx(6 * 48 * 32 * 128 * 32767)


def test_the_fewest_ranks_that_fit() -> None:
    how = ("bfloat16", 8192, True, True)
    found = plan.fitting(QWEN, Layout(8, ep=8), *how, 80e9)
    assert found and plan.memory(QWEN, found, *how).total <= 80e9
    assert plan.memory(QWEN, Layout(found.ranks // 2, ep=8), *how).total > 80e9 or found.ranks == 8
    assert plan.fitting(QWEN, Layout(8, ep=8), *how, 1e9) is None


@pytest.mark.parametrize("preset", CLUSTERS)
def test_a_cluster_preset_is_planned_and_fits(preset: str, capsys: pytest.CaptureFixture) -> None:
    assert load([f"preset={preset}"]).name == preset
    assert cli.main(["sft", "--plan", f"preset={preset}"]) == 0
    said = capsys.readouterr().out
    assert "30.53 billion" in said and "64 ranks" in said and "tokens/s" in said


def test_what_does_not_fit_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["sft", "--plan", "preset=cluster_8x8", "plan.memory_gib=16"]) == 1
    assert "Does not fit: 36.5 GiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("trainer.ep=48", "must be a multiple of ep"),
        ("trainer.tp=8", "4 key/value heads cannot be split evenly over tp=8"),
        ("trainer.context=65536", "has 40960 positions"),
    ],
)
def test_what_the_model_does_not_allow_is_said(wrong: str, said: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["sft", "--plan", "preset=cluster_8x8", wrong]) == 2
    assert said in capsys.readouterr().err


def test_a_flag_of_another_command_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["distill", "--plan"]) == 2
    assert "--plan: there are no flags but --help" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "layout"),
    [("Qwen/Qwen3-30B-A3B", (64, 2, 1, 8)), ("Qwen/Qwen3-30B-A3B", (64, 4, 2, 8)), ("Qwen/Qwen1.5-MoE-A2.7B", (8, 2, 2, 4))],
    ids=[*CLUSTERS, "shared"],
)
def test_every_rank_of_a_cluster_holds_what_is_mapped_and_planned(model: str, layout: tuple[int, ...]) -> None:
    command = [sys.executable, "-m", "tests.trainers._meta", model, *map(str, layout)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == layout[0] and all(built == planned for _, built, planned in lines)


def kept(forward: Callable[[], object], model: torch.nn.Module) -> int:
    """Bytes that the backward pass waits for, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes(), t  # held, so that no other takes its place
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        forward()
    return sum(n for n, _ in seen.values())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "over"),
    [("mixtral", {}), ("qwen3_moe", {}), ("qwen2_moe", {"shared_expert_intermediate_size": 192}), ("qwen3_moe", {"hidden_size": 128, "num_experts": 16, "num_experts_per_tok": 4}), ("llama", {}), ("qwen3", {})],
)
def test_memory_is_planned_as_it_is_taken(local, tmp_path: Path, kind: str, over: dict, dtype: str) -> None:
    make(kind, tmp_path, **over)
    t = 512
    pack = Pack(np.random.default_rng(0).integers(0, VOCAB, t).astype(np.int32), np.ones(t, np.int8), np.array([t], np.int32))
    local.setup(Setup(str(tmp_path), dtype=dtype))
    worker = local._worker
    planned = plan.memory(ModelSpec.from_hf(tmp_path), Layout(), dtype, t, False, False)
    assert planned.weights == sum(p.nbytes for p in worker.model.parameters())
    assert planned.gradients == pytest.approx(sum(b.grad_data.nbytes for b in worker.ddp.buffers + worker.ddp.expert_parallel_buffers), rel=0.05)
    micro = worker._collate([pack])
    worker.ddp.train()
    taken = kept(lambda: worker.ddp(micro.input_ids, micro.position_ids, None, labels=micro.labels, packed_seq_params=micro.packed), worker.model)
    last = t * worker.spec.hidden * (12 if dtype == "float32" else 8)
    assert planned.activations + last == pytest.approx(taken, rel=0.15)
    local.step([[[pack]]], lr=1e-3)
    state = [v for group in worker.optimizer.chained_optimizers for s in group.optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    masters = [p for group in worker.optimizer.chained_optimizers for g in group.optimizer.param_groups for p in g["params"]]
    bytes_of_state = sum(v.nbytes for v in state if v.ndim) + (sum(p.nbytes for p in masters) if dtype == "bfloat16" else 0)
    assert planned.optimizer == pytest.approx(bytes_of_state, rel=0.02)
