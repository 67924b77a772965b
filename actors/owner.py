"""Processes that vLLM starts end when the engine actor that started them does.

vLLM's engine core is a child process of the actor. When the actor is killed (by Ray, by the kernel for memory), vLLM
itself does not notice, and the child would keep its memory for ever. vLLM sends its configuration, pickled, to each
process that it starts, and leaves room in it for an object of ours: reading `Owner` in another process starts a thread
there that waits for the end of the actor's process and then ends its own. That is the first thing such a process does,
long before it loads a model. It also leaves its process group, so that Ctrl-C in a terminal reaches the owner alone, which
may have something to go on with, and asks for the processor's tile registers (AMX).
"""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import suppress


class Owner:
    """vLLM's `additional_config`: the process that it is made in owns every process that it is sent to."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> tuple:
        return _received, (self.pid,)

    def compute_hash(self) -> str:
        """vLLM keys compiled models by its configuration; who owns them makes no difference."""
        return "owner"


def _received(pid: int) -> Owner:
    owner = Owner()
    if pid != owner.pid:
        end_with(pid)
        with suppress(PermissionError):  # the leader of a session stays where it is
            os.setpgid(0, 0)
        allow_amx()
        owner.pid = pid
    return owner


def allow_amx() -> None:
    """Linux lets a process use AMX only after it has asked. vLLM 0.32.0 picks its AMX kernels for attention in bfloat16 wherever the processor
    has them and leaves the asking to oneDNN, which does so before its own first use; where a model is too small for that, attention comes first
    and the process ends with SIGILL, without a word."""
    import torch

    torch.cpu._init_amx()  # False where there is no AMX


def end_with(pid: int) -> None:
    """Ends this process as soon as process `pid` has ended."""
    try:
        owner = os.pidfd_open(pid)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        return
    threading.Thread(target=_wait, args=(owner,), name="end-with-owner", daemon=True).start()


def _wait(owner: int) -> None:
    select.select([owner], [], [])  # the descriptor of a process is readable once it has ended
    os.kill(os.getpid(), signal.SIGKILL)
