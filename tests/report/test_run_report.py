"""The report of a run: from a whole one, from parts of one, and with hostile text in it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from rich.console import Console

from prstack.config import to_dict
from prstack.errors import UserError
from prstack.evaluation.bootstrap import by_query, paired_by_query
from prstack.evaluation.metrics import Truth, measure
from prstack.evaluation.table import aggregate
from prstack.report import plots, run_report
from prstack.report.race import RACE
from prstack.report.run_report import chosen, failure_of, failures, headline, read_run, story
from prstack.report.terminal import report_view
from prstack.report.viewer import METRICS, render_report, settings_of, write_report
from prstack.scoring.criteria import DIMENSIONS
from prstack.scoring.race import RaceResult
from prstack.scoring.race import summarise as race_summary
from prstack.settings import Config, TrainerConfig
from prstack.store.parts import Parts, write_text
from prstack.store.rundir import Manifest
from prstack.types import ToolCall, ToolResult, Trajectory
from tests.factories import Script, product_page, search_text, trajectory

HOSTILE = '<script>document.title="owned"</script><img src="http://127.0.0.1:9/x" onerror="document.title=1">"\'&</details></svg>'
MADE = {"report made": "2026-11-25T02:00:00+0000", "on": "2 cores"}
SECTIONS = ("stages", "settings", "funnel", "curves", "load", "evaluation", "race", "failures", "trajectories")


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def alone(t: Trajectory, subject: str, id: str, report: str | None = None) -> Trajectory:
    """A trajectory as evaluation leaves it: without a supervisor; with another report, or without one for ""."""
    steps = [s for s in t.steps if s.role == "research" and s.state != "plan"]
    reports = t.reports[-1:]
    if report is not None:
        steps, reports = steps[:-1], [report] if report else []
        if report:
            steps.append(dataclasses.replace(t.steps[-2], content=report))
    return dataclasses.replace(t, id=id, steps=steps, reports=reports, scores=[1.0][: len(reports)], termination="finished" if reports else "max_rounds", engines={"research": subject})


def listing(*ids: str) -> str:
    return "<report>\n" + "\n".join(f"{n}. [{id}] A blender — $80.00" for n, id in enumerate(ids, 1)) + "\n</report>"


def steps(n: int, floor: float) -> str:
    """A steps.jsonl of `n` steps, as trainers.loop.train gives them; its first loss is not a number."""
    rows = []
    for step in range(1, n + 1):
        load = {str(layer): [0.5, 0.25, 0.125, 0.125] if layer != 3 else [0.0] * 4 for layer in range(11)}
        loss = float("nan") if step == 1 else floor + 1 / step
        rows.append({"loss": loss, "grad_norm": 1 / step, "lr": 1e-4, "tokens": 9, "targets": 4, "seconds": 1.0, "expert_load": load, "step": step, "epoch": 0, "tokens_per_second": 9.0})
    return "".join(json.dumps(row) + "\n" for row in rows)


def judged(judge: str = "expert", reference: str = "expert") -> dict:
    """`race` of a results.json: a subject that comes near to the reference, and one that does not and stood beside itself once."""

    def result(at: float, same: str = "") -> RaceResult:
        spread, bias = (0.01, 0.02) if judge != "expert" else (None, 0.0)
        return RaceResult(at, dict.fromkeys(DIMENSIONS, at + 0.05), {judge: at}, 4, int(at < 0.3), spread, None, bias, same)

    rows = {}
    for name, values in (("base", (0.2, 0.25, 0.31)), ("sft", (0.48, 0.5, 0.53))):
        results = [result(v, "same text" if v == 0.31 else "") for v in values]
        overall = (min(values), max(values))
        rows[name] = race_summary(results) | {"low": overall[0], "high": overall[1], "intervals": {"overall": overall, **{d: (overall[0] + 0.05, overall[1] + 0.05) for d in DIMENSIONS}}}
    agreed = {"value": 0.81, "low": 0.7, "high": 0.88, "n": 3}
    return {
        "judge": judge, "by_rule": judge == "expert", "reference": reference, "repeats": 1 if judge == "expert" else 2, "prompts": {"judge_pair": "0a1b2c"},
        "subjects": rows, "agreement": {"reports": 6, "spearman": agreed, "kendall": agreed, "pairwise_accuracy": None},
    }  # fmt: skip


def make_run(path, queries: int = 8, with_episodes: bool = True):
    """A whole run: stages, funnel, curves with a control, and three subjects of which sft fails every other query."""
    write_text('{"name": "a run"}', path / "run.json")
    for n, (stage, settings) in enumerate({"world": Config().world, "synthesis": Config().synthesis, "distill": Config().distill, "sft": TrainerConfig(lr=0.5), "sft_shuffled": TrainerConfig(), "evaluation": Config().evaluation}.items()):
        counts = {"kept": 11, "steps": 30, "tokens": 1234, "queries": queries}
        Manifest(stage, "complete", {}, to_dict(settings), counts=counts, git_revision="abc123", started=f"2026-11-25T0{n}:00:00+0000", seconds=n).save(path / stage)
    with Parts(path / "distill" / "dataset", schema=pa.schema([("id", pa.large_string()), ("teacher", pa.large_string())])) as parts:
        parts.add({"id": "t1", "teacher": "expert"})
    write_text(json.dumps({"stages": [{"name": "score", "in": 12, "out": 11, "rejected": {"low_score": 1}}]}), path / "distill" / "funnel.json")
    write_text(steps(30, 0.5), path / "sft" / "steps.jsonl")
    write_text(steps(30, 1.5), path / "sft_shuffled" / "steps.jsonl")

    measured, lines = {}, []
    with Parts(path / "evaluation" / "trajectories", Trajectory) as parts:
        for subject in ("base", "sft", "no_check"):
            for q in range(queries):
                for n in range(2):
                    t = trajectory(q)
                    truth = Truth(frozenset(f"P{100 + 10 * q + i}" for i in range(2)))
                    bad = {"base": "", "no_check": listing(f"P{102 + 10 * q}")}.get(subject, listing("P999") if q % 2 else None)
                    t = alone(t, subject, f"{subject}-{q}-{n}", bad)
                    parts.add(t)
                    m = measure(t, truth)
                    measured.setdefault(subject, []).append((f"task-{q}", m))
                    lines.append({"id": t.id, "subject": subject, "task": f"task-{q}", "n": n, "slice": "unseen category"} | dataclasses.asdict(m))
    subjects = {name: aggregate([m for _, m in rows]) for name, rows in measured.items()}
    differences = [
        {"a": "sft", "b": other, "metric": metric} | dataclasses.asdict(paired_by_query(by_query(measured["sft"], metric), by_query(measured[other], metric)))
        for other in ("base", "no_check")
        for metric in ("score", "e_prod", "precision_at_k")
    ]
    extra = {"slices": {"unseen category": subjects}, "greedy": subjects, "sampled": {"sft": subjects["sft"]}, "race": judged()} if with_episodes else {}
    results = {"tasks": {"tasks": queries, "leak": 0.0}, "subjects": subjects, "differences": differences, "settings": to_dict(Config().evaluation)} | extra
    write_text(json.dumps(results), path / "evaluation" / "results.json")
    if with_episodes:
        write_text("".join(json.dumps(line) + "\n" for line in lines), path / "evaluation" / "episodes.jsonl")
    return results


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, make_run(path)


def test_a_whole_run_shows_every_section(whole):
    data = read_run(whole[0])
    text = render_report(data, MADE)
    page = Page(text)
    assert {a["id"] for _, a in page.tags if "id" in a} >= set(SECTIONS)
    assert "in this run." not in page.text and "There are no evaluated" not in page.text
    for said in ("a run", "2 cores", "abc123", "low_score", "trainer.lr", "0.5", "gradient norm", "learning rate", "tokens a second", "sft_shuffled", "unseen category", "sampled"):
        assert said in page.text, said
    assert [tag for tag, _ in page.tags].count("polyline") == 4 * 2 + 2 * 3
    cells = [a["class"] for tag, a in page.tags if tag == "rect" and a.get("class") in ("over", "under") and "fill-opacity" in a]
    assert len(cells) == 2 * 10 * 4  # the layer without experts is left out
    assert "layer 0, expert 0: 50.0% (2.00 of an even share)" in page.text
    assert [a["class"].split()[-1] for tag, a in page.tags if tag == "details" and "conversation" in a.get("class", "")] == ["succeeded"] * 5 + ["failed"] * 5


def test_settings_are_those_of_the_stage_with_what_is_not_the_default(tmp_path):
    write_text("{}", tmp_path / "run.json")
    inputs = {"engine": {"name": "vllm", "vllm_args": {"api_key": "k-123"}}, "world": "a hash", "seed": 3}
    Manifest("synthesis", "complete", inputs, to_dict(Config().synthesis) | {"episodes": 12}).save(tmp_path / "synthesis")
    ((stage, rows),) = settings_of(read_run(tmp_path))
    assert stage == "synthesis" and {r["key"] for r in rows if r["changed"]} == {"synthesis.episodes", "engine.name", "seed"}
    assert [(r["value"], r["default"]) for r in rows if r["key"] == "synthesis.episodes"] == [(12, 200)]
    assert rows[0]["key"].startswith("synthesis.") and rows[0]["doc"] and "world" not in {r["key"] for r in rows}
    assert "k-123" not in render_report(read_run(tmp_path), MADE)


def test_the_numbers_are_those_of_the_results(whole):
    path, results = whole
    text = render_report(read_run(path), MADE)
    table = text[text.index('<table class="metrics">') :]
    rows = re.findall(r"<tr(?: class=\"compared\")?><td>(.*?)</tr>", table[: table.index("</table>")])
    for row, (name, values) in zip(rows, results["subjects"].items(), strict=True):
        assert row.startswith(f"{name}<")
        cells = re.findall(r'<td class="n" title="([^"]*)">([^<]*)', row)
        assert cells == [(str(values[m]), "–" if values[m] is None else format(values[m], form)) for m, _, form, _ in METRICS]
    for d in results["differences"]:
        shown = plots.with_interval(d["mean_difference"], d["low"], d["high"], "+")
        assert f'{d["a"]} − {d["b"]}: {shown}' in text
    (score,) = [d for d in results["differences"] if (d["b"], d["metric"]) == ("base", "score")]
    assert f"score: sft is better than base: {plots.with_interval(score['mean_difference'], score['low'], score['high'], '+')}, 8 queries" in text
    assert "8 of 16 conversations of sft failed" in text


def race_section(path, race) -> str:
    results = json.loads((path / "evaluation" / "results.json").read_text())
    write_text(json.dumps(results | {"race": race}), path / "evaluation" / "results.json")
    text = render_report(read_run(path), MADE)
    return text[text.index('<section id="race">') : text.index('<section id="failures">')]


def test_race_is_shown_with_all_that_it_rests_on(tmp_path):
    make_run(tmp_path, queries=2)
    race = judged("FOLDER", "expert")
    section = race_section(tmp_path, race)
    rows = dict(re.findall(r"<tr(?: class=\"compared\")?><td>(\w+)</td>(.*?)</tr>", section[section.index('<table class="metrics">') : section.index("</table>")]))
    assert list(rows) == ["base", "sft"]
    for name, row in race["subjects"].items():
        assert re.findall(r'<td class="n" title="([^"]*)">([^<]*)', rows[name]) == [(str(row[key]), format(row[key], form)) for key, _, form, _ in RACE]
        assert re.findall(r'<span class="dim">(.*?)</span>', rows[name]) == [f"[{low:.3f}, {high:.3f}]" for low, high in row["intervals"].values()]
    said = Page(section).text
    assert "beside those of expert" in said and "by the model FOLDER, 2 times in each of the two orders" in said
    assert "Self-reference: base (1 of 3)" in said and "0.81 [0.70, 0.88]" in said and "judge_pair 0a1b2c" in said and "by design" not in said
    assert 'class="below"><title>base: 0.25 [0.20, 0.31]' in section and 'class="unclear"><title>sft: 0.50 [0.48, 0.53]' in section


def test_race_by_rule_is_called_that_and_says_what_it_lacks(tmp_path):
    make_run(tmp_path, queries=2)
    race = judged()
    race["subjects"].pop("base")
    del race["subjects"]["sft"]["intervals"]
    section = race_section(tmp_path, race | {"agreement": None})
    said = Page(section).text
    assert "not by a language model" in said and "once in each of the two orders" in said and "Judge and reference are both expert" in said
    assert "No report stood beside its own text or model; expert itself is not judged." in said and "could not be measured" in said
    assert re.search(r'<td class="n" title="None">–</td>', section), "no spread over repeats"
    nothing = race["subjects"]["sft"] | {"overall": None, "low": None, "high": None, "queries": 0} | dict.fromkeys(DIMENSIONS)
    assert "0.500" not in race_section(tmp_path, race | {"subjects": {"sft": nothing}})


def test_the_headline_tells_losses_as_it_tells_gains(whole):
    data = read_run(whole[0])
    data.results["differences"] = [
        {"a": "sft", "b": "base", "metric": "score", "mean_difference": -0.31, "low": -0.4, "high": -0.22, "n": 9},
        {"a": "sft", "b": "no_check", "metric": "precision_at_k", "mean_difference": 0.01, "low": -0.1, "high": 0.12, "n": 9},
    ]
    assert headline(data) == [
        "score: sft is worse than base: -0.31 [-0.40, -0.22], 9 queries",
        "precision@k: sft is not to be told from no_check: +0.01 [-0.10, +0.12], 9 queries",
    ]
    assert "11 trajectories, played by the scripted expert (a seeded program, not a model)" in story(data)
    assert "was fine-tuned on it for 30 steps" in story(data) and "not how good a model" in story(data)


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(whole):
    text = render_report(read_run(whole[0]), MADE)
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(tag in ("link", "img", "iframe", "object", "embed", "base", "video", "audio", "image", "use") for tag, _ in page.tags)
    assert not any(name in ("src", "srcset", "style", "xlink:href") or name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(attrs["href"].startswith("#") for _, attrs in page.tags if "href" in attrs)
    assert not re.search(r"url\(|@import|https?://", text)
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
    assert "default-src 'none'" in policy and base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def spoiled(path):
    """The run with hostile text wherever text of others gets in."""
    results = make_run(path, queries=2)
    name = f"sft{HOSTILE}"
    results["subjects"][name] = results["subjects"].pop("sft")
    results["differences"] = [d | {"a": name, "metric": HOSTILE} for d in results["differences"]]
    results["settings"]["compare"] = name
    results["slices"] = {HOSTILE: results["subjects"]}
    results["race"] = judged(HOSTILE, HOSTILE)
    results["race"]["subjects"][HOSTILE] = results["race"]["subjects"].pop("base")
    results["race"]["prompts"] = {HOSTILE: HOSTILE}
    write_text(json.dumps(results), path / "evaluation" / "results.json")
    (path / "evaluation" / "episodes.jsonl").unlink()
    bad = alone(trajectory(0), name, "hostile", HOSTILE)
    bad.query = bad.persona.summary = bad.detail = HOSTILE + "\x1b[31m"
    for step in bad.steps:
        step.reasoning = HOSTILE
    bad.steps[0].tool_call, bad.steps[0].tool_result = ToolCall("c", HOSTILE, HOSTILE), ToolResult("c", False, HOSTILE, HOSTILE)
    shutil.rmtree(path / "evaluation" / "trajectories")
    with Parts(path / "evaluation" / "trajectories", Trajectory) as parts:
        parts.add(bad)
    write_text(json.dumps({"name": HOSTILE}), path / "run.json")
    write_text(json.dumps({"stages": [{"name": HOSTILE, "in": 2, "out": 1, "rejected": {HOSTILE: 1}}]}), path / "distill" / "funnel.json")
    Manifest("distill", "complete", {}, {"input": HOSTILE}, counts={"kept": 1, HOSTILE: 2}).save(path / "distill")
    return read_run(path)


def test_hostile_text_stays_text(tmp_path):
    data = spoiled(tmp_path / "run")
    page = Page(render_report(data, MADE | {"on": HOSTILE}))
    assert [tag for tag, _ in page.tags].count("script") == 1 and "img" not in [tag for tag, _ in page.tags]
    assert page.text.count('<script>document.title="owned"</script>') > 10 and "\x1b" not in page.text
    out = io.StringIO()
    Console(file=out, width=300).print(report_view([HOSTILE + "\x1b[31m[bold]"], failures(data), data.compared, len(data.conversations)))
    assert "\x1b" not in out.getvalue() and "[bold]" in out.getvalue()


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium to open the page")
def test_in_a_browser_only_the_pages_own_script_runs(tmp_path):
    page = write_report(spoiled(tmp_path / "run"), MADE)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert "<title>Report" in dom and "<img" not in dom
    assert 'data-fold="reasoning" aria-pressed="false"' in dom  # what the script of the page does at its beginning


def test_what_a_run_lacks_is_said(tmp_path):
    write_text('{"name": "early"}', tmp_path / "run.json")
    page = Page(render_report(read_run(tmp_path), MADE))
    assert {a["id"] for _, a in page.tags if "id" in a} >= set(SECTIONS)
    for said in ("No stage was begun", "No model was trained", "Nothing was distilled", "Nothing was trained", "Nothing was evaluated", "No judge was asked", "No mixture of experts", "There are no evaluated conversations"):
        assert said in page.text, said
    Manifest("sft", "partial", {}, {}, started="2026").save(tmp_path / "sft")
    write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo', tmp_path / "sft" / "steps.jsonl")
    text = render_report(read_run(tmp_path), MADE)
    assert "The training has not come to its end." in text and "partial: not finished" in text and 'aria-label="loss"' in text


def test_without_episodes_the_pages_that_were_opened_tell(tmp_path):
    make_run(tmp_path, with_episodes=False)
    data = read_run(tmp_path)
    assert failures(data) == [(run_report.INVENTED, 8, 0.5)] and {c.n for c in data.conversations} == {0}
    text = render_report(data, MADE)
    assert "has no evaluation/episodes.jsonl" in text and "In brackets" not in text and "By what training saw" not in text


def test_a_subject_that_was_not_evaluated_is_not_compared(tmp_path):
    results = make_run(tmp_path, queries=2)
    results["settings"]["compare"] = "other"
    write_text(json.dumps(results), tmp_path / "evaluation" / "results.json")
    data = read_run(tmp_path)
    assert data.compared == "base" and failures(data) == [(run_report.NO_REPORT, 4, 1.0)] and headline(data) == []


def test_what_is_broken_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="not the folder of a run"):
        read_run(tmp_path)
    for name, text, error in (("run.json", "[]", "no JSON object"), ("run.json", "{", "not JSON"), ("distill/funnel.json", "{}", "not a funnel")):
        write_text("{}", tmp_path / "run.json")
        Manifest("world", "complete", {}, {}).save(tmp_path / "world")
        write_text(text, tmp_path / name)
        with pytest.raises(UserError, match=error):
            read_run(tmp_path)


def test_ten_are_read_greedy_first_and_every_kind_of_failure_once(whole):
    data = read_run(whole[0])
    read = chosen(data)
    assert [bool(c.failure) for c in read] == [False] * 5 + [True] * 5 and [c.n for c in read] == [0] * 4 + [1] + [0] * 4 + [1]
    for n, c in enumerate(data.conversations):
        c.failure = ["", "a", "a", "a", "a", "a", "a", "b"][n % 8]
    read = chosen(data)
    assert [c.failure for c in read] == ["", "", "a", "b", "a", "b", "a", "a", "a", "a"]


def test_kinds_of_failure():
    t = alone(trajectory(0), "sft", "x")
    assert failure_of(t) == "" and failure_of(t, {"invalid_listed": 0}) == "" and failure_of(t, {"invalid_listed": 1}) == run_report.HIDDEN
    kinds = {
        "": run_report.NO_REPORT,
        "<report>\nNothing fits.\n</report>": run_report.NOTHING,
        listing("P999"): run_report.INVENTED,
        listing("P100", "P102"): run_report.UNOPENED,
    }
    for report, kind in kinds.items():
        assert failure_of(alone(trajectory(0), "sft", "x", report)) == kind
    assert failure_of(alone(trajectory(0), "sft", "x", listing("P102")), {"invalid_listed": 0}) == ""  # unopened, but right
    failed = alone(trajectory(0), "sft", "x", "")
    assert failure_of(dataclasses.replace(failed, termination="error")) == run_report.ERROR
    failed.steps.append(dataclasses.replace(failed.steps[-1], tool_call=None, tool_result=None, content="<tool_call>{"))
    assert failure_of(failed) == run_report.MALFORMED
    dear = Script().call("product_search", {"query": "blender"}, search_text("blender", [("P1", "Aurel Blender", 300.0)]))
    dear.call("visit_product", {"product_id": "P1"}, product_page("P1", "Aurel Blender", 300.0, 50)).report("1. [P1] Aurel Blender — $300.00")
    assert failure_of(alone(dear.trajectory("x"), "sft", "x")) == run_report.IGNORED
    talk = Script().call("product_search", "{", "error: not JSON", error="arguments").report("1. [P1] Aurel Blender")
    assert failure_of(alone(talk.trajectory("x"), "sft", "x"), {"invalid_listed": 1}) == run_report.MALFORMED


def test_plots_leave_out_what_is_no_number():
    assert plots.lines("loss", {"sft": [(1, float("nan")), (2, None)]}) == "" and plots.heat_map([], "layer", "expert") == "" and plots.intervals("x", []) == ""
    one = plots.lines("a < b", {"<sft>": [(1, 2.0), (2, float("inf"))]})
    assert "a &lt; b" in one and "<sft>" not in one and "<circle" in one
    assert one.count("<polyline") == 1 and len(plots.lines("long", {"sft": [(x, 1.0) for x in range(10_000)]})) < 120_000
    spans = {"sft": [(1, -0.5, 3.0)], "unknown": [(1, 0.0, 9.0)]}
    drawn = plots.lines("score", {"base": [(1, 0.4)], "sft": [(1, 0.5)]}, spans=spans)
    assert drawn.count('class="whisker s1"') == drawn.count("whisker") == 1 and ">3<" in drawn and ">9<" not in drawn
    assert plots.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and plots.ticks(5, 5) == [5] and plots.ticks(1, 1200, 6) == [200, 400, 600, 800, 1000, 1200]


def test_the_terminal_says_the_same_in_brief(whole):
    data = read_run(whole[0])
    out = io.StringIO()
    Console(file=out, width=140).print(report_view(headline(data), failures(data), data.compared, len(data.conversations)))
    said = out.getvalue()
    assert headline(data)[0] in said and run_report.INVENTED in said and said.count("50.0%") == 2 and len(said.splitlines()) < 16


def test_reinforcement_learning_shows_its_reward_and_what_it_was_made_of(tmp_path):
    write_text('{"name": "a run"}', tmp_path / "run.json")
    summary = {"first_reward": 0.25, "last_reward": 0.5}
    Manifest("rl", "complete", {}, {}, counts={"updates": 3, "trained_episodes": 24}, started="2026-11-28", seconds=1, summary=summary).save(tmp_path / "rl")
    rows = [{"step": n, "loss": 0.1, "lr": 1e-5} | ({"reward": 0.1 * n, "mismatch/mean": 1e-6} if n % 2 else {}) for n in range(1, 7)]
    write_text("".join(json.dumps(r) + "\n" for r in rows), tmp_path / "rl" / "steps.jsonl")
    text = render_report(read_run(tmp_path), MADE)
    assert "on 24 episodes of its own, in 3 updates: the mean reward was 0.25 in the first and 0.5 in the last" in text
    assert "mean reward of an episode" in text and "trainer against engine" in text and "tool calls of an episode" not in text
