"""How ranks share a model: tensor, pipeline, expert and data parallelism.

    ranks = tp · pp · dp          dense layers: split over tp, replicated over dp
    ranks / pp divisible by ep    experts: n_experts / ep on a rank, each whole (expert-tp 1)
    tp > 1 brings sequence parallelism with it

Every rule is checked before a process starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from prstack.errors import UserError
from trainers.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of the parallel dimensions; `dp` follows from the number of ranks."""

    ranks: int = 1
    tp: int = 1
    pp: int = 1
    ep: int = 1

    @property
    def dp(self) -> int:
        return self.ranks // (self.tp * self.pp)

    @staticmethod
    def of(ranks: int | None, tp: int, pp: int, ep: int) -> Layout:
        """The layout; without `ranks`, the smallest that holds it."""
        return Layout(ranks or pp * math.lcm(tp, ep), tp, pp, ep)

    def check(self, spec: ModelSpec) -> None:
        """Raises UserError with the rule that this layout breaks for this model."""
        say = f"layout of {self.ranks} ranks, tp={self.tp} pp={self.pp} ep={self.ep}"
        if self.ranks % (self.tp * self.pp):
            raise UserError(f"{say}: ranks must be a multiple of tp·pp = {self.tp * self.pp}")
        if (self.ranks // self.pp) % self.ep:
            raise UserError(f"{say}: ranks of a pipeline stage ({self.ranks // self.pp}) must be a multiple of ep")
        if self.ep > 1 and not spec.experts:
            raise UserError(f"{say}: ep > 1 needs a mixture of experts, {spec.architecture} is dense")
        for n, parts, what, key in (
            (spec.experts, self.ep, "experts", "ep"),
            (spec.layers, self.pp, "layers", "pp"),
            (spec.kv_heads, self.tp, "key/value heads", "tp"),
            (spec.heads, self.tp, "attention heads", "tp"),
            (spec.vocab, self.tp, "vocabulary entries", "tp"),
            (0 if spec.experts else spec.ffn, self.tp, "FFN units", "tp"),
        ):
            if n % parts:
                raise UserError(f"{say}: {n} {what} cannot be split evenly over {key}={parts}")
