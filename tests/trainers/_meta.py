"""All ranks of a layout, one after another in one process, on the meta device: `python -m tests.trainers._meta MODEL RANKS TP PP EP`.

Prints a line a rank: its number, its parameters, and those that `trainers.plan` counts for it. Ends with an error where the mapping and the
model differ.
"""

from __future__ import annotations

import sys
from collections import Counter

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
from trainers import plan, weights
from trainers.layout import Layout
from trainers.shapes import SHAPES
from trainers.spec import ModelSpec


def main(model: str, ranks: str, tp: str, pp: str, ep: str) -> None:
    from megatron.core import parallel_state as ps
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    from trainers.model import build, transformer_config

    spec, layout = ModelSpec.from_config(SHAPES[model]), Layout(int(ranks), int(tp), int(pp), int(ep))
    layout.check(spec)
    held: Counter[tuple[str, int]] = Counter()  # parameter, tensor shard → ranks that have it
    for rank in range(layout.ranks):
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=layout.ranks)
        ps.initialize_model_parallel(
            layout.tp, layout.pp, expert_model_parallel_size=layout.ep, expert_tensor_parallel_size=1, create_gloo_process_groups=False
        )
        model_parallel_cuda_manual_seed(0, force_reset_rng=True)
        with torch.device("meta"):
            built = build(spec, transformer_config(spec, layout, torch.bfloat16), 4096)
        place, todo = weights.Place.here(), {n: tuple(p.shape) for n, p in built.named_parameters()}
        numbers = sum(p.numel() for p in built.parameters())
        for p in weights.parameters(spec):
            if (name := weights.local_name(p, spec, place)) is not None:
                shape = [n // place.tp if d == p.dim else n for d, n in enumerate(p.shape)]
                assert todo.pop(name) == tuple(shape), name
                held[p.name, place.tp_rank if p.dim is not None else 0] += 1
        assert not todo, sorted(todo)
        dense, experts = plan._stages(layout, spec, weights.parameters(spec))
        print(rank, numbers, round(dense[place.pp_rank] + experts[place.pp_rank]))
        ps.destroy_model_parallel()
        dist.destroy_process_group()
    for p in weights.parameters(spec):
        if p.tied and layout.pp == 1:
            continue
        copies = layout.ranks // layout.pp // (layout.ep if p.expert >= 0 else layout.tp if p.dim is not None else 1)
        for shard in range(layout.tp if p.dim is not None else 1):
            assert held[p.name, shard] == copies, (p.name, shard, held[p.name, shard], copies)


if __name__ == "__main__":
    main(*sys.argv[1:])
