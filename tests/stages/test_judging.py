"""RACE of subjects against a reference by the judge by rule, resumed; what it says in the tables."""

import asyncio
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from actors.engine import EngineError
from prstack.config import load
from prstack.errors import UserError
from prstack.evaluation.metrics import Truth, measure
from prstack.evaluation.results import Measured
from prstack.evaluation.table import race_table
from prstack.evaluation.tasks import Task
from prstack.prompts import Prompts
from prstack.scoring.judge import Judge, Side
from prstack.stages import judging
from prstack.store.parts import Parts
from prstack.types import Trajectory
from tests.factories import QUERY, rubric, trajectory

PROMPTS = Prompts()


def config(*overrides: str):
    return load(["evaluation.judge=expert", "evaluation.subjects=[good,wrong,silent]", "evaluation.reference=good", *overrides])


@pytest.fixture
def had(tmp_path):
    """Four queries: "good" answers well, "wrong" claims a noise that no page shows, "silent" says nothing; and a sampled answer."""
    measured: list[Measured] = []
    with Parts(tmp_path / "trajectories", Trajectory) as parts:
        for n in range(4):
            t = trajectory(n)
            task = Task(f"q{n}", t.user_id, QUERY, rubric(), frozenset(), "Blenders", [])
            noise = t.reports[-1].split("noise level: ")[1][:2]
            reports = {"good": t.reports[-1], "wrong": t.reports[-1].replace(f"noise level: {noise} dB", "noise level: 12 dB"), "silent": "<report>\n</report>"}
            for subject, report in reports.items():
                for k in range(1 + (subject == "wrong")):
                    one = replace(t, id=f"{subject}-{n}-{k}", reports=[report])
                    parts.add(one)
                    measured.append(Measured(one.id, subject, task, k, measure(one, Truth(frozenset()))))
    return tmp_path, measured


def test_subjects_against_the_reference(had):
    folder, measured = had
    race = judging.judge_all(config(), folder, measured, PROMPTS)
    assert (race["judge"], race["by_rule"], race["reference"]) == ("expert", True, "good") and set(race["prompts"]) == {"judge_pair", "judge_criteria"}
    assert list(race["subjects"]) == ["wrong", "silent"], "the reference is not held against itself"
    wrong, silent = race["subjects"]["wrong"], race["subjects"]["silent"]
    assert 0 < silent["overall"] < wrong["overall"] < 0.5 and wrong["low"] <= wrong["overall"] <= wrong["high"]
    assert (wrong["queries"], wrong["judged"], wrong["unjudged"]) == (4, 8, 0), "greedy answers, in both orders"
    assert wrong["position_bias"] == pytest.approx(0) and wrong["insight"] == 0
    assert wrong["intervals"]["overall"] == (wrong["low"], wrong["high"]) and wrong["intervals"]["insight"] == (0, 0) and len(wrong["intervals"]) == 5
    assert race["agreement"]["reports"] == 8 and race["agreement"]["pairwise_accuracy"]["value"] == 1.0


def test_what_was_judged_is_not_asked_again_and_a_cut_off_line_is(had):
    folder, measured = had
    first = judging.judge_all(config(), folder, measured, PROMPTS)
    file = folder / "judgements.jsonl"
    lines = [line for line in file.read_text().split("\n") if line]
    assert len(lines) == 8 and {json.loads(line)["judge"] for line in lines} == {"expert"}
    file.write_text("\n".join(lines)[:-40])
    assert judging.judge_all(config(), folder, measured, PROMPTS) == first
    again = [line for line in file.read_text().split("\n") if line]
    assert len(again) == 9 and again[:7] == lines[:7], "seven stood, one was cut off and is judged again"
    assert judging.judge_all(config(), folder, measured, PROMPTS) == first and len(file.read_text().split()) == len(" ".join(again).split())
    judging.judge_all(config("evaluation.judge_repeats=2"), folder, measured, PROMPTS)
    assert sum(bool(line) for line in file.read_text().split("\n")) == 17, "other settings are other judgements"


@pytest.mark.parametrize(("error", "said"), [(EngineError("unavailable", "no engine answers"), "the same command goes on"), (ZeroDivisionError("a defect"), "a defect")])
def test_an_engine_that_gives_up_keeps_what_was_judged(had, error, said):
    _, measured = had
    left = [2]

    async def ask(task, prompt, schema, seed):
        left[0] -= 1
        if left[0] < 0:
            raise error
        return json.dumps({"marks": [{"n": n + 1, "reason": "", "a": 5, "b": 5} for n in range(schema["properties"]["marks"]["minItems"])]})

    pairs = [(t, r) for t in measured for r in measured if (t.subject, r.subject, t.n) == ("wrong", "good", 0) and t.task is r.task]
    keys, out = {(t.id, r.id): t.id for t, r in pairs}, io.StringIO()
    sides = {m.id: Side(m.id) for m in measured}
    with pytest.raises(UserError if isinstance(error, EngineError) else type(error), match=said):
        asyncio.run(judging._judge_pairs(config("evaluation.concurrency=1"), Judge("m", ask), PROMPTS, pairs, sides, keys, out))
    (line,) = out.getvalue().splitlines()
    assert len(pairs) == 4 and json.loads(line)["result"]["overall"] == 0.5


def test_the_table_says_who_judged(had):
    folder, measured = had
    out = io.StringIO()
    Console(file=out, width=110).print(race_table(judging.judge_all(config(), folder, measured, PROMPTS)))
    shown = out.getvalue()
    assert "not by a language model" in " ".join(shown.split()) and "against good" in shown and "Spearman" in shown and "…" not in shown
    assert any(line.split()[:1] == ["silent"] for line in shown.splitlines())


def test_what_is_not_there_is_one_clear_error():
    judging.check(config())
    judging.check(load(["evaluation.subjects=[base]"]))
    with pytest.raises(UserError, match=r"evaluation\.reference: sft is none of evaluation\.subjects \(good, wrong, silent\)"):
        judging.check(config("evaluation.reference=sft"))
    with pytest.raises(UserError, match="no such folder"):
        judging.check(config("evaluation.judge=./nowhere"))
