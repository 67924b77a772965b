"""Distributed checkpoints (Megatron's torch_dist format): weights, optimizer, RNG, and where training stands.

    checkpoints/
        latest              name of the newest whole checkpoint
        step-00000010/      torch_dist files + progress.json

1. Every rank writes its shards into `.step-….tmp`.
2. Rank 0 writes progress.json (step, data position, model, schedule), renames the folder, then replaces `latest`.
3. Older checkpoints beyond `keep` are removed, last of all.

Invariants: a folder named `step-…` is whole; a kill at any moment leaves the previous checkpoint and `latest` as they
were. Shards are described over the whole model, so a checkpoint loads under another layout. The RNG state is kept
per pipeline and tensor rank, and is taken up where these are the same; training draws no random numbers (no dropout,
order of data from the seed), so another layout loses nothing by it.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core import parallel_state as ps
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from prstack.errors import UserError
from prstack.store.parts import write_text
from trainers import cpu
from trainers.model import CUDA, LanguageModel
from trainers.spec import ModelSpec

FORMAT = {
    "distrib_optim_sharding_type": "fully_reshardable",
    "singleton_local_shards": False,
    "chained_optim_avoid_prefix": True,
}
"""Megatron writes the process group of the day into such a dict: pass copies, or a second layout gets the first's."""


def latest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint, if there is one."""
    folder = Path(folder)
    pointer = folder / "latest"
    if pointer.is_file():
        named = folder / pointer.read_text(encoding="utf-8").strip()
        if (named / "progress.json").is_file():
            return named
    whole = [p for p in sorted(folder.glob("step-*")) if (p / "progress.json").is_file()]
    return whole[-1] if whole else None


def progress(path: Path) -> dict[str, Any]:
    """What a checkpoint says of where training stood. Raises UserError when it cannot be read."""
    try:
        return json.loads((path / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: progress.json cannot be read ({e}); remove the checkpoint to go on from another") from e


def save(
    folder: str | Path, model: LanguageModel, optimizer: MegatronOptimizer, spec: ModelSpec, state: dict[str, Any], keep: int
) -> Path:
    """Writes a checkpoint of `state["step"]`. Collective. `state` must be JSON; it comes back from `progress`."""
    folder, rank = Path(folder), dist.get_rank()
    final = folder / f"step-{state['step']:08d}"
    tmp = folder / f".{final.name}.tmp"
    if rank == 0:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
    dist.barrier()
    dist_checkpointing.save(_sharded(model, optimizer, loading=False), str(tmp), ("torch_dist", 1), content_metadata=dict(FORMAT))
    dist.barrier()
    if rank == 0:
        write_text(json.dumps({**state, "ranks": _ranks(), "model": asdict(spec)}, indent=1) + "\n", tmp / "progress.json")
        _sync(tmp)
        if final.exists():
            shutil.rmtree(final)
        os.rename(tmp, final)
        _sync(folder)
        write_text(final.name + "\n", folder / "latest")
        for old in sorted(folder.glob("step-*"))[: -keep or None]:
            if old != final:
                shutil.rmtree(old, ignore_errors=True)
    dist.barrier()
    return final


def load(path: Path, model: LanguageModel, optimizer: MegatronOptimizer, spec: ModelSpec) -> dict[str, Any]:
    """Takes up weights, optimizer and RNG. Collective. Returns the saved state.

    Raises UserError when the checkpoint is of another model.
    """
    state = progress(path)
    try:
        difference = spec.difference(ModelSpec(**state["model"]))
    except (KeyError, TypeError) as e:
        raise UserError(f"{path}: written by another release ({e})") from e
    if difference:
        raise UserError(f"{path} is a checkpoint of another model: {difference}")
    if not CUDA:
        cpu.adam_state(optimizer)
    request = _sharded(model, optimizer, loading=True)
    same_ranks = state.get("ranks") == _ranks()
    if not same_ranks:
        request.pop("rng")
    loaded = dist_checkpointing.load(request, str(path))
    model.load_state_dict(loaded["model"])
    optimizer.load_state_dict(loaded["optimizer"])
    if same_ranks:
        _set_rng(loaded["rng"])
    return state


def _sharded(model: LanguageModel, optimizer: MegatronOptimizer, loading: bool) -> dict[str, Any]:
    weights = model.sharded_state_dict(metadata=dict(FORMAT))
    return {
        "model": weights,
        "optimizer": optimizer.sharded_state_dict(weights, is_loading=loading, metadata=dict(FORMAT)),
        "rng": _rng_object(),
    }


def _ranks() -> dict[str, int]:
    return {"pp": ps.get_pipeline_model_parallel_world_size(), "tp": ps.get_tensor_model_parallel_world_size()}


def _rng_object() -> ShardedObject:
    shape, ranks = tuple(_ranks().values()), (ps.get_pipeline_model_parallel_rank(), ps.get_tensor_model_parallel_rank())
    return ShardedObject("rng", _rng(), shape, ranks, replica_id=ps.get_data_parallel_rank(with_context_parallel=True))


def _rng() -> dict[str, Any]:
    state = {"torch": torch.get_rng_state(), "tracker": get_cuda_rng_tracker().get_states()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if CUDA else {})


def _set_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    get_cuda_rng_tracker().set_states(state["tracker"])
    if CUDA and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
