"""Sampled episodes with fixed numbers, as the trainer takes them and one by one; and what the papers say of them, in plain loops.

`python -m tests.trainers._episodes FILE` runs TRL's loss over what a test wrote to FILE, in a process of its own, for what TRL imports.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.trainers.models import make_packs
from trainers.batches import Pack, labels_of
from trainers.losses import IGNORE


def make_episodes(packs: int = 3, seed: int = 0) -> list[Pack]:
    """Packs of several episodes, each with an advantage of its own, old and reference log-probabilities and a weight for each token."""
    rng = np.random.default_rng(seed)
    made = make_packs(packs, seed)
    for p in made:
        t = len(p.input_ids)
        p.loss_mask[np.cumsum(p.segment_lengths) - 1] = 1  # something is learned of each
        noise = {name: rng.normal(-5.9, spread, t).astype(np.float32) for name, spread in (("old_logprobs", 0.3), ("ref_logprobs", 0.3))}
        advantages = np.repeat(rng.normal(0, 1, len(p.segment_lengths)), p.segment_lengths).astype(np.float32)
        p.extra = {"advantages": advantages, **noise, "weights": rng.uniform(0.5, 1.5, t).astype(np.float32)}
    return made


def apart(packs: list[Pack]) -> list[Pack]:
    """Each episode as a pack by itself."""
    out = []
    for p in packs:
        for end, n in zip(np.cumsum(p.segment_lengths), p.segment_lengths):
            cut = slice(end - n, end)
            extra = {name: x[cut] for name, x in p.extra.items()}
            out.append(Pack(p.input_ids[cut], p.loss_mask[cut], np.array([n], np.int32), p.name, extra))
    return out


def tokens_of(episode: Pack, logprobs: Tensor, entropy: Tensor | None = None) -> list[dict[str, Tensor]]:
    """The learned tokens of one episode, each with its numbers; `logprobs` and `entropy` [t] stand at the position before the token."""
    out = []
    for i in range(1, len(episode.input_ids)):
        if episode.loss_mask[i]:
            said = {name: torch.tensor(float(x[i])) for name, x in episode.extra.items()}
            out.append(said | {"logprob": logprobs[i - 1], "entropy": None if entropy is None else entropy[i - 1]})
    return out


# --- the papers ------------------------------------------------------------------------------------------------------
def dapo(episodes: list[list[dict]], low: float, high: float) -> Tensor:
    """arXiv 2503.14476, eq. 8: J = 1/Σ|o_i| Σ_i Σ_t min(r A, clip(r, 1 − low, 1 + high) A)."""
    total, count = torch.zeros(()), 0
    for episode in episodes:
        for token in episode:
            r = torch.exp(token["logprob"] - token["old_logprobs"])
            clipped = torch.clip(r, 1 - low, 1 + high)
            total = total + token["weights"] * torch.min(r * token["advantages"], clipped * token["advantages"])
            count += 1
    return -total / count


def grpo_2024(episodes: list[list[dict]], low: float, high: float) -> Tensor:
    """arXiv 2402.03300, eq. 3 without its KL: J = 1/G Σ_i 1/|o_i| Σ_t min(…)."""
    return sum(dapo([e], low, high) for e in episodes) / len(episodes)


def dr_grpo(episodes: list[list[dict]], low: float, high: float, max_tokens: int) -> Tensor:
    """arXiv 2503.20783, section 3.2: J = 1/G Σ_i Σ_t min(…), over the generation budget for a scale."""
    return sum(dapo([e], low, high) * len(e) for e in episodes) / len(episodes) / max_tokens


def gspo(episodes: list[list[dict]], low: float, high: float) -> Tensor:
    """arXiv 2507.18071, eq. 5: J = 1/G Σ_i min(s_i A_i, clip(s_i) A_i), s_i = (π(o_i) / π_old(o_i))^(1/|o_i|). The weights of the
    tokens (not in the paper) count as their mean."""
    total = torch.zeros(())
    for episode in episodes:
        s = torch.exp(sum(t["logprob"] - t["old_logprobs"] for t in episode) / len(episode))
        a = episode[0]["advantages"]
        weight = sum(t["weights"] for t in episode) / len(episode)
        total = total + weight * torch.min(s * a, torch.clip(s, 1 - low, 1 + high) * a)
    return -total / len(episodes)


def cispo(episodes: list[list[dict]], high: float) -> Tensor:
    """arXiv 2506.13585, eq. 4: J = 1/Σ|o_i| Σ_i Σ_t sg(clip(r, 0, 1 + high)) A log π."""
    total, count = torch.zeros(()), 0
    for episode in episodes:
        for token in episode:
            r = torch.exp(token["logprob"] - token["old_logprobs"]).detach()
            total = total + token["weights"] * torch.clip(r, 0, 1 + high) * token["advantages"] * token["logprob"]
            count += 1
    return -total / count


def kl(episodes: list[list[dict]]) -> Tensor:
    """arXiv 2402.03300, eq. 4, mean over tokens."""
    tokens = [t for e in episodes for t in e]
    return sum(torch.exp(t["ref_logprobs"] - t["logprob"]) - (t["ref_logprobs"] - t["logprob"]) - 1 for t in tokens) / len(tokens)


# --- TRL -------------------------------------------------------------------------------------------------------------
def trl_loss(packs: list[Pack], logprobs: list[Tensor], entropy: list[Tensor], settings: dict[str, Any]) -> tuple[float, list[Tensor]]:
    """GRPOTrainer's loss over the episodes, one a row, and its gradient by `logprobs` [t], one tensor an episode."""
    from trl import import_utils

    import_utils.is_vllm_available = lambda *_, **__: False  # half a minute of imports that the loss does not need
    from trl.trainer.grpo_trainer import GRPOTrainer

    longest = max(len(p.input_ids) for p in packs) - 1
    leaves = [x.clone().requires_grad_() for x in logprobs]

    def rows(values: list[Tensor]) -> Tensor:
        return torch.stack([torch.cat([v[:longest], torch.zeros(longest - len(v[:longest]))]) for v in values])

    def said(name: str) -> Tensor:
        return rows([torch.from_numpy(p.extra[name][1:]) for p in packs])

    mask = rows([torch.from_numpy((labels_of(p) != IGNORE)[:-1].astype(np.float32)) for p in packs])
    ours = rows([x[:-1] for x in leaves])
    trainer = SimpleNamespace(
        **{
            "aux_loss_enabled": False,
            "top_entropy_quantile": 1.0,
            "off_policy_mask_threshold": None,
            "use_vllm": True,
            "vllm_importance_sampling_correction": True,
            "importance_sampling_level": "token",
            "beta": 0.0,
            "entropy_coef": 0.0,
            "use_adaptive_entropy": False,
            "max_completion_length": longest,
            "current_gradient_accumulation_steps": 1,
            "args": SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
            "model": SimpleNamespace(training=False),
            "accelerator": SimpleNamespace(num_processes=1, reduce=lambda x, reduction: x, gather=lambda x: x),
            "_metrics": defaultdict(lambda: defaultdict(list)),
        }
        | settings
    )
    trainer._entropy_bonus_enabled = trainer.entropy_coef != 0
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (ours, rows([x[:-1] for x in entropy]), None)
    ids = rows([torch.from_numpy(p.input_ids[1:].astype(np.float32)) for p in packs]).long()
    inputs = {
        "prompt_ids": torch.tensor([[int(p.input_ids[0])] for p in packs]),
        "prompt_mask": torch.ones(len(packs), 1),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(mask),
        "tool_mask": mask,
        "advantages": torch.tensor([float(p.extra["advantages"][0]) for p in packs]),
        "old_per_token_logps": said("old_logprobs"),
        "ref_per_token_logps": said("ref_logprobs"),
        "importance_sampling_ratio": said("weights"),
        "num_items_in_batch": mask.sum(),
    }
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    return loss.item(), [x.grad for x in leaves]


if __name__ == "__main__":
    given = torch.load(sys.argv[1], weights_only=False)
    torch.save([trl_loss(*given["data"], settings) for settings in given["settings"]], sys.argv[1])
