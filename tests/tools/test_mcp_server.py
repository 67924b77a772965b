"""The toolbox over MCP, asked by the SDK's own client: over standard input and output, and over HTTP."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("mcp")
import httpx
from mcp import Client, StdioServerParameters

from prstack.errors import UserError
from prstack.settings import Config, ServeConfig, ToolsConfig, WorldConfig
from prstack.stages.serve import serve
from prstack.tools import results
from prstack.tools.mcp_server import serve_http
from prstack.tools.toolbox import Toolbox
from prstack.types import ToolCall
from prstack.world.world import build

ROOT = Path(__file__).resolve().parents[2]
MODES = ("auto", "legacy")
"""The protocol of 2026-07-28, whose requests stand alone, and the ones before it, which open with a handshake."""
SHOUT = '''
import os
print("printed while it is imported")

def shout(world, word, times=1):
    print("printed by the tool")
    os.system("echo printed by a process; cat")  # would wait for ever, and eat what the client says, if it had the client's end
    return " ".join([word.upper()] * times)

shout.schema = {"type": "function", "function": {"name": "shout", "description": "Says a word loudly.", "parameters": {
    "type": "object", "required": ["word"],
    "properties": {"word": {"type": "string", "maxLength": 20}, "times": {"type": "integer", "minimum": 1, "maximum": 3}}}}}
'''
WRONG = {
    "missing": ("product_search", {}),
    "type": ("product_search", {"query": "tent", "max_price": "90"}),
    "unknown argument": ("product_search", {"query": "tent", "colour": "red"}),
    "category": ("product_search", {"query": "tent", "category": "blendrs"}),
    "brand": ("product_search", {"query": "tent", "brand": "nobody"}),
    "sort": ("product_search", {"query": "tent", "sort": "cheapest"}),
    "prices": ("product_search", {"query": "tent", "min_price": 9, "max_price": 8}),
    "not found": ("visit_product", {"product_id": "P9999999"}),
    "unknown tool": ("buy", {"product_id": "P1001"}),
    "no arguments": ("web_search", None),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    build(WorldConfig(products=280, users=14), folder / "world")
    (folder.parent / "shout_tools.py").write_text(SHOUT)
    return folder


@pytest.fixture(scope="module")
def box(run):
    return Toolbox(run / "world")


def text_of(box, name, arguments):
    return box.call(ToolCall("mcp", name, json.dumps(arguments or {}))).text


def command(run, *settings: str) -> list[str]:
    """Python that does what `prstack world serve RUN` does, with the settings of `serve` as Python source."""
    code = (
        "import sys; from prstack.settings import *; from prstack.stages.serve import serve; "
        f"sys.exit(serve(Config(tools=ToolsConfig(extra=['shout_tools:shout']), serve=ServeConfig({', '.join(settings)})), [{str(run)!r}]))"
    )
    return [sys.executable, "-c", code]


def environment(run) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(run.parent)])}


def stdio(run) -> StdioServerParameters:
    program, *args = command(run)
    return StdioServerParameters(command=program, args=args, env=environment(run))


@contextmanager
def started(run, *settings: str, stdin: int = subprocess.PIPE, program: list[str] | None = None):
    """The server as a process, with pipes; ended with the block."""
    process = subprocess.Popen(program or command(run, *settings), env=environment(run), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def http(run):
    """A server over HTTP on a free port, and its address."""
    with started(run, "transport='http'", "port=0", stdin=subprocess.DEVNULL) as process:
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/mcp", said)):
            line = process.stderr.readline()
            assert line, f"the server ended: {said}"
            said += line
        yield process, found[0]


async def everything(client: Client, box: Toolbox) -> None:
    """Tools, texts, errors and many calls at once are those of the toolbox."""
    listed = {t.name: t for t in (await client.list_tools()).tools}
    ours = {s["function"]["name"]: s["function"] for s in box.schemas}
    assert list(listed) == [*ours, "shout"]
    for name, function in ours.items():
        assert (listed[name].description, listed[name].input_schema) == (function["description"], function["parameters"])

    async def ask(name, arguments):
        result = await client.call_tool(name, arguments)
        assert [c.type for c in result.content] == ["text"]
        return result.content[0].text, result.is_error

    product = results.parse_search(text_of(box, "product_search", {"query": "tent"}))[0].id
    page = results.parse_web_search(text_of(box, "web_search", {"query": "how to choose tents"}))[0].id
    right = [
        ("product_search", {"query": "tent", "max_price": 200, "page": 1}),
        ("visit_product", {"product_id": product}),
        ("web_search", {"query": "how to choose tents"}),
        ("web_visit", {"page_id": page}),
        ("product_search", {"query": "tent", "category": "Tents", "min_price": 100, "brand": box.world.get(product).brand, "sort": "price_high"}),
        ("web_visit", {"page_id": page, "goal": "weight of a tent"}),
    ]
    for name, arguments in right:
        text, wrong = await ask(name, arguments)
        assert text == text_of(box, name, arguments) and not wrong and len(text) > 50
    for name, arguments in WRONG.values():
        text, wrong = await ask(name, arguments)
        if name == "buy":
            assert text == "error: there is no tool 'buy'; call one of product_search, visit_product, web_search, web_visit, shout" and wrong
        else:
            assert text == text_of(box, name, arguments) and text.startswith("error: ") and wrong
    assert await ask("shout", {"word": "tent", "times": 2}) == ("TENT TENT", False)
    assert await ask("shout", {"word": "tent", "times": 9}) == ("error: times must be at most 3", True)

    many = [("product_search", {"query": w, "page": n}) for w in ("tent", "blender", "quiet kettle", "backpack") for n in (1, 2, 3)]
    many += [("visit_product", {"product_id": f"P{1001 + n}"}) for n in range(20)] + [("shout", {"word": f"w{n}"}) for n in range(8)]
    answers = await asyncio.gather(*(ask(*call) for call in many))
    for (name, arguments), (text, wrong) in zip(many, answers, strict=True):
        assert not wrong and text == (arguments["word"].upper() if name == "shout" else text_of(box, name, arguments))


@pytest.mark.parametrize("mode", MODES)
def test_over_stdio(run, box, mode):
    async def talk():
        async with Client(stdio(run), mode=mode) as client:
            assert client.server_info.name == "prstack"
            await everything(client, box)

    asyncio.run(talk())


def test_over_http(run, box):
    async def talk(url):
        for mode in MODES:
            async with Client(url, mode=mode) as client:
                await everything(client, box)
        clients = [Client(url, mode=mode) for mode in MODES * 3]
        texts = await asyncio.gather(*(one_call(c) for c in clients))
        assert texts == [text_of(box, "product_search", {"query": "tent"})] * 6

    async def one_call(client):
        async with client:
            return (await client.call_tool("product_search", {"query": "tent"})).content[0].text

    with http(run) as (_, url):
        asyncio.run(talk(url))


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def test_http_refuses_foreign_names(run):
    with http(run) as (_, url), httpx.Client(headers={"Accept": "application/json, text/event-stream"}) as client:
        assert client.post(url, json=LIST).json()["result"]["tools"][0]["name"] == "product_search"
        assert client.post(url, json=LIST, headers={"Origin": "http://localhost:5173"}).status_code == 200
        for version in ({}, {"MCP-Protocol-Version": "2026-07-28"}):
            for header in ({"Host": "shop.example"}, {"Host": "shop.example:8077"}, {"Origin": "https://shop.example"}, {"Origin": "http://127.0.0.1.shop.example"}):
                answer = client.post(url, json=LIST, headers=version | header)
                assert answer.status_code in (403, 421) and "result" not in answer.text


HELLO = [
    {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]


def say(process, *messages):
    process.stdin.write("".join(json.dumps(m) + "\n" for m in messages))
    process.stdin.flush()


def test_stdout_holds_the_protocol_alone(run):
    with started(run) as process:
        say(process, *HELLO, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "shout", "arguments": {"word": "a"}}})
        lines = [process.stdout.readline(), process.stdout.readline()]
        say(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
        lines.append(process.stdout.readline())
        rest, said = process.communicate(timeout=60)
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2] and rest == ""
    assert process.returncode == 0, "the end of the input ends the server"
    for words in ("serving product_search, visit_product, web_search, web_visit, shout over", "printed while it is imported", "printed by the tool", "printed by a process"):
        assert words in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["", "world"])
def test_a_signal_ends_the_command_while_nobody_speaks(run, place, number):
    program = [sys.executable, "-m", "prstack.cli", "world", "serve", str(run / place), "tools.extra=[shout_tools:shout]"]
    with started(run, program=program) as process:
        say(process, *HELLO)
        assert json.loads(process.stdout.readline())["id"] == 0
        process.send_signal(number)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_http_with_a_stream_open(run, number):
    with http(run) as (process, url), httpx.stream("GET", url, headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        process.send_signal(number)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_client_that_went_away_ends_it(run):
    with started(run) as process:
        say(process, *HELLO)
        assert json.loads(process.stdout.readline())["id"] == 0
        process.stdout.close()
        say(process, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
        process.stdout = None


# --- what a user can get wrong -----------------------------------------------------------------------------------
def test_what_is_missing_is_said(run, box, tmp_path):
    with pytest.raises(UserError, match=r"there is no run under .*`prstack world` makes a world"):
        serve(Config(runs=str(tmp_path)), [])
    with pytest.raises(UserError, match=r"world: there is no world here; run `prstack world`"):
        serve(Config(), [str(tmp_path)])
    with pytest.raises(UserError, match="cannot import no_such_module"):
        serve(Config(tools=ToolsConfig(extra=["no_such_module:tool"])), [str(run)])
    with http(run) as (_, url):
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(UserError, match=rf"serve\.port={port}: cannot listen there"):
            serve(Config(serve=ServeConfig("http", port=port)), [str(run)])
    with pytest.raises(UserError, match=r"serve\.port=70000"):
        serve_http(box, port=70_000)


def test_a_missing_package_is_one_error(box, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(UserError, match=r"needs the package mcp, version 2 .*pip install 'mcp"):
        serve_http(box, port=0)


def test_only_the_server_imports_the_sdk():
    code = "import sys, prstack.tools.mcp_server, prstack.stages.serve, prstack.cli; print([m for m in ('mcp', 'uvicorn', 'starlette') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    importing = [p.name for p in (ROOT / "prstack").rglob("*.py") if any(line.strip().startswith(("import mcp", "from mcp")) for line in p.read_text().splitlines())]
    assert importing == ["mcp_server.py"]
