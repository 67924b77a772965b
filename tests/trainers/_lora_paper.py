"""LoRA by the paper's formula on a transformers model, in plain PyTorch: what `trainers.lora` is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.func import functional_call

from trainers import reference
from trainers.batches import Pack
from trainers.lora import PEFT, Lora


class Paper(torch.nn.Module):
    """A transformers model in which W is W + alpha / rank · B A (Hu et al. 2021, eq. 3), for each projection of the checkpoint that has
    an A and a B; only these are trained, and gradients are autograd's."""

    def __init__(self, hf: torch.nn.Module, lora: Lora, start: dict[str, torch.Tensor]):
        super().__init__()
        self.base = [hf.requires_grad_(False)]
        self.scale = lora.alpha / lora.rank
        self.mine = {n: torch.nn.Parameter(t.clone()) for n, t in start.items()}
        self.stems = sorted({n.removeprefix(PEFT).rsplit(".lora_", 1)[0] for n in start})

    def parameters(self, recurse: bool = True):
        return iter(self.mine.values())

    def change(self, stem: str) -> torch.Tensor:
        a, b = (self.mine[f"{PEFT}{stem}.lora_{x}.weight"] for x in "AB")
        return self.scale * b @ a

    def forward(self, ids: torch.Tensor):
        own = dict(self.base[0].named_parameters())
        changed = {f"{s}.weight": own[f"{s}.weight"] + self.change(s) for s in self.stems if ".experts." not in s}
        for name in [n for n in own if n.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
            names = self.parts(name)
            if names(0)[0] in self.stems:
                new = [torch.cat([self.change(part) for part in names(e)]) for e in range(len(own[name]))]
                changed[name] = own[name] + torch.stack(new)
        return functional_call(self.base[0], changed, (ids,))

    def parts(self, name: str) -> Callable[[int], list[str]]:
        """transformers' fused tensor of experts → the projections of an expert in the checkpoint."""
        mixtral = self.base[0].config.model_type == "mixtral"
        stem, fused = name.replace(".mlp.", ".block_sparse_moe.").rsplit(".", 1) if mixtral else name.rsplit(".", 1)
        kinds = {"gate_up_proj": ("w1", "w3") if mixtral else ("gate_proj", "up_proj"), "down_proj": ("w2",) if mixtral else ("down_proj",)}[fused]
        return lambda expert: [f"{stem}.{expert}.{kind}" for kind in kinds]

    def train_on(self, batches: Sequence[Sequence[Pack]], lrs: Sequence[float]) -> list[tuple[float, dict[str, np.ndarray]]]:
        """Loss and gradients of each step of AdamW."""
        optimizer, seen = torch.optim.AdamW(self.parameters(), betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0), []
        for packs, lr in zip(batches, lrs):
            optimizer.zero_grad()
            value = reference.loss(self, packs)
            value.backward()
            seen.append((value.item(), {n: p.grad.numpy().copy() for n, p in self.mine.items()}))
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()
        return seen
