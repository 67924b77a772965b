"""The wheel: what it holds, and that it works where the checkout is not."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built with the backend of this environment, so without a network."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


def python(installed: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess:
    """Python that finds the installed wheel before this checkout, in a folder of its own."""
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_holds_the_packages_and_their_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = [p.parent for p in ROOT.glob("*/__init__.py") if p.parent.name not in ("tests", "benchmarks")]  # those are run from a clone
    assert {p.name for p in packages} >= {"prstack", "actors", "conf"}
    tracked = {
        str(f.relative_to(ROOT))
        for package in packages
        for f in package.rglob("*")
        if f.is_file() and "__pycache__" not in f.parts and f.suffix in (".py", ".yaml", ".jinja", ".css", ".js", ".json", ".safetensors")
    }
    assert all(any(n.endswith(end) for n in tracked) for end in (".jinja", ".yaml", ".safetensors"))
    assert tracked <= names
    assert not any(n.startswith(("tests/", "benchmarks/", "runs/")) for n in names)


def test_conf_is_found_from_the_installed_wheel(installed, tmp_path):
    code = "import prstack.config as c; print(c.conf_dir()); print(c.groups()); print(c.load(['preset=smoke', 'world=tau_retail']).world)"
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    where, groups, world = done.stdout.splitlines()
    assert Path(where) == installed / "conf"
    assert "tau_retail" in groups and "smoke" in groups and "kind='tau_retail'" in world


def test_the_command_line_works_from_the_wheel(installed, tmp_path):
    overview = python(installed, tmp_path, "-m", "prstack.cli", "--help")
    assert overview.returncode == 0 and "usage: prstack" in overview.stdout, overview.stderr
    commands = [line.split()[0] for line in overview.stdout.splitlines() if line.startswith("  ")]
    assert {"run", "world", "synthesize", "distill", "view", "doctor"} <= set(commands)
    for command in commands:
        done = python(installed, tmp_path, "-m", "prstack.cli", command, "--help")
        assert done.returncode == 0 and f"usage: prstack {command}" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_templates_are_found_from_the_wheel(installed, tmp_path):
    code = (
        "import prstack, prstack.report.viewer as v; from prstack.prompts import Prompts; from prstack.dialogue.render import TEMPLATE; from pathlib import Path\n"
        "print(Path(prstack.__file__).parent); print(Prompts(None).version); assert TEMPLATE.is_file()\n"
        "assert v.PackageLoader('prstack.report').list_templates()"
    )
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[0]) == installed / "prstack"


def test_the_pins_hold_no_host_and_no_path():
    lines = (ROOT / "cpu.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 100
    for line in lines:
        assert "://" not in line and "/" not in line and "@" not in line, line
    assert all(line.count("==") == 1 for line in pins)


def test_the_pins_are_what_is_installed():
    import importlib.metadata

    pinned = dict(line.split("==") for line in (ROOT / "cpu.lock").read_text().splitlines() if "==" in line)
    for name in ("ray", "hydra-core", "pydantic", "pyarrow", "transformers", "tantivy", "wandb"):
        assert importlib.metadata.version(name) == pinned[name]


def test_the_environment_is_made_once(tmp_path):
    """`make env` has nothing to do while the files that it depends on are older than its stamp."""
    for name in ("Makefile", "pyproject.toml", "cpu.lock", "cpu-overrides.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "uv").touch()
    (tmp_path / ".venv" / ".installed").touch()
    # As at a shell's prompt: the make that runs this suite hands its own variables down otherwise.
    env = {k: v for k, v in os.environ.items() if k not in {"VENV", "PYTHON", "ARGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}

    def make(*args: str) -> subprocess.CompletedProcess:
        return subprocess.run(["make", *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30)

    assert make("-q", "env").returncode == 0
    os.utime(tmp_path / "cpu.lock", (2e9, 2e9))
    assert make("-q", "env").returncode == 1
    missing = make("env", "VENV=new", "PYTHON=no-such-python")
    assert missing.returncode != 0 and "there is no no-such-python" in missing.stdout
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    refused = make("env", "VENV=new", f"PYTHON={old}")
    assert refused.returncode != 0 and "needs Python 3.11 or 3.12" in refused.stdout and "3.9.2" in refused.stdout
