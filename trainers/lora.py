"""LoRA: adapters that are trained in the place of the weights (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language
Models", arXiv 2106.09685, section 4.1).

A linear layer W [out, in] becomes  y = W x + alpha / rank · B (A x)  with A [rank, in] and B [out, rank]. W stays as it was
loaded; A and B are trained, and no other parameter is.

1. `adapters(spec, lora)` derives the list of all A and B from the list of parameters that load and export use, two for each
   projection of the checkpoint: a fused layer of Megatron (queries, keys and values; gate and up) has a pair for each of its parts,
   so that they have the names and shapes of PEFT.
2. The model begins as the base: B is zero. A is drawn from a normal distribution, as in the paper, which leaves its variance open:
   1 / in here, with which A x has the size of x (Hayou et al. 2024, arXiv 2406.08447). It is drawn whole from the seed and the
   adapter's name, so that no layout changes it.
3. What the layers compute, and how ranks share them: `trainers.lora_layers`.
4. Every export and every version for engines is W + alpha / rank · B A, an ordinary checkpoint. The adapters alone are written
   beside it in PEFT's format (`export_adapter`), but for those of experts, which transformers keeps in fused tensors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from prstack.errors import UserError
from prstack.settings import LoraConfig
from trainers.spec import ModelSpec
from trainers.weights import Param, Place, hf_tensors, parameters

PEFT = "base_model.model."
"""What PEFT puts before the name of a checkpoint's tensor."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Which layers get adapters, and of which size."""

    rank: int
    alpha: float = 16.0
    targets: tuple[str, ...] = ("attention",)
    """Of `attention`, `mlp` and `experts`."""

    @staticmethod
    def of(settings: LoraConfig) -> Lora | None:
        """None where the rank is 0: all weights are trained."""
        return Lora(settings.rank, settings.alpha, tuple(sorted(set(settings.targets)))) if settings.rank else None

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def adapts(self, param: Param) -> bool:
        return target(param) in self.targets

    def check(self, spec: ModelSpec, freeze: tuple[str, ...] = (), grouped: bool = False) -> None:
        """Raises UserError for what makes no sense together. `grouped`: experts are computed in one grouped GEMM (CUDA)."""
        if freeze:
            raise UserError(f"trainer.freeze={','.join(freeze)}: with trainer.lora.rank={self.rank} only adapters are trained; leave out one of the two")
        if not self.targets:
            raise UserError(f"trainer.lora.targets is empty: with trainer.lora.rank={self.rank} nothing would be trained")
        have = {t for p in parameters(spec) if (t := target(p))}
        for name in self.targets:
            if name not in have:
                raise UserError(f"trainer.lora.targets={name}: {spec.architecture} has no such layers (it has {', '.join(sorted(have))})")
        if grouped and "experts" in self.targets:
            raise UserError("trainer.lora.targets=experts: not offered on CUDA, where Transformer Engine computes all experts in one grouped GEMM")
        shapes = {hf: s for p in parameters(spec) if self.adapts(p) for hf, s in zip(p.hf, p.shapes)}
        smallest = min(shapes, key=lambda hf: min(shapes[hf]))
        if self.rank > min(shapes[smallest]):
            raise UserError(f"trainer.lora.rank={self.rank}: {smallest} is {' x '.join(map(str, shapes[smallest]))} and has no higher rank itself")


def target(param: Param) -> str:
    """The kind of layer that a weight belongs to: `attention`, `mlp` (of a dense model, or a shared expert), `experts`, or an empty string."""
    *_, layer, leaf = ["", *param.name.split(".")]
    if not layer.startswith("linear_") or leaf != "weight":
        return ""
    if ".self_attention." in param.name:
        return "attention"
    return "experts" if param.expert >= 0 else "mlp"


def adapters(spec: ModelSpec, lora: Lora | None) -> Iterator[Param]:
    """The adapters of the whole model: A and B of each projection, under PEFT's names. None without `lora`."""
    for p in parameters(spec) if lora else ():
        if not lora.adapts(p):
            continue
        layer = p.name.removesuffix("weight")
        for i, (hf, (out, into)) in enumerate(zip(p.hf, p.shapes)):
            where, name = {"layer": p.layer, "expert": p.expert}, PEFT + hf.removesuffix("weight")
            yield Param(f"{layer}lora_a.{i}", (f"{name}lora_A.weight",), ((lora.rank, into),), dim=1 if p.dim == 1 else None, **where)
            yield Param(f"{layer}lora_b.{i}", (f"{name}lora_B.weight",), ((out, lora.rank),), dim=0 if p.dim == 0 else None, **where)


def first(param: Param, seed: int) -> Tensor:
    """What an adapter begins with, whole, in fp32."""
    (name,), (shape,) = param.hf, param.shapes
    if name.endswith("lora_B.weight"):
        return torch.zeros(shape)
    number = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")
    return torch.randn(shape, generator=torch.Generator().manual_seed(number)) / shape[1] ** 0.5


def said(lora: Lora | None) -> dict[str, Any] | None:
    """What a checkpoint says of its adapters, in JSON."""
    return lora and dataclasses.asdict(lora) | {"targets": list(lora.targets)}


def check_same(lora: Lora | None, saved: dict[str, Any] | None, where: Path) -> None:
    """Raises UserError for a checkpoint whose adapters (`said`) are not those of this training."""
    if said(lora) != saved:
        raise UserError(f"{where} is a checkpoint with other adapters: trainer.lora is {said(lora) or 'off'}, there it is {saved or 'off'}")


def export_adapter(model: torch.nn.Module, base: str, folder: str | Path, spec: ModelSpec, lora: Lora, place: Place, te: bool = False) -> None:
    """Writes the adapters as a folder that PEFT loads onto `base`. Collective; rank 0 writes, and the folder appears whole or not at all.

    Raises UserError for adapters of experts: PEFT finds layers by name, and transformers has no layer for an expert.
    """
    if "experts" in lora.targets:
        raise UserError("adapters of experts have no form that PEFT loads; they are in the exported model")
    folder = Path(folder)
    found = {n: t.contiguous().clone() for n, t in hf_tensors(dict(model.named_parameters()), spec, place, te, adapters(spec, lora))}
    if found:
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": lora.rank,
            "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
            "target_modules": sorted({n.split(".")[-3] for n in found}),
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
        }
        tmp = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
        save_file(found, tmp / "adapter_model.safetensors", metadata={"format": "pt"})
        (tmp / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(tmp, folder)
    if dist.is_initialized():
        dist.barrier()
