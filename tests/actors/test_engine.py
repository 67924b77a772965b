import pickle
import subprocess
import sys

import pytest

from actors.engine import EngineError


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(EngineError("context", "too long")))
    assert (error.kind, error.message, str(error)) == ("context", "too long", "context: too long")
    with pytest.raises(ValueError, match="unknown kind"):
        EngineError("oops", "x")


def test_the_interface_needs_neither_ray_nor_vllm():
    code = "import actors.engine, sys; print(sorted({'ray', 'vllm', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_engine_module_imports_vllm_only_when_an_engine_is_made():
    code = "import actors.vllm_engine, sys; print(sorted({'vllm', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
