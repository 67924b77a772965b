"""Cross-entropy in chunks over tokens, so that the logits of a long sequence never exist at once.

For hidden states x [t, h] and output weights W [v, h] the loss of token i is logsumexp(W x_i) - (W x_i)[target_i].
Forward computes it for `chunk` tokens at a time and keeps only the logsumexp; backward makes the logits of a chunk
again, turns them into softmax - onehot in place, and adds its share to dx and dW. Peak extra memory is one chunk of
logits, chunk · v · 4 bytes (1024 tokens of a 151k vocabulary: 0.6 GB), instead of t · v. Logits that take no more than
`KEEP` bytes in all are kept instead of made again, which saves a quarter of the output layer's work where the
vocabulary is small. Entropies take one chunk more. Tokens without a target are never multiplied with W at all.

Under tensor parallelism W holds a slice of the vocabulary; maximum, sum and target logit are reduced over the ranks.

The entropy of the same distribution comes out of the same chunks where it is asked for: with p = softmax(W x) it is
H = logsumexp(W x) − Σ p · W x, and dH/d(W x) = −p · (log p + H).

With a temperature T all this is of the logits W x / T, as they are sampled from; gradients of x and W get the factor 1 / T.

Losses of training are per-token: a `Loss` takes log-probabilities and what the batch says of each token, and returns a
value per token; the trainer sums it and divides by a number that holds for the whole batch over all ranks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

IGNORE = -100
"""Label of a token that has no target."""
CHUNK = 1024
"""Tokens whose logits exist at a time."""
KEEP = 512 << 20
"""Bytes of logits, a micro-batch and rank, up to which they are kept for the backward pass."""


class _Chunked(torch.autograd.Function):
    """x [t, h], W [v/tp, h], targets [t] (in the whole vocabulary) → [1, t] in fp32, the negative log-likelihood;
    with `entropy` [2, t], the entropy of the distribution below it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, group: Any, chunk: int, entropy: bool, temperature: float) -> Tensor:
        first, ranks = _slice(weight, group)
        lse = torch.empty(len(x), dtype=torch.float32, device=x.device)
        out = torch.empty(1 + entropy, len(x), dtype=torch.float32, device=x.device)
        ctx.kept = [] if 4 * len(x) * len(weight) <= KEEP and any(ctx.needs_input_grad) else None
        for a in range(0, len(x), chunk):
            b = min(a + chunk, len(x))
            logits = _cooled((x[a:b] @ weight.t()).float(), temperature)
            here, inside = _local(targets[a:b], first, len(weight))
            target = logits.gather(1, here[:, None])[:, 0] * inside
            top = logits.amax(1)
            if ranks > 1:
                dist.all_reduce(top, dist.ReduceOp.MAX, group=group)
            logits.sub_(top[:, None])
            inner = logits.clone() if entropy else None
            total = logits.exp_().sum(1)
            mean = inner.mul_(logits).sum(1) if entropy else total
            if ranks > 1:
                dist.all_reduce(total, group=group)
                dist.all_reduce(target, group=group)
                if entropy:
                    dist.all_reduce(mean, group=group)
            lse[a:b] = top + total.log()
            out[0, a:b] = lse[a:b] - target
            if entropy:
                out[1, a:b] = total.log() - mean / total
            if ctx.kept is not None:
                ctx.kept.append(logits.div_(total[:, None]))
        ctx.save_for_backward(x, weight, targets, lse, out)
        ctx.group, ctx.chunk, ctx.temperature = group, chunk, temperature
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        x, weight, targets, lse, out = ctx.saved_tensors
        first, _ = _slice(weight, ctx.group)
        dx = torch.empty_like(x)
        dw = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if ctx.needs_input_grad[1] else None
        kept, ctx.kept = list(reversed(ctx.kept or [])), None
        bonus = len(grad) > 1 and bool(grad[1].any())  # an entropy that is only looked at costs nothing here
        for a in range(0, len(x), ctx.chunk):
            b = min(a + ctx.chunk, len(x))
            p = kept.pop() if kept else _cooled((x[a:b] @ weight.t()).float(), ctx.temperature).sub_(lse[a:b, None]).exp_()
            of_entropy = torch.special.entr(p).sub_(p * out[1, a:b, None]).mul_(grad[1, a:b, None]) if bonus else None
            here, inside = _local(targets[a:b], first, len(weight))
            p.scatter_add_(1, here[:, None], -inside[:, None])
            p.mul_(grad[0, a:b, None])
            if of_entropy is not None:
                p.add_(of_entropy)
            p = _cooled(p, ctx.temperature).to(x.dtype)
            dx[a:b] = p @ weight
            if dw is None:
                continue
            if dw.dtype == p.dtype:
                dw.addmm_(p.t(), x[a:b])
            else:
                dw += p.t() @ x[a:b]
        return dx, None if dw is None else dw.to(weight.dtype), None, None, None, None, None


def _cooled(values: Tensor, temperature: float) -> Tensor:
    """In place over the temperature."""
    return values if temperature == 1 else values.div_(temperature)


def _slice(weight: Tensor, group: Any) -> tuple[int, int]:
    """(first vocabulary entry of this rank, number of ranks)."""
    if group is None or dist.get_world_size(group) == 1:
        return 0, 1
    return dist.get_rank(group) * len(weight), dist.get_world_size(group)


def _local(targets: Tensor, first: int, size: int) -> tuple[Tensor, Tensor]:
    """(index within this rank's slice, 1.0 where the target lies in it)."""
    here = targets - first
    inside = (here >= 0) & (here < size)
    return here.clamp(0, size - 1), inside.float()


def token_nll(hidden: Tensor, weight: Tensor, labels: Tensor, group: Any = None, chunk: int = CHUNK) -> Tensor:
    """Negative log-likelihood of each label: [t] in fp32, 0 at ignored positions. Arguments as `token_values`."""
    return token_values(hidden, weight, labels, group, chunk)[0]


def token_values(
    hidden: Tensor, weight: Tensor, labels: Tensor, group: Any = None, chunk: int = CHUNK, entropy: bool = False, temperature: float = 1.0
) -> Tensor:
    """Negative log-likelihood of each label, and the entropy of the distribution that gives it.

    Args:
        hidden: [t, h], the last layer's output for every token of the (packed) sequence.
        weight: [v/tp, h], this rank's slice of the output layer.
        labels: [t], the token to predict at each position, or IGNORE.
        group: the tensor-parallel group, if there is one.
        entropy: whether the entropies are wanted, in nats.
        temperature: what the logits are divided by.

    Returns:
        [1, t] in fp32, with `entropy` [2, t]; 0 at ignored positions.
    """
    at = (labels != IGNORE).nonzero()[:, 0]
    values = _Chunked.apply(hidden.index_select(0, at), weight, labels[at], group, chunk, entropy, temperature)
    return torch.zeros(len(values), len(labels), dtype=torch.float32, device=hidden.device).index_copy(1, at, values)


@dataclass(frozen=True)
class Loss(ABC):
    """What a step minimises. A loss is sent to the ranks: plain values only.

    It is told of each position t of a micro-batch (`micro.Micro.said`), all [t] but one:

        mask       1 where there is a label that counts
        segment    number of the conversation within the micro-batch, int64
        learned    [segments], labels in each conversation
        entropy    of the distribution, in nats, where `entropy` is set
        …          what packs carry in `extra`
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    """What `__call__` reports: sums over target tokens, shown as their mean; `…_max` are maxima."""

    @property
    def entropy(self) -> bool:
        """Whether the entropy of each token's distribution is to be computed."""
        return False

    @property
    def temperature(self) -> float:
        """What logits are divided by before anything is said of the distribution: that of sampling, for what was sampled."""
        return 1.0

    @abstractmethod
    def __call__(self, logprobs: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """(log-probability of each label [t], what is said of them) → (loss [t], 0 where nothing counts; metrics)."""

    def denominator(self, targets: float, sequences: float) -> float:
        """What the sum of losses is divided by: from the target tokens, and the conversations that have some, of the whole batch."""
        return targets

    def check(self, metrics: Mapping[str, float], targets: int) -> None:  # noqa: B027 (most refuse nothing)
        """Raises what keeps the step from being taken; no weight has changed yet. The metrics of the whole batch are the same on every rank."""


class Sft(Loss):
    """Cross-entropy: minus the log-probability of each target."""

    def __call__(self, logprobs: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return -logprobs, {}


SFT = Sft()
