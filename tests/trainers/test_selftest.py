"""The parity report: it passes here, and what is wrong shows in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prstack import cli
from prstack.errors import UserError
from prstack.stages.selftest import markdown, tables
from tests.trainers.models import make, make_packs
from trainers import reference, selftest
from trainers.layout import Layout
from trainers.selftest import Finding


def test_a_number_that_is_not_finite_fails() -> None:
    assert Finding("loss", "m", "EP1", 1e-6, 1e-6).ok
    assert not any(Finding("loss", "m", "EP1", x, 1e-6).ok for x in (1.1e-6, float("nan"), float("inf")))


def test_gradients_of_other_names_are_infinitely_far() -> None:
    a = {"w": np.array([1.0, -4.0])}
    assert selftest.relative({"w": np.array([1.0, -3.0])}, a) == 0.25
    assert selftest.relative({"v": a["w"]}, a) == float("inf")


def test_tables_hold_every_finding_and_mark_those_that_fail() -> None:
    found = [Finding(c, "mixtral", "EP2", x, 1e-5) for c, x in (("logits", 2e-5), ("loss", 0.0), ("gradients", 1e-6), ("20 steps", 1.0))]
    (_, heads, steps), (_, _, rest) = tables(found)
    assert len(heads) == len(steps[0]) and steps == [["mixtral", "EP2", "2.0e-05 ✗", "0", "1.0e-06"]]
    assert rest == [["20 steps", "mixtral", "EP2", "1.0e+00 ✗", "1e-05"]]
    assert markdown(found).count("✗") == 2


@pytest.mark.parametrize("word", ["gpus", "gpu"])
def test_what_cannot_be_tested_is_said(word: str, capsys: pytest.CaptureFixture) -> None:
    if word == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert cli.main(["selftest", word]) == 2
    assert f"prstack selftest {word}: " in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    assert cli.main(["selftest", f"selftest.out={tmp_path}/no/report.md"]) == 2


def test_the_auxiliary_loss_of_even_routers_is_one(tmp_path: Path) -> None:
    even = {"a": [torch.zeros(6, 4)], "b": [torch.zeros(2, 4), torch.zeros(4, 4)]}
    assert float(reference.load_balancing(even, [2, 4], 2)) == pytest.approx(2.0)  # one a layer
    collapsed = {"a": [torch.tensor([[9.0, 8.0, -9.0, -9.0]]).repeat(6, 1)]}
    assert float(reference.load_balancing(collapsed, [2, 4], 2)) == pytest.approx(2.0, abs=1e-3)  # E/k, where two of four take all


@pytest.mark.slow
def test_a_model_that_is_another_shows_in_every_column(local, tmp_path: Path) -> None:
    c = selftest.case("mixtral", tmp_path / "base")
    assert all(f.ok for f in selftest.one_step(local, c, "EP1", Layout()))
    hf = make("mixtral", tmp_path / "base", num_experts_per_tok=3)  # as a wrong reading of the config would be
    assert hf.config.num_experts_per_tok == 3
    assert not any(f.ok for f in selftest.one_step(local, c, "EP1", Layout()))


@pytest.mark.slow
def test_a_forgotten_weight_decay_shows(local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = selftest.case("qwen3_moe", tmp_path / "base")
    assert selftest.twenty_steps(local, c, "EP1", Layout()).ok
    train = reference.train
    monkeypatch.setattr(reference, "train", lambda model, batches, lrs, decay, clip: train(model, batches, lrs, 0.0, clip))
    assert not selftest.twenty_steps(local, c, "EP1", Layout()).ok


@pytest.mark.slow
@pytest.mark.parametrize("kind", selftest.ARCHITECTURES)
def test_in_bf16_the_same_checks_pass_under_wider_limits(local, tmp_path: Path, kind: str) -> None:
    """The reference computes in fp32 from the same rounded weights, which a load and an export leave as they are."""
    c = selftest.case(kind, tmp_path / "base", "bfloat16")
    found = [*selftest.one_step(local, c, "EP1", Layout()), selftest.round_trip(local, c, "EP1", Layout(), tmp_path / "out"), selftest.packed(local, c)]
    assert [f for f in found if not f.ok] == []
    assert found[0].measured > selftest.LIMITS["logits"]  # it was bf16


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_report_passes(tmp_path: Path) -> None:
    out = tmp_path / "parity.md"
    command = [sys.executable, "-m", "prstack.cli", "selftest", f"selftest.out={out}", "ray.dashboard=false"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    passed, all_of_them = re.search(r"(\d+) of (\d+) checks passed", done.stdout).groups()
    assert passed == all_of_them and int(passed) >= 3 * len(selftest.LAYOUTS) * len(selftest.ARCHITECTURES)
    text = out.read_text()
    assert all(f"| {name} |" in text for name in selftest.LAYOUTS) and "vLLM logprobs" in text and "✗" not in text


def test_reference_packs_are_segments(tmp_path: Path) -> None:
    for p in make_packs(3):
        parts = reference.segments(p)
        assert parts[0][0] == 0 and parts[-1][1] == len(p.input_ids) and all(a < b for a, b in parts)


def test_errors_name_the_word() -> None:
    with pytest.raises(UserError, match="selftest twice"):
        from prstack.settings import Config
        from prstack.stages.selftest import selftest as command

        command(Config(), ["twice"])
