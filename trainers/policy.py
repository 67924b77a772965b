"""Losses of reinforcement learning: what a step does with tokens that were sampled, and what they were worth.

A policy π that was π_old when the tokens were sampled is moved along r · A per token, r = π / π_old, with r kept near 1. Packs carry,
for each token that counts (`Pack.extra`):

    advantages     A, the same for all tokens of an episode or not
    old_logprobs   log π_old, of the denominator of r
    weights        factor of the token's term, for example a truncated importance weight; optional, 1
    ref_logprobs   log-probability under a reference model; needed with `kl_coef` only

An algorithm is a function (logprobs [t], batch, settings) → loss per token [t], and says over what the sum of its terms is divided,
always over the whole batch on all ranks:

    token      target tokens: every token counts alike, long episodes more than short ones
    sequence   the episode's target tokens, then the number of episodes: every episode counts alike
    constant   number of episodes · `max_tokens`: as `token`, but the length of the batch makes no difference

Episodes are the segments of the packs; one without a target token is not counted. One of one's own is named by its import path
(`package.module:function`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from prstack.errors import UserError
from prstack.plugins import import_callable
from prstack.rl import mismatch
from trainers.losses import Loss

Norm = Literal["token", "sequence", "constant"]


@dataclass(frozen=True)
class PolicyLoss(Loss):
    """An algorithm with its settings. Raises UserError for settings that cannot be."""

    algorithm: str = "grpo"
    """A name in `ALGORITHMS`, or the import path of a function."""
    clip_low: float | None = None
    """r below 1 − clip_low moves nothing further down. The algorithm's own value by default."""
    clip_high: float | None = None
    """r above 1 + clip_high moves nothing further up. The algorithm's own value by default."""
    norm: Norm | None = None
    """What the sum of the terms is divided by. The algorithm's own by default; `token` for one of one's own."""
    max_tokens: int = 0
    """Longest answer of an episode, in tokens; needed by `constant` only."""
    kl_coef: float = 0.0
    """Weight of the divergence from the reference."""
    entropy_coef: float = 0.0
    """Weight of the entropy, which is to be large."""
    watch_entropy: bool = True
    """Whether the entropy is measured where it has no weight."""
    temperature: float = 1.0
    """At which the tokens were sampled: π is the softmax of the logits over it."""
    max_mismatch: float = 0.0
    """Mean |log r| of the batch above which its step is not taken, for tokens that these very weights are to have sampled; 0: none is asked."""

    metrics: ClassVar[tuple[str, ...]] = ("ratio", "ratio_max", "distance", "distance_max", "clip_low", "clip_high", "approx_kl", "entropy", "ref_kl")

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS and ":" not in self.algorithm:
            raise UserError(f"rl.algorithm={self.algorithm}: one of {', '.join(ALGORITHMS)}, or package.module:function")
        own = ALGORITHMS.get(self.algorithm, Algorithm(None, "token", 0.2, 0.28))
        for name in ("clip_low", "clip_high", "norm"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(own, name))
        if self.norm == "constant" and self.max_tokens <= 0:
            raise UserError(f"{self.algorithm}: dividing by a constant needs max_tokens")

    @property
    def function(self) -> Callable[[Tensor, Mapping[str, Tensor], PolicyLoss], Tensor]:
        """The algorithm. Raises UserError for an import path that leads nowhere."""
        found = ALGORITHMS.get(self.algorithm)
        return found.function if found else import_callable(self.algorithm, "rl.algorithm")

    @property
    def entropy(self) -> bool:
        return self.watch_entropy or self.entropy_coef != 0

    def denominator(self, targets: float, sequences: float) -> float:
        return {"token": targets, "sequence": sequences, "constant": sequences * self.max_tokens}[self.norm]

    def __call__(self, logprobs: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Metrics: r and |log r| (mean, maximum), the share of tokens whose term the lower and the upper clip changed, KL(π_old ‖ π) by the k3
        estimate, entropy, and the divergence from the reference. Without entropy or reference, 0."""
        for name in ("advantages", "old_logprobs", *(["ref_logprobs"] if self.kl_coef else [])):
            if name not in batch:
                raise ValueError(f"{self.algorithm}: the packs have no {name}")
        mask, none = batch["mask"], torch.zeros_like(logprobs)
        terms = self.function(logprobs, batch, self)
        with torch.no_grad():
            now = logprobs.detach()
            ratio, distance = token_ratio(now, batch), (now - batch["old_logprobs"]).abs() * mask
            free = self.function(now, batch, replace(self, clip_low=math.inf, clip_high=math.inf))
            clipped = (terms != free) * mask
            down = ratio_of(self.algorithm)(now, batch) < 1
        loss = terms * batch.get("weights", 1.0)
        if self.kl_coef:
            divergence = k3(logprobs, batch["ref_logprobs"])
            loss = loss + self.kl_coef * divergence
        else:
            divergence = k3(now, batch["ref_logprobs"]) if "ref_logprobs" in batch else none
        if self.entropy_coef:
            loss = loss - self.entropy_coef * batch["entropy"]
        if self.norm == "sequence":
            loss = loss / batch["learned"].clamp(min=1)[batch["segment"]]
        # KL(π_old ‖ π) from samples of π_old: r − 1 − log r
        seen = {
            "ratio": ratio,
            "distance": distance,
            "clip_low": clipped * down,
            "clip_high": clipped * ~down,
            "approx_kl": k3(batch["old_logprobs"], now),
            "entropy": batch.get("entropy", none),
            "ref_kl": divergence,
        }
        sums = {name: (values.detach() * mask).sum() for name, values in seen.items()}
        return loss * mask, sums | {"ratio_max": (ratio * mask).max(), "distance_max": distance.max()}

    def check(self, metrics: Mapping[str, float], targets: int) -> None:
        """Raises mismatch.Disagreement where the batch is not what these weights have sampled."""
        if self.max_mismatch and targets:
            mismatch.check(self.against_old(metrics, targets), self.max_mismatch)

    @staticmethod
    def against_old(metrics: Mapping[str, float], targets: int) -> mismatch.Mismatch:
        """π against π_old, from a step's metrics over `targets` tokens, in nats. With π_old of an engine that has the same weights: how far trainer
        and engine differ."""
        return mismatch.Mismatch(metrics["distance"], metrics["distance_max"], metrics["approx_kl"], math.exp(min(metrics["distance_max"], 700.0)), targets)


# --- algorithms ------------------------------------------------------------------------------------------------------
def grpo(logprobs: Tensor, batch: Mapping[str, Tensor], settings: PolicyLoss) -> Tensor:
    """− min(r · A, clip(r, 1 − clip_low, 1 + clip_high) · A).

    Shao et al. 2024 (arXiv 2402.03300, eq. 3), with the two bounds apart and every token of the batch counted alike, as in DAPO
    (Yu et al. 2025, arXiv 2503.14476, eq. 8). `norm=sequence` gives back the mean over each episode first of the former.
    """
    return clipped_surrogate(token_ratio(logprobs, batch), batch, settings)


def dr_grpo(logprobs: Tensor, batch: Mapping[str, Tensor], settings: PolicyLoss) -> Tensor:
    """GRPO without its two biases: the sum is not divided by the length of an answer (a constant instead), and advantages not by the
    standard deviation of the group, which is up to whoever makes them. Liu et al. 2025 (arXiv 2503.20783, section 3.2)."""
    return grpo(logprobs, batch, settings)


def gspo(logprobs: Tensor, batch: Mapping[str, Tensor], settings: PolicyLoss) -> Tensor:
    """GRPO with one ratio for an episode, the geometric mean of those of its tokens. Zheng et al. 2025 (arXiv 2507.18071, eq. 5–7)."""
    return clipped_surrogate(sequence_ratio(logprobs, batch), batch, settings)


def cispo(logprobs: Tensor, batch: Mapping[str, Tensor], settings: PolicyLoss) -> Tensor:
    """− sg(min(r, 1 + clip_high)) · A · log π: the importance weight is bounded, and no token loses its gradient. There is no lower
    bound. MiniMax 2025 (arXiv 2506.13585, eq. 4–5)."""
    ratio = token_ratio(logprobs, batch).detach()
    return -ratio.clamp(max=1 + settings.clip_high) * batch["advantages"] * logprobs


# --- their parts -----------------------------------------------------------------------------------------------------
def token_ratio(logprobs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """r = π / π_old of each token [t]."""
    return (logprobs - batch["old_logprobs"]).exp()


def sequence_ratio(logprobs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """(π(episode) / π_old(episode))^(1 / tokens), at each of its tokens [t]."""
    learned, segment = batch["learned"], batch["segment"]
    log_ratio = (logprobs - batch["old_logprobs"]) * batch["mask"]
    return (torch.zeros_like(learned).index_add(0, segment, log_ratio) / learned.clamp(min=1)).exp()[segment]


def clipped_surrogate(ratio: Tensor, batch: Mapping[str, Tensor], settings: PolicyLoss) -> Tensor:
    """− min(ratio · A, clip(ratio) · A)."""
    bounded = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    return -torch.minimum(ratio * batch["advantages"], bounded * batch["advantages"])


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Estimate of KL(π ‖ ref) from a token of π: ref/π − 1 − log(ref/π), never negative (http://joschu.net/blog/kl-approx.html)."""
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio  # exp(x) - 1 loses all digits of a small x


class Algorithm(NamedTuple):
    """A function and its settings."""

    function: Callable[[Tensor, Mapping[str, Tensor], PolicyLoss], Tensor] | None
    norm: Norm
    clip_low: float
    clip_high: float


ALGORITHMS = {
    "grpo": Algorithm(grpo, "token", 0.2, 0.28),  # bounds: DAPO, section 4.1
    "dr_grpo": Algorithm(dr_grpo, "constant", 0.2, 0.2),
    "gspo": Algorithm(gspo, "sequence", 3e-4, 4e-4),  # bounds: section 5.1
    "cispo": Algorithm(cispo, "token", math.inf, 4.0),  # bound: the paper has none; 4 to 8 in Khatri et al. 2025 (arXiv 2510.13786)
}


def ratio_of(algorithm: str) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
    """The ratio that an algorithm bounds."""
    return sequence_ratio if algorithm == "gspo" else token_ratio
