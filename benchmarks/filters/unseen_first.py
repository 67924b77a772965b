"""Shapes of faults that were written when the filters were done. Recall was 0.56; the filters were then changed for some of those they missed."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from random import Random

from benchmarks.filters.edit import Change, Kind, acts, pages, reasoned, report, reported, step_at
from prstack.types import Trajectory

FRENCH = "Je cherche d'abord les meilleurs résultats, puis j'ouvre chaque page pour vérifier que le produit répond à toutes les demandes."
DUTCH = "Deze producten heb ik voor u gevonden, en bij elk van de pagina's heb ik gekeken of het aan de wensen voldoet."
PINYIN = "Wo xian sousuo fuhe yusuan de shangpin, ranhou zhuge dakai yemian hedui mei yi xiang xuqiu, zuihou xie chu baogao gei guke."
SENTENCES = [
    "I look at the price.",
    "I look at the page.",
    "I look at the needs.",
    "I go on to the next one.",
    "I think about it again.",
    "That is how I go on.",
]
NUMBERS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905


def _verdict_first(t: Trajectory, rng: Random) -> Trajectory:
    at = rng.choice(acts(t))
    return replace(t, steps=[*t.steps[:at], t.steps[at + 1], t.steps[at], *t.steps[at + 2 :]])


def _id_in_capitals(t: Trajectory, rng: Random) -> Trajectory:
    at = rng.choice(acts(t))
    return step_at(t, at, tool_result=replace(t.steps[at].tool_result, call_id=t.steps[at].tool_result.call_id.upper() + " "))


def _report_calls(t: Trajectory, rng: Random) -> Trajectory:
    call = t.steps[acts(t)[0]]
    return step_at(t, len(t.steps) - 2, tool_call=replace(call.tool_call, id="z9"), tool_result=replace(call.tool_result, call_id="z9"))


def _tag_with_attribute(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, report(t).replace("<report>", '<report lang="en">'))


def _one_call_twice(t: Trajectory, rng: Random) -> Trajectory:
    first = acts(t)[0]
    again = t.steps[first : first + 2]
    again = [replace(again[0], tool_call=replace(again[0].tool_call, id="y1"), tool_result=replace(again[0].tool_result, call_id="y1")), again[1]]
    return replace(t, steps=[*t.steps[: first + 2], *again, *t.steps[-2:]])


def _results(text: str) -> Change:
    def change(t: Trajectory, rng: Random) -> Trajectory:
        for at in rng.sample(acts(t), max(2, len(acts(t)) // 2)):
            t = step_at(t, at, tool_result=replace(t.steps[at].tool_result, text=text))
        return t

    return change


def _shuffled_sentences(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda _: " ".join(rng.choice(SENTENCES) for _ in range(60)))


def _emoji(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: said + " " + "\U0001f600" * 80)


def _one_product_thrice(t: Trajectory, rng: Random) -> Trajectory | None:
    entry = re.search(r"(?ms)^1\. (\[P.*?)(?=^\d+\. \[|\n## |</report>)", report(t))
    return reported(t, "<report>\n" + "".join(f"{n}. {entry[1].rstrip()}\n" for n in (1, 2, 3)) + "</report>") if entry else None


def _salad(t: Trajectory, rng: Random) -> Trajectory:
    words = re.findall(r"\w+", " ".join(s.reasoning for s in t.steps))
    return reasoned(t, rng, lambda _: " ".join(rng.choices(words, k=60)))


def _base64(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: f"{said} {base64.b64encode(rng.randbytes(120)).decode()}")


def _dutch_report(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, report(t).replace("<report>\n", f"<report>\n{DUTCH}\n", 1))


def _added(line: str) -> Change:
    return lambda t, rng: reported(t, report(t).replace("</report>", line.format(rng.randrange(88_000, 89_000)) + "\n</report>"))


def _spelled(t: Trajectory, rng: Random) -> Trajectory | None:
    """Wrong values in words."""
    return reported(t, re.sub(r"(?m)^- ([a-z ]+): \d[\d.]* (\D+)$", lambda m: f"- {m[1]}: {rng.choice(NUMBERS)} hundred {m[2]}", report(t)))


def _brand(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"(?m)^(\d+\. \[.*)$", r"\1\n- brand: Sonnenkraft", report(t)))


def _sold_out(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"(?m)^(\d+\. \[.*)$", r"\1\n- availability: out of stock", report(t)))


def _rating(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"(?m)^- rating: .*$", "- rating: 0.7 stars", report(t)))


def _attributes_exchanged(t: Trajectory, rng: Random) -> Trajectory | None:
    """Two properties of a product with each other's values."""
    found = list(re.finditer(r"(?m)^- ([a-z ]+): (\d.*)\n- ([a-z ]+): (\d.*)$", report(t)))
    found = [m for m in found if "rating" not in (m[1], m[3]) and m[2] != m[4]]
    if not found:
        return None
    m = found[0]
    return reported(t, report(t).replace(m[0], f"- {m[1]}: {m[4]}\n- {m[3]}: {m[2]}", 1))


def _wrong_comparison(t: Trajectory, rng: Random) -> Trajectory | None:
    two = pages(t)[:2]
    named = [p for p in two if p.id in report(t)]
    return _added(f"The {named[0].name} costs $3.21, which makes it the cheapest. {{}}")(t, rng) if named else None


def _typo_in_ids(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"P(\d)(\d+)", lambda m: f"P{9 - int(m[1])}{m[2]}", report(t)))


def _says_it_does_not_fit(t: Trajectory, rng: Random) -> Trajectory | None:
    """A report that lists its products as those that were refused."""
    return reported(t, report(t).replace("<report>\n", "<report>\n## Rejected: none of these meets the needs\n", 1))


KINDS = [
    Kind("the verdict before its step", "format", _verdict_first),
    Kind("a result's id in capitals, with a space", "format", _id_in_capitals),
    Kind("the report turn calls a tool", "format", _report_calls),
    Kind("a report tag with an attribute", "format", _tag_with_attribute),
    Kind("one call, made twice", "tool_calls", _one_call_twice),
    Kind("half of the results empty", "tool_errors", _results("")),
    Kind("half of the results an HTTP error", "tool_errors", _results("HTTP 500 Internal Server Error")),
    Kind("six sentences in random order, sixty times", "repetition", _shuffled_sentences),
    Kind("eighty emoji", "repetition", _emoji),
    Kind("one product listed three times", "repetition", _one_product_thrice),
    Kind("a French turn", "language", lambda t, rng: reasoned(t, rng, lambda _: FRENCH)),
    Kind("a Dutch sentence in the report", "language", _dutch_report),
    Kind("Chinese in Latin letters", "language", lambda t, rng: reasoned(t, rng, lambda _: PINYIN)),
    Kind("words at random", "language", _salad),
    Kind("a block of base64", "language", _base64),
    Kind("ten words", "report_length", lambda t, rng: reported(t, "<report>\nBuy the first of them, it is fine and cheap.\n</report>")),
    Kind("a Markdown link", "citations", _added("As [a test](https://labs.example/{}) says.")),
    Kind("a domain without a path", "citations", _added("As best-labs.example says ({}).")),
    Kind("a review that was never shown", "citations", _added("Review R{} praises it.")),
    Kind("wrong values in words", "grounding", _spelled),
    Kind("another brand", "grounding", _brand),
    Kind("said to be out of stock", "grounding", _sold_out),
    Kind("another rating", "grounding", _rating),
    Kind("two properties exchanged", "grounding", _attributes_exchanged),
    Kind("a wrong price in a sentence", "grounding", _wrong_comparison),
    Kind("a digit of each id wrong", "products", _typo_in_ids),
    Kind("products listed as refused", "products", _says_it_does_not_fit),
]
