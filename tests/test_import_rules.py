"""Who may import whom: the contracts of `.importlinter`, and what importing the library really loads."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = Path(sys.executable).with_name("lint-imports")
HEAVY = ("ray", "torch", "vllm", "transformers", "megatron", "actors", "trainers")


def lint(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_contracts_hold():
    done = lint(ROOT)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("prstack/store/parts.py", "def f():\n    import ray", "The library imports no engine"),
        ("prstack/report/tables.py", "from prstack.distill import pipeline", "Only stages import the Ray Data pipeline"),
        ("prstack/world/__init__.py", "import prstack.stages.cluster", "The library imports no engine"),
        ("actors/agent.py", "import prstack.stages.models", "Actors import neither"),
        ("actors/agent.py", "import trainers", "Actors import neither"),
        ("trainers/__init__.py", "import actors", "Trainers import neither"),
        ("prstack/cli.py", "import actors", "The command line reaches"),
    ],
)
def test_each_contract_can_break(tmp_path, file, line, broken):
    for package in ("prstack", "actors", "trainers", "conf"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    with open(tmp_path / file, "a") as f:
        f.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0, f"{line!r} in {file} went through"
    assert any(broken in text and "BROKEN" in text for text in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize("module", ["prstack", "prstack.config", "prstack.cli", "prstack.store.rundir", "prstack.report.viewer"])
def test_importing_is_light(module):
    done = python(f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_whole_library_loads_nothing_heavy():
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in sorted((ROOT / "prstack").rglob("*.py"))
        if "stages" not in p.parts and p.name not in ("pipeline.py",)
    ]
    assert len(modules) > 20
    done = python(
        f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint([m for m in {HEAVY} if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
