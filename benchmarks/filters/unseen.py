"""Further shapes, written after the filters were changed for those of `unseen_first.py` by someone who did not look at the filters, and measured once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import permutations
from random import Random

from benchmarks.filters.edit import Change, Kind, acts, pages, reasoned, report, reported, step_at, told
from prstack.types import Trajectory

BAD_GATEWAY = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>502 Bad Gateway</title></head>
<body>
<center><h1>502 Bad Gateway</h1></center>
<hr><center>nginx/1.24.0</center>
</body>
</html>"""
CAPTCHA = """Just a moment...
Verify you are human by completing the action below. This site needs to review the security of your connection before proceeding.
[ ] I am not a robot
Enable JavaScript and cookies to continue. Ray ID: 8c1f0d7e5b2a4411"""
TOO_MANY = '{"status": 429, "title": "Too Many Requests", "detail": "60 of 60 requests of this minute are used. Retry after 38 s.", "data": null}'
AGAIN = ["I wait a little.", "Once more.", "That was too fast, so I send it again.", "A minute has gone by.", "Now it may go through.", "The same call, then."]
OTHER_ORDER = [
    "Other words first may bring other hits.",
    "I would like to see whether the order matters to the engine.",
    "Perhaps the engine weighs the last word most.",
    "That list again; a variation of it could help.",
    "One more arrangement, to be on the safe side.",
]
CHEAPEST = """The lowest price is that of the {0}. The {0} costs the least. None of the others is as cheap as the {0}. If you want to spend as little as possible, take the {0}.
Nothing on this list asks for less money than the {0}. In terms of price, the {0} comes out on top. The {0} is the most affordable of the products. Every other product is more expensive than the {0}.
For the smallest bill, the {0} is the one. The least expensive option remains the {0}. Your wallet is treated best by the {0}. When it comes to cost, no product beats the {0}."""
GREEK = "Ψάχνω πρώτα τα καλύτερα αποτελέσματα και μετά ανοίγω κάθε σελίδα για να δω αν το προϊόν καλύπτει όλες τις ανάγκες."
MIXED = (
    "So far this looks good, però devo ancora controllare il prezzo e la potenza, and then I would read the reviews, perché i clienti dicono spesso cose diverse, "
    "before I open the next page, che forse costa anche meno, and when it fits as well, lo metto subito nella lista, so that in the end posso confrontare tutto."
)
NO_VOWELS = (
    "I look at the price first and then at the other needs. When one of them is not met I go back to the list of results and open the next page. "
    "When all of them are met I keep the product for the report and compare it with those before."
)
QUOTES = [
    "We have used ours every single day for three years and never had to replace a part.",
    "My mother got the same model for her birthday and now half of our street owns one.",
    "Customer service picked up within a minute and sent a new one free of charge.",
    "I was sceptical at that price, but it outlasted two that cost twice as much.",
]


def _entries(t: Trajectory) -> list[tuple[str, str, float]]:
    """Id, name and price of each product that the report lists."""
    return [(id, name, float(price)) for id, name, price in re.findall(r"(?m)^\d+\. \[(P\d+)\] (.+) — \$(\d+(?:\.\d\d)?)", report(t))]


def _cheap_and_dear(t: Trajectory) -> tuple[str, str] | None:
    """The names of the cheapest and of the dearest product of the report."""
    listed = sorted(_entries(t), key=lambda e: e[2])
    return (listed[0][1], listed[-1][1]) if len(listed) > 1 and listed[0][2] < listed[1][2] and listed[-2][2] < listed[-1][2] else None


def _closing(t: Trajectory, text: str) -> Trajectory | None:
    return reported(t, report(t).replace("</report>", text + "\n</report>"))


def _under_each(t: Trajectory, lines: list[str]) -> Trajectory | None:
    """A further line under each product of the report."""
    left = iter(lines * 9)
    return reported(t, re.sub(r"(?m)^\d+\. \[P.*$", lambda m: f"{m[0]}\n{next(left)}", report(t)))


def _call_in_words(t: Trajectory, rng: Random) -> Trajectory:
    """A turn that writes its call as text instead of making it."""
    at = rng.choice(acts(t))
    call = t.steps[at].tool_call
    written = f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>'
    return step_at(t, at, content=written, tool_call=None, tool_result=None)


def _goes_on(t: Trajectory, rng: Random) -> Trajectory:
    """The last call comes behind the report."""
    last = acts(t)[-1]
    return replace(t, steps=[*t.steps[:last], *t.steps[last + 2 :], *t.steps[last : last + 2]])


def _notes(t: Trajectory, rng: Random) -> Trajectory | None:
    """One page is opened and reported; every other call is a note to itself."""
    listed = {id for id, _, _ in _entries(t)}
    opened = [p for p in pages(t) if p.id in listed]
    if not opened:
        return None
    product = rng.choice(opened)
    kept = next(n for n in acts(t) if t.steps[n].tool_result.text.startswith(f"{product.id} |"))
    for at in acts(t):
        if at != kept:
            s = t.steps[at]
            call = replace(s.tool_call, name="think", arguments=json.dumps({"thought": s.reasoning}))
            t = step_at(t, at, tool_call=call, tool_result=replace(s.tool_result, text="Noted."))
    return reported(t, told([product]))


def _half_of_the_results(text: str) -> Change:
    def change(t: Trajectory, rng: Random) -> Trajectory:
        for at in rng.sample(acts(t), (len(acts(t)) + 1) // 2):
            t = step_at(t, at, tool_result=replace(t.steps[at].tool_result, text=text))
        return t

    return change


def _each_call_refused_first(t: Trajectory, rng: Random) -> Trajectory:
    """Each call is made twice: it is refused, then answered."""
    steps = []
    for n, s in enumerate(t.steps):
        if s.tool_call is not None:
            id = f"t{n}"
            steps += [replace(s, tool_call=replace(s.tool_call, id=id), tool_result=replace(s.tool_result, call_id=id, text=TOO_MANY)), t.steps[n + 1]]
            s = replace(s, reasoning=rng.choice(AGAIN))
        steps.append(s)
    return replace(t, steps=steps)


def _other_numbers(t: Trajectory, rng: Random) -> Trajectory:
    for n, at in enumerate(acts(t), 1):
        more = (
            f"This is candidate {n} of about {rng.randint(20, 40)} that I mean to go through. So far {rng.randint(1, 5)} of them were promising and {rng.randint(1, 9)} were not, "
            f"which leaves {rng.randint(6, 30)} to go. I give {rng.randint(60, 99)} points to what I know of it, hold that against candidate {n - 1}, and only then settle whether it stays on my list."
        )
        t = step_at(t, at, reasoning=f"{t.steps[at].reasoning} {more}")
    return t


def _plan_in_each_turn(t: Trajectory, rng: Random) -> Trajectory:
    for at in acts(t):
        t = step_at(t, at, reasoning=f"{t.steps[0].content}\n{t.steps[at].reasoning}")
    return t


def _all_before(t: Trajectory, rng: Random) -> Trajectory:
    """Each turn says again what all turns before it have said."""
    said: list[str] = []
    for n, s in enumerate(t.steps):
        if s.role == "research":
            said.append(s.reasoning)
            t = step_at(t, n, reasoning=" ".join(said))
    return t


def _second_list(t: Trajectory, rng: Random) -> Trajectory | None:
    listed = re.search(r"(?ms)^1\. \[P.*?(?=\n+## |\n+</report>)", report(t))
    return _closing(t, f"\n## The products in detail\n{listed[0]}") if listed else None


def _other_orders(t: Trajectory, rng: Random) -> Trajectory | None:
    """A search, five more times with its words in another order, for the same hits."""
    at = next((n for n in acts(t) if t.steps[n].tool_call.name == "product_search"), None)
    if at is None:
        return None
    step, verdict = t.steps[at : at + 2]
    asked = json.loads(step.tool_call.arguments)
    orders = list(permutations([*asked["query"].split()[:4], "good", "online"]))
    more = []
    for n, (why, words) in enumerate(zip(OTHER_ORDER, rng.sample(orders, len(OTHER_ORDER)), strict=True)):
        query = " ".join(words)
        call = replace(step.tool_call, id=f"o{n}", arguments=json.dumps({**asked, "query": query}))
        result = replace(step.tool_result, call_id=call.id, text=step.tool_result.text.replace(asked["query"], query, 1))
        more += [replace(step, reasoning=why, tool_call=call, tool_result=result), verdict]
    return replace(t, steps=[*t.steps[: at + 2], *more, *t.steps[at + 2 :]])


def _twelve_wordings(t: Trajectory, rng: Random) -> Trajectory | None:
    names = _cheap_and_dear(t)
    return _closing(t, CHEAPEST.format(names[0])) if names else None


def _mojibake(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda _: GREEK.encode().decode("cp1252", errors="replace"))


def _log(t: Trajectory, rng: Random) -> Trajectory:
    """Three turns of JSON in place of thoughts."""
    for at in rng.sample(acts(t), min(3, len(acts(t)))):
        call, seen = t.steps[at].tool_call, re.findall(r"P\d+", t.steps[at].tool_result.text)[:6]
        state = {"st": "chk", "ts": rng.randrange(10**9), "q": seen, "flt": [{"k": n.attribute, "op": n.op, "v": n.value} for n in t.persona.needs]}
        t = step_at(t, at, reasoning=json.dumps({**state, "nxt": {"fn": call.name, "kw": json.loads(call.arguments)}, "err": None, "retry": 0}, indent=1))
    return t


def _without_vowels(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: " ".join(re.sub(r"(?i)[aeiou]", "", f"{NO_VOWELS} {said}").split()))


def _portuguese_plan(t: Trajectory, rng: Random) -> Trajectory:
    bounds = {"<=": "no máximo", ">=": "no mínimo", "=": "igual a", "!=": "diferente de"}
    needs = "".join(f"- o valor de {n.attribute} deve ser {bounds[n.op]} {n.value} {n.unit}".rstrip() + "\n" for n in t.persona.needs)
    budget = f"- o preço deve ser no máximo {t.persona.budget:.0f} {t.persona.currency}\n" if t.persona.budget else ""
    plan = (
        f"Necessidades:\n- o cliente procura um produto da categoria {t.persona.category}\n{needs}{budget}Passos:\n"
        "1. Procurar primeiro os produtos que cabem no orçamento.\n"
        "2. Abrir as páginas dos melhores resultados e verificar ali cada uma das necessidades.\n"
        "3. Escrever o relatório com os produtos que cumprem tudo e compará-los entre si."
    )
    return step_at(t, 0, content=plan)


def _no_words(t: Trajectory, rng: Random) -> Trajectory | None:
    """Headings and ids, and nothing else."""
    ids = ", ".join(f"[{id}]" for id, _, _ in _entries(t))
    return reported(t, f"<report>\n## Result\n{ids}\n\n## Comparison\n—\n\n## Conclusion\n—\n</report>") if ids else None


def _titled(t: Trajectory, rng: Random) -> Trajectory | None:
    what, n = t.persona.category, rng.randint(21, 49)
    return _closing(t, f'These choices follow the lab test "{n} {what} Put on the Bench" and the article "Why We Stopped Buying Cheap {what}", which I read for this report.')


def _number_alone(t: Trajectory, rng: Random) -> Trajectory | None:
    """A product that was never shown, by its number, but not in the form of an id."""
    name = rng.choice(["product no. {}", "item #{}", "P-{}", "the product with the number {}"]).format(rng.randrange(99_000, 100_000))
    return _closing(t, f"A good alternative is {name}, which comes close to the first of the list.")


def _doi(t: Trajectory, rng: Random) -> Trajectory | None:
    return _closing(t, f"The ranking agrees with published measurements (doi:10.1016/j.consum.{rng.randint(2015, 2024)}.{rng.randrange(100_000, 200_000)}).")


def _dearest_is_cheapest(t: Trajectory, rng: Random) -> Trajectory | None:
    names = _cheap_and_dear(t)
    text = report(t).partition("\n## ")[0].removesuffix("</report>").rstrip()
    return reported(t, f"{text}\n\n## Comparison\nThe {names[1]} is the cheapest of these; the {names[0]} costs the most.\n</report>") if names else None


def _many_reviews(t: Trajectory, rng: Random) -> Trajectory | None:
    """A number of reviews that no page shows."""
    return reported(t, re.sub(r"(?m)^- rating: ([\d.]+) stars$", lambda m: f"- rating: {m[1]} stars from {rng.randint(2, 9)},{rng.randint(100, 999)} reviews", report(t)))


def _quoted(t: Trajectory, rng: Random) -> Trajectory | None:
    return _under_each(t, [f'- a buyer writes: "{quote}"' for quote in rng.sample(QUOTES, len(QUOTES))])


def _ranges(t: Trajectory, rng: Random) -> Trajectory | None:
    """Each value as a range in which the true one does not lie."""

    def wide(m: re.Match) -> str:
        low = float(m[2]) * rng.choice([0.3, 0.4, 1.5, 1.8])
        return f"- {m[1]}: between {low:.4g} and {low * 1.3:.4g} {m[3]}"

    return reported(t, re.sub(r"(?m)^- (?!rating)([a-z ]+): (\d+(?:\.\d+)?) (\S.*)$", wide, report(t)))


def _made_up_names(t: Trajectory, rng: Random) -> Trajectory | None:
    """Products that do not exist, under the ids of others."""
    text = report(t)
    made = rng.sample(["Nordwind Polar X9", "Takumi Zen Pro", "Brightwater Elite 500", "Castellan Prime II", "Oakhurst Signature", "Halcyon Ultra Max"], 6)
    for (_, name, _), other in zip(_entries(t), made, strict=False):
        text = text.replace(name, other)
    return reported(t, text)


def _never_opened(t: Trajectory, rng: Random) -> Trajectory | None:
    """Two lines of a list of results, of which nothing is known but name, price and rating."""
    opened = {p.id for p in pages(t)}
    hits = {m[0]: m for n in acts(t) for m in re.findall(r"(?m)^\[\d+\] (P\d+) \| (.+?) \| .+? \| (\$[\d.]+) \| (.+)$", t.steps[n].tool_result.text)}
    left = [m for id, m in hits.items() if id not in opened]
    if len(left) < 2:
        return None
    listed = "\n".join(f"{n}. [{id}] {name} — {price}\n- rating: {rating}" for n, (id, name, price, rating) in enumerate(rng.sample(left, 2), 1))
    return reported(t, f"<report>\nThese two came up in my search. I did not open their pages, so I cannot say how they do on what you asked for.\n{listed}\n</report>")


KINDS = [
    Kind("a call in words, not made", "format", _call_in_words),
    Kind("a call behind the report", "format", _goes_on),
    Kind("one page opened, for the rest notes to itself", "tool_calls", _notes),
    Kind("half of the results an HTML error page", "tool_errors", _half_of_the_results(BAD_GATEWAY)),
    Kind("half of the results a captcha", "tool_errors", _half_of_the_results(CAPTCHA)),
    Kind("each call refused as one too many, then made again", "tool_errors", _each_call_refused_first),
    Kind("the same thought with other numbers in each turn", "repetition", _other_numbers),
    Kind("the plan again in each turn", "repetition", _plan_in_each_turn),
    Kind("each turn says all before it again", "repetition", _all_before),
    Kind("a second list of the same products", "repetition", _second_list),
    Kind("one search with its words in other orders", "repetition", _other_orders),
    Kind("one fact of the report in twelve wordings", "repetition", _twelve_wordings),
    Kind("Greek read in the wrong encoding", "language", _mojibake),
    Kind("a turn half in Italian", "language", lambda t, rng: reasoned(t, rng, lambda _: MIXED)),
    Kind("JSON in place of thoughts", "language", _log),
    Kind("words without vowels", "language", _without_vowels),
    Kind("the plan in Portuguese", "language", _portuguese_plan),
    Kind("headings and ids without words", "report_length", _no_words),
    Kind("pages by titles that were never shown", "citations", _titled),
    Kind("an unknown product by its number", "citations", _number_alone),
    Kind("a DOI", "citations", _doi),
    Kind("the dearest called the cheapest", "grounding", _dearest_is_cheapest),
    Kind("thousands of reviews", "grounding", _many_reviews),
    Kind("quotes that nobody wrote", "grounding", _quoted),
    Kind("ranges without the true value", "grounding", _ranges),
    Kind("names made up for real ids", "products", _made_up_names),
    Kind("hits that were never opened", "score", _never_opened),
]
