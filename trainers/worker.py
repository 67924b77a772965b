"""One rank of training: a plain class. `trainers.launch` hosts one in each Ray actor; a test may drive it directly.

Life: `join` the process group → `setup` the model → `load` or not → `step` … `save` … `export` → `close`.
All methods but `listen` are collective: every rank of the group makes the same call.

A step:
1. What the sum of losses is divided by, N, is counted over all data-parallel ranks before anything runs: the target tokens of
   the whole batch, or what else the loss wants (`Loss.denominator`).
2. Each micro-batch's loss is its sum of per-token losses, times dp · micro-batches / N: Megatron then divides by the
   number of micro-batches, and its gradient buffers by dp, so that the gradient is that of (sum of losses) / N under
   every layout, and a router's auxiliary loss counts as its mean over micro-batches, however many tokens are masked.
3. Gradients are reduced and finite-checked before the optimizer may touch a weight.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from megatron.core import parallel_state as ps
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.tensor_parallel.mappings import gather_from_tensor_model_parallel_region
from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
from torch import Tensor

from prstack.errors import UserError
from prstack.memory import give_back
from prstack.store.published import Published
from trainers import checkpoint, lora, lora_layers, weights
from trainers.batches import Pack
from trainers.layout import Layout
from trainers.lora import Lora
from trainers.losses import SFT, Loss
from trainers.micro import Micro, collate
from trainers.model import CUDA, build, freeze, release, transformer_config, with_optimizer
from trainers.routers import Routers
from trainers.spec import ModelSpec

# Notices of Megatron and torch to their own developers, several a step.
warnings.filterwarnings("ignore", module=r"megatron\.|torch\.distributed")
warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf Tensor")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class NotFinite(ArithmeticError):
    """A loss or gradient is NaN or infinite; the weights were not changed."""


@dataclass(slots=True)
class Setup:
    """What a rank needs to build its model."""

    base: str
    """Hugging Face checkpoint folder."""
    layout: Layout = field(default_factory=Layout)
    dtype: str = "float32"
    context: int = 4096
    """Longest packed sequence of a micro-batch, in tokens."""
    clip: float = 1.0
    """Gradient norm above which gradients are scaled down; 0 never."""
    weight_decay: float = 0.0
    aux_loss: float = 0.0
    """Weight of the routers' load-balancing loss."""
    recompute: bool = False
    """Recompute activations in the backward pass."""
    dispatcher: str = "alltoall"
    """How tokens come to their experts: a name in `trainers.model.DISPATCHERS`."""
    freeze: tuple[str, ...] = ()
    """What is not trained: names in `trainers.model.FROZEN`."""
    lora: Lora | None = None
    """Adapters that are trained in the place of all weights."""
    seed: int = 0


class Worker:
    """A rank. `rank` and `ranks` number it within its group."""

    def __init__(self, rank: int = 0, ranks: int = 1, threads: int = 1):
        self.rank, self.ranks = rank, ranks
        torch.set_num_threads(threads)
        self._store: Any = None
        self.model = self.ddp = self.optimizer = self.config = None

    # --- process group -------------------------------------------------------------------------------------------
    def listen(self, host: str) -> int:
        """Rank 0 opens the rendezvous on a free port of `host`, and says which."""
        self._store = dist.TCPStore(host, 0, self.ranks, is_master=True, wait_for_workers=False)
        return self._store.port

    def join(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Joins the process group: NCCL with CUDA, gloo without."""
        if host == "127.0.0.1" and not CUDA and Path("/sys/class/net/lo").exists():
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        if self._store is None:
            self._store = dist.TCPStore(host, port, self.ranks, is_master=self.ranks == 1, wait_for_workers=False)
        if CUDA:
            torch.cuda.set_device(0)
        dist.init_process_group("nccl" if CUDA else "gloo", store=self._store, rank=self.rank, world_size=self.ranks)

    def setup(self, setup: Setup, weights_from_base: bool = True) -> dict[str, int]:
        """Builds this rank's model and optimizer; a second call replaces them, under another layout if asked.

        Returns the data-parallel rank and size, and the number of parameters here. `weights_from_base=False` leaves
        weights unset, for a checkpoint to be loaded.
        """
        spec = ModelSpec.from_hf(setup.base)
        layout = setup.layout
        layout.check(spec, setup.context)
        if setup.dtype not in DTYPES:
            raise UserError(f"trainer.dtype={setup.dtype}: one of {', '.join(DTYPES)}")
        if setup.lora:
            setup.lora.check(spec, setup.freeze, grouped=CUDA)
        self._clear()
        ps.initialize_model_parallel(
            tensor_model_parallel_size=layout.tp,
            pipeline_model_parallel_size=layout.pp,
            expert_model_parallel_size=layout.ep,
            expert_tensor_parallel_size=1,
            context_parallel_size=layout.cp,
        )
        torch.manual_seed(setup.seed)
        model_parallel_cuda_manual_seed(setup.seed, force_reset_rng=True)
        self.spec, self.args, self.place = spec, setup, weights.Place.here()
        self.config = transformer_config(spec, layout, DTYPES[setup.dtype], setup.aux_loss, setup.recompute, setup.dispatcher)
        self.model = build(spec, self.config, setup.context, setup.lora)
        if weights_from_base:
            weights.load_hf(self.model, setup.base, spec, self.place, te=CUDA)
        freeze(self.model, setup.freeze)
        if setup.lora:
            lora_layers.begin(self.model, spec, setup.lora, self.place, setup.seed, te=CUDA)
        self.ddp, self.optimizer = with_optimizer(self.model, self.config, setup.clip, setup.weight_decay)
        self._routers = Routers(self.model, spec.layers, spec.experts)
        return {
            "dp_rank": ps.get_data_parallel_rank(),
            "dp": ps.get_data_parallel_world_size(),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }

    def close(self) -> None:
        """Leaves the process group."""
        self._clear()
        if dist.is_initialized():
            dist.destroy_process_group()
        self._store = None

    def _clear(self) -> None:
        """Drops the model and the process groups made for it. What is left of them keeps three
        threads a group, and thousands of those are what a long-lived rank would spend its time on."""
        if self.ddp is not None:
            release(self.ddp)
        self.model = self.ddp = self.optimizer = self.config = None
        if ps.model_parallel_is_initialized():
            ps.destroy_model_parallel()
        gc.collect()
        if dist.is_initialized():
            for group in [g for g in c10d._world.pg_map if g is not dist.group.WORLD]:
                dist.destroy_process_group(group)

    # --- computing -----------------------------------------------------------------------------------------------
    def step(self, micros: list[list[Pack]], lr: float, loss: Loss = SFT) -> dict[str, Any]:
        """One optimizer step over this rank's micro-batches; the same metrics on every rank.

        Metrics: loss (mean over target tokens, or what the loss divides by), grad_norm (before clipping), lr, tokens, targets,
        sequences (conversations with a target), seconds, aux_loss, expert_load ({layer: share of the assignments that each expert
        got}), and those of the loss.

        Raises NotFinite, and what the loss raises (`Loss.check`), before any weight was changed.
        """
        start = time.perf_counter()
        batch = self._batch(micros)
        here = [[m.targets, m.tokens, m.sequences] for m in batch]
        targets, tokens, sequences = self._reduce(torch.tensor(here, dtype=torch.float64).sum(0)).tolist()
        whole = max(loss.denominator(targets, sequences), 1.0)
        scale = len(batch) * ps.get_data_parallel_world_size() / whole
        self.ddp.train()
        self.ddp.zero_grad_buffer()
        self.optimizer.zero_grad()
        self._routers.clear()
        seen = self._gather(loss, self._run(batch, loss, scale, backward=True))
        mean = seen.pop("loss") / whole
        if not math.isfinite(mean):
            raise NotFinite(f"loss is {mean}")
        shown = {name: v if name.endswith("_max") else v / max(targets, 1.0) for name, v in seen.items()}
        loss.check(shown, int(targets))
        return {
            "loss": mean,
            "grad_norm": self._update(lr),
            "lr": lr,
            "tokens": int(tokens),
            "targets": int(targets),
            "sequences": int(sequences),
            "seconds": time.perf_counter() - start,
            **shown,
            **self._routers.metrics(len(batch), bool(self.args.aux_loss), lambda load: self._reduce(load, everywhere=True)),
        }

    def forward(self, micros: list[list[Pack]], reference: bool = False, temperature: float = 1.0) -> list[list[list[float]]] | None:
        """Log-probability of each label, [micro-batch][pack][token] with 0 where there is no label; None on ranks
        that do not hold the last pipeline stage. `reference`: by the weights of the base that training began with; `temperature`: of logits over it."""
        self.ddp.eval()
        with self._weights_of_base() if reference else nullcontext():
            out = self._run(self._batch(micros), None, 1.0, False, temperature)
        if not ps.is_pipeline_last_stage():
            return None
        result = []
        for packs, row in zip(micros, out):
            values = (-row).tolist()
            ends = [0]
            for p in packs:
                ends.append(ends[-1] + len(p.input_ids))
            result.append([values[a:b] for a, b in itertools.pairwise(ends)])
        return result

    def logits(self, micros: list[list[Pack]]) -> list[Any] | None:
        """The logits of each micro-batch, arrays [t, v] in fp32; None on ranks that do not hold the last pipeline stage. For
        comparisons: this is the one place where logits exist whole."""
        self.ddp.eval()
        out = self._run(self._batch(micros), "logits", 1.0, backward=False)
        return out if ps.is_pipeline_last_stage() else None

    @torch.no_grad()
    def gradients(self) -> dict[str, Any] | None:
        """The gradients of the last step under their Hugging Face names (adapters: PEFT's), on rank 0, as arrays. For comparisons:
        under `clip` they are scaled down."""
        for buffer in self.ddp.buffers + self.ddp.expert_parallel_buffers:
            group = buffer.data_parallel_group
            if group.size() > 1:
                for bucket in buffer.buckets:
                    own = bucket.grad_data.chunk(group.size())[group.rank()].clone()
                    dist.all_gather_into_tensor(bucket.grad_data, own, group=group)
        mine = {n: p.main_grad if p.requires_grad else torch.zeros_like(p) for n, p in self.model.named_parameters()}
        listed = [*weights.parameters(self.spec), *lora.adapters(self.spec, self.args.lora)]
        found = {n: t.float().numpy() for n, t in weights.hf_tensors(mine, self.spec, self.place, te=CUDA, listed=listed)}
        return found if self.rank == 0 else None

    @contextmanager
    def _weights_of_base(self) -> Iterator[None]:
        """The base's weights in the place of the model's own, which are kept aside meanwhile; with adapters, these off."""
        if self.args.lora:
            with lora_layers.off(self.model):
                yield
            return
        parameters = list(self.model.parameters())
        own = [p.detach().clone() for p in parameters]
        try:
            weights.load_hf(self.model, self.args.base, self.spec, self.place, te=CUDA)
            yield
        finally:
            with torch.no_grad():
                for p, value in zip(parameters, own):
                    p.copy_(value)

    def _batch(self, micros: list[list[Pack]]) -> list[Micro]:
        """The micro-batches; where tokens are gathered, all of one length on all ranks, because what is gathered has no lengths of its own."""
        batch = [self._collate(m) for m in micros]
        if self.args.dispatcher != "allgather" or not self.spec.experts:
            return batch
        longest = torch.tensor([max(m.input_ids.shape[1] for m in batch) * self.args.layout.cp])
        longest = int(self._reduce(longest, everywhere=True, op=dist.ReduceOp.MAX))
        return [self._collate(m, longest) for m in micros]

    def _collate(self, packs: list[Pack], least: int = 0) -> Micro:
        layout = self.args.layout
        return collate(packs, layout.unit, "cuda" if CUDA else "cpu", least, layout.cp, ps.get_context_parallel_rank())

    @staticmethod
    def _whole(values: Tensor, micro: Micro) -> Tensor:
        """Values of this rank's tokens [t, …] → of all tokens of the micro-batch without padding, [tokens, …]."""
        if micro.at is None:
            return values[: micro.tokens]
        group = ps.get_context_parallel_group()
        parts = torch.empty(group.size() * len(values), *values.shape[1:], dtype=values.dtype, device=values.device)
        dist.all_gather_into_tensor(parts, values.contiguous(), group=group)
        return parts[micro.at]

    def _run(self, batch: list[Micro], loss: Any, scale: float, backward: bool, temperature: float = 1.0) -> list[Any]:
        """Forward (and backward) over micro-batches through Megatron's schedule.

        Returns, on the last stage, for each micro-batch {"loss": its sum of losses, metric: its value}; without `loss`, the NLL per
        token [t]; for "logits", those.
        """

        def reduce(out: Tensor, micro: Micro) -> tuple[Tensor, Any]:
            if loss == "logits":
                whole = gather_from_tensor_model_parallel_region(out)
                return out.sum(), self._whole(whole[0].detach(), micro).float().cpu().numpy()
            if loss is None:
                return out.sum(), self._whole(out[0].detach(), micro).cpu()
            said = micro.said() | ({"entropy": out[1]} if loss.entropy else {})
            values, metrics = loss(-out[0], said)
            total = values.sum()
            return total * scale, {"loss": float(total.detach()), **{name: float(v) for name, v in metrics.items()}}

        def forward_step(stream: Any, model: torch.nn.Module) -> tuple[Tensor, Any]:
            m = next(stream)
            labels = None if loss == "logits" else m.labels
            out = model(m.input_ids, m.position_ids, None, labels=labels, packed_seq_params=m.packed)
            return out, lambda out: reduce(out, m)

        self.model.entropy = isinstance(loss, Loss) and loss.entropy
        self.model.temperature = loss.temperature if isinstance(loss, Loss) else temperature
        with torch.set_grad_enabled(backward):
            return get_forward_backward_func()(
                forward_step_func=forward_step,
                data_iterator=iter(batch),
                model=[self.ddp],
                num_microbatches=len(batch),
                seq_length=max(m.input_ids.shape[1] for m in batch) * self.args.layout.cp,
                micro_batch_size=1,
                forward_only=not backward,
            )

    @torch.no_grad()
    def _update(self, lr: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
            group["weight_decay"] = self.args.weight_decay * group.get("wd_mult", 1.0)
        total = sum(float(b.grad_data.sum()) for b in self.ddp.buffers + self.ddp.expert_parallel_buffers)
        if not torch.isfinite(self._reduce(torch.tensor([total], dtype=torch.float64), everywhere=True)):
            raise NotFinite("a gradient is not finite")
        _, norm, _ = self.optimizer.step()
        return float(norm)

    def _gather(self, loss: Loss, found: list[dict[str, float]]) -> dict[str, float]:
        """What the last stage found in its micro-batches → the sum over all ranks, of `…_max` the maximum, on every rank."""
        maxima = [name for name in loss.metrics if name.endswith("_max")]
        sums = ["loss", *(name for name in loss.metrics if name not in maxima)]
        seen: dict[str, float] = {}
        for names, over, op in ((sums, sum, dist.ReduceOp.SUM), (maxima, max, dist.ReduceOp.MAX)):
            if names:
                mine = torch.tensor([over(f[n] for f in found) if found else 0.0 for n in names], dtype=torch.float64)
                seen |= zip(names, self._reduce(mine, pipeline=True, op=op).tolist())
        return seen

    @staticmethod
    def _reduce(values: Tensor, pipeline: bool = False, everywhere: bool = False, op: Any = dist.ReduceOp.SUM) -> Tensor:
        """Sums over data-parallel ranks; `pipeline`: only the last stage has a value, each context-parallel rank its part, and all learn it."""
        values = values.cuda() if CUDA else values
        if everywhere:
            dist.all_reduce(values, op)
            return values.cpu()
        dist.all_reduce(values, op, group=ps.get_data_parallel_group(with_context_parallel=pipeline))
        if pipeline and ps.get_pipeline_model_parallel_world_size() > 1:
            dist.broadcast(values, ps.get_pipeline_model_parallel_last_rank(), ps.get_pipeline_model_parallel_group())
        return values.cpu()

    # --- files ---------------------------------------------------------------------------------------------------
    def save(self, folder: str, state: dict[str, Any], keep: int) -> str:
        """Writes a checkpoint; returns its folder."""
        saved = checkpoint.save(folder, self.model, self.optimizer, self.spec, state | {"lora": lora.said(self.args.lora)}, keep)
        give_back()
        return str(saved)

    def load(self, path: str) -> dict[str, Any]:
        """Takes up a checkpoint; returns the state it was saved with."""
        lora.check_same(self.args.lora, checkpoint.progress(Path(path)).get("lora"), Path(path))
        return checkpoint.load(Path(path), self.model, self.optimizer, self.spec)

    def export(self, folder: str, dtype: str | None = None) -> None:
        """Writes the model as a Hugging Face folder, adapters merged."""
        weights.export_hf(lora_layers.Merged(self.model), self.args.base, folder, self.spec, self.place, te=CUDA, dtype=dtype)

    def export_adapter(self, folder: str) -> None:
        """Writes the adapters in PEFT's format."""
        lora.export_adapter(self.model, self.args.base, folder, self.spec, self.args.lora, self.place, te=CUDA)

    def publish(self, folder: str, version: str, bucket: int) -> Published | None:
        """Writes the model for engines, in files of `bucket` bytes; what was written, on rank 0."""
        return weights.export_hf(
            lora_layers.Merged(self.model), self.args.base, folder, self.spec, self.place, te=CUDA, max_shard_bytes=bucket, version=version
        )

    def memory_mb(self) -> float:
        """Peak resident memory of this process, in MiB."""
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
