"""Adapters compute, train, resume and merge as the paper's formula says, on one rank and two; the base stays, and nothing is computed for it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prstack import cli
from prstack.config import load
from prstack.errors import UserError
from prstack.settings import LoraConfig
from prstack.stages.training import export, rank_setup
from tests.trainers._lora_paper import Paper
from tests.trainers.models import make, make_packs
from trainers import plan, reference, weights
from trainers.batches import Pack
from trainers.hf_files import Reader
from trainers.layout import Layout
from trainers.lora import PEFT, Lora, adapters, first
from trainers.shapes import SHAPES
from trainers.spec import ModelSpec
from trainers.worker import Setup

MOE, DENSE = Lora(4, 8.0, ("attention", "experts")), Lora(4, 8.0, ("attention", "mlp"))
LRS = (1e-2, 5e-3, 2e-3)
PACKS = [make_packs(4, seed=n) for n in range(len(LRS))]


def paper(hf: torch.nn.Module, folder: Path, lora: Lora) -> Paper:
    return Paper(hf, lora, {p.hf[0]: first(p, 0) for p in adapters(ModelSpec.from_hf(folder), lora)})


def deal(packs: list[Pack], dp: int) -> list[list[list[Pack]]]:
    return [[[p] for p in packs[d::dp]] for d in range(dp)]


def close(ours: np.ndarray, theirs: np.ndarray, to: float = 1e-5) -> bool:
    return bool(np.abs(ours - theirs).max() <= to * max(np.abs(theirs).max(), 1e-4))


def check_step(group, n: int, said: tuple[float, dict[str, np.ndarray]], to: float) -> None:
    """Step n: the loss, every gradient and their norm are the reference's; frozen weights have none."""
    value, grads = said
    metrics, ours = group.step(deal(PACKS[n], group.dp), lr=LRS[n]), group.gradients()
    assert metrics["loss"] == pytest.approx(value, rel=1e-5), n
    assert {name for name, g in ours.items() if g.any()} == {name for name, g in grads.items() if g.any()}
    for name, g in grads.items():
        assert close(ours[name], g, to), (n, name, np.abs(ours[name] - g).max(), np.abs(g).max())
    assert metrics["grad_norm"] == pytest.approx(math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads.values())), rel=to)


def check_merged(group, base: Path, out: Path, theirs: Paper, to: float) -> None:
    """What is exported is the reference's W + alpha / rank · B A; what has no adapter is as it was, to the byte."""
    group.export(out)
    before, after = Reader(base), Reader(out)
    adapted = {f"{s}.weight" for s in theirs.stems}
    assert adapted < set(before.names()) == set(after.names())
    for name in before.names():
        if name in adapted:
            change = theirs.change(name.removesuffix(".weight")).detach()
            assert float(change.abs().max()) > 1e-4 and close(after.get(name).numpy(), (before.get(name) + change).numpy(), to), name
        else:
            assert before.get(name).numpy().tobytes() == after.get(name).numpy().tobytes(), name


def check_from_the_beginning(group, hf: torch.nn.Module, setup: Setup, out: Path) -> None:
    """From B = 0. A step of AdamW is about lr · sign(g), which makes much of what is rounded in a small g: what comes later differs by more."""
    theirs = paper(hf, Path(setup.base), setup.lora)
    group.setup(setup)
    for n, said in enumerate(theirs.train_on(PACKS, LRS)):
        check_step(group, n, said, 1e-4 if n else 1e-5)
    check_merged(group, Path(setup.base), out, theirs, 1e-4)


CASES = [("qwen3", DENSE), ("qwen3_moe", MOE), ("mixtral", Lora(3, 5.0, ("experts",)))]


@pytest.mark.parametrize(("kind", "lora"), CASES)
def test_one_rank_trains_what_the_paper_says(local, tmp_path: Path, kind: str, lora: Lora) -> None:
    hf = make(kind, tmp_path / "base", tie_word_embeddings=kind == "qwen3")
    check_from_the_beginning(local, hf, Setup(str(tmp_path / "base"), clip=0.0, lora=lora), tmp_path / "out")


@dataclass(frozen=True)
class Trained:
    """A model on one rank with adapters whose B is not zero, in a checkpoint, after a step at learning rate 0."""

    setup: Setup
    checkpoint: Path
    begin: Paper
    end: Paper
    """The reference at that step, and after those that follow."""
    said: list[tuple[float, dict[str, np.ndarray]]]
    """What the reference says of the steps."""


def begun(local, folder: Path, kind: str, lora: Lora, **over: object) -> Trained:
    """Makes such a model. Its loss, all gradients and what it exports are the reference's."""
    base = folder / "base"
    begin, random = paper(make(kind, base, **over), base, lora), torch.Generator().manual_seed(0)
    setup = Setup(str(base), clip=0.0, lora=lora)
    local.setup(setup)
    worker = local._worker
    own = dict(worker.model.named_parameters())
    with torch.no_grad():
        for p in adapters(worker.spec, lora):
            mine = begin.mine[p.hf[0]]
            if "lora_B" in p.hf[0]:
                mine.copy_(0.05 * torch.randn(mine.shape, generator=random))
            own[weights.local_name(p, worker.spec, worker.place)].copy_(mine)
    end = Paper(begin.base[0], lora, begin.mine)
    said = end.train_on(PACKS, [0.0, *LRS[1:]])
    metrics, ours = local.step(deal(PACKS[0], 1), lr=0.0), local.gradients()
    assert metrics["loss"] == pytest.approx(said[0][0], rel=1e-5)
    assert all(g.any() and close(ours[name], g) for name, g in said[0][1].items())
    check_merged(local, base, folder / "one", begin, 1e-5)
    return Trained(setup, Path(local.save(folder / "ck", {"step": 1}, 1)), begin, end, said)


def check_goes_on(pair, trained: Trained, layout: Layout, out: Path) -> None:
    """Two ranks take the checkpoint up: what they export and their first gradients are the reference's, and so are two steps."""
    base = Path(trained.setup.base)
    pair.setup(replace(trained.setup, layout=layout), weights_from_base=False)
    pair.load(trained.checkpoint)
    check_merged(pair, base, out, trained.begin, 1e-5)
    check_step(pair, 1, trained.said[1], 1e-5)
    check_step(pair, 2, trained.said[2], 1e-4)
    check_merged(pair, base, out, trained.end, 1e-4)


@pytest.fixture(scope="module")
def trained(local, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return begun(local, tmp_path_factory.mktemp("trained"), "qwen3_moe", MOE, tie_word_embeddings=True)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [Layout(2, ep=2), Layout(2, tp=2), Layout(2, pp=2), Layout(2)], ids=["ep2", "tp2", "pp2", "dp2"])
def test_two_ranks_go_on_as_the_paper_says_from_one_rank_s_checkpoint(pair, trained: Trained, tmp_path: Path, layout: Layout) -> None:
    check_goes_on(pair, trained, layout, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "targets"), [("qwen3", ("attention", "mlp")), ("qwen2_moe", ("attention", "experts", "mlp"))])
def test_feed_forward_layers_and_shared_experts_over_two_tensor_ranks(local, pair, tmp_path: Path, kind: str, targets: tuple[str, ...]) -> None:
    check_goes_on(pair, begun(local, tmp_path, kind, Lora(4, 8.0, targets)), Layout(2, tp=2), tmp_path / "out")


def test_it_begins_as_the_base_and_the_reference_stays_that(local, tmp_path: Path) -> None:
    hf = make("qwen3_moe", tmp_path)
    packs = make_packs(3, seed=9)
    local.setup(Setup(str(tmp_path)))
    base = local.forward([[packs]])
    local.setup(Setup(str(tmp_path), lora=MOE, recompute=True))
    assert local.forward([[packs]]) == base
    assert local.step([[packs]], lr=1e-2)["loss"] == pytest.approx(reference.loss(hf, packs).item(), abs=1e-6)
    moved = local.forward([[packs]])
    assert moved != base and local.forward([[packs]], reference=True) == base and local.forward([[packs]]) == moved


def test_engines_and_transformers_load_what_was_trained(local, tmp_path: Path) -> None:
    hf = make("qwen3_moe", tmp_path / "base")
    packs = make_packs(3, seed=9)
    setup = Setup(str(tmp_path / "base"), lora=Lora(4, 32.0, ("attention",)))
    local.setup(setup)
    for lr in LRS:
        local.step([[packs]], lr=lr)
    ours = np.concatenate([np.array(x) for x in local.forward([[packs]])[0][0]])
    export(local, setup, tmp_path)
    merged = type(hf).from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        theirs, before = (np.concatenate([reference.label_logprobs(m, p).numpy() for p in packs]) for m in (merged, hf))
    assert np.abs(ours - theirs).max() <= 1e-5 < 1e-2 < np.abs(ours - before).max()
    local.publish(tmp_path / "published", "v1")
    a, b = Reader(tmp_path / "model"), Reader(tmp_path / "published")
    assert a.names() == b.names() and all(torch.equal(a.get(n), b.get(n)) for n in a.names())
    from safetensors.torch import load_file

    written, said = load_file(tmp_path / "adapter" / "adapter_model.safetensors"), json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    base = Reader(tmp_path / "base")
    assert said["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"] and len(written) == 2 * 4 * 2
    for name in [n for n in base.names() if n.endswith(tuple(f"{t}.weight" for t in said["target_modules"]))]:
        x, y = (written[f"{PEFT}{name.removesuffix('weight')}lora_{z}.weight"] for z in "AB")
        assert close((base.get(name) + said["lora_alpha"] / said["r"] * y @ x).numpy(), a.get(name).numpy(), 1e-6), name


def test_peft_computes_the_same_from_the_adapter_s_folder(local, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    hf = make("qwen3", tmp_path / "base")
    packs = make_packs(2, seed=9)
    setup = Setup(str(tmp_path / "base"), lora=DENSE)
    local.setup(setup)
    for lr in LRS:
        local.step([[packs]], lr=lr)
    export(local, setup, tmp_path)
    ours = np.concatenate([np.array(x) for x in local.forward([[packs]])[0][0]])
    loaded = peft.PeftModel.from_pretrained(hf, tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = np.concatenate([reference.label_logprobs(loaded, p).numpy() for p in packs])
    assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_checkpoint_goes_on_exactly_and_only_with_its_own_adapters(local, tmp_path: Path, dtype: str) -> None:
    make("qwen3_moe", tmp_path / "base")
    setup = Setup(str(tmp_path / "base"), dtype=dtype, aux_loss=0.01, recompute=True, lora=MOE)
    local.setup(setup)
    seen = [local.step([[PACKS[0]]], lr=1e-2)["loss"] for _ in range(3)]
    assert seen[2] < seen[0]
    path = Path(local.save(tmp_path / "ck", {"step": 3}, 1))
    seen = [local.step([[PACKS[1]]], lr=1e-2) for _ in range(2)]
    local.setup(setup, weights_from_base=False)
    local.load(path)
    again = [local.step([[PACKS[1]]], lr=1e-2) for _ in range(2)]
    assert [(m["loss"], m["grad_norm"]) for m in again] == [(m["loss"], m["grad_norm"]) for m in seen]
    for other, said in ((None, "trainer.lora is off, there it is {'rank': 4"), (Lora(8, 8.0, MOE.targets), "trainer.lora is {'rank': 8")):
        local.setup(Setup(str(tmp_path / "base"), dtype=dtype, lora=other), weights_from_base=False)
        with pytest.raises(UserError, match=f"is a checkpoint with other adapters: {said}"):
            local.load(path)


def test_nothing_is_kept_or_computed_for_frozen_weights(local, tmp_path: Path) -> None:
    make("llama", tmp_path)
    packs, lora = make_packs(2, seed=1), Lora(2, 4.0, ("attention", "mlp"))
    spent = []
    for adapted in (None, lora):
        local.setup(Setup(str(tmp_path), lora=adapted))
        with FlopCounterMode(display=False) as counter:
            local.step([[packs]], lr=1e-3)
        spent.append(counter.get_total_flops())
    spec, worker = ModelSpec.from_hf(tmp_path), local._worker
    tokens = sum(len(p.input_ids) for p in packs)
    layers = plan.counts(spec, [p for p in weights.parameters(spec) if lora.adapts(p)])[0]
    added = plan.counts(spec, adapters(spec, lora))[0]
    assert spent[0] - spent[1] == 2 * tokens * layers - 6 * tokens * added  # the counter does not see the output layer's own, `addmm_`
    trained, frozen = ([(n, p) for n, p in worker.model.named_parameters() if p.requires_grad == x] for x in (True, False))
    assert all(".lora_" in n for n, _ in trained) and not any(".lora_" in n or hasattr(p, "main_grad") or p.grad is not None for n, p in frozen)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_plan_counts_what_is_trained(local, tmp_path: Path, dtype: str) -> None:
    make("qwen3_moe", tmp_path)
    local.setup(Setup(str(tmp_path), dtype=dtype, lora=MOE))
    worker, spec = local._worker, ModelSpec.from_hf(tmp_path)
    planned = plan.memory(spec, Layout(), dtype, 64, False, False, MOE)
    trained = sum(p.numel() for p in worker.model.parameters() if p.requires_grad)
    assert plan.counts(spec, adapters(spec, MOE))[0] == trained
    assert planned.weights == sum(p.nbytes for p in worker.model.parameters())
    assert planned.gradients == 4 * trained and planned.optimizer == trained * (12 if dtype == "bfloat16" else 8)
    assert planned.gradients == pytest.approx(sum(b.grad_data.nbytes for b in worker.ddp.buffers + worker.ddp.expert_parallel_buffers), rel=0.05)


def test_what_adapters_begin_with() -> None:
    spec = ModelSpec.from_config(SHAPES["Qwen/Qwen3-30B-A3B"])
    some = [p for p in adapters(spec, Lora(16)) if p.layer == 0]
    assert [p.shape for p in some] == [(16, 2048), (4096, 16), (16, 2048), (512, 16), (16, 2048), (512, 16), (16, 4096), (2048, 16)]
    values = [first(p, 0) for p in some]
    assert not any(b.any() for b in values[1::2])
    for p, a in zip(some[::2], values[::2]):
        assert float(a.std()) == pytest.approx(p.shape[1] ** -0.5, rel=0.02) and abs(float(a.mean())) < 0.02 * p.shape[1] ** -0.5
    assert not torch.equal(values[0], values[2]) and not torch.equal(first(some[0], 0), first(some[0], 1)) and torch.equal(first(some[0], 0), values[0])
    assert {n for p in weights.parameters(spec) for n in p.hf} >= {p.hf[0].removeprefix(PEFT).rsplit(".lora_", 1)[0] + ".weight" for p in some}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["trainer.freeze=[router]"], "trainer.freeze=router: with trainer.lora.rank=8 only adapters are trained"),
        (["trainer.lora.targets=[]"], "trainer.lora.targets is empty: with trainer.lora.rank=8 nothing would be trained"),
        (["trainer.lora.targets=[mlp]"], r"trainer.lora.targets=mlp: Qwen3MoeForCausalLM has no such layers (it has attention, experts)"),
        (["trainer.lora.targets=[attention,experts]"], "trainer.lora.targets=experts: not offered on CUDA"),
        (["trainer.lora.rank=600"], "trainer.lora.rank=600: model.layers.0.self_attn.k_proj.weight is 512 x 2048"),
        (["trainer.lora.rank=-1"], "trainer.lora.rank=-1: expected int >= 0"),
        (["trainer.lora.alpha=0"], "trainer.lora.alpha=0"),
        (["trainer.lora.targets=[router]"], "trainer.lora.targets=router"),
        (["trainer.lora=8"], "trainer.lora is a section"),
    ],
)
def test_wrong_settings_are_named(wrong: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["sft", "--plan", "preset=cluster_8x8", "trainer.lora.rank=8", *wrong]) == 2
    assert said in capsys.readouterr().err


def test_random_weights_get_no_adapters(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["pretrain", f"run_dir={tmp_path / 'run'}", f"runs={tmp_path}", "tracking.wandb=disabled", "trainer.lora.rank=8"]) == 2
    assert "trainer.lora.rank=8: pretraining begins with random weights" in capsys.readouterr().err


def test_a_plan_says_what_is_trained(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["sft", "--plan", "preset=cluster_8x8", "trainer.lora.rank=16"]) == 0
    assert "adapters of rank 16 (attention)" in capsys.readouterr().out


def test_settings_reach_the_ranks(tmp_path: Path) -> None:
    make("qwen3", tmp_path)
    settings = ["trainer.ep=1", "trainer.lora.rank=4", "trainer.lora.alpha=8", "trainer.lora.targets=[mlp,attention]"]
    assert rank_setup(load(settings), tmp_path).lora == DENSE and Lora.of(LoraConfig()) is None
    with pytest.raises(UserError, match=r"trainer\.lora\.targets=experts: Qwen3ForCausalLM has no such layers"):
        rank_setup(load([*settings[:2], "trainer.lora.targets=[experts]"]), tmp_path)
