"""How ranks share a model: tensor, pipeline, expert, context and data parallelism.

    ranks = tp · pp · cp · dp     dense layers: split over tp, replicated over cp and dp
    ranks / pp divisible by ep    experts: n_experts / ep on a rank, each whole (expert-tp 1); ep is a part of tp · cp · dp
    tp > 1 brings sequence parallelism with it
    cp > 1: of each conversation of a sequence a rank holds two of 2 · cp chunks (`trainers.micro.share`), which sequence
            parallelism splits again, so that the longest sequence is to be a multiple of 2 · cp · tp. Keys and values go round
            a ring of the cp ranks ("p2p"), which asks nothing of the number of heads

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
    cp: int = 1

    @property
    def dp(self) -> int:
        return self.ranks // (self.tp * self.pp * self.cp)

    @property
    def unit(self) -> int:
        """What lengths in tokens are padded to: with context parallelism each conversation's, without it a sequence's."""
        return self.tp * (2 * self.cp if self.cp > 1 else 1)

    @staticmethod
    def of(ranks: int | None, tp: int, pp: int, ep: int, cp: int = 1) -> Layout:
        """The layout; without `ranks`, the smallest that holds it."""
        return Layout(ranks or pp * math.lcm(tp * cp, ep), tp, pp, ep, cp)

    def __str__(self) -> str:
        return f"ep {self.ep}, tp {self.tp}, pp {self.pp}, {f'cp {self.cp}, ' if self.cp > 1 else ''}dp {self.dp}"

    def check(self, spec: ModelSpec, context: int | None = None) -> None:
        """Raises UserError with the rule that this layout breaks for this model, or for sequences of up to `context` tokens."""
        say = f"layout of {self.ranks} ranks, tp={self.tp} pp={self.pp} ep={self.ep}" + (f" cp={self.cp}" if self.cp > 1 else "")
        if self.ranks % (self.tp * self.pp * self.cp):
            what = ("tp·pp·cp", self.tp * self.pp * self.cp) if self.cp > 1 else ("tp·pp", self.tp * self.pp)
            raise UserError(f"{say}: ranks must be a multiple of {what[0]} = {what[1]}")
        if self.cp > 1 and context and context % self.unit:
            raise UserError(f"{say}: context={context} must be a multiple of 2·cp·tp = {self.unit}, the chunks that a sequence is cut into")
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
            (spec.shared, self.tp, "units of the shared expert", "tp"),
        ):
            if n % parts:
                raise UserError(f"{say}: {n} {what} cannot be split evenly over {key}={parts}")
