"""What the fault run of `prstack rl` looks for is found where it is."""

import itertools
import json
from pathlib import Path

import pytest

from benchmarks.rl_faults import defects, growth, plan
from prstack.rl.samples import Rollout, write_rollouts
from prstack.types import Persona, Step, Trajectory


def rollout(update, n, version):
    step = Step("research", "report", 0, token_ids=[1, 2], loss_mask=[0, 1], logprobs=[0.0, -1.0], weight_version=version)
    t = Trajectory(f"{update}/{n}", "", 0, Persona("", "", []), "", [], [step], [], [], "finished")
    return Rollout(t.id, update, "q", n, "finished", 0.5, {}, t, used=True)


def made(folder, versions=("initial", "update-1", "update-2-restart-1"), steps=(1, 2, 3)):
    for n, version in enumerate(versions, 1):
        write_rollouts([rollout(n, k, version) for k in range(2)], folder / "rl" / "rollouts", n)
    lines = [json.dumps({"update": n, "reward": 0.1}) for n in steps]
    (folder / "rl" / "steps.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_run_as_it_should_be_has_no_defects(tmp_path):
    assert defects(made(tmp_path), 3) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": (1, 2, 2, 3)}, "the curve has the updates"),
        ({"versions": ("initial", "update-1", "update-1")}, "update 3: sampled by the weights"),
        ({"versions": ("initial", "update-1")}, "rollouts of 2 updates of 3"),
    ],
)
def test_steps_and_versions_that_are_wrong_are_named(tmp_path, change, said):
    assert any(said in line for line in defects(made(tmp_path, **change), 3))


def test_a_rollout_that_is_there_twice_is_named(tmp_path):
    folder = made(tmp_path) / "rl" / "rollouts"
    again = rollout(3, 0, "update-2")
    again.id = "1/0"
    write_rollouts([again], folder, 3)
    assert any("1/0" in line and "twice" in line for line in defects(Path(tmp_path), 3))


def test_kills_lie_apart_and_depend_on_the_seed():
    found = plan(5, 1, 600, 0)
    assert sorted(k for _, k in found) == ["engine"] * 5 + ["rank"] and found == plan(5, 1, 600, 0) != plan(5, 1, 600, 1)
    assert all(b - a >= 40 for (a, _), (b, _) in itertools.pairwise(found)) and found[-1][0] < 600


def test_growth_is_that_of_the_later_time():
    seen = [(t, {"engine": 60.0, "rank": 40.0 + (t > 50) * 30}) for t in range(101)]
    assert growth(seen) == growth(seen, "rank") == pytest.approx(30) and growth(seen, "engine") == 0


def test_an_engine_that_was_away_is_no_growth():
    seen = [(t, {"engine": 0.0 if 20 < t < 35 else 60.0, "rank": 40.0}) for t in range(101)]
    assert growth(seen) == growth(seen, "engine") == 0
