"""Groups of ranks: Ray actors in a placement group, or one rank in this process. Both have the same methods.

1. A placement group reserves one CPU (or GPU) a rank, as close together as they fit; each actor hosts a `Worker`.
2. Rank 0 opens the rendezvous on a free port: 127.0.0.1 when all ranks are on one machine, else its node's address.
3. Every call goes to all ranks at once. The first failure ends the wait: ranks that merely lost their peer are told
   apart from the one that failed, and the error carries its rank and its own traceback.
4. A group in which some ranks failed and others did not is broken, because the others wait in a collective; it is
   killed by its handles. Nothing else on the machine is touched.
5. A group can be closed when Ray itself is gone (a signal to all processes of the machine): what it would ask of Ray is then left out,
   because Ray's own calls wait a minute for its control service, and end the process with 1 when it does not come back.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from prstack.errors import UserError
from prstack.store.published import Published
from trainers.losses import Loss
from trainers.worker import CUDA, SFT, Setup, Worker

GRACE = 5.0
"""Seconds after a first failure in which another rank may report the cause."""
PROBE, FAREWELL, RELEASE = 2.0, 10.0, 5.0
"""Seconds, when a group is closed: for Ray's control service to take a connection, for ranks to leave, for their resources to be given back."""

_PEER_LOST = ("connection closed by peer", "connection reset", "broken pipe", "connection refused", "remote process exited")


class WorkerError(Exception):
    """A rank failed. The message names it, and ends with its traceback."""


class RankLost(WorkerError):
    """A rank's process is gone: killed, out of memory, or its node with it. What it computed can be computed again."""


class _Actor(Worker):
    """A worker that can say where it runs."""

    def node(self) -> str:
        return ray.util.get_node_ip_address()

    def process(self) -> int:
        return os.getpid()


class Group(ABC):
    """What both kinds of group do; `_call` runs a method on every rank and returns the results by rank."""

    ranks: int
    dp: int = 1
    _dp_rank: list[int]

    @abstractmethod
    def _call(self, method: str, args: list[tuple]) -> list[Any]:
        """Runs a method on every rank with its own arguments."""

    def _all(self, method: str, *args: Any) -> list[Any]:
        return self._call(method, [args] * self.ranks)

    def setup(self, setup: Setup, weights_from_base: bool = True) -> list[dict[str, int]]:
        """Builds the model on all ranks (`Worker.setup`)."""
        if setup.layout.ranks != self.ranks:
            raise UserError(f"the layout has {setup.layout.ranks} ranks, the group {self.ranks}")
        info = self._all("setup", setup, weights_from_base)
        self._dp_rank, self.dp = [i["dp_rank"] for i in info], info[0]["dp"]
        return info

    def step(self, shares: list[list[list[Any]]], lr: float, loss: Loss = SFT) -> dict[str, Any]:
        """One optimizer step; `shares[dp rank][micro-batch]` are packs. Returns `Worker.step`'s metrics."""
        shares = self._share(shares)
        return self._call("step", [(shares[d], lr, loss) for d in self._dp_rank])[0]

    def forward(self, shares: list[list[list[Any]]], reference: bool = False, temperature: float = 1.0) -> list[list[list[list[float]]]]:
        """Log-probabilities of the labels, [dp rank][micro-batch][pack][token]; `reference`: by the weights that training began with;
        `temperature`: of logits over it."""
        return self._by_dp("forward", shares, reference, temperature)

    def logits(self, shares: list[list[list[Any]]]) -> list[list[Any]]:
        """Logits [t, v], [dp rank][micro-batch] (`Worker.logits`)."""
        return self._by_dp("logits", shares)

    def _by_dp(self, method: str, shares: list[list[list[Any]]], *more: Any) -> list[Any]:
        """What the last pipeline stage of each data-parallel rank answers."""
        shares = self._share(shares)
        out: list[Any] = [None] * self.dp
        for d, result in zip(self._dp_rank, self._call(method, [(shares[d], *more) for d in self._dp_rank])):
            out[d] = result if result is not None else out[d]
        return out

    def gradients(self) -> dict[str, Any]:
        """The gradients of the last step under their Hugging Face names (`Worker.gradients`)."""
        return self._all("gradients")[0]

    def _share(self, shares: list[Any]) -> list[Any]:
        if len(shares) != self.dp:
            raise ValueError(f"{len(shares)} shares for {self.dp} data-parallel ranks")
        return shares

    def save(self, folder: Path, state: dict[str, Any], keep: int) -> str:
        """Writes a checkpoint; returns its folder."""
        return self._all("save", str(folder), state, keep)[0]

    def load(self, path: Path) -> dict[str, Any]:
        """Takes up a checkpoint; returns the state it was saved with."""
        return self._all("load", str(path))[0]

    def export(self, folder: Path, dtype: str | None = None) -> None:
        """Writes a Hugging Face folder."""
        self._all("export", str(folder), dtype)

    def export_adapter(self, folder: Path) -> None:
        """Writes the adapters in PEFT's format (`trainers.lora.export_adapter`)."""
        self._all("export_adapter", str(folder))

    def publish(self, folder: Path, version: str, bucket_mb: float = 256) -> Published:
        """Writes the weights for engines under a name of their own, `bucket_mb` MiB at a time, which is also the memory that it takes:
        `EnginePool.update_weights(folder, version, checksum)` brings them there. The folder appears whole or not at all. A spare version
        beside it is written over (`prstack.store.published.retire`)."""
        return self._all("publish", str(folder), version, int(bucket_mb * 2**20))[0]

    def memory_mb(self) -> list[float]:
        """Peak resident memory of each rank, in MiB."""
        return self._all("memory_mb")

    @abstractmethod
    def close(self) -> None:
        """Ends the ranks."""

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Local(Group):
    """One rank in this process."""

    def __init__(self, threads: int = 1):
        self.ranks = 1
        self._worker = Worker(0, 1, threads)
        self._worker.join()

    def _call(self, method: str, args: list[tuple]) -> list[Any]:
        return [getattr(self._worker, method)(*args[0])]

    def close(self) -> None:
        self._worker.close()


class RayGroup(Group):
    """Ranks as Ray actors. Needs an initialised Ray; raises UserError when it has too few CPUs or GPUs."""

    def __init__(self, ranks: int, threads: int = 1, cpus: float | None = None, start_timeout: float = 180.0):
        """`cpus`: reserved for each rank; as many as it has threads by default."""
        self.ranks, self._broken = ranks, False
        self._workers: list[Any] = []
        self._pg = None
        unit = {"CPU": cpus or float(threads)} | ({"GPU": 1.0} if CUDA else {})
        for name, each in unit.items():
            have = ray.cluster_resources().get(name, 0)
            if have < ranks * each:
                raise UserError(f"training with {ranks} ranks needs {ranks * each:g} {name}s, the Ray cluster has {have:g}")
        self._pg = placement_group([unit] * ranks, strategy="PACK")
        try:
            ray.get(self._pg.ready(), timeout=start_timeout)
            cls, tag = ray.remote(_Actor), f"prstack-{uuid.uuid4().hex[:8]}"
            for rank in range(ranks):
                where = PlacementGroupSchedulingStrategy(self._pg, placement_group_bundle_index=rank)
                options = {"name": f"{tag}-rank-{rank}", "num_cpus": unit["CPU"], "num_gpus": unit.get("GPU", 0), "scheduling_strategy": where}
                self._workers.append(cls.options(**options).remote(rank, ranks, threads))
            nodes = self._all("node")
            host = "127.0.0.1" if len(set(nodes)) == 1 else nodes[0]
            port = ray.get(self._workers[0].listen.remote(host), timeout=start_timeout)
            self._all("join", host, port)
        except GetTimeoutError:
            self.close()
            raise UserError(f"no room for {ranks} ranks within {start_timeout:g} s: other work holds the CPUs or GPUs") from None
        except BaseException:
            self.close()
            raise

    def _share(self, shares: list[Any]) -> list[Any]:
        return [ray.put(s) for s in super()._share(shares)]

    def _call(self, method: str, args: list[tuple]) -> list[Any]:
        if self._broken:
            raise WorkerError("this group of ranks has failed; start a new one from the last checkpoint")
        waiting = {getattr(w, method).remote(*a): rank for rank, (w, a) in enumerate(zip(self._workers, args))}
        results: list[Any] = [None] * self.ranks
        errors: dict[int, Exception] = {}
        deadline = None
        while waiting and (deadline is None or time.monotonic() < deadline):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=left)
            for ref in done:
                rank = waiting.pop(ref)
                try:
                    results[rank] = ray.get(ref)
                except (RayTaskError, RayActorError) as e:
                    errors[rank] = e
                    deadline = deadline or time.monotonic() + GRACE
        if not errors:
            return results
        if len(errors) < self.ranks or any(isinstance(e, RayActorError) for e in errors.values()):
            self._broken = True
            self.close()
        raise _cause(method, errors)

    def close(self) -> None:
        """Ends the actors by handle and gives the placement group back. Safe to call twice, and where Ray is gone, which takes them along."""
        workers, self._workers = self._workers, []
        reserved, self._pg = self._pg, None
        broken, self._broken = self._broken, True
        if (not workers and reserved is None) or not _ray_answers():
            return
        if workers and not broken:
            farewell, deadline = [w.close.remote() for w in workers], time.monotonic() + FAREWELL
            while farewell and time.monotonic() < deadline:
                _, farewell = ray.wait(farewell, num_returns=len(farewell), timeout=1.0)
                if farewell and not _ray_answers():
                    return
        # Ray may go between the two, and then these calls do not come back.
        releasing = threading.Thread(target=_release, args=(workers, reserved), daemon=True)
        releasing.start()
        releasing.join(RELEASE)


def _ray_answers() -> bool:
    """Whether Ray's control service takes a connection. Not for clients of Ray's own proxy (`ray://`), which know no address of it: there True."""
    if not ray.is_initialized():
        return False
    host, _, port = (ray.get_runtime_context().gcs_address or "").rpartition(":")
    if not port.isdecimal():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE).close()
    except OSError:
        return False
    return True


def _release(workers: list[Any], reserved: Any) -> None:
    """Kills actors and gives their placement group back."""
    with suppress(RayError):
        for w in workers:
            ray.kill(w, no_restart=True)
        if reserved is not None:
            remove_placement_group(reserved)


def _cause(method: str, errors: dict[int, Exception]) -> Exception:
    """The error to show: a rank's own before those of ranks that lost a peer; a user's mistake as such."""

    def order(item: tuple[int, Exception]) -> tuple[bool, bool, int]:
        rank, e = item
        text = str(e).lower()
        return any(p in text for p in _PEER_LOST), isinstance(e, RayActorError), rank

    rank, error = min(errors.items(), key=order)
    if isinstance(error, RayActorError):
        reason = str(error).strip().splitlines()
        return RankLost(
            f"rank {rank} died in {method} (killed, or out of memory); start again to go on from the last checkpoint\n"
            + "\n".join(reason)
        )
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, UserError | ArithmeticError):
        return cause
    return WorkerError(f"rank {rank} failed in {method}: {type(cause).__name__}: {cause}\n{error}")


def start(setup: Setup, checkpoints: Path | None = None, threads: int = 1, local: bool = False) -> tuple[Group, dict | None]:
    """A group with a model in it, from the newest checkpoint in `checkpoints` if there is one, else from the base.

    Returns the group and the state that the checkpoint was saved with (None at the beginning). `local` runs the single
    rank of a one-rank layout in this process.
    """
    from trainers.checkpoint import latest
    from trainers.spec import ModelSpec

    setup.layout.check(ModelSpec.from_hf(setup.base), setup.context)
    group = Local(threads) if local else RayGroup(setup.layout.ranks, threads)
    try:
        found = latest(checkpoints) if checkpoints else None
        group.setup(setup, weights_from_base=found is None)
        return group, group.load(found) if found else None
    except BaseException:
        group.close()
        raise
