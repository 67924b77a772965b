"""`prstack doctor`: what it finds, what it misses, and that it only looks."""

import importlib.util
import subprocess
import sys

import pytest

from prstack.settings import Config, RayConfig, TrackingConfig
from prstack.stages import doctor as room
from prstack.stages.doctor import Check, doctor, look


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {c.name: c for c in checks}


def test_this_environment_can_do_make_run(tmp_path, capsys):
    assert doctor(Config(runs=str(tmp_path))) == 0
    out = capsys.readouterr().out
    assert "make run can work here." in out and "SmolLM2" in out


def test_it_imports_nothing_heavy_to_look(tmp_path):
    code = (
        "import sys\nfrom prstack.settings import Config\nfrom prstack.stages.doctor import look\nlook(Config())\n"
        "bad = [m for m in ('torch', 'vllm', 'ray', 'transformers', 'wandb') if m in sys.modules]\nsys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_version_of_vllm_is_found_under_either_distribution():
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm (extra cpu or gpu)")
    check = room._package("vllm", "vllm", "engine", False)
    assert check.ok and check.state[0].isdigit()


def test_what_is_missing_is_named_with_its_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(room.PACKAGES, "ray", ("no_such_module_ray", "actors", True))
    monkeypatch.setitem(room.PACKAGES, "vllm", ("no_such_module_vllm", "engine=vllm", False))
    monkeypatch.setattr(room, "RUN_DISK", 1 << 60)
    monkeypatch.setenv("PRSTACK_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    checks = by_name(look(Config(runs=str(tmp_path / "not" / "there"))))
    assert not checks["package ray"].ok and checks["package ray"].needed and "make env" in checks["package ray"].advice
    assert not checks["package vllm"].ok and not checks["package vllm"].needed
    assert not checks["disk"].ok and "runs=FOLDER" in checks["disk"].advice
    assert not checks["data tau_retail"].ok and "PRSTACK_DATA" in checks["data tau_retail"].advice
    assert doctor(Config()) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "make run cannot work yet: disk" in out and "package ray (make env" in out
    assert "no, missing:" in out


def test_a_taken_port_and_a_missing_key_do_not_stop_a_run(tmp_path, monkeypatch):
    import socket

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        config = Config(
            ray=RayConfig(dashboard_port=s.getsockname()[1]), tracking=TrackingConfig(wandb="online"), runs=str(tmp_path)
        )
        checks = by_name(look(config))
    assert not checks["dashboard port"].ok and not checks["W&B"].ok and "wandb login" in checks["W&B"].advice
    assert not any(c.needed and not c.ok for c in checks.values())


@pytest.mark.slow
def test_deep_starts_ray(tmp_path):
    code = "from prstack.config import load; from prstack.stages.doctor import look; c = [c for c in look(load(['doctor.deep=true', 'ray.dashboard=false'])) if c.name == 'Ray'][0]; print(c.ok, c.state)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "True started, and ran a task in process" in done.stdout, done.stdout + done.stderr
