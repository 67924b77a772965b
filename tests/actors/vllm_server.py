"""vLLM's own OpenAI server on loopback, as a process of its own with a model of prstack's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.vllm_engine import runtime_env
from prstack.stages.models import resolve_model

FLAGS = ["--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill", "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--generation-config", "vllm"]


@contextmanager
def serve(model: str, log: Path, length: int, dtype: str = "float32") -> Iterator[str]:
    """The base URL of a server of `model` with a context of `length` tokens; with the block the server ends, and all that it started."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(resolve_model(model)), "--served-model-name", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--max-model-len", str(length), "--max-num-batched-tokens", str(max(length, 2048))]
    command += ["--kv-cache-memory-bytes", str(256 << 20), *FLAGS]
    with log.open("w") as out:
        server = subprocess.Popen(command, env=os.environ | runtime_env()["env_vars"], stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for _ in range(240):
            if server.poll() is not None:
                raise AssertionError(log.read_text()[-4000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        else:
            raise AssertionError(f"the server does not answer: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(30)
