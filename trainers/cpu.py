"""All that differs without CUDA: running megatron-core 0.16.1 on CPU with gloo.

1. `install()` puts a finder in front of Python's own. It looks at `megatron.core.*` only; torch, transformers and
   vLLM in the same process are never touched. With CUDA it steps aside at the first look.
2. A listed module (`trainers.cpu_counts`) is compiled from rewritten source. The rewrites are the regular
   expressions in `RULES`; the number of substitutions must be exactly the listed one, else the import fails: another
   release needs another look, not a guess.
3. What text cannot mend is patched right after a module was executed (`PATCHES`).
4. A process spawned by `multiprocessing` gets the hook before it unpickles anything else.
5. Attention and norms that have no CPU form in megatron-core are in `trainers.cpu_layers`.

What fails without each part (megatron-core 0.16.1, torch 2.13 without CUDA):

| part                            | without it                                                                         |
|---------------------------------|------------------------------------------------------------------------------------|
| rule `current_device`           | "Torch not compiled with CUDA enabled" where buffers are made: router, DDP, norms   |
| rule `Stream`, `synchronize` …  | the same in the token dispatcher, pipeline communication and checkpoint writer      |
| rule `device="cuda"`            | the same in schedules, gradient norm, checkpoint exchange                           |
| rule `torch.cuda.FloatTensor`   | the optimizers refuse CPU parameters: "wrapped parameters must be …"                |
| rule `.cuda()`                  | tied embeddings over pipeline stages, broadcast of data                             |
| rule RNG                        | seeding and activation recomputation                                                |
| patch `jit`                     | every fused function is compiled by inductor, a C++ build for each shape            |
| patch `moe_utils`               | NameError: te_general_gemm (the name is bound only where TE is installed)           |
| patch `token_dispatcher`        | a side stream for device-to-host copies; gloo wants split sizes as integers         |
| patch `random`                  | torch.cuda.default_generators is empty                                              |
| patch `distrib_optimizer` (1)   | loading a checkpoint: KeyError 'step' (torch's AdamW keeps it as a state, TE not)   |
| patch `distrib_optimizer` (2)   | all parameters share one `step` tensor after loading: AdamW advances it once for    |
|                                 | each of them, and a resumed run differs without an error                            |
| patch `param_and_grad_buffer`   | a group of one rank, as of all ranks that share no weight with another, sends its   |
|                                 | gradients and weights to itself: a fifth of a step of 373M parameters               |
| patch `clip_grads`              | each gradient is multiplied into a new tensor, then copied                          |
| `fused` AdamW                   | a pass over memory for each operation of the formula instead of one for all         |
| patch `filesystem_async`        | each save forks writers out of a process with gloo and Ray threads, which can hang  |
| cpu_layers.SDPAttention         | the local attention refuses packed sequences and makes all scores at once           |
| cpu_layers.RMSNorm              | the local norm refuses sequence parallelism                                         |
| `adam_state` before loading     | the distributed optimizer asserts a common 'step' in a state that does not exist    |
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import re
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from prstack.errors import UserError
from trainers.cpu_counts import COUNTS

VERSION = "0.16.1"

RULES: list[tuple[re.Pattern, str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"torch\.cuda\.current_device\b", "torch.cpu.current_device"),
        (
            r"torch\.cuda\.(synchronize|Stream|current_stream|stream|Event|set_device|device_count)\b",
            r"torch.cpu.\1",
        ),
        (r"torch\.cuda\.default_stream\b", "torch.cpu.current_stream"),
        (r"""device\s*=\s*(['"])cuda\1""", r"device=\1cpu\1"),
        (r"""init_data\((['"])cuda\1\)""", r"init_data(\1cpu\1)"),
        (r"""(['"])torch\.cuda\.(Half|BFloat16|Float)Tensor\1""", r"\1torch.\2Tensor\1"),
        (r"\.cuda\([^()]*(?:\(\))?\)", ".cpu()"),
        (r"torch\.cuda\.(get_rng_state|manual_seed)\b", r"torch.\1"),
    ]
]


def rewrite(source: str) -> tuple[str, int]:
    """Megatron source for a machine without CUDA, and the number of substitutions."""
    total = 0
    for pattern, replacement in RULES:
        source, n = pattern.subn(replacement, source)
        total += n
    return source, total


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles rewritten source, past the .pyc cache, and patches the module after it was executed."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        source, n = rewrite(self.get_data(path).decode())
        if n != COUNTS.get(fullname, 0):
            raise ImportError(
                f"{fullname}: {n} substitutions for CPU where {COUNTS.get(fullname, 0)} were expected; the file is not "
                f"the one of megatron-core {VERSION} (reinstall it)"
            )
        return compile(source, path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        if module.__name__ in PATCHES:
            PATCHES[module.__name__](module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `megatron.core.*` modules that need another source or a patch. `active` is known at the first look."""

    active: bool | None = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith("megatron.core"):
            return None
        if self.active is None:
            import torch

            self.active = not torch.cuda.is_available()
            if self.active:
                _check_version()
                warnings.filterwarnings("ignore", message="(Transformer Engine and )?Apex (are|is) not installed")
        if not self.active or (name not in COUNTS and name not in PATCHES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _check_version() -> None:
    try:
        found = importlib.metadata.version("megatron-core")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"training needs megatron-core {VERSION}: pip install megatron-core=={VERSION}") from None
    if found != VERSION:
        raise UserError(f"training on CPU is made for megatron-core {VERSION} exactly; {found} is installed")


def install() -> None:
    """Puts the hook in place, here and in processes that `multiprocessing` spawns from here. Idempotent.

    Raises ImportError when a module that needs rewriting is already loaded, on a machine without CUDA.
    """
    if any(isinstance(f, _Finder) for f in sys.meta_path):
        return
    early = [m for m in COUNTS if m in sys.modules]
    if early:
        import torch

        if not torch.cuda.is_available():
            raise ImportError(f"import trainers before megatron.core ({early[0]} is loaded already)")
    sys.meta_path.insert(0, _Finder())
    _follow_spawn()


class _InstallInChild:
    """Unpickles by importing this package, after giving the child the parent's import path."""

    def __reduce__(self) -> tuple:
        return exec, (f"import sys\nsys.path[:] = {sys.path!r}\nimport trainers\n",)


def _follow_spawn() -> None:
    from multiprocessing import spawn

    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict:
        return {**original(name), "trainers": _InstallInChild()}

    spawn.get_preparation_data = get_preparation_data


# --- patches ---------------------------------------------------------------------------------------------------
def _jit(m: types.ModuleType) -> None:
    m.disable_jit_fuser()


def _moe_utils(m: types.ModuleType) -> None:
    if not hasattr(m, "te_general_gemm"):
        m.te_general_gemm = None


def _token_dispatcher(m: types.ModuleType) -> None:
    def to_host(self: Any, point: str, tokens_per_expert: Any = None) -> Any:
        if point == self.cuda_dtoh_point and not self.drop_and_pad:
            for name in ("input_splits", "output_splits", "output_splits_tp"):
                value = getattr(self, name)
                if hasattr(value, "numpy"):
                    setattr(self, name, value.numpy())
        return tokens_per_expert

    m.MoEAlltoAllTokenDispatcher._maybe_dtoh_and_synchronize = to_host


def _random(m: types.ModuleType) -> None:
    import torch

    m._get_cuda_rng_state = lambda device="cpu", clone=False, graph_safe=False: torch.get_rng_state()
    m._set_cuda_rng_state = lambda state, device=-1, graph_safe=False: torch.set_rng_state(state)


def _distrib_optimizer(m: types.ModuleType) -> None:
    import torch

    cls = m.DistributedOptimizer
    set_states, load = cls._set_main_param_and_optimizer_states, cls.load_state_dict

    @torch.no_grad()  # the fp32 shards are views that require gradients
    def set_with_step(self: Any, model_param: Any, tensors: dict) -> None:
        group, order = self.model_param_group_index_map[model_param]
        state = self.optimizer.state[self.optimizer.param_groups[group]["params"][order]]
        return set_states(self, model_param, {"step": state["step"], **tensors})

    def load_with_own_steps(self: Any, state_dict: Any) -> None:
        load(self, state_dict)
        for state in self.optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"].clone()

    cls._set_main_param_and_optimizer_states = set_with_step
    cls.load_state_dict = load_with_own_steps


def _param_and_grad_buffer(m: types.ModuleType) -> None:
    """What a collective of one rank would write is there already: its output and its input are the same memory."""
    from contextlib import nullcontext

    def unless_alone(collective: Callable) -> Callable:
        def call(output: Any, into: Any, group: Any, **rest: Any) -> Any:
            return collective(output, into, group=group, **rest) if group.size() > 1 else None

        return call

    together = m._coalescing_manager
    m.dist_reduce_scatter_func, m.dist_all_gather_func = unless_alone(m.dist_reduce_scatter_func), unless_alone(m.dist_all_gather_func)
    m._coalescing_manager = lambda group, **rest: together(group, **rest) if group.size() > 1 else nullcontext()


def _clip_grads(m: types.ModuleType) -> None:
    import torch

    def scale(chunk_size: Any, noop: Any, tensors: list[list[Any]], factor: float) -> None:
        for source, target in zip(*tensors, strict=True):
            torch.mul(source, factor, out=target)

    m.multi_tensor_scale_impl = scale


def _filesystem_async(m: types.ModuleType) -> None:
    import queue

    def write_here(transforms: list, use_msc: bool, rank: int, buckets: list, results: queue.Queue) -> None:
        done: dict | Exception = {}
        for i, bucket in enumerate(buckets):
            local, count = queue.Queue(), queue.Queue()
            count.put(i)
            m.FileSystemWriterAsync.write_preloaded_data(transforms, i, bucket, local, count, use_fsync=True)
            _, outcome = local.get()
            if isinstance(outcome, Exception):
                done = outcome
                break
            done[i] = outcome
        results.put(done)

    m._get_write_results_queue = queue.Queue
    m.FileSystemWriterAsync.write_preloaded_data_multiproc = staticmethod(write_here)


PATCHES: dict[str, Callable[[types.ModuleType], None]] = {
    "megatron.core.jit": _jit,
    "megatron.core.transformer.moe.moe_utils": _moe_utils,
    "megatron.core.transformer.moe.token_dispatcher": _token_dispatcher,
    "megatron.core.tensor_parallel.random": _random,
    "megatron.core.distributed.param_and_grad_buffer": _param_and_grad_buffer,
    "megatron.core.optimizer.clip_grads": _clip_grads,
    "megatron.core.optimizer.distrib_optimizer": _distrib_optimizer,
    "megatron.core.dist_checkpointing.strategies.filesystem_async": _filesystem_async,
}


def fuse(optimizer: Any) -> None:
    """Has torch's AdamW do its step in one pass over memory (its `fused`)."""
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        for group in part.optimizer.param_groups if part.optimizer is not None else []:
            group["fused"] = True


def adam_state(optimizer: Any) -> None:
    """Makes the zero state of torch's AdamW, which is otherwise made in the first step, so that one can be loaded."""
    import torch

    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        adam = part.optimizer
        for group in adam.param_groups if adam is not None else []:
            for p in group["params"]:
                if not adam.state[p]:
                    adam.state[p] = {
                        "step": torch.tensor(0.0),
                        "exp_avg": torch.zeros_like(p.data),
                        "exp_avg_sq": torch.zeros_like(p.data),
                    }
