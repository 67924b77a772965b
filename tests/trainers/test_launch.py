"""Groups of ranks: errors arrive with rank and traceback, nothing hangs, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prstack.errors import UserError
from tests.trainers.models import make, make_packs
from trainers.layout import Layout
from trainers.worker import Setup


def test_more_ranks_than_cpus_are_refused(ray_local: None) -> None:
    from trainers.launch import RayGroup

    with pytest.raises(UserError, match="9 ranks needs 9 CPUs, the Ray cluster has 2"):
        RayGroup(9)


@pytest.mark.slow
def test_a_failing_rank_is_named_with_its_traceback_and_the_other_does_not_hang(ray_local: None, tmp_path: Path) -> None:
    from ray.util import list_named_actors, placement_group_table

    from trainers.launch import RayGroup, WorkerError

    make("mixtral", tmp_path)
    others = set(list_named_actors())
    group = RayGroup(2, cpus=0.5)
    assert len(set(list_named_actors()) - others) == 2
    group.setup(Setup(str(tmp_path), Layout(2, ep=2)))
    packs = make_packs(2)
    packs[1].loss_mask = None
    start = time.monotonic()
    with pytest.raises(WorkerError) as e:
        group.step([[[packs[0]]], [[packs[1]]]], lr=1e-3)
    assert time.monotonic() - start < 30
    text = str(e.value)
    assert text.startswith("rank 1 failed in step: TypeError: 'NoneType' object is not subscriptable")
    assert "in labels_of" in text and "batches.py" in text
    with pytest.raises(WorkerError, match="start a new one"):
        group.step([[[packs[0]]], [[packs[0]]]], lr=1e-3)
    group.close()
    assert set(list_named_actors()) == others
    live = [p for p in placement_group_table().values() if p["state"] == "CREATED"]
    assert len(live) <= 1  # the shared pair's


@pytest.mark.slow
def test_a_user_s_mistake_leaves_the_group_alive_and_a_killed_rank_is_named(ray_local: None, tmp_path: Path) -> None:
    import ray

    from trainers.launch import RayGroup, WorkerError

    make("mixtral", tmp_path)
    setup = Setup(str(tmp_path), Layout(2, ep=2))
    config = json.loads((tmp_path / "config.json").read_text())
    with RayGroup(2, cpus=0.5) as group:
        (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["FalconForCausalLM"]}))
        with pytest.raises(UserError, match="architecture FalconForCausalLM is not supported"):
            group.setup(setup)
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert [i["dp_rank"] for i in group.setup(setup)] == [0, 1]
        os.kill(ray.get(group._workers[1].process.remote()), signal.SIGKILL)
        with pytest.raises(WorkerError, match="rank 1 died in step"):
            group.step([[[p]] for p in make_packs(2)], lr=1e-3)


WITHOUT_RAY = """
import sys, time
import psutil
from prstack.settings import RayConfig
from prstack.stages.cluster import ray_session
from trainers.launch import RayGroup

with ray_session(RayConfig(num_cpus=1, object_store_mb=80, dashboard=False)):
    group = RayGroup(1)
    for process in psutil.Process().children(recursive=True):
        if process.name() in ("gcs_server", "raylet"):
            process.kill()
    begun = time.monotonic()
    group.close()
    group.close()
    print("closed in", time.monotonic() - begun, flush=True)
sys.exit(143)
"""


@pytest.mark.slow
def test_a_group_is_closed_at_once_where_ray_is_gone() -> None:
    """Ray's own calls would wait a minute, and then end the process with 1."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, timeout=500)
    assert done.returncode == 143, done.stderr[-3000:]
    assert float(done.stdout.rpartition("closed in ")[2]) < 20


def test_a_model_that_was_replaced_leaves_no_thread_and_no_tensor(local, pair, tmp_path: Path) -> None:
    """Each group of processes has three threads with gloo, and Megatron makes twenty for each model."""
    import gc

    import torch

    make("mixtral", tmp_path)

    def threads() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/task")) for pid in [os.getpid(), *pair._all("process")]]

    def build() -> None:
        local.setup(Setup(str(tmp_path)))
        local.step([[[p] for p in make_packs(1)]], lr=1e-3)
        pair.setup(Setup(str(tmp_path), Layout(2, ep=2)))

    def parameters() -> int:
        gc.collect()
        return sum(isinstance(o, torch.nn.Parameter) for o in gc.get_objects())

    build()
    before, tensors = threads(), parameters()
    build()
    build()
    assert all(now < then + 20 for now, then in zip(threads(), before)), f"threads: {before}, later {threads()}"
    assert parameters() == tensors
