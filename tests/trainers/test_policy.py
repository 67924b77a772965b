"""Losses of reinforcement learning equal the papers' formulas and TRL's, however episodes are packed and spread over ranks."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from prstack.errors import UserError
from prstack.rl.mismatch import Disagreement
from tests.trainers import _episodes as paper
from tests.trainers.models import make
from trainers import reference
from trainers.batches import Pack, deal, labels_of
from trainers.layout import Layout
from trainers.micro import collate
from trainers.policy import PolicyLoss
from trainers.worker import Setup

PACKS = paper.make_episodes()
EPISODES = paper.apart(PACKS)


def numbers(seed: int = 1) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Log-probabilities and entropies [t] of each episode, where the label stands."""
    g = torch.Generator().manual_seed(seed)
    return tuple([mean + 0.3 * torch.randn(len(e.input_ids), generator=g) for e in EPISODES] for mean in (-5.9, 4.0))


def ours(loss: PolicyLoss, packs: list[Pack] | None = None) -> tuple[float, list[torch.Tensor], dict[str, float]]:
    """Loss over all packs in one micro-batch, its gradient by the log-probabilities of each episode, the metrics."""
    micro = collate(packs or PACKS)
    logprobs, entropy = (torch.cat(x) for x in numbers())
    mask = micro.said()["mask"]
    logprobs.requires_grad_()
    values, metrics = loss(logprobs * mask, micro.said() | {"entropy": entropy * mask})
    total = values.sum() / loss.denominator(micro.targets, micro.sequences)
    (grad,) = torch.autograd.grad(total, logprobs)
    return total.item(), list(grad.split([len(e.input_ids) for e in EPISODES])), {n: float(v) for n, v in metrics.items()}


def assert_same(loss: PolicyLoss, value: float, grads: list[torch.Tensor]) -> None:
    mine, own, _ = ours(loss)
    assert mine == pytest.approx(value, abs=1e-5)
    for a, b in zip(own, grads):
        assert (a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max()))
    assert max(float(g.abs().max()) for g in grads) > 1e-4


CASES = {
    "grpo": (PolicyLoss(), lambda e: paper.dapo(e, 0.2, 0.28)),
    "grpo_2024": (PolicyLoss(norm="sequence", clip_high=0.2), lambda e: paper.grpo_2024(e, 0.2, 0.2)),
    "dr_grpo": (PolicyLoss("dr_grpo", max_tokens=64), lambda e: paper.dr_grpo(e, 0.2, 0.2, 64)),
    "gspo": (PolicyLoss("gspo", clip_low=0.05, clip_high=0.08), lambda e: paper.gspo(e, 0.05, 0.08)),
    "cispo": (PolicyLoss("cispo", clip_high=0.2), lambda e: paper.cispo(e, 0.2)),
    "kl": (PolicyLoss(kl_coef=0.3), lambda e: paper.dapo(e, 0.2, 0.28) + 0.3 * paper.kl(e)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_algorithm_is_its_paper_s(case: str) -> None:
    loss, formula = CASES[case]
    leaves = [x.requires_grad_() for x in numbers()[0]]
    value = formula([paper.tokens_of(e, x) for e, x in zip(EPISODES, leaves)])
    value.backward()
    assert_same(loss, value.item(), [x.grad for x in leaves])
    seen = ours(loss)[2]
    assert seen["clip_high"] > 0 and (seen["clip_low"] > 0 or case == "cispo")


TRL = {
    "dapo": (PolicyLoss(), {"loss_type": "dapo", "epsilon_low": 0.2, "epsilon_high": 0.28}),
    "grpo": (PolicyLoss(norm="sequence"), {"loss_type": "grpo", "epsilon_low": 0.2, "epsilon_high": 0.28}),
    "dr_grpo": (PolicyLoss("dr_grpo", max_tokens=50), {"loss_type": "dr_grpo", "epsilon_low": 0.2, "epsilon_high": 0.2, "max_completion_length": 50}),
    "gspo": (
        PolicyLoss("gspo", clip_low=0.05, clip_high=0.08),
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.05, "epsilon_high": 0.08},
    ),
    "cispo": (PolicyLoss("cispo", clip_high=0.2), {"loss_type": "cispo", "epsilon_low": 0.2, "epsilon_high": 1.2}),  # TRL's bound is of r itself
    "kl and entropy": (
        PolicyLoss(kl_coef=0.3, entropy_coef=0.1),
        {"loss_type": "dapo", "epsilon_low": 0.2, "epsilon_high": 0.28, "beta": 0.3, "entropy_coef": 0.1},
    ),
}


@pytest.mark.slow
def test_each_algorithm_is_trl_s(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    given = {"data": (EPISODES, *numbers()), "settings": [s for _, s in TRL.values()]}
    torch.save(given, tmp_path / "x.pt")
    done = subprocess.run([sys.executable, "-m", "tests.trainers._episodes", str(tmp_path / "x.pt")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for (loss, _), (value, grads) in zip(TRL.values(), torch.load(tmp_path / "x.pt")):
        assert_same(loss, value, grads)


def test_a_batch_that_other_weights_have_sampled_is_refused_before_its_step() -> None:
    metrics = {"distance": 2e-4, "distance_max": 0.7, "approx_kl": 1e-7}
    PolicyLoss().check(metrics, 10)
    PolicyLoss(max_mismatch=3e-4).check(metrics, 10)
    PolicyLoss(max_mismatch=1e-4).check(metrics, 0)
    with pytest.raises(Disagreement, match=r"beyond rl\.max_mismatch=0\.0001.*mean .Δ log p. 2\.00e-04, largest 7\.00e-01, KL 1\.00e-07, largest ratio 2\.01"):
        PolicyLoss(max_mismatch=1e-4).check(metrics, 10)
    for far in (1e4, math.inf, math.nan):
        with pytest.raises(Disagreement):
            PolicyLoss(max_mismatch=1e-4).check({"distance": far, "distance_max": far, "approx_kl": far}, 10)


# --- in the trainer --------------------------------------------------------------------------------------------------
LOSS = PolicyLoss("gspo", clip_low=0.05, clip_high=0.08, kl_coef=0.3, entropy_coef=0.2, temperature=0.8)
"""Everything that reaches beyond a token: episodes, entropy, a reference, a temperature."""


def whole_model(hf: torch.nn.Module, episodes: list[Pack]) -> tuple[float, dict[str, np.ndarray]]:
    """The loss above by the papers, through transformers."""
    hf.zero_grad()
    tokens, extra = [], torch.zeros(())
    for e in episodes:
        found = F.log_softmax(reference.logits(hf, e) / LOSS.temperature, -1)
        entropy = -(found.exp() * found).sum(-1)
        labels = torch.from_numpy(labels_of(e))
        tokens.append(paper.tokens_of(e, found.gather(1, labels.clamp(min=0)[:, None])[:, 0], entropy))
        extra = extra + (0.3 * paper.kl(tokens[-1:]) - 0.2 * sum(t["entropy"] for t in tokens[-1]) / len(tokens[-1]))
    total = paper.gspo(tokens, 0.05, 0.08) + extra / len(episodes)
    total.backward()
    return total.item(), reference.gradients(hf)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ep2", "tp2", "pp2"])
def test_the_trainer_s_step_is_the_papers_on_one_rank_and_two_packed_or_not(local, pair, tmp_path: Path, kind: str) -> None:
    hf = make("qwen3_moe", tmp_path, tie_word_embeddings=kind == "tp2")
    loss, grads = whole_model(hf, EPISODES)
    seen = []
    for group, layout, packs in ((local, Layout(), PACKS), (local, Layout(), EPISODES), (pair, Layout(2, **{kind[:2]: 2}), PACKS)):
        group.setup(Setup(str(tmp_path), layout, clip=0.0))
        metrics = group.step(deal(packs, 1, group.dp), lr=0.0, loss=LOSS)
        assert metrics["loss"] == pytest.approx(loss, abs=1e-5) and metrics["sequences"] == len(EPISODES)
        found = group.gradients()
        for name, g in grads.items():
            assert np.abs(found[name] - g).max() <= 1e-5 * max(np.abs(g).max(), 1e-3), name
        seen.append({name: metrics[name] for name in PolicyLoss.metrics})
    assert seen[1] == pytest.approx(seen[0], abs=1e-5) and seen[2] == pytest.approx(seen[0], abs=1e-5)
    assert seen[0]["ratio_max"] > seen[0]["ratio"] > 0 and seen[0]["ref_kl"] > 0 and 0 < seen[0]["clip_high"] < 1
    assert 0.85 * math.log(384) < seen[0]["entropy"] < math.log(384)


@pytest.mark.slow
def test_the_reference_is_what_training_began_with(local, tmp_path: Path) -> None:
    make("qwen3_moe", tmp_path, tie_word_embeddings=True)
    local.setup(Setup(str(tmp_path)))
    first = local.forward([[PACKS]])
    local.step([[PACKS]], lr=1e-2)
    moved = local.forward([[PACKS]])
    assert moved != first and local.forward([[PACKS]], reference=True) == first and local.forward([[PACKS]]) == moved


def turns_up(logprobs: torch.Tensor, batch: dict, settings: PolicyLoss) -> torch.Tensor:
    """An algorithm of a user's own."""
    return -batch["advantages"] * logprobs


def test_one_s_own_algorithm_is_named_by_its_path() -> None:
    value, _, seen = ours(PolicyLoss(f"{__name__}:turns_up"))
    logprobs = numbers()[0]
    tokens = [t for e, x in zip(EPISODES, logprobs) for t in paper.tokens_of(e, x)]
    assert value == pytest.approx(float(-sum(t["weights"] * t["advantages"] * t["logprob"] for t in tokens) / len(tokens)), abs=1e-5)
    assert seen["clip_low"] == seen["clip_high"] == 0


def test_settings_that_cannot_be_and_numbers_that_are_missing_are_named() -> None:
    with pytest.raises(UserError, match=r"rl\.algorithm=ppo: one of grpo, dr_grpo, gspo, cispo, or package\.module:function"):
        PolicyLoss("ppo")
    with pytest.raises(UserError, match="dr_grpo: dividing by a constant needs max_tokens"):
        PolicyLoss("dr_grpo")
    with pytest.raises(UserError, match="has nothing callable that is named nothing"):
        _ = PolicyLoss(f"{__name__}:nothing").function
    bare = [Pack(p.input_ids, p.loss_mask, p.segment_lengths, p.name, {"advantages": p.extra["advantages"]}) for p in PACKS]
    with pytest.raises(ValueError, match="grpo: the packs have no old_logprobs"):
        ours(PolicyLoss(), bare)
    with pytest.raises(ValueError, match="another pack of its micro-batch"):
        collate([PACKS[0], bare[1]])


def test_what_is_filled_up_counts_for_nothing() -> None:
    shares = deal(PACKS, 2, 2)
    assert [[len(m) for m in share] for share in shares] == [[2], [2]]
    micros = [collate(share[0], multiple=8) for share in shares]
    assert sum(m.targets for m in micros) == sum(p.targets for p in PACKS) and sum(m.sequences for m in micros) == len(EPISODES)
    for micro in micros:
        said, logprobs = micro.said(), torch.randn(len(micro.segment))
        values, _ = LOSS(logprobs, said | {"entropy": torch.ones(len(logprobs))})
        assert values[said["mask"] == 0].abs().max() == 0 < values.abs().max()


@pytest.mark.slow
def test_a_refused_step_leaves_the_weights_and_the_group_goes_on(local, pair, tmp_path: Path) -> None:
    make("qwen3_moe", tmp_path, tie_word_embeddings=True)
    for group, layout in ((local, Layout()), (pair, Layout(2, ep=2))):
        group.setup(Setup(str(tmp_path), layout))
        packs = deal(PACKS, 1, group.dp)
        before = group.forward(packs)
        with pytest.raises(Disagreement, match=r"mean .Δ log p."):
            group.step(packs, lr=1e-2, loss=PolicyLoss(max_mismatch=1e-4))
        assert group.forward(packs) == before
        assert group.step(packs, lr=1e-2, loss=PolicyLoss())["distance"] > 1e-4 and group.forward(packs) != before
