"""What the routers of a mixture of experts did in a step: the share of assignments that each expert got, and the auxiliary loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.transformer.moe import moe_utils
from megatron.core.transformer.moe.router import TopKRouter
from torch import Tensor


class Routers:
    """Counts the assignments of all routers of `model`, [layers, experts] over this rank's tokens, since the last `clear`."""

    def __init__(self, model: torch.nn.Module, layers: int, experts: int):
        self._shape, self._load = (layers, experts), dict[int, Tensor]()
        for module in model.modules():
            if isinstance(module, TopKRouter):
                module.register_forward_hook(self._count)
        moe_utils.get_moe_layer_wise_logging_tracker().clear()

    def _count(self, router: TopKRouter, _: Any, output: tuple[Tensor, Tensor]) -> None:
        if router.training and torch.is_grad_enabled():  # under recomputation, once
            load = output[1].detach().sum(0).float().cpu()
            self._load[router.layer_number - 1] = self._load.get(router.layer_number - 1, 0) + load

    def clear(self) -> None:
        self._load.clear()

    def metrics(self, micros: int, aux_loss: bool, total: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """`expert_load` {layer: share of each expert}, and with `aux_loss` the mean of it over layers and micro-batches. `total` sums a tensor
        over all ranks. Collective; nothing for a dense model."""
        layers, experts = self._shape
        if not experts:
            return {}
        load = torch.zeros(layers, experts, dtype=torch.float64)
        for layer, counts in self._load.items():
            load[layer] = counts
        load = total(load)
        load = load / load.sum(1, keepdim=True).clamp(min=1)
        metrics: dict[str, Any] = {"expert_load": {i: row.tolist() for i, row in enumerate(load)}}
        tracker = moe_utils.get_moe_layer_wise_logging_tracker()
        if aux_loss and tracker:
            moe_utils.reduce_aux_losses_tracker_across_ranks()
            metrics["aux_loss"] = float(tracker["load_balancing_loss"]["values"].sum()) / micros / layers
        moe_utils.clear_aux_losses_tracker()
        return metrics
