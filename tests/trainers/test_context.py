"""Context parallelism and the ways to experts: shares of a sequence, rules, plans, and what ranks compute, against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prstack import cli
from prstack.errors import UserError
from tests.trainers.models import make_packs
from trainers import plan, selftest
from trainers.layout import Layout
from trainers.losses import IGNORE
from trainers.micro import collate, everywhere, share
from trainers.model import check_dispatcher
from trainers.shapes import SHAPES
from trainers.spec import ModelSpec
from trainers.worker import Setup

QWEN = ModelSpec.from_config(SHAPES["Qwen/Qwen3-30B-A3B"])


def test_a_share_is_of_each_segment_one_chunk_from_the_front_and_one_from_the_back() -> None:
    lengths = np.array([8, 4])
    assert [share(lengths, 2, r).tolist() for r in (0, 1)] == [[0, 1, 6, 7, 8, 11], [2, 3, 4, 5, 9, 10]]
    lengths = np.array([24, 6, 12])
    assert sorted(everywhere(lengths, 3).tolist()) == list(range(42))
    before = np.concatenate([np.arange(n) for n in lengths])  # keys that a token sees, less its own
    assert len({int(before[share(lengths, 3, r)].sum()) for r in range(3)}) == 1


@pytest.mark.parametrize(("cp", "tp", "least"), [(2, 1, 0), (2, 2, 0), (4, 1, 0), (2, 1, 256)])
def test_the_parts_of_a_micro_batch_hold_every_token_and_label_once(cp: int, tp: int, least: int) -> None:
    packs, layout = make_packs(3, seed=7), Layout(cp * tp, tp=tp, cp=cp)
    for p in packs:
        p.extra = {"at": np.arange(len(p.input_ids), dtype=np.float32)}
    whole = collate(packs)
    parts = [collate(packs, layout.unit, least=least, cp=cp, cp_rank=r) for r in range(cp)]
    for micro in parts:
        assert (micro.tokens, micro.targets, micro.sequences) == (whole.tokens, whole.targets, whole.sequences)
        lengths = np.diff(micro.packed.cu_seqlens_q.tolist())
        assert micro.input_ids.shape[1] * cp == lengths.sum() >= least and not (lengths % layout.unit).any()
        assert not micro.input_ids.shape[1] % tp

    def joined(what: str) -> torch.Tensor:
        rows = [m.extra["at"] if what == "extra" else getattr(m, what).reshape(-1) for m in parts]
        return torch.cat(rows)[parts[0].at]

    for what in ("input_ids", "position_ids", "labels", "segment"):
        assert torch.equal(joined(what), getattr(whole, what).reshape(-1)), what
    assert torch.equal(joined("extra"), whole.extra["at"])
    assert sum(int((m.labels != IGNORE).sum()) for m in parts) == whole.targets  # none on padding


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("trainer.cp=3", "ranks must be a multiple of tp·pp·cp = 6"),
        ("trainer.ep=48 trainer.cp=2", "must be a multiple of ep"),
        ("trainer.cp=4 trainer.context=32760", "context=32760 must be a multiple of 2·cp·tp = 16"),
    ],
)
def test_rules_of_context_parallelism_are_said(wrong: str, said: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["sft", "--plan", "preset=cluster_8x8", *wrong.split()]) == 2
    assert said in capsys.readouterr().err


def test_experts_may_spread_over_context_parallel_ranks() -> None:
    assert Layout.of(None, tp=2, pp=2, ep=8, cp=2) == Layout(16, 2, 2, 8, 2) and Layout(16, 2, 2, 8, 2).dp == 2
    Layout(8, ep=8, cp=8).check(QWEN, 32768)
    with pytest.raises(UserError, match=r"ranks of a pipeline stage \(4\) must be a multiple of ep"):
        Layout(4, ep=8, cp=4).check(QWEN)


def test_a_plan_divides_activations_and_no_weight(capsys: pytest.CaptureFixture) -> None:
    how = {"dtype": "bfloat16", "tokens": 131072, "recompute": True, "fused": True}
    one, four = (plan.memory(QWEN, Layout(64, tp=2, ep=8, cp=cp), **how) for cp in (1, 4))
    assert four.activations == pytest.approx(one.activations / 4) and four.output < one.output
    assert (four.weights, four.gradients, four.optimizer) == (one.weights, one.gradients, one.optimizer)
    assert cli.main(["sft", "--plan", "preset=paper", "trainer.cp=2"]) == 0
    assert "ep 8, tp 4, pp 2, cp 2, dp 4" in capsys.readouterr().out


def test_dispatchers_that_cannot_be_are_said() -> None:
    with pytest.raises(UserError, match="one of alltoall, allgather, deepep"):
        check_dispatcher("hybrid")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="DeepEP needs GPUs, torch sees none here"):
            check_dispatcher("deepep")


@pytest.mark.slow
def test_context_parallel_ranks_compute_what_one_would_and_so_do_gathered_experts(pair, tmp_path: Path) -> None:
    """Logits, loss and every gradient of a step against transformers; EP2 over the two ranks of CP2; all-gather against all-to-all on EP2."""
    c = selftest.case("qwen3_moe", tmp_path / "base")
    assert {f.layout: f for f in selftest.one_step(pair, c, "CP2", Layout(2, cp=2)) if not f.ok} == {}
    assert {f.layout: f for f in selftest.one_step(pair, c, "CP2·EP2", Layout(2, cp=2, ep=2)) if not f.ok} == {}
    stepped = []
    for dispatcher in ("alltoall", "allgather"):
        pair.setup(Setup(str(c.base), Layout(2, ep=2), clip=0.0, dispatcher=dispatcher))
        stepped.append((pair.step(selftest.spread(c.packs, 2), lr=0.0)["loss"], pair.gradients()))
    (loss, gradients), (other, theirs) = stepped
    assert abs(loss - other) < 1e-6 and selftest.relative(theirs, gradients) < 1e-6
    assert selftest.relative(theirs, c.gradients) < 1e-5
