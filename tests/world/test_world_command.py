"""`prstack world` with its words, in one process, over a world made once."""

import json

import pytest

from prstack.cli import main
from prstack.tools import results
from prstack.types import Attribute, Product
from prstack.world.stats import describe
from prstack.world.world import World


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["world", f"runs={folder}", "world.products=300", "world.users=20", "tracking.wandb=disabled"]) == 0
    return folder


def run(capsys, *args):
    code = main(list(args))
    return code, *capsys.readouterr()


def test_search_prints_what_the_tool_answers(runs, capsys):
    code, out, _ = run(capsys, "world", "search", "quiet blender", "max_price=120", f"runs={runs}")
    hits = results.parse_search(out.rstrip("\n"))
    assert code == 0 and hits and all(h.price <= 120 for h in hits)
    code, out, _ = run(capsys, "world", "search", "blender", "category=Blenders", "min_price=60", "sort=price_low", f"runs={runs}")
    prices = [h.price for h in results.parse_search(out.rstrip("\n"))]
    assert code == 0 and prices == sorted(prices) and prices[0] >= 60
    code, out, _ = run(capsys, "world", "search", "blender", "brand=Nobody", f"runs={runs}")
    assert code == 1 and out.startswith("error: there is no brand 'Nobody'")
    code, out, _ = run(capsys, "world", "search", "blender", "category=Blendres", f"runs={runs}")
    assert code == 1 and out.startswith("error: there is no category") and "Blenders" in out


def test_stats_count_what_is_there(runs, capsys):
    code, out, _ = run(capsys, "world", "stats", f"runs={runs}")
    world = World.open((runs / "latest").resolve() / "world")
    found = describe(world)
    assert code == 0 and "300 products in 14 categories" in out and "self-BLEU" in out
    assert found.products == sum(c.products for c in found.categories) == 300 and found.users == 20
    assert found.reviews == sum(1 for _ in world.reviews()) and sum(found.pages.values()) == sum(1 for _ in world.pages())
    blenders = next(c for c in found.categories if c.name == "Blenders")
    of_category = world.by_category("Blenders")
    assert blenders.prices == sorted(p.price for p in of_category) and blenders.available == sum(p.available for p in of_category)
    assert blenders.attributes["power"] == len(of_category) and blenders.price_at(0) == min(blenders.prices) and blenders.price_at(1) == max(blenders.prices)
    assert run(capsys, "world", "stats", str((runs / "latest").resolve()))[0] == 0
    page = ((runs / "latest").resolve() / "world.html").read_text()
    assert page.count("<svg") >= 14 and "One user" in page and "Its rubric" in page and "http" not in page.replace("http-equiv", "")


def test_a_hostile_category_cannot_write_to_the_terminal(capsys):
    from prstack.report.tables import make_console
    from prstack.stages.browse import category_table
    from prstack.world.stats import CategoryStats, Stats, _count

    stats = CategoryStats("\x1b[31m[bold]x[/bold]")
    _count(stats, Product("1", "t", stats.name, attributes=[Attribute("a", "b")]))
    make_console().print(category_table(Stats(1, 0, {}, 0, {}, {}, {0: 1}, 1, [stats], None)))
    out = capsys.readouterr().out
    assert "\x1b" not in out and "[bold]x[/bold]" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["world", "serch", "x"], "did you mean search?"),
        (["world", "search"], "give what to look for"),
        (["world", "import", "extra"], "settings are written key=value"),
        (["world", "import"], "world=amazon, webshop, shoppingbench, tau_retail or table"),
        (["world", "search", "x", "prize=3"], "unknown key prize"),
        (["world", "search", "x", "max_price=-1"], "search.max_price"),
        (["world", "search", "x", "sort=cheapest"], "search.sort"),
        (["world", "stats", "nowhere"], "nowhere"),
        (["world", "search", "x", "y"], "settings are written key=value"),
    ],
)
def test_what_is_wrong_is_one_line(runs, capsys, args, message):
    code, _, err = run(capsys, *args, *([] if "nowhere" in args else [f"runs={runs}"]))
    assert code == 2 and message in err and err.count("\n") == 1


def test_import_says_what_was_put_aside(tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps({"id": f"a{n}", "title": f"Thing {n}", "price": "x" if n > 5 else n}) for n in range(11)))
    (tmp_path / "m.yaml").write_text("products: {file: p.jsonl, fields: {id: id, title: title, price: price}}")
    code, out, _ = run(capsys, "world", "import", "world=table", f"world.mapping={tmp_path}/m.yaml", f"runs={tmp_path}/runs", "tracking.wandb=disabled")
    assert code == 0 and "5 source records could not be read" in out and "p.jsonl:7: field price: expected one price, found 'x'" in out and "quarantine.jsonl" in out
    assert "11 products read" in " ".join(out.split())
