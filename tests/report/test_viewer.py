"""The trajectory page and the terminal view, from run folders, folders and files; with hostile text in the records."""

import base64
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from prstack.errors import UserError
from prstack.report.terminal import trajectories_table, trajectory_view
from prstack.report.trajectories import collect, find, glance
from prstack.report.viewer import render_page, write_page
from prstack.settings import Config, ViewConfig
from prstack.stages.view import view
from prstack.store.parts import Parts, write_table, write_text
from prstack.store.records import to_row
from prstack.types import Event, History, Rejected, Trajectory, arrow_schema
from tests.factories import trajectories, trajectory

HOSTILE = '<script>document.title="owned"</script><img src="http://127.0.0.1:{port}/x" onerror="document.title=1">"\'&</template></textarea>'


@pytest.fixture
def run(tmp_path):
    """A run folder with twelve trajectories, one of them rejected by distillation."""
    made = trajectories(12)
    with Parts(tmp_path / "synthesis" / "trajectories", Trajectory, flush_every=5) as parts:
        for t in made:
            parts.add(t)
    (tmp_path / "run.json").write_text("{}")
    histories = [
        History(t.user_id, [Event("e1", "return", "2026-03-02", "P7", "Bonvar Blender", text="It woke the house.")]) for t in made
    ]
    write_table(
        pa.Table.from_pylist([to_row(h) for h in histories], schema=arrow_schema(History)),
        tmp_path / "world" / "histories" / "part-000000.parquet",
    )
    with Parts(tmp_path / "distill" / "dataset", schema=pa.schema([("id", pa.large_string())])) as parts:
        for t in made[1:]:
            parts.add({"id": t.id})
    with Parts(tmp_path / "distill" / "rejected", Rejected) as parts:
        parts.add(Rejected(made[0].id, "distill/score", "low_score", "0.41 is below 0.6", "{}"))
    stage = {"name": "score", "in": 12, "out": 11, "rejected": {"low_score": 1}, "examples": {"low_score": [made[0].id]}}
    (tmp_path / "distill" / "funnel.json").write_text(json.dumps({"stages": [stage]}))
    return tmp_path, made


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


def shown(renderable) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(renderable)
    return out.getvalue()


def test_a_run_shows_its_trajectories_with_evidence_outcome_and_funnel(run):
    folder, made = run
    page = Page(render_page(collect(folder, 100)))
    templates = [a["id"] for tag, a in page.tags if tag == "template"]
    assert templates == [f"t-{t.id}" for t in made]
    assert "It woke the house." in page.text and "0.41 is below 0.6" in page.text and "low_score" in page.text
    for t in made:
        for step in t.steps:
            for text in (
                step.content,
                step.reasoning,
                step.tool_result.text if step.tool_result else "",
                step.verdict.reason if step.verdict else "",
            ):
                assert text in page.text
        assert all(report in page.text for report in t.reports)


def test_the_page_asks_for_nothing_and_runs_only_its_own_script(run):
    page = Page(render_page(collect(run[0], 100)))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(tag in ("link", "img", "iframe", "object", "embed", "base", "video", "audio") for tag, _ in page.tags)
    assert not any(name in ("src", "srcset", "style") or name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(attrs["href"].startswith("#") for _, attrs in page.tags if "href" in attrs)
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "script-src 'unsafe-inline'" not in policy


def hostile(port: int = 9) -> Trajectory:
    bad = HOSTILE.replace("{port}", str(port))
    t = trajectory(1, bad_report=True, id="hostile-1")
    t.query = t.user_id = t.detail = t.persona.summary = t.world = bad
    t.persona.needs[0].text = t.rubric[0].text = t.rubric[0].value = bad
    for step in t.steps:
        step.reasoning = step.content = bad + "\x1b[31m\x00"
        if step.tool_call:
            step.tool_call.name = step.tool_call.arguments = step.tool_result.text = step.tool_result.error = bad
        if step.verdict:
            step.verdict.reason = step.verdict.items[0].reason = bad
    t.engines = {"user": bad}
    t.reports[-1] = bad
    return t


def test_hostile_text_stays_text(tmp_path):
    file = tmp_path / "t.jsonl"
    write_text(json.dumps(to_row(hostile())) + "\n", file)
    page = Page(render_page(collect(file, 10)))
    assert [tag for tag, _ in page.tags].count("script") == 1 and "img" not in [tag for tag, _ in page.tags]
    assert page.text.count('<script>document.title="owned"</script>') > 10
    assert "\x1b" not in page.text and "\x00" not in page.text
    found = find(file, "hostile")
    assert "\x1b" not in shown(trajectory_view(found.trajectories[0], found.glances[0], {}))


def test_ids_and_problems_of_others_files_cannot_steer_a_terminal(tmp_path, capsys):
    file = tmp_path / "t.jsonl"
    rows = [to_row(trajectory(0, id="\x1b[31m1")), to_row(trajectory(1, id="\x9b31m2")), {"\x1b]0;key": 1} | to_row(trajectory(2))]
    write_text("".join(json.dumps(r) + "\n" for r in rows), file)
    assert view(Config(view=ViewConfig(html=str(tmp_path / "view.html"))), file) == 0
    out = capsys.readouterr().out
    assert "could not be read" in out and "\ufffd[31m1" in out and not {"\x1b", "\x9b"} & set(out)
    assert "\x9b" not in (tmp_path / "view.html").read_text()
    with pytest.raises(UserError) as e:
        find(file, "")
    assert "start so (" in str(e.value) and "\x1b" not in str(e.value)
    write_text(json.dumps(rows[2]) + "\n", file)
    with pytest.raises(UserError) as e:
        collect(file, 10)
    assert "key" in str(e.value) and "\x1b" not in str(e.value)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium to open the page")
def test_a_browser_makes_no_request_and_filters_work(tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        file = tmp_path / "t.jsonl"
        write_text("".join(json.dumps(to_row(t)) + "\n" for t in [trajectory(0), hostile(server.server_port)]), file)
        page = write_page(collect(file, 10), tmp_path / "view.html")
        # a probe in the page's place: it is let through by its own hash, as the page's script is by its
        probe = 'document.forms[0].elements.text.value = "mira"; filter(); document.body.dataset.hits = document.getElementById("found").textContent;'
        text = page.read_text()
        script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
        digest = lambda s: base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()  # noqa: E731
        page.write_text(text.replace(script, script + probe).replace(digest(script), digest(script + probe)))
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
        command = [
            "chromium",
            *flags.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            f"{page.as_uri()}#hostile-1",
        ]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    finally:
        server.shutdown()
        server.server_close()
    after = Page(dom)
    assert next(a for tag, a in after.tags if tag == "body")["data-hits"] == "0 of 2"
    assert "<title>Trajectories" in dom
    article = dom[dom.index("<article") : dom.index("</article>")]
    assert "document.title" in article and "<script>" not in article and "<img" not in article
    assert asked == []


def test_places(run, tmp_path_factory):
    folder, made = run
    trajectories_folder = folder / "synthesis" / "trajectories"
    for place in (folder, trajectories_folder, trajectories_folder / "part-000000.parquet"):
        found = collect(place, 3)
        assert [t.id for t in found.trajectories] == [t.id for t in made[:3]]
        assert found.total == (5 if place.suffix else 12) and found.run.samefile(folder)
    empty = tmp_path_factory.mktemp("empty")
    for place, message in [
        (folder / "nothing", "no such file"),
        (empty, "none in"),
        (folder / "world", "none in"),
        (folder / "run.json", "neither"),
    ]:
        with pytest.raises(UserError, match=message):
            collect(place, 3)


def test_broken_records_are_counted_and_named(tmp_path, capsys):
    file = tmp_path / "mixed.jsonl"
    write_text(json.dumps(to_row(trajectory(0))) + "\n{broken\n" + json.dumps({"id": "x"}) + "\n", file)
    found = collect(file, 10)
    assert (len(found.trajectories), len(found.bad), found.total) == (1, 2, 3)
    assert view(Config(), file) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 records could not be read" in out and "mixed.jsonl:2" in out
    write_text("{broken\n", file)
    with pytest.raises(UserError, match=r"mixed.jsonl:1: not JSON"):
        collect(file, 10)


def test_one_trajectory_by_the_start_of_its_id(run):
    folder, _ = run
    found = find(folder, "t0005")
    t = found.trajectories[0]
    out = shown(trajectory_view(t, found.glances[0], found.events[t.user_id]))
    assert t.id in out and "It woke the house." in out and "kept" in out
    assert out.count("research ·") == sum(s.role == "research" for s in t.steps)
    with pytest.raises(UserError, match=r"12 trajectories start so"):
        find(folder, "t00")
    with pytest.raises(UserError, match=r"no trajectory of .* starts so"):
        find(folder, "zzz")


def test_an_exact_id_wins_over_longer_ones(tmp_path):
    file = tmp_path / "t.jsonl"
    write_text("".join(json.dumps(to_row(trajectory(n, id=i))) + "\n" for n, i in enumerate(["ab", "abc"])), file)
    assert find(file, "ab").trajectories[0].id == "ab"


def test_glance_counts_corrected_mistakes():
    t = trajectory(3, vague_plan=True, duplicate=True, bad_report=True)
    g = glance(t)
    assert (g.revised, g.corrected, g.rounds, g.termination) == (3, 3, 2, "approved")
    while (
        t.steps[-1].verdict is None or t.steps[-1].verdict.decision == "approve"
    ):  # cut the episode before its last report was approved
        t.steps.pop()
    g = glance(t)
    assert (g.revised, g.corrected) == (3, 2)
    assert [d for s, d in g.strip if s == "report"] == ["revise"]


def test_the_command_writes_the_page_and_says_where(run, tmp_path, capsys):
    folder, made = run
    assert view(Config(), folder) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"Page: {folder / 'view.html'}" in out and (folder / "view.html").stat().st_size > 20_000
    assert view(Config(view=ViewConfig(html=str(tmp_path / "a" / "b.html"), limit=2)), folder) == 0
    assert "2 of 12 trajectories" in capsys.readouterr().out and (tmp_path / "a" / "b.html").exists()
    assert view(Config(view=ViewConfig(id=made[2].id)), folder) == 0
    assert made[2].query in " ".join(capsys.readouterr().out.split())


def test_without_a_target_the_latest_run_is_read(run, tmp_path, monkeypatch, capsys):
    folder, _ = run
    runs = tmp_path / "elsewhere"
    with pytest.raises(UserError, match=r"there is no run"):
        view(Config(runs=str(runs)), None)
    runs.mkdir()
    (runs / "latest").symlink_to(folder)
    assert view(Config(runs=str(runs)), None) == 0
    monkeypatch.chdir(tmp_path)
    assert view(Config(runs=str(runs)), Path("latest")) == 0  # a run's name, under `runs`


def test_a_page_that_cannot_be_written_is_an_error(run):
    (run[0] / "file").write_text("")
    with pytest.raises(UserError, match=r"view.html=FILE"):
        write_page(collect(run[0], 1), run[0] / "file" / "view.html")


def test_table_has_a_row_a_trajectory(run):
    out = shown(trajectories_table(collect(run[0], 100), 40))
    assert all(t.id in out for t in run[1])
