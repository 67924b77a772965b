"""The import hook: what it rewrites, when it refuses, and that spawned children have it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import multiprocessing
from pathlib import Path

import pytest
import torch

from prstack.errors import UserError
from trainers import cpu
from trainers.cpu_counts import COUNTS

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="the hook steps aside with CUDA")


def test_counts_are_those_of_the_installed_package() -> None:
    for module, count in COUNTS.items():
        path = Path(importlib.metadata.distribution("megatron-core").locate_file(module.replace(".", "/")))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        assert cpu.rewrite(file.read_text())[1] == count, module


@no_cuda
def test_another_count_fails_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    import megatron.core  # noqa: F401 - it imports the module, which has to have happened with the right count

    monkeypatch.setitem(cpu.COUNTS, "megatron.core.timers", 99)
    spec = importlib.util.find_spec("megatron.core.timers")
    finder = next(f for f in __import__("sys").meta_path if isinstance(f, cpu._Finder))
    spec = finder.find_spec("megatron.core.timers", __import__("megatron.core", fromlist=["x"]).__path__)
    with pytest.raises(ImportError, match="3 substitutions for CPU where 99 were expected"):
        spec.loader.get_code("megatron.core.timers")


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.17.0")
    with pytest.raises(UserError, match=r"0\.16\.1 exactly; 0\.17\.0 is installed"):
        cpu._check_version()


def test_other_packages_are_left_alone() -> None:
    finder = cpu._Finder()
    assert finder.find_spec("torch.cuda") is None and finder.find_spec("megatron") is None


@no_cuda
def test_a_spawned_child_has_the_hook() -> None:
    """The target is Megatron's own function, so that unpickling it imports a rewritten module first thing."""
    from megatron.core.utils import divide

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(divide, (6, 3)) == 2
        assert pool.apply(_loader_of, ("megatron.core.utils",)) == "_Loader"


def _loader_of(module: str) -> str:
    return type(__import__("sys").modules[module].__spec__.loader).__name__


@no_cuda
def test_a_group_of_one_rank_sends_itself_nothing() -> None:
    """Its output is its input; a group of two does communicate (that it is right is `test_parity.py`'s)."""
    from megatron.core.distributed import param_and_grad_buffer as buffers

    class Group:
        def __init__(self, ranks: int):
            self.size = lambda: ranks

    values = torch.arange(4.0)
    with buffers._coalescing_manager(Group(1), async_ops=False):
        assert buffers.dist_reduce_scatter_func(values, values, op=None, group=Group(1), async_op=False) is None
        assert buffers.dist_all_gather_func(values, values, group=Group(1), async_op=False) is None
    assert values.tolist() == [0, 1, 2, 3]
    with pytest.raises(AttributeError, match="reduce_scatter"):  # this is no group that can, but it was asked
        buffers.dist_reduce_scatter_func(values, values, group=Group(2))


@no_cuda
def test_gradients_are_clipped_in_place() -> None:
    from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32

    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([3.0, 0.0, 4.0])
    memory = weight.grad.data_ptr()
    clip_grad_by_total_norm_fp32([weight], 1.0, 5.0)
    assert weight.grad.data_ptr() == memory
    assert torch.allclose(weight.grad, torch.tensor([0.6, 0.0, 0.8]))


def test_adamw_fused_is_adamw() -> None:
    """The same numbers as the formula in single passes, to rounding."""
    torch.manual_seed(0)
    start, gradients = torch.randn(1000), torch.randn(20, 1000)
    ends = []
    for fused in (False, True):
        weight = torch.nn.Parameter(start.clone())
        adam = torch.optim.AdamW([weight], lr=0.0, weight_decay=0.1, betas=(0.9, 0.95))
        if fused:
            cpu.fuse(type("Part", (), {"optimizer": adam}))
            assert adam.param_groups[0]["fused"]
        adam.param_groups[0]["lr"] = 1e-3
        for gradient in gradients:
            weight.grad = gradient.clone()
            adam.step()
        ends.append(weight.detach())
    assert not torch.equal(ends[0], start) and (ends[0] - ends[1]).abs().max() < 1e-6
