"""From a spec and a layout to a Megatron GPTModel, its gradient buffers and its optimizer.

On CUDA: the Transformer Engine layer spec, grouped GEMM for experts, fp32 router. Without: the local spec with
`trainers.cpu_layers`. Log-probabilities are computed inside the model (`token_values`), in chunks, so that logits are not
materialised; the model returns one number per token, or two.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state as ps
from megatron.core import tensor_parallel
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import ChainedOptimizer, MegatronOptimizer
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from prstack.errors import UserError
from trainers import cpu
from trainers.layout import Layout
from trainers.lora import Lora
from trainers.lora_layers import adapt
from trainers.losses import CHUNK, token_values
from trainers.spec import ModelSpec

CUDA = torch.cuda.is_available()


class LanguageModel(GPTModel):
    """GPTModel whose last stage returns, given labels, the negative log-likelihood per token instead of logits."""

    chunk = CHUNK
    entropy = False
    """Whether the entropy of each token's distribution is returned as a second row."""
    temperature = 1.0
    """What logits are divided by."""

    def _postprocess(self, hidden_states: Tensor, labels: Tensor | None = None, **rest: Any) -> Tensor:
        """hidden [t, 1, h] (a tensor rank's part under sequence parallelism) and labels [1, t] → [1, t] or [2, t] in fp32."""
        if not self.post_process or labels is None:
            return super()._postprocess(hidden_states=hidden_states, labels=None, **rest)
        group = self.pg_collection.tp
        if self.config.sequence_parallel:
            hidden_states = tensor_parallel.gather_from_sequence_parallel_region(hidden_states, group=group)
        elif group.size() > 1:
            hidden_states = tensor_parallel.copy_to_tensor_model_parallel_region(hidden_states, group=group)
        tied = self.share_embeddings_and_output_weights
        weight = self.shared_embedding_or_output_weight() if tied else self.output_layer.weight
        return token_values(hidden_states[:, 0], weight, labels[0], group, self.chunk, self.entropy, self.temperature)


def _leave(weight: Tensor) -> Tensor:
    return weight


DISPATCHERS = {"alltoall": "alltoall", "allgather": "allgather", "deepep": "flex"}
"""trainer.dispatcher → Megatron's name of it. Of `flex` the backend is DeepEP (`moe_flex_dispatcher_backend`, by default)."""


def check_dispatcher(name: str) -> None:
    """Raises UserError for a dispatcher that there is not, or not here."""
    if name not in DISPATCHERS:
        raise UserError(f"trainer.dispatcher={name}: one of {', '.join(DISPATCHERS)}")
    if name == "deepep" and not (CUDA and find_spec("deep_ep")):
        raise UserError("trainer.dispatcher=deepep: " + ("the package deep_ep is not installed" if CUDA else "DeepEP needs GPUs, torch sees none here"))


def transformer_config(
    spec: ModelSpec, layout: Layout, dtype: torch.dtype, aux_loss: float = 0.0, recompute: bool = False, dispatcher: str = "alltoall"
) -> TransformerConfig:
    """Megatron's configuration of the model on this layout and device. Raises UserError for a dispatcher that it has not."""
    check_dispatcher(dispatcher)
    kwargs = spec.transformer_kwargs() | {
        "activation_func": F.silu,
        "tensor_model_parallel_size": layout.tp,
        "pipeline_model_parallel_size": layout.pp,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": 1,
        "context_parallel_size": layout.cp,
        "cp_comm_type": "p2p" if layout.cp > 1 else None,
        "sequence_parallel": layout.tp > 1,
        "params_dtype": dtype,
        "pipeline_dtype": dtype,
        "bf16": dtype == torch.bfloat16,
        "variable_seq_lengths": dispatcher != "allgather" or not spec.experts,
        "moe_token_dispatcher_type": DISPATCHERS[dispatcher],
        # Weights come from a checkpoint. Not `perform_initialization=False`: that also leaves out the marks of tensor
        # parallelism on parameters, and with them most of the gradient norm under tp > 1.
        "init_method": _leave,
        "output_layer_init_method": _leave,
        "embedding_init_method": _leave,
        "use_cpu_initialization": not CUDA,
        "gradient_accumulation_fusion": False,
        "deallocate_pipeline_outputs": layout.pp > 1,
    }
    if spec.experts:
        kwargs |= {
            "moe_router_load_balancing_type": "aux_loss",
            "moe_aux_loss_coeff": aux_loss,
            "moe_grouped_gemm": CUDA,
            "moe_permute_fusion": CUDA,
            "moe_router_dtype": "fp32",
        }
    if recompute:
        kwargs |= {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    if not CUDA:
        kwargs |= {
            "bias_activation_fusion": False,
            "bias_dropout_fusion": False,
            "masked_softmax_fusion": False,
            "persist_layer_norm": False,
        }
    return TransformerConfig(**kwargs)


def layer_spec(spec: ModelSpec, config: TransformerConfig, lora: Lora | None = None) -> ModuleSpec | TransformerBlockSubmodules:
    """Transformer Engine's layers on CUDA, the local ones with our attention and norm elsewhere; with adapters where `lora` says."""
    experts = spec.experts or None
    if CUDA:
        layer = get_gpt_layer_with_transformer_engine_spec(
            num_experts=experts, moe_grouped_gemm=bool(experts), qk_layernorm=spec.qk_norm
        )
        if lora:
            adapt(layer, spec, lora)
        return layer
    from trainers.cpu_layers import RMSNorm, SDPAttention

    layer = get_gpt_layer_local_spec(num_experts=experts, qk_layernorm=spec.qk_norm, normalization="RMSNorm")
    parts = layer.submodules
    parts.input_layernorm = parts.pre_mlp_layernorm = RMSNorm
    attention = parts.self_attention.submodules
    attention.core_attention = SDPAttention
    if spec.qk_norm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    if lora:
        adapt(layer, spec, lora)
    n = get_num_layers_to_build(config, vp_stage=None, pp_rank=ps.get_pipeline_model_parallel_rank())
    return TransformerBlockSubmodules(layer_specs=[layer] * n, layer_norm=RMSNorm)


def _differentiable(_: Any, __: Any, embedded: Tensor) -> Tensor:
    """Lets gradients begin at the embedding's output where the embedding itself is frozen: recomputation (Megatron's CheckpointFunction) takes a
    layer's output for a constant when no input of the layer wants a gradient, and nothing in it would be trained, without an error."""
    return embedded.requires_grad_() if torch.is_grad_enabled() and not embedded.requires_grad else embedded


def build(spec: ModelSpec, config: TransformerConfig, context: int, lora: Lora | None = None) -> LanguageModel:
    """This rank's part of the model, weights not set yet. Needs Megatron's parallel state."""
    model = LanguageModel(
        config=config,
        transformer_layer_spec=layer_spec(spec, config, lora),
        vocab_size=spec.vocab,
        max_sequence_length=context,
        pre_process=ps.is_pipeline_first_stage(),
        post_process=ps.is_pipeline_last_stage(),
        parallel_output=True,
        share_embeddings_and_output_weights=spec.tied,
        position_embedding_type="rope",
        rotary_base=spec.rope_theta,
        rope_scaling=spec.rope_scaling == "llama3",
        rope_scaling_factor=spec.rope_factor,
        seq_len_interpolation_factor=spec.rope_factor if spec.rope_scaling == "linear" else None,
    )
    if model.pre_process:
        model.embedding.register_forward_hook(_differentiable)
    for name, p in model.named_parameters():
        # Megatron marks experts as such only where ep > 1. Unmarked, they are reduced with the dense parameters: under
        # tp > 1 that gives wrong gradients without an error, and their optimizer state fits no other layout.
        # And it takes those of other tensor ranks for copies that the gradient norm leaves out, while they are
        # other experts or other shards: the norm, and so the clipping, would be wrong under tp > 1.
        if ".experts." in name:
            p.allreduce = False
            p.tensor_model_parallel = True
    return model.cuda() if CUDA else model


FROZEN = {"router": (".router.",), "embeddings": ("word_embeddings.", "output_layer.")}
"""What can be kept from training → parts of its parameters' names."""


def freeze(model: LanguageModel, what: tuple[str, ...]) -> None:
    """Takes parameters out of training: they get no gradient and no optimizer state, and are exported as they were loaded."""
    parts = [part for name in what for part in FROZEN[name]]
    for name, p in model.named_parameters():
        if any(part in name for part in parts):
            p.requires_grad_(False)


def with_optimizer(
    model: LanguageModel, config: TransformerConfig, clip: float, weight_decay: float
) -> tuple[DistributedDataParallel, MegatronOptimizer]:
    """The model in its gradient buffers, and AdamW with its state spread over data-parallel ranks.

    The learning rate is set before each step by the caller.
    """
    inner = Float16Module(config, model) if config.bf16 else model
    buffers = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True, overlap_grad_reduce=False, use_distributed_optimizer=True
    )
    ddp = DistributedDataParallel(config, buffers, inner)
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam",
            lr=0.0,
            weight_decay=weight_decay,
            adam_beta1=0.9,
            adam_beta2=0.95,
            adam_eps=1e-8,
            bf16=config.bf16,
            params_dtype=config.params_dtype,
            use_distributed_optimizer=True,
            clip_grad=clip,
        ),
        [ddp],
    )
    used = [part for part in optimizer.chained_optimizers if not part.is_stub_optimizer]
    if len(used) < len(optimizer.chained_optimizers):  # nothing of dense layers is trained; saving such a part fails in ChainedOptimizer
        optimizer = ChainedOptimizer(used)
    if not CUDA:
        cpu.fuse(optimizer)
    config.finalize_model_grads_func = finalize_model_grads
    config.grad_scale_func = optimizer.scale_loss
    return ddp, optimizer


def release(ddp: DistributedDataParallel) -> None:
    """Lets a model that is no longer used be collected.

    Each parameter's gradient accumulator holds a hook, and the hook the whole model. Where the optimizer's shards are views of the
    parameters (fp32), they hold the accumulators, and Python's collector does not see that circle: the model would stay, and with it
    the process groups that its modules refer to, each of which has three threads with gloo.
    """
    for accumulator in ddp.grad_accs:
        hooks = accumulator.register_hook(lambda *_: None).hooks_dict_ref()
        if hooks is not None:
            hooks.clear()
    ddp.grad_accs.clear()
