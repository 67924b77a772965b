"""Cross-entropy in chunks over tokens, so that the logits of a long sequence never exist at once.

For hidden states x [t, h] and output weights W [v, h] the loss of token i is logsumexp(W x_i) - (W x_i)[target_i].
Forward computes it for `chunk` tokens at a time and keeps only the logsumexp; backward makes the logits of a chunk
again, turns them into softmax - onehot in place, and adds its share to dx and dW. Peak extra memory is one chunk of
logits, chunk · v · 4 bytes (1024 tokens of a 151k vocabulary: 0.6 GB), instead of t · v. Logits that take no more than
`KEEP` bytes in all are kept instead of made again, which saves a quarter of the output layer's work where the
vocabulary is small. Tokens without a target are never multiplied with W at all.

Under tensor parallelism W holds a slice of the vocabulary; maximum, sum and target logit are reduced over the ranks.

Losses of training are per-token: `Loss` takes log-probabilities and what the batch says of each token, and returns a
value per token; the trainer sums it and divides by the number of target tokens of the whole batch over all ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

IGNORE = -100
"""Label of a token that has no target."""
CHUNK = 1024
"""Tokens whose logits exist at a time."""
KEEP = 128 << 20
"""Bytes of logits, a micro-batch and rank, up to which they are kept for the backward pass."""


class _ChunkedNLL(torch.autograd.Function):
    """x [t, h], W [v/tp, h], targets [t] (in the whole vocabulary) → negative log-likelihood [t], fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, group: Any, chunk: int) -> Tensor:
        first, ranks = _slice(weight, group)
        lse = torch.empty(len(x), dtype=torch.float32, device=x.device)
        picked = torch.empty_like(lse)
        ctx.kept = [] if 4 * len(x) * len(weight) <= KEEP and any(ctx.needs_input_grad) else None
        for a in range(0, len(x), chunk):
            b = min(a + chunk, len(x))
            logits = (x[a:b] @ weight.t()).float()
            here, inside = _local(targets[a:b], first, len(weight))
            target = logits.gather(1, here[:, None])[:, 0] * inside
            top = logits.amax(1)
            if ranks > 1:
                dist.all_reduce(top, dist.ReduceOp.MAX, group=group)
            total = logits.sub_(top[:, None]).exp_().sum(1)
            if ranks > 1:
                dist.all_reduce(total, group=group)
                dist.all_reduce(target, group=group)
            lse[a:b] = top + total.log()
            picked[a:b] = target
            if ctx.kept is not None:
                ctx.kept.append(logits.div_(total[:, None]))
        ctx.save_for_backward(x, weight, targets, lse)
        ctx.group, ctx.chunk = group, chunk
        return lse - picked

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        x, weight, targets, lse = ctx.saved_tensors
        first, _ = _slice(weight, ctx.group)
        dx = torch.empty_like(x)
        dw = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        kept, ctx.kept = list(reversed(ctx.kept or [])), None
        for a in range(0, len(x), ctx.chunk):
            b = min(a + ctx.chunk, len(x))
            p = kept.pop() if kept else (x[a:b] @ weight.t()).float().sub_(lse[a:b, None]).exp_()
            here, inside = _local(targets[a:b], first, len(weight))
            p.scatter_add_(1, here[:, None], -inside[:, None])
            p = p.mul_(grad[a:b, None]).to(x.dtype)
            dx[a:b] = p @ weight
            if not ctx.needs_input_grad[1]:
                continue
            if dw.dtype == p.dtype:
                dw.addmm_(p.t(), x[a:b])
            else:
                dw += p.t() @ x[a:b]
        return dx, dw.to(weight.dtype), None, None, None


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
    """Negative log-likelihood of each label.

    Args:
        hidden: [t, h], the last layer's output for every token of the (packed) sequence.
        weight: [v/tp, h], this rank's slice of the output layer.
        labels: [t], the token to predict at each position, or IGNORE.
        group: the tensor-parallel group, if there is one.

    Returns:
        [t] in fp32, 0 at ignored positions.
    """
    at = (labels != IGNORE).nonzero()[:, 0]
    nll = _ChunkedNLL.apply(hidden.index_select(0, at), weight, labels[at], group, chunk)
    return torch.zeros(len(labels), dtype=torch.float32, device=hidden.device).index_copy(0, at, nll)


Loss = Callable[[Tensor, dict[str, Tensor]], Tensor]
"""(log-probabilities [t], what the batch says of each token) → loss [t]; only target tokens count."""


def sft(logprobs: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy: minus the log-probability of each target."""
    return -logprobs


LOSSES: dict[str, Loss] = {"sft": sft}
