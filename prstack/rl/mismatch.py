"""How far the trainer's log-probabilities are from the engine's, on the very tokens that the engine sampled with the same weights.

Of one set of weights both should say the same. What is left is rounding (other kernels, other orders of sums), and what is more is a defect:
wrong weights, another mask, another position. With d = trainer - engine of each sampled token:

- `mean`, `largest`: of |d|;
- `kl`: mean of exp(d) - 1 - d, an estimate of KL(engine ‖ trainer) that is never negative (Schulman 2020, "Approximating KL Divergence", k3);
- `max_ratio`: the largest exp(|d|), how much more probable a token is to one than to the other. Of a mixture of experts a few are large: where
  two experts are all but equal, rounding decides which one is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prstack.errors import UserError

BOUNDS = {"float32": 1e-4, "bfloat16": 0.05}
"""Mean |d| that is taken for rounding, by `trainer.dtype` (`rl.max_mismatch`)."""
RATIO_ALARM = 2.0
"""`max_ratio` above which a token is worth a warning in float32."""


class Disagreement(UserError):
    """Engine and trainer do not compute the same model. The message holds the numbers."""


@dataclass(slots=True, frozen=True)
class Mismatch:
    """Over `tokens` sampled tokens, in nats."""

    mean: float
    largest: float
    kl: float
    max_ratio: float
    tokens: int

    def log(self) -> dict[str, float]:
        """For a tracker: `mismatch/mean`, …"""
        return {f"mismatch/{k}": getattr(self, k) for k in ("mean", "largest", "kl", "max_ratio")}

    def __str__(self) -> str:
        return f"mean |Δ log p| {self.mean:.2e}, largest {self.largest:.2e}, KL {self.kl:.2e}, largest ratio {self.max_ratio:.4g}, {self.tokens:,} tokens"


def measure(trainer: Sequence[np.ndarray], engine: Sequence[np.ndarray]) -> Mismatch:
    """Of parallel arrays of log-probabilities, sampled tokens alone. Raises ValueError when they are not parallel, or hold nothing."""
    if [len(t) for t in trainer] != [len(e) for e in engine]:
        raise ValueError("the log-probabilities of trainer and engine are not parallel")
    d = np.concatenate([np.asarray(t, np.float64) for t in trainer] or [np.empty(0)]) - np.concatenate([np.asarray(e, np.float64) for e in engine] or [np.empty(0)])
    if not len(d):
        raise ValueError("there are no sampled tokens to compare")
    with np.errstate(over="ignore"):
        size = np.abs(d)
        return Mismatch(float(size.mean()), float(size.max()), float((np.expm1(d) - d).mean()), float(np.exp(size.max())), len(d))


def check(found: Mismatch, bound: float) -> None:
    """Raises Disagreement when the mean is above `bound`, or no number."""
    if not found.mean <= bound:
        raise Disagreement(
            f"engine and trainer disagree beyond rl.max_mismatch={bound:g} on what the engine sampled: {found}. Nothing was trained on it. "
            "Either the engine does not serve the trainer's weights, or the two compute in different precision (engine.dtype, trainer.dtype)"
        )


def truncated(trainer: np.ndarray, engine: np.ndarray, cap: float) -> np.ndarray:
    """Importance weights min(p_trainer / p_engine, cap) a token: what corrects, in expectation, that the engine sampled and not the trainer
    (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training"). float32"""
    return np.minimum(np.exp(np.asarray(trainer, np.float64) - engine), cap).astype(np.float32)
