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
