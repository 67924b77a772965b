import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.world import World, build

HEAD = ["sku", "name", "path", "maker", "price", "body", "stock", "Farbe", "Gewicht"]
ROWS = [
    ["A-1", "Quiet Kettle", "Kitchen/Kettles", "Brew & Co", "1.299,00 €", "<p>Boils <b>fast</b>.</p>", "in stock", "red", "900 g"],
    ["A-2", "Loud Kettle", "Kitchen/Kettles", "no brand", "$1,299.00", "", "0", "", "1.2 kg"],
    ["A-3", "Cup", "", "", "", "Holds\ntea.", "https://schema.org/InStock", "blue", ""],
]
MAPPING = {
    "products": {
        "file": "p.csv",
        "fields": {"id": "sku", "title": "name", "category": "path", "brand": "maker", "price": "price", "description": "body", "available": "stock"},
        "attributes": {"colour": "Farbe", "weight": "Gewicht"},
        "category_separator": "/",
        "currency": "EUR",
    }
}


def write_csv(path, head, rows, delimiter=","):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([head, *rows])


def config_of(folder, mapping=MAPPING, **settings):
    (folder / "map.yaml").write_text(yaml.safe_dump(mapping))
    return WorldConfig(kind="table", mapping=str(folder / "map.yaml"), **settings)


def quarantine(folder):
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "jsonl.gz", "parquet", "semicolons"])
def test_every_kind_of_file_gives_the_same_products(tmp_path, kind):
    file = tmp_path / ("p.csv" if kind == "semicolons" else f"p.{kind}")
    records = [dict(zip(HEAD, row)) for row in ROWS]
    products = dict(MAPPING["products"], file=file.name)
    if kind in ("csv", "tsv", "semicolons"):
        delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind]
        write_csv(file, HEAD, ROWS, delimiter)
        products |= {"delimiter": ";"} if kind == "semicolons" else {}
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), file)
    else:
        text = "\n".join(map(json.dumps, records)).encode()
        file.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    counts = build(config_of(tmp_path, {"products": products}), tmp_path / "w")
    assert (counts["products_read"], counts["products"], counts["quarantined"]) == (3, 3, 0)
    world = World.open(tmp_path / "w")
    one, two, three = (world.get(i) for i in ("A-1", "A-2", "A-3"))
    assert (one.price, one.currency, one.category, one.brand, one.description, one.available) == (1299.0, "EUR", "Kitchen > Kettles", "Brew & Co", "Boils fast.", True)
    assert (two.price, two.currency, two.brand, two.available) == (1299.0, "USD", "", False)
    assert (three.price, three.category, three.description, three.available) == (None, "Other", "Holds tea.", True)
    assert [(a.name, a.value, a.number) for a in one.attributes] == [("colour", "red", None), ("weight", "900 g", 900)]
    assert [a.name for a in two.attributes] == ["weight"]


def test_nested_columns_and_all_the_rest_as_attributes(tmp_path):
    row = {"id": 7, "t": "Lamp", "offer": {"price": 12.5, "cur": "EUR"}, "specs": {"Brightness": "800 lm", "dimmable": True, "note": None}, "watts": 9, "long": "x" * 200}
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    build(config_of(tmp_path, {"products": {"file": "p.jsonl", "fields": {"id": "id", "title": "t", "price": "offer.price"}, "attributes": "*"}}), tmp_path / "w")
    lamp = World.open(tmp_path / "w").get("7")
    assert lamp.price == 12.5 and [(a.name, a.value) for a in lamp.attributes] == [("brightness", "800 lm"), ("dimmable", "yes"), ("watts", "9")]


def test_reviews_pages_and_events(tmp_path):
    write_csv(tmp_path / "p.csv", HEAD, ROWS)
    write_csv(tmp_path / "r.csv", ["sku", "stars", "text"], [["A-1", "5", "Quiet."], ["A-1", "2", "Slow."], ["A-9", "1", "?"], ["A-2", "seven", "x"], ["A-2", "3", ""]])
    (tmp_path / "g.jsonl").write_text(json.dumps({"head": "How to choose", "text": "<p>Look for\nsteel.</p>", "day": "2025-03-04 10:00"}) + "\n" + json.dumps({"head": "", "text": "x"}))
    pq.write_table(pa.Table.from_pylist([
        {"who": 1, "what": "buy", "sku": "A-1", "when": "2025-02-01", "said": None}, {"who": 1, "what": "view", "sku": "A-2", "when": "2025-01-01", "said": None}, {"who": 1, "what": "dialogue", "sku": None, "when": "2025-03-01", "said": "Too loud."},
        {"who": 2, "what": "buy", "sku": "A-1", "when": "2025-02-01", "said": None}, {"who": 3, "what": "stole", "sku": "A-1", "when": "", "said": None}, {"who": 3, "what": "buy", "sku": "A-9", "when": "", "said": None},
    ]), tmp_path / "e.parquet")  # fmt: skip
    mapping = MAPPING | {
        "reviews": {"file": "r.csv", "fields": {"product_id": "sku", "rating": "stars", "text": "text"}},
        "pages": {"file": "g.jsonl", "fields": {"title": "head", "text": "text", "published": "day"}},
        "events": {"file": "e.parquet", "fields": {"user_id": "who", "type": "what", "product_id": "sku", "timestamp": "when", "text": "said"}, "types": {"buy": "purchase"}},
    }
    counts = build(config_of(tmp_path, mapping, min_events=2), tmp_path / "w")
    bad = [(b["file"].rpartition("/")[2], b["line"], b["field"]) for b in quarantine(tmp_path / "w")]
    assert bad == [("r.csv", 5, "rating"), ("r.csv", 6, "text"), ("g.jsonl", 2, "title"), ("e.parquet", 5, "type")]
    assert counts["reviews_read"] == counts["reviews"] + counts["reviews_unlisted"] + 2 == 5
    assert (counts["pages_read"], counts["pages"], counts["events_read"], counts["events_unlisted"], counts["users"], counts["users_skipped"]) == (2, 1, 6, 1, 1, 1)
    world = World.open(tmp_path / "w")
    assert (world.get("A-1").rating, world.get("A-1").n_reviews, world.get("A-2").rating) == (3.5, 2, None)
    page = world.page("W1")
    assert (page.published, page.text) == ("2025-03-04", "Look for\nsteel.")
    (history,) = world.histories()
    assert [(e.type, e.title, e.text) for e in history.events] == [("view", "Loud Kettle", ""), ("purchase", "Quiet Kettle", ""), ("dialogue", "", "Too loud.")]


def test_bad_rows_are_quarantined_with_line_and_column(tmp_path):
    good = ROWS[0]
    lines = [",".join(HEAD), ",".join(['"1.299,00 €"' if c.endswith("€") else c for c in good]), "A-2,short", ",".join(["A 3", *good[1:4], "5", *good[5:]]), ",".join(["A-4", "", *good[2:4], "5", *good[5:]])]
    lines += [",".join(["A-5", *good[1:4], "ask us", *good[5:]]), ",".join(["A-6", *good[1:4], "10-20", *good[5:]]), ",".join(["A-7", *good[1:4], "5", "x", "maybe", "", ""]), ",".join(["A-1", "Other", *good[2:4], "5", *good[5:]]), ""]
    lines += ['A-8,"two\nlines",Kitchen,Brew,5,x,1,,', "A-9,\udcff,Kitchen,Brew,5,x,1,,"]
    (tmp_path / "p.csv").write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    counts = build(config_of(tmp_path), tmp_path / "w")
    assert [(b["line"], b["field"]) for b in quarantine(tmp_path / "w")] == [(3, ""), (4, "id"), (5, "title"), (6, "price"), (7, "price"), (8, "available"), (9, "id"), (13, "name")]
    assert counts["products_read"] == counts["products"] + counts["quarantined"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"products": {"file": "p.csv", "fields": {"id": "sku"}}}, r"map\.yaml: products\.fields\.title is missing"),
        ({"products": {"file": "p.csv", "fields": {"id": "sku", "title": "name", "prize": "price"}}}, r"products\.fields\.prize: there is no such field"),
        ({"products": {"file": "p.csv", "fields": {"id": "sku", "title": "nmae"}}}, r"p\.csv: there is no column nmae \(there are: sku, name"),
        ({"products": {"file": "q.csv", "fields": {"id": "sku", "title": "name"}}}, r"products\.file: no such file"),
        ({"products": {"file": "p.csv", "fields": {"id": "sku", "title": "name"}, "attribute": []}}, r"products\.attribute: Unexpected keyword argument|products\.attribute: Extra"),
        ({"product": {}}, "product"),
        ([], "the file"),
        ({"products": {"file": "map.yaml", "fields": {"id": "sku", "title": "name"}}}, r"expected \.csv"),
    ],
)
def test_a_wrong_mapping_is_one_error_that_names_the_key(tmp_path, change, message):
    write_csv(tmp_path / "p.csv", HEAD, ROWS)
    with pytest.raises(UserError, match=message):
        build(config_of(tmp_path, change), tmp_path / "w")


def test_a_mapping_is_needed(tmp_path):
    with pytest.raises(UserError, match=r"give world\.mapping=FILE"):
        build(WorldConfig(kind="table"), tmp_path / "w")
    (tmp_path / "map.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not YAML"):
        build(WorldConfig(kind="table", mapping=str(tmp_path / "map.yaml")), tmp_path / "w")


def test_the_real_shop_as_a_table(tmp_path):
    """tau-bench's orders, flattened to a CSV as a shop would export them, give the histories of its own adapter."""
    from prstack.config import source_folder

    try:
        folder = source_folder(WorldConfig(kind="tau_retail"))
    except UserError as e:
        pytest.skip(f"needs the real data: {e}")
    products, orders = (json.loads((folder / f"{name}.json").read_text()) for name in ("products", "orders"))
    rows = [[item, p["name"], v["price"], v["available"], json.dumps(v["options"])] for p in products.values() for item, v in p["variants"].items()]
    write_csv(tmp_path / "p.csv", ["item", "name", "price", "available", "options"], rows)
    events = [[o["user_id"], "order", i["item_id"]] for o in orders.values() for i in o["items"]]
    write_csv(tmp_path / "e.csv", ["user", "what", "item"], events)
    mapping = {
        "products": {"file": "p.csv", "fields": {"id": "item", "title": "name", "price": "price", "available": "available", "category": "name"}},
        "events": {"file": "e.csv", "fields": {"user_id": "user", "type": "what", "product_id": "item"}, "types": {"order": "purchase"}},
    }
    counts = build(config_of(tmp_path, mapping, min_events=1), tmp_path / "w")
    assert (counts["products"], counts["categories"], counts["quarantined"], counts["events"]) == (591, 50, 0, len(events))
