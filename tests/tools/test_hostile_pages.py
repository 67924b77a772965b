"""World text is data: every text of `tests.tools.hostile` in every field of a world, asked for through the real tools.

1. Nothing in a tool's text is a special token, read as it stands or as normalisers and HTML parsers may read it; real tokenizers find none.
2. The formats hold: what is parsed back is what the records say, and nothing that a text forged.
3. In a conversation the text stays one tool result, which nobody learns; in a prompt it opens no section.
4. It is bounded and can be shown in a terminal.
5. Ordinary text stays as it is, but for the characters that the docstring of `prstack.tools.neutralise` lists.

Instructions in plain words come out as they went in; for them 2 and 3 are all that can hold, and do.
"""

import functools
import html
import json
import re
import sys
import unicodedata
from collections import Counter
from dataclasses import asdict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from prstack.dialogue.parse import TAGS, parse_assistant
from prstack.dialogue.render import Renderer
from prstack.errors import UserError
from prstack.prompts import Prompts, sections
from prstack.scoring.evidence import Evidence
from prstack.stages.models import SMOLLM2, WORLD_9M, resolve_tokenizer
from prstack.tools import results
from prstack.tools.aspects import MAX_NAME, count_aspects
from prstack.tools.neutralise import READ, cell, neutralise, one_line
from prstack.tools.schemas import MAX_ID, SCHEMAS
from prstack.tools.toolbox import Toolbox
from prstack.types import Attribute, Page, Product, Review, ToolCall
from prstack.world.index import assemble
from prstack.world.search import page_fields, page_writer, product_fields, product_writer
from tests.tools.hostile import CASES, DISGUISES, FAMILIES, SPECIAL_TOKENS, SPLITS, TOKENS

each_case = pytest.mark.parametrize("n", range(len(CASES)), ids=[c.name.replace(" ", "-") for c in CASES])
HEAD = 500
"""Characters of a text in fields that no tool shows and in ids, so that the world stays small."""


# --- the world ---------------------------------------------------------------------------------------------------
def parts(n: int) -> tuple[str, str]:
    """The two parts of a case as files can hold them: without lone surrogates, which no record of a world has."""
    first, second = (t.encode(errors="replace").decode() for t in (CASES[n].text, CASES[n].second))
    return first, second or first


def in_every_field(n: int, a: str, b: str) -> tuple[Product, list[Review], Page]:
    """A product, its reviews and a page with the parts of a case in every field but the ids, by which they are asked for."""
    attributes = [Attribute(a, b), Attribute("noise level", a), Attribute(f"size {b}", "5 cm", 5.0, a[:HEAD])]
    product = Product(f"P{n}", a, b, a, 10.5 + n, "USD", 4.5, 3, f"case{n} {b}", attributes, f"F{n}", n % 2 == 0, b)
    praise = f"Loud. Happy with the {a[:30]} and happy with the {b[:9]}; left disappointed by the {a[-30:]}"
    reviews = [Review(f"R{n}-1", product.id, 4.0, a, b[:HEAD]), Review(f"R{n}-2", product.id, 2.5, b, a[:HEAD]), Review(f"R{n}-3", product.id, 1.0, praise)]
    return product, reviews, Page(f"W{n}", a[:HEAD], a, f"case{n} {b}\n{a}", b, a)


def beside(n: int, a: str, b: str) -> tuple[Product, Product]:
    """A variant of the product with the parts in every field, and one like it."""
    attributes = [Attribute(b, a), Attribute("noise level", b), Attribute(f"{a} size", f"; {b}")]
    return Product(f"V{n}", b, b, a, 99.0, attributes=attributes, parent_id=f"F{n}", available=False), Product(f"N{n}", a, b, b, 7.0, attributes=attributes)


def in_the_ids(n: int, a: str, b: str) -> tuple[Product, list[Review], Page]:
    """The same in the fields that stand for one word."""
    a, b = a[:HEAD], b[:HEAD]
    product = Product(f"{a}{n}", "Plain", "Plain", "Plain", 10.5 + n, b, 4.5, 3, f"odd{n}")
    return product, [Review(a, product.id, 4.0, "Plain.")], Page(f"{b}{n}", "", "Plain", f"odd{n}", "guide", "2026-01")


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A toolbox over a world of these records, written as worlds are."""
    folder = tmp_path_factory.mktemp("hostile")
    made = [make(n, *parts(n)) for n in range(len(CASES)) for make in (in_every_field, in_the_ids)]
    products, pages = product_writer(folder / "products"), page_writer(folder / "pages")
    for product, reviews, page in made:
        row = asdict(product)
        products.add(product.id, **product_fields(row, json.dumps(row), json.dumps([asdict(r) for r in reviews])))
        pages.add(page.id, **page_fields(asdict(page), json.dumps(asdict(page))))
    for product in (p for n in range(len(CASES)) for p in beside(n, *parts(n))):
        products.add(product.id, **product_fields(asdict(product), json.dumps(asdict(product)), "[]"))
    for name, writer in (("products", products), ("pages", pages)):
        writer.close()
        assemble(folder / "index" / name, [folder / name])
    meta = {"kind": "generated", "seed": 0, "categories": Counter(sorted((p.category for p, _, _ in made), key=len, reverse=True))}
    (folder / "world.json").write_text(json.dumps(meta))
    return Toolbox(folder)


def ask(box: Toolbox, tool: str, **arguments: object) -> str:
    result = box.call(ToolCall("c", tool, json.dumps(arguments)))
    assert result.ok, result.text[:300]
    return result.text


@functools.cache
def shown(box: Toolbox, n: int) -> dict[str, str]:
    """What the four tools say about a case, and about the records that bear it as an id."""
    odd, reviews, page = in_the_ids(n, *parts(n))
    return {
        "search": ask(box, "product_search", query=f"case{n}"),
        "product": ask(box, "visit_product", product_id=f"P{n}"),
        "web search": ask(box, "web_search", query=f"case{n}"),
        "web page": ask(box, "web_visit", page_id=f"W{n}"),
        "web page, goal": ask(box, "web_visit", page_id=f"W{n}", goal=f"case{n} {CASES[n].text[:300]}"),
        "web page, missed goal": results.format_web_page(page, f"zzz {CASES[n].text[:300]}"),
        "search, ids": ask(box, "product_search", query=f"odd{n}"),
        "product, ids": results.format_product(odd, reviews, [odd], [odd]),
        "web search, ids": ask(box, "web_search", query=f"odd{n}"),
        "web page, ids": results.format_web_page(page),
    }


# --- special tokens ----------------------------------------------------------------------------------------------
def without_the_invisible(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or (unicodedata.category(c) not in ("Cf", "Cc", "Mn", "Me", "Mc") and c not in "\u115f\u1160\u3164\uffa0"))


READERS = (html.unescape, lambda t: unicodedata.normalize("NFKC", t), lambda t: unicodedata.normalize("NFKD", t), without_the_invisible)


def readings(text: str) -> set[str]:
    """The text as what reads it may take it: up to three of READERS after each other; case and space around delimiters aside."""
    found = {text}
    for _ in range(3):
        found |= {read(t) for read in READERS for t in found}
    return {re.sub(r"\s*([<>\[\]|｜/])\s*", r"\1", t.casefold()) for t in found}


BANNED = {form.casefold() for token in TOKENS for form in (token, unicodedata.normalize("NFKC", token))}


def tokens_in(text: str) -> set[str]:
    return {token for reading in readings(text) for token in BANNED if token in reading}


def test_the_check_sees_what_it_should():
    for case in SPECIAL_TOKENS:
        assert tokens_in(case.text) >= {t.casefold() for t in FAMILIES[case.name.removeprefix("tokens of ")]}
    for case in DISGUISES:
        assert tokens_in(case.text), case.name
    for case in SPLITS:
        assert tokens_in(case.text + case.second) or any("<|" in reading for reading in readings(f"{case.text} | {case.second}")), case.name


@each_case
def test_no_special_token_in_any_reading(box, n):
    for where, text in shown(box, n).items():
        assert tokens_in(text) == set(), where
        assert neutralise(text) == text, where  # nothing came together between fields


@pytest.fixture(scope="module", params=[WORLD_9M, SMOLLM2])
def tokenizer_dir(request):
    try:
        return resolve_tokenizer(request.param)
    except UserError as e:
        pytest.skip(f"the tokenizer of {request.param} is not here: {e}")


@pytest.fixture(scope="module")
def tokenizer(tokenizer_dir):
    return Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))


@pytest.fixture(scope="module")
def renderer(tokenizer_dir):
    return Renderer(tokenizer_dir)


@each_case
def test_real_tokenizers_find_no_special_token(box, tokenizer, n):
    tags = [tag for tag in (*TAGS, "<tool_response>", "</tool_response>", "<tools>", "</tools>") if len(tokenizer.encode(tag, add_special_tokens=False)) == 1]
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special or token.content in tags}
    assert special & set(tokenizer.encode(" ".join(TOKENS), add_special_tokens=False).ids)
    for where, text in shown(box, n).items():
        assert not special & set(tokenizer.encode(text, add_special_tokens=False).ids), where


# --- formats -----------------------------------------------------------------------------------------------------
@each_case
def test_what_is_parsed_is_what_the_records_say(box, n):
    product, reviews, page = in_every_field(n, *parts(n))
    texts = shown(box, n)
    (hit,) = results.parse_search(texts["search"])
    assert (hit.id, hit.price, hit.currency, hit.rating, hit.n_reviews) == (product.id, product.price, "USD", 4.5, 3)
    assert (hit.title, hit.category) == (cell(product.title, results.MAX_TITLE), cell(product.category, results.MAX_CATEGORY))
    found = results.parse_product(texts["product"])
    assert (found.id, found.title, found.category) == (hit.id, hit.title, hit.category)
    assert (found.price, found.currency, found.rating, found.n_reviews, found.available) == (product.price, "USD", 4.5, 3, product.available)
    assert found.brand == one_line(product.brand, results.MAX_VALUE)
    assert [(name, a.value) for name, a in found.attributes.items()] == [
        (one_line(a.name.replace(":", " "), results.MAX_VALUE), one_line(a.value, results.MAX_VALUE)) for a in product.attributes
    ]
    assert found.description == one_line(product.description, results.MAX_DESCRIPTION)
    assert found.reviews == [(r.id, r.rating, one_line(r.text, results.MAX_REVIEW)) for r in reviews]
    assert found.shipping == one_line(product.shipping, results.MAX_SHIPPING)
    assert [(v.id, v.price, v.available) for v in found.variants] == [(f"V{n}", 99.0, False)]
    assert found.aspects["noise level"][1] >= 1 and found.aspects == count_aspects(reviews, results.MAX_ASPECTS)
    assert found.related == [(q.id, q.price) for q in box.world.related_to(product)] and f"V{n}" not in dict(found.related)
    assert Evidence.from_texts([texts["product"]]).seen_ids == {product.id}
    (web,) = results.parse_web_search(texts["web search"])
    opened = results.parse_web_page(texts["web page"])
    assert (web.id, web.title, web.kind, web.published) == (opened.id, opened.title, opened.kind, opened.published) == (page.id, cell(page.title, results.MAX_TITLE), "article", "")
    assert f"case{n}" in web.snippet and opened.text == results.page_text(page.text)


def test_most_pages_have_all_parts(box):
    pages = [results.parse_product(shown(box, n)["product"]) for n in range(len(CASES))]
    assert all(page.variants and page.aspects for page in pages)
    for part in ("shipping", "related"):
        assert sum(bool(getattr(page, part)) for page in pages) > len(CASES) / 2, part


@each_case
def test_a_text_is_of_its_own_kind_only(box, n):
    parsers = {"search": results.parse_search, "product": results.parse_product, "web search": results.parse_web_search, "web page": results.parse_web_page}
    for where, text in shown(box, n).items():
        assert [kind for kind, parse in parsers.items() if parse(text)] == [where.partition(",")[0]]
        assert not any(line.startswith("error: ") for line in text.split("\n")) or where.startswith("web page")  # which has lines of its own
        assert not text.startswith("error: ")


@each_case
def test_ids_stay_one_word(box, n):
    texts = shown(box, n)
    (hit,) = results.parse_search(texts["search, ids"])
    found = results.parse_product(texts["product, ids"])
    (web,) = results.parse_web_search(texts["web search, ids"])
    opened = results.parse_web_page(texts["web page, ids"])
    ids = [hit.id, found.id, *(r[0] for r in found.reviews), *(v.id for v in found.variants), *(i for i, _ in found.related), web.id, opened.id]
    assert len(ids) == 7 and all(re.fullmatch(r"[\w.:#/@+-]{1,64}", i) and not i.endswith(":") for i in ids)
    assert hit.price == found.price == found.variants[0].price == found.related[0][1] == 10.5 + n and hit.currency == found.currency == "XXX"
    assert (web.kind, web.published) == ("guide", "2026-01") == (opened.kind, opened.published)


def test_ids_and_words_that_fit_stay():
    product = Product("B07:x/1.2@a+#-_é", "T", "C", price=2.0, currency="EUR")
    page = Page("L0a1b2c3", "", "T", "x", "lab_test", "2026-03-01T10:00+02:00")
    assert results.parse_product(results.format_product(product, [])).id == product.id and "€2.00" in results.format_product(product, [])
    assert results.format_web_page(page) == "L0a1b2c3 | T\nkind: lab_test\npublished: 2026-03-01T10:00+02:00\nx"
    assert results.format_product(Product("error:", "T", "C"), []).startswith("error_ | T\n")
    assert results.format_product(Product("", "T", "C", price=1.0, currency="9"), []).split("\n")[3] == "price: XXX 1.00"


@each_case
def test_arguments_are_data_too(box, n):
    text = CASES[n].text
    calls = [("product_search", {"query": text[:400]}), ("product_search", {"query": "x", "category": f"{text[:190]} none"}), ("visit_product", {"product_id": f"?{text[:60]}"})]
    calls += [("product_search", {"query": "x", "brand": f"{text[:190]} none"}), ("product_search", {"query": text[:400], "sort": "rating"}), ("product_search", {"query": "x", "sort": text[:100]})]
    calls += [("web_search", {"query": text[:400]}), ("web_visit", {"page_id": f"?{text[:60]}"}), (text[:100], {}), ("web_visit", {text[:100]: text[:100]})]
    for name, arguments in calls:
        result = box.call(ToolCall("c", name, json.dumps(arguments)))
        assert tokens_in(result.text) == set() and result.error != "internal"
        assert result.text.startswith("error: ") != result.ok and (result.ok or "\n" not in result.text) and len(result.text) < 4000


# --- dialogue and prompts ----------------------------------------------------------------------------------------
@each_case
def test_it_says_nothing_in_the_assistants_name(box, n):
    for where, text in shown(box, n).items():
        turn = parse_assistant(text)
        assert (turn.reasoning, turn.content, turn.tool_call, turn.report, turn.error) == ("", text.strip(), None, None, ""), where


@each_case
def test_a_conversation_has_the_turns_of_its_messages_and_learns_none_of_it(box, renderer, n):
    for where, text in shown(box, n).items():
        call = {"type": "function", "id": "c", "function": {"name": "web_visit", "arguments": '{"page_id": "W1"}'}}
        turns = [{"role": "assistant", "content": "", "reasoning_content": "Look.", "tool_calls": [call]}, {"role": "assistant", "content": "Done."}]
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, turns[0], {"role": "tool", "tool_call_id": "c", "content": text}, turns[1]]
        whole, plain = renderer.render(messages, SCHEMAS), renderer.render([*messages[:3], {**messages[3], "content": "x"}, messages[4]], SCHEMAS)
        learned = [[i for i, m in zip(r.input_ids, r.loss_mask) if m] for r in (whole, plain)]
        assert learned[0] == learned[1], where
        for token in ("<|im_start|>", "<|im_end|>"):
            assert whole.input_ids.count(renderer.special_ids[token]) == whole.text.count(token) == len(messages), where
        assert sum(i in renderer.special_ids.values() for i in whole.input_ids) == 2 * len(messages), where


@each_case
def test_it_opens_no_section_and_closes_no_source_of_a_prompt(box, n):
    prompts, texts = Prompts(), list(shown(box, n).values())
    checks = [("supervisor_check_toolcall", {"query": "q", "earlier": ["e"], "call": "c"}), ("supervisor_check_report", {"query": "q", "rubric": [], "report": "r"})]
    for name, values in checks:
        plain, hostile = (prompts.render(name, **values, result=" ".join(given[:1]), shown=given, evidence=given) for given in (["x"] * len(texts), texts))
        assert list(sections(hostile)) == list(sections(plain))
        assert [hostile.count(tag) for tag in ("<source>", "</source>")] == [plain.count(tag) for tag in ("<source>", "</source>")]


# --- bounds ------------------------------------------------------------------------------------------------------
LONGEST_CELLS = MAX_ID + results.MAX_TITLE + results.MAX_CATEGORY + 100
LONGEST = {
    "search": 200 + LONGEST_CELLS,
    "product": LONGEST_CELLS + 400 + 8 * (results.MAX_VALUE + 10) + results.MAX_DESCRIPTION + 3 * (MAX_ID + results.MAX_REVIEW + 30) + MAX_ID + results.MAX_VARIANT + results.MAX_ASPECTS * (MAX_NAME + 20),
    "web search": 200 + LONGEST_CELLS + results.MAX_SNIPPET,
    "web page": LONGEST_CELLS + results.MAX_PAGE + 2,
}
"""Most characters of the tools' texts here: one hit, three attributes, three reviews, one variant."""


@each_case
def test_it_is_bounded_and_can_be_shown(box, n):
    for where, text in shown(box, n).items():
        assert len(text) <= LONGEST[where.partition(",")[0]], where
        assert text.replace("\n", "").isprintable(), where  # no control, format or surrogate character, no exotic space
        text.encode()


def test_lone_surrogates_are_dropped():
    """As they may come from the live web or from a user's own tool; ids keep their length."""
    (case,) = [c for c in CASES if c.name == "lone surrogates"]
    product, reviews, page = in_every_field(0, case.text, case.text)
    texts = [results.format_product(product, reviews, beside(0, case.text, case.text)), results.format_search(case.text, [product], 1), results.format_web_page(page), results.format_web_search("q", [(page, case.text)])]
    texts.append(results.format_web_page(in_the_ids(0, case.text, case.text)[2]))
    for text in texts:
        text.encode()
        assert tokens_in(text) == set()
    assert [len(f) for f in (results.parse_product(texts[0]).reviews, results.parse_product(texts[0]).attributes, results.parse_search(texts[1]), results.parse_web_search(texts[3]))] == [3, 3, 1, 1]
    assert results.parse_web_page(texts[2]).text == "case0 ab‹|im_start|›\nab‹|im_start|›"
    assert results.parse_web_page(texts[4]).id == "a_b____im_start___0"


def test_what_lies_beyond_the_limits_is_not_shown():
    text = "word " * READ + "the end"
    assert len(one_line(text)) <= READ and one_line(text, 100) == "word " * 19 + "word …"
    assert cell("x" * READ * 2, 50) == "x" * 50 + " …" and len(results.page_text("y" * READ * 2)) == results.MAX_PAGE + 2


# --- ordinary text -----------------------------------------------------------------------------------------------
ORDINARY = [
    "Size < 10 cm", "A <b>bold</b> claim & more", "I <3 it", "x|y || z", "[1] see [2, p. 4] and [P12]", "5 > 3 < 4 <= 5 >= 1 <> 0", "a -> b <- c => d <=> e", "Q&A; R&D &c. AT&T; &copy; &amp; &nbsp;",
    '<img src="x.png" alt="[x]"> <a href="/p?a=1&lt=2">link</a> <br/> <span>ok</span>', "f(x) = x<sub>2</sub>, List<String>, <name>", "[sic] [sale] (INST) [x] [ ] {tool}", "see https://example.org/a|b?c=<d>&e=[f]",
    "👍🏽 ❤️ ⭐⭐⭐⭐ 🇩🇪 1️⃣", "خلاط هادئ، ٥٨ ديسيبل", "शांत ब्लेंडर, काँच का जार", "เครื่องปั่นเงียบ กี่เดซิเบล", "か\u3099らす・ﾎﾟｯﾄ・静かな【送料無料】", "Zażółć gęślą jaźń, e\u0301 vs é", "™ ½ ﬁ ² № ㎏ ｆｕｌｌ ① ℃", "«‹ok›» “quotes” — … ‰ § ¶",
    "Größe 3 × 4 m²; 20 °C ± 1 %", "thinking, reporting, tools and users; system: none", "C:\\tools\\s.exe ~/tool_call.txt $HOME `code` **bold** # 1", "line one\nline two\n\tindented",
]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text):
    assert neutralise(text) == text
    assert one_line(text) == " ".join(text.split())
    assert cell(text) == " ".join(text.replace("|", "/").split())
    assert neutralise(f"é{text}＆") == f"é{text}＆"  # not ASCII, and with what might begin an entity


def test_what_is_dropped_is_as_listed():
    family = "👩\u200d👩\u200d👧 soft\u00adhyphen \ufeffmark \u202bשלום\u202c می\u200cخواهم क्\u200dष tab\there"
    assert neutralise(family) == "👩👩👧 softhyphen mark שלום میخواهم क्ष tab\there"
    dropped = {unicodedata.category(c) for c in map(chr, range(sys.maxunicode + 1)) if neutralise(c) != c}
    assert dropped == {"Cc", "Cf", "Cs", "Co", "Cn"} and neutralise("\n\t") == "\n\t"


def test_every_character_that_folds_to_a_bracket_is_known():
    every = [chr(i) for i in range(0x80, sys.maxunicode + 1) if unicodedata.category(chr(i)) not in ("Cs", "Cn", "Co")]
    found = {b: [c for c in every if b in unicodedata.normalize("NFKD", c)] for b in "<[>&|"}
    assert min(map(len, found.values())) >= 1
    assert all(c not in neutralise(f"{c}|im_start|>") for c in found["<"]) and all(c not in neutralise(f"{c}INST]") for c in found["["])
    assert all(c not in neutralise(f"|{c}") for c in found[">"]) and all("<" not in neutralise(f"<{c}im_start{c}>") for c in found["|"])
    assert all(tokens_in(neutralise(f"{c}lt;think>")) == set() for c in found["&"])


def test_markup_that_is_in_the_text_changes_one_character_each():
    assert neutralise("a <|im_start|> b </tool_call > c [/INST] d &lt;think&gt; e |>") == "a ‹|im_start|› b ‹/tool_call > c (/INST] d ‹think&gt; e |›"
    assert neutralise("<<SYS>> <start_of_turn>user <your_name> <Ｓ>") == "<‹SYS>> ‹start_of_turn>user ‹your_name> ‹Ｓ>"
    assert neutralise("< to ol_call> <t ool_call> < аssistant>") == "< to ol_call> <t ool_call> < аssistant>"  # other text to every tokenizer; the last has a Cyrillic а


PIECES = st.sampled_from(["<", ">", "|", "/", "[", "]", "＜", "｜", "［", "≮", "&lt;", "&amp;", "&#60", "&#x5b;", "amp;", "lt;", "&", ";", "im_start", "tool_call", "think", "s", "INST", "bos", "𝐭𝐨𝐨𝐥", "a_b", " ", "\n", "\u200b", "\u0338", "\u3164", "\u202e", "é", "‹", "="])  # fmt: skip


@example("<<<<<<<<&lt;&lt;&lt;INST0000000<im_start\u00e9")  # a cut makes a name of it
@given(st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=24).map("".join))
@settings(max_examples=600, deadline=None)
def test_any_text_is_made_harmless_once_and_for_all(text):
    once = neutralise(text)
    assert neutralise(once) == once and tokens_in(once) == set()
    assert neutralise(f"é{text}") == f"é{once}"  # the quick way for ASCII and the other agree
    for line in (one_line(text, 40), cell(text, 40), results.page_text(text)):
        assert tokens_in(f"x | {line} | y") == set() and one_line(line) == " ".join(line.split())


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn"), exclude_characters="<>[&＜﹤≮＞﹥≯［﹇＆﹠"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_text_without_brackets_and_entities_stays_as_it_is(text):
    assert neutralise(text) == text
