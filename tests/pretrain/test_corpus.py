"""Documents: the same for the same number, true in every verdict, and without what evaluation holds out."""

from __future__ import annotations

import itertools
import random
import re

from prstack.pretrain import corpus, exercises, goods, journeys, pieces
from prstack.tools.results import parse_product
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.holdout import HELD_OUT_CATEGORIES, held_out_combination

NOTE = re.compile(r"\$?(?P<value>-?[\d.,]+) ?(?P<unit>\S*) \((?P<op>at most|at least) \$?(?P<limit>-?[\d.,]+)[^)]*\) is (?P<side>lower|equal|higher), (?P<verdict>fits|does not fit|is fine|is not|yes|no)")


def text(document: list[pieces.Piece]) -> str:
    return "".join(t for t, _ in document)


def sample(n: int, seed: int = 5) -> list[list[pieces.Piece]]:
    return list(itertools.islice(corpus.documents(seed), n))


def test_a_document_depends_on_its_number_alone():
    assert sample(12)[7] == corpus.document(5, 7) != corpus.document(6, 7)
    assert next(corpus.documents(5, first=9)) == sample(12)[9]


def test_every_verdict_is_true():
    seen = {True: 0, False: 0}
    everything = "\n".join(map(text, sample(120)))
    assert "does not say" not in everything
    for m in NOTE.finditer(everything):
        value, limit = (float(m[x].replace(",", "")) for x in ("value", "limit"))
        assert m["side"] == ("lower" if value < limit else "higher" if value > limit else "equal"), m[0]
        true = value <= limit if m["op"] == "at most" else value >= limit
        assert true == (m["verdict"] in ("fits", "is fine", "yes")), m[0]
        seen[true] += 1
    assert min(seen.values()) > 0.3 * sum(seen.values()) > 60


def test_what_evaluation_holds_out_does_not_occur():
    everything = "\n".join(map(text, sample(250)))
    only_there = {a.name for c in CATEGORIES if c.name in HELD_OUT_CATEGORIES for a in (*c.numeric, *c.kinds)} - {
        a.name for c in CATEGORIES if c.name not in HELD_OUT_CATEGORIES for a in (*c.numeric, *c.kinds)
    }
    assert "boiling time" in only_there
    for word in (*HELD_OUT_CATEGORIES, *only_there - {"stand"}):
        assert not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", everything, re.I), word
    for n in range(200):
        rng = random.Random(n)
        category, products, _ = goods.stock(rng, 4)
        needs = pieces.needs_of(category, products, rng)
        assert not held_out_combination(category.name, [c.attribute for c in needs])


def test_a_diary_keeps_exactly_what_fits():
    for n in range(25):
        document = journeys.diary(random.Random(n))
        kept = {parse_product(t.strip()).id for (t, _), (note, _) in itertools.pairwise(document) if parse_product(t.strip()) and re.search(r"I keep it|stays on|A candidate", note)}
        assert set(re.findall(r"^\d+\. \[(P\d+)\]", document[-1][0], re.M)) == kept
        assert document[-1][1] and document[1][1]


def test_a_talk_is_a_conversation_whose_assistant_is_learned():
    for n in range(25):
        document = journeys.talk(random.Random(n))
        everything = text(document)
        turns = re.findall(r"<\|im_start\|>(user|assistant)\n(.*?)<\|im_end\|>", everything, re.S)
        assert [role for role, _ in turns] == ["user", "assistant"] * (len(turns) // 2) and len(turns) > 8
        written = [t.removesuffix("<|im_end|>") for t, learned in document if learned and not t.startswith("<|im_start|>")]
        assert written == [said for role, said in turns if role == "assistant"]
        ids = [re.search(r"(P\d+)$", said) for said in written[1:-1]]
        assert all(ids) and [i[1] for i in ids] == list(dict.fromkeys(re.findall(r"^\[\d+\] (P\d+)", everything, re.M)))[: len(ids)]
        assert re.search(r"^(What is left|My list|These fit)", written[-1].rsplit("</think>\n\n", 1)[1])


def test_a_request_is_answered_with_all_its_needs():
    for n in range(40):
        question, answer = (t for t, learned in journeys.ask(random.Random(n))[:2])
        for limit in re.findall(r"(?:at most|at least|has to be|must not be) (.+?)(?:[;\n<]|\.$|$)", answer):
            assert limit.removesuffix(".").removesuffix("<|im_end|>") in question


def test_what_is_learned_can_be_worked_out():
    """An answer of the recalling kinds stands, word for word, in what was read before it."""
    for kind in (exercises.recall, exercises.page, exercises.listing):
        for n in range(15):
            read = ""
            for piece, learned in kind(random.Random(n)):
                answer = piece.strip().rstrip(".")
                if learned and piece.startswith(" ") and len(answer) < 40 and "; " not in answer and not answer.startswith(("yes", "no")) and ", which is" not in answer:
                    assert all(part in read for part in answer.split(", ")), (kind.__name__, answer)
                read += piece


def test_invented_goods_have_readable_values():
    for n in range(60):
        category = goods.invent(random.Random(n))
        assert len({a.name for a in category.numeric}) == 4 and all(a.high > a.low for a in category.numeric)
        _, products, reviews = goods.stock(random.Random(n), 3)
        assert len({p.id for p in products}) == 3 and {r.product_id for r in reviews} <= {p.id for p in products}
        assert all(a.value.startswith(f"{a.number:g}"[:1]) for p in products for a in p.attributes if a.number is not None)


def test_the_curriculum_goes_from_short_documents_to_diaries():
    def longest(share: float) -> int:
        return max(len(text(corpus.document(5, n, share))) for n in range(60))

    assert longest(0.0) < longest(0.9)
    assert not any("My list:" in text(corpus.document(5, n, 0.3)) for n in range(60))
    ends = [s.until for s in corpus.STAGES]
    assert ends == sorted(ends) and ends[-1] == 1
    assert [corpus.stage(share) for share in (0.0, ends[0], 0.99, 1.3)] == [corpus.STAGES[i] for i in (0, 1, -1, -1)]
