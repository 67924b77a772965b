import json
from pathlib import Path

import pytest

from prstack.config import source_folder
from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.adapters.jsonfile import read_array, read_object
from prstack.world.adapters.webshop import GOALS, read_goals
from prstack.world.material import Material
from prstack.world.world import World, build


def item(**changes) -> dict:
    return {
        "asin": "B09ITEM001", "name": "Ottoman Bench", "category": "garden", "query": "ottoman", "product_category": "Home & Kitchen › Furniture › Ottomans", "pricing": "$1,119.99$1,140.00",
        "small_description": ["Space saving", "100x45x45cm"], "full_description": "For the living room.", "brand": "Visit the Benchy Store", "images": ["x"],
        "customization_options": {"Color": [{"value": "blue", "image": None}, {"value": "grey"}], "Size": [{"value": "100 cm"}], "Style": None},
    } | changes  # fmt: skip


def write(folder, items, goals=("I need a blue ottoman bench", "i need a blue ottoman bench", "a grey sofa"), short=None):
    folder.mkdir(exist_ok=True)
    (folder / "items_shuffle_1000.json").write_text(items if isinstance(items, str) else json.dumps(items, indent=1), encoding="utf-8")
    (folder / GOALS).write_text(json.dumps(goals), encoding="utf-8")
    if short:
        (folder / "items_ins_v2_1000.json").write_text(json.dumps(short))
    return WorldConfig(kind="webshop", path=str(folder))


def test_items_and_goals(tmp_path):
    config = write(tmp_path / "src", [item(), item(), item(asin="B09ITEM002", pricing="", product_category="", customization_options=[], brand="")], short={"B09ITEM001": {"attributes": ["space saving", "long lasting"]}, "B09ITEM002": {"attributes": None}, "B09ITEM003": None})
    counts = build(config, tmp_path / "w")
    assert (counts["products_read"], counts["products"], counts["products_merged"], counts["quarantined"]) == (3, 2, 1, 0)
    assert (counts["goals_read"], counts["goals_merged"], counts["users"]) == (3, 1, 2)
    assert (counts["short_read"], counts["short_without"]) == (3, 2)
    world = World.open(tmp_path / "w")
    bench, plain = world.get("B09ITEM001"), world.get("B09ITEM002")
    assert (bench.price, bench.brand, bench.category) == (1119.99, "Benchy", "Home & Kitchen > Furniture > Ottomans")
    assert [(a.name, a.value) for a in bench.attributes] == [("color", "blue / grey"), ("size", "100 cm"), ("space saving", "yes"), ("long lasting", "yes")]
    assert (plain.price, plain.brand, plain.category) == (None, "", "garden") and not plain.attributes
    assert [h.events[0].text for h in world.histories()] == ["i need a blue ottoman bench", "a grey sofa"]


def test_malformed_items_are_quarantined(tmp_path):
    items = [item(), item(asin="B 2"), item(asin=3), item(asin="B4", name=None), item(asin="B5", pricing="cheap"), item(asin="B6", customization_options="blue"), "item"]
    counts = build(write(tmp_path / "src", items, goals=["a sofa", "", 7]), tmp_path / "w")
    bad = [json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()]
    assert [b["field"] for b in bad] == ["asin", "asin", "name", "pricing", "customization_options", "asin", "goal", "goal"]
    assert counts["products_read"] == 7 == counts["products"] + 6 and counts["goals_read"] == 3 == counts["users"] + 2
    lines = (tmp_path / "src" / "items_shuffle_1000.json").read_text().splitlines()
    assert '"B 2"' in "".join(lines[bad[0]["line"] - 1 :][:3])


def test_items_are_needed(tmp_path):
    with pytest.raises(UserError, match=r"there is no items_shuffle\*\.json here"):
        build(WorldConfig(kind="webshop", path=str(tmp_path)), tmp_path / "w")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", r":1: expected one JSON array"), ("", "expected one JSON array"), ('[\n{"a": 1},\n{"a" 2}]', r":3: not JSON"), ("[1 2]", "expected , or ]"), ("[1,\n2", ":2: not JSON"), ('["abc', "not JSON"), ("[" * 100_000, "nested too deeply")],
)
def test_broken_arrays_are_one_error(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        list(read_array(tmp_path / "a.json"))


@pytest.mark.parametrize("text", ["[1,]", "[1] 2", '["a\\ud800"]'])
def test_arrays_that_only_begin_well_are_one_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json:1: "):
        list(read_array(tmp_path / "a.json"))


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
def test_arrays_are_read_the_same_in_any_chunks(tmp_path, chunk):
    entries = [1234567, {"a": ["b\n", "é\u2028"], "c": None}, "x" * 50, [], -1.5e3, True]
    (tmp_path / "a.json").write_text(json.dumps(entries, indent=1, ensure_ascii=False), encoding="utf-8")
    read = list(read_array(tmp_path / "a.json", chunk=chunk))
    assert [e for _, e in read] == entries
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").split("\n")
    assert all(lines[line - 1].strip() for line, _ in read) and [line for line, _ in read][:2] == [2, 3]


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
def test_objects_are_read_the_same_in_any_chunks(tmp_path, chunk):
    entries = {"a\n": 1234567, "b": {"a": ["b\n", "é\u2028"], "c": None}, 'quo"ted': "x" * 50, "": [], "é": -1.5e3, "t": True}
    (tmp_path / "a.json").write_text("\n" + json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    read = list(read_object(tmp_path / "a.json", chunk=chunk))
    assert {k: v for _, k, v in read} == entries
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").split("\n")
    assert all(lines[line - 1].strip().startswith(json.dumps(key, ensure_ascii=False)) for line, key, _ in read)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b" 2}', ":2: not JSON: expected a colon"), (b'{"a": 1,\n}', ":2: not JSON: expected a key"), (b"{1: 2}", ":1: not JSON: expected a key"), (b'{"a": 1\n', ":2: not JSON: expected ,"),
        (b'{"a": 1} {', ":1: not JSON: expected the end"), (b'{"a":\n [1, 2', ":2: not JSON"), (b'{"a": 1,\n\n "b": "\xff"}', ":3: not UTF-8"), (b'"text"', ": expected one JSON object, found str"), (b'{"\\ud800": 1}', ":1: text holds half"),
    ],
)  # fmt: skip
def test_broken_objects_are_one_error_with_the_line(tmp_path, content, message, chunk):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json{message}"):
        list(read_object(tmp_path / "a.json", chunk=chunk))
    (tmp_path / "a.json").write_text(" {} \n")
    assert list(read_object(tmp_path / "a.json", chunk=chunk)) == []


def test_an_entry_over_the_limit_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr("prstack.world.adapters.jsonfile.MAX_LINE", 1000)
    (tmp_path / "a.json").write_text(json.dumps(["x" * 900, "x" * 5000]))
    with pytest.raises(UserError, match=r"a\.json:1: an entry of more than 1000 characters"):
        list(read_array(tmp_path / "a.json", chunk=64))


def test_an_item_with_half_of_a_pair_is_put_aside(tmp_path):
    counts = build(write(tmp_path / "src", [item(), item(asin="B2", name="Sofa \ud83d"), item(asin="B3", name="Sofa \ud83d\ude00")], goals=["a sofa"]), tmp_path / "w")
    (bad,) = (json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines())
    assert "half of a surrogate pair" in bad["reason"] and (counts["products_read"], counts["products"], counts["quarantined"]) == (3, 2, 1)


def test_the_real_goals_add_up():
    try:
        folder = source_folder(WorldConfig(kind="webshop"))
    except UserError as e:
        pytest.skip(f"needs the real data: {e}")
    material = Material([])
    histories = list(read_goals(Path(folder) / GOALS, material))
    real = json.loads((Path(folder) / GOALS).read_text())
    assert material.counts["goals_read"] == len(real) == len(histories) + material.counts["goals_merged"] + len(material.bad)
    assert len(histories) > 10_000 and not material.bad
