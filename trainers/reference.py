"""What Megatron is held against: transformers and plain PyTorch, written without Megatron and without the trainer's own loss.

Each segment of a pack is a sequence by itself here, gradients are autograd's, the optimizer is `torch.optim.AdamW`. Gradients have
the names of a checkpoint's tensors, under which experts stand one by one (transformers keeps them fused).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from trainers.batches import Pack, labels_of
from trainers.losses import IGNORE


def logits(model: PreTrainedModel, pack: Pack) -> Tensor:
    """[t, v], each segment by itself."""
    ids = torch.from_numpy(pack.input_ids.astype(np.int64))
    return torch.cat([model(ids[None, a:b]).logits[0] for a, b in segments(pack)])


def segments(pack: Pack) -> list[tuple[int, int]]:
    """Begin and end of each segment."""
    ends = np.cumsum(pack.segment_lengths)
    return [(int(e - n), int(e)) for e, n in zip(ends, pack.segment_lengths)]


def label_logprobs(model: PreTrainedModel, pack: Pack) -> Tensor:
    """[t]: the log-probability of each label, 0 where there is none."""
    labels = torch.from_numpy(labels_of(pack))
    found = F.log_softmax(logits(model, pack), -1)
    return found.gather(1, labels.clamp(min=0)[:, None])[:, 0] * (labels != IGNORE)


def loss(model: PreTrainedModel, packs: Sequence[Pack]) -> Tensor:
    """Mean cross-entropy over all target tokens of the packs."""
    labels = [torch.from_numpy(labels_of(p)) for p in packs]
    total = sum(F.cross_entropy(logits(model, p), y, ignore_index=IGNORE, reduction="sum") for p, y in zip(packs, labels))
    return total / sum(int((y != IGNORE).sum()) for y in labels)


def step(model: PreTrainedModel, packs: Sequence[Pack], aux_loss: float = 0.0) -> tuple[float, dict[str, np.ndarray]]:
    """Loss per target token (without the auxiliary loss), and gradients under checkpoint names (with it)."""
    model.zero_grad()
    with routed(model) as seen:
        value = loss(model, packs)
    total = value
    if aux_loss:
        lengths = [len(p.input_ids) for p in packs]
        total = value + aux_loss * load_balancing(seen, lengths, model.config.num_experts_per_tok)
    total.backward()
    return value.item(), gradients(model)


def load_balancing(routed: dict[str, list[Tensor]], lengths: Sequence[int], topk: int) -> Tensor:
    """The routers' auxiliary loss by Megatron's definition: per layer and per micro-batch, summed over layers, mean over micro-batches.

    Of one layer and T tokens with E experts of which k are chosen: E · Σₑ fₑ · pₑ, where fₑ is the share of the k·T choices that expert e
    got and pₑ its mean probability (Fedus et al. 2021, "Switch Transformers", eq. 4). transformers computes it over all layers and all
    tokens of the batch at once, which is another number as soon as layers or micro-batches differ.

    `routed`: layer → router logits [tokens, E] in the order of the packs' segments; `lengths`: tokens of each micro-batch.
    """
    total = torch.zeros(())
    for parts in routed.values():
        for scores in torch.cat(parts).split(list(lengths)):
            probabilities = scores.float().softmax(-1)
            chosen = F.one_hot(scores.topk(topk, -1).indices, scores.shape[-1]).sum(1).float()
            share = chosen.mean(0) / topk
            total = total + scores.shape[-1] * (share * probabilities.mean(0)).sum()
    return total / len(lengths)


@contextmanager
def routed(model: PreTrainedModel) -> Iterator[dict[str, list[Tensor]]]:
    """Router logits by layer, of the forward passes within."""
    seen: dict[str, list[Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        if name.endswith(".gate") and module.weight.ndim == 2:

            def record(gate: torch.nn.Module, inputs: tuple, _: object, name: str = name) -> None:
                hidden = inputs[0].reshape(-1, inputs[0].shape[-1])
                seen.setdefault(name, []).append(F.linear(hidden, gate.weight))

            hooks.append(module.register_forward_hook(record))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def gradients(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """The gradients of the last backward pass under checkpoint names."""
    grads: dict[str, np.ndarray] = {}
    mixtral = model.config.model_type == "mixtral"
    for name, p in model.named_parameters():
        g = p.grad.numpy()
        if name.endswith("experts.gate_up_proj"):
            stem = name.removesuffix("gate_up_proj")
            for e, (gate, up) in enumerate(np.split(x, 2) for x in g):
                grads[f"{stem}{e}.{'w1' if mixtral else 'gate_proj'}.weight"] = gate
                grads[f"{stem}{e}.{'w3' if mixtral else 'up_proj'}.weight"] = up
        elif name.endswith("experts.down_proj"):
            for e, x in enumerate(g):
                grads[f"{name.removesuffix('down_proj')}{e}.{'w2' if mixtral else 'down_proj'}.weight"] = x
        else:
            grads[name] = g
    return {n.replace(".mlp.", ".block_sparse_moe.") if mixtral else n: g for n, g in grads.items()}


def train(model: PreTrainedModel, batches: Sequence[Sequence[Pack]], lrs: Sequence[float], weight_decay: float, clip: float) -> list[float]:
    """The loss of each step. Changes the model. Matrices decay, vectors do not, as in Megatron."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)
    seen = []
    for packs, lr in zip(batches, lrs):
        optimizer.zero_grad()
        value = loss(model, packs)
        value.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        seen.append(value.item())
    return seen
