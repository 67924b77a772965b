"""Several draws of a report: the best by the verifiable score stays, the others are kept, and all are paid for."""

import asyncio

import pytest

from actors.best_of import best
from actors.engine import EngineError
from actors.expert import ExpertEngine
from actors.research import ResearchAgent
from actors.supervisor import Episode, SupervisorAgent
from actors.user import UserAgent
from prstack.dialogue.conversation import research_messages
from prstack.prompts import Prompts
from prstack.scoring.evidence import Evidence
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import score
from prstack.settings import AgentsConfig, WorldConfig
from prstack.store.records import to_row
from prstack.types import Step
from prstack.world.world import World, build
from tests.factories import trajectory

CARELESS = {"missed_constraint": 0.6, "unsupported_claim": 0.6}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    build(WorldConfig(products=300, users=6), folder)
    return folder


class Engine(ExpertEngine):
    """The expert, which remembers what it was asked, and on the n-th report request (from 1) fails."""

    def __init__(self, fail_at=0):
        super().__init__(CARELESS)
        self.asked, self.fail_at = [], fail_at

    async def complete(self, request):
        self.asked.append(request)
        if request.task == "research.report" and sum(r.task == "research.report" for r in self.asked) == self.fail_at:
            raise EngineError("unavailable", "all engines are lost")
        return await super().complete(request)


def play(world, best_of, user=0, fail_at=0, **limits):
    pool, config = Engine(fail_at), AgentsConfig(best_of=best_of, **limits)
    supervisor = SupervisorAgent(pool, UserAgent(pool, world, config), ResearchAgent(pool, world, config), config, {}, "generated")
    history = sorted(World.open(world).histories(), key=lambda h: h.user_id)[user]
    return asyncio.run(supervisor.run(Episode("e", history, user))), pool


def reports(t):
    return [s for s in t.steps if s.role == "research" and s.state == "report"]


def test_the_best_draw_stays_and_the_others_are_kept_with_their_scores(world):
    changed = 0
    for user in range(6):
        one, _ = play(world, 1, user)
        three, _ = play(world, 3, user)
        if not one.reports:
            continue
        step = reports(three)[0]
        before = three.steps[: three.steps.index(step)]
        assert before == one.steps[: len(before)], "nothing differs until the first report"
        assert step.content == three.reports[0] and [a.score for a in step.alternatives] == [
            round(score(parse_report(a.content), three.rubric, Evidence.from_steps(before)).score, 4) for a in step.alternatives
        ]
        assert len(step.alternatives) == 2 and three.scores[0] >= max(a.score for a in step.alternatives)
        drawn = {step.content, *(a.content for a in step.alternatives)}
        assert one.reports[0] in drawn, "the first draw is the one that a single draw would have been"
        changed += step.content != one.reports[0]
        assert all(len(s.alternatives) == 2 for s in reports(three))
        assert not any(s.alternatives for s in three.steps if s not in reports(three)), "plans and calls are drawn once"
    assert changed, "with so many mistakes another draw was better at least once"


def test_a_single_draw_asks_no_more_and_keeps_nothing_beside_it(world):
    t, pool = play(world, 1)
    assert reports(t) and not any(s.alternatives for s in t.steps)
    written = [s for s in t.steps if s.role == "research"]
    assert sum(r.role == "research" for r in pool.asked) == len(written)


def test_every_draw_is_paid_for_and_asked_at_the_same_place_with_its_own_seed(world):
    t, pool = play(world, 3)
    research = next(u for u in t.usage if u.role == "research")
    asked = [r for r in pool.asked if r.role == "research"]
    assert research.calls == len(asked) == len([s for s in t.steps if s.role == "research"]) + 2 * len(t.reports)
    at = t.steps.index(reports(t)[0])
    same = [r for r in asked if r.messages == research_messages(t.query, t.steps[:at], Prompts(None), False)]
    assert len(same) == 3 == len({r.seed for r in same})
    assert [r.report for r in same[1:]] == ["required", "required"]


def test_a_draw_that_fails_ends_the_episode_with_the_report_that_was_there(world):
    t, _ = play(world, 3, fail_at=1)
    assert t.termination == "error" and "all engines are lost" in t.detail
    assert len(t.reports) == 1 == len(t.scores) and len(reports(t)[0].alternatives) == 1


def test_among_equals_the_first_draw_stays():
    t = trajectory(1)
    last = [s for s in t.steps if s.state == "report" and s.role == "research"][-1]
    steps = t.steps[: t.steps.index(last)]

    def draw(text):
        return Step("research", "report", 0, f"reasoning of {text[:9]}", text)

    same = [draw(last.content), draw(last.content)]
    step, points = best(same, steps, t.rubric)
    assert step is same[0] and points == step.alternatives[0].score > 0
    worse = draw("<report>\nNothing fits.\n</report>")
    step, points = best([worse, *(again := [draw(last.content), draw(last.content)])], steps, t.rubric)
    assert step is again[0] and [a.content for a in step.alternatives] == [worse.content, last.content]
    assert [a.reasoning for a in step.alternatives] == [worse.reasoning, again[1].reasoning]
    alone, _ = best([worse], steps, t.rubric)
    assert alone.alternatives == []


def test_alternatives_go_to_files_and_back_and_older_rows_have_none():
    from prstack.store.records import from_row, migrate
    from prstack.types import Alternative, Trajectory

    t = trajectory(1)
    t.steps[-2].alternatives = [Alternative("<report>\nx\n</report>", 0.25, "why")]
    assert from_row(Trajectory, to_row(t)) == t
    old = to_row(trajectory(1))
    for step in old["steps"]:
        del step["alternatives"]
    assert from_row(Trajectory, migrate("Trajectory", 2, old)) == trajectory(1)
