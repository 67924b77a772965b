"""Faults in the final report: citations, grounding, products, and whether it serves the request."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from benchmarks.filters.edit import Change, Kind, Seen, acts, pages, report, reported, step_at, told
from prstack.types import Trajectory

UNSEEN = "P99{:03d}"
_VALUE = re.compile(r"^- ([a-z][a-z ]*): (.+)$", re.M)
_OWN = {"reviewers", "rating"}


def _adding(line: str) -> Change:
    return lambda t, rng: reported(t, report(t).replace("</report>", line.format(UNSEEN.format(rng.randrange(1000))) + "\n</report>"))


def _other_ids(share: float) -> Change:
    """A share of the recommended ids, at least one, are ids that no tool returned."""

    def change(t: Trajectory, rng: Random) -> Trajectory | None:
        text, ids = report(t), list(dict.fromkeys(re.findall(r"P\d+", report(t))))
        for id in ids[: max(1, round(share * len(ids)))]:
            text = text.replace(id, UNSEEN.format(rng.randrange(1000)))
        return reported(t, text)

    return change


def _values(share: float, new) -> Change:
    """Another value in a share of the lines `- property: value`, at least one; opinions and ratings aside."""

    def change(t: Trajectory, rng: Random) -> Trajectory | None:
        lines = [m for m in _VALUE.finditer(report(t)) if m[1] not in _OWN]
        if not lines:
            return None
        chosen = {m.start() for m in rng.sample(lines, max(1, round(share * len(lines))))}
        return reported(t, _VALUE.sub(lambda m: f"- {m[1]}: {new(m[2], rng)}" if m.start() in chosen else m[0], report(t)))

    return change


def _bigger(value: str, rng: Random) -> str:
    number = re.search(r"\d+(?:\.\d+)?", value)
    return value.replace(number[0], f"{float(number[0]) * rng.choice([0.5, 1.4, 2]):.4g}", 1) if number else "titanium"


def _slightly(value: str, rng: Random) -> str:
    number = re.search(r"\d+(?:\.\d+)?", value)
    return value.replace(number[0], f"{float(number[0]) + rng.choice([-1, 1]):.4g}", 1) if number else value + " and brass"


def _unit(value: str, rng: Random) -> str:
    return re.sub(r"(\d) ?[A-Za-zµ³²/]+$", r"\1 furlongs", value) if value[:1].isdigit() else "antimatter"


def _exchanged(t: Trajectory, rng: Random) -> Trajectory | None:
    """Two products' blocks of facts, each under the other's name."""
    entries = re.split(r"(?m)^(?=\d+\. \[)", report(t).partition("\n## ")[0].removesuffix("</report>"))
    if len(entries) < 3:
        return None
    (a, *fa), (b, *fb) = entries[1].rstrip().split("\n"), entries[2].rstrip().split("\n")
    return None if fa == fb else reported(t, entries[0] + "\n".join([a, *fb, b, *fa]) + "\n</report>")


def _prices(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"\$(\d+)(?:\.\d\d)?", lambda m: f"${int(m[1]) * 2 // 3}.49", report(t)))


def _opinion(t: Trajectory, rng: Random) -> Trajectory | None:
    text = re.sub(r"^- reviewers: .+$", "- reviewers: a nightmare that broke on the first day", report(t), flags=re.M)
    return reported(t, text)


def _invented_facts(t: Trajectory, rng: Random) -> Trajectory | None:
    facts = ["- warranty: 12 years", "- country of origin: Japan", "- award: Design Prize 2024", "- water intake: 4 l"]
    return reported(t, re.sub(r"(?m)^(\d+\. \[.*)$", lambda m: "\n".join([m[1], *rng.sample(facts, 2)]), report(t)))


def _in_prose(t: Trajectory, rng: Random) -> Trajectory | None:
    """Values that are none, in sentences instead of lines."""
    found = pages(t)
    if not found:
        return None
    said = [f"The {p.name} [{p.id}] costs $9.99 and its {k} of {_bigger(v, rng)} is the best." for p in found[:2] for k, v in p.facts[:2]]
    return reported(t, "<report>\n" + "\n".join(said) + "\n</report>")


def _names_only(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"\[P\d+\] ", "", report(t)))


def _advice(t: Trajectory, rng: Random) -> Trajectory | None:
    text = "It depends on what you like. Look at the prices, read some reviews, compare, and buy the one that pleases you most."
    return reported(t, f"<report>\n{text}\n</report>")


def _breaks(p: Seen, t: Trajectory) -> bool:
    """Whether a page shows that a product breaks a need, where both are plain numbers of one unit or plain words."""
    facts = dict(p.facts)
    dollars = re.search(r"\$([\d.]+)", p.price)
    if t.persona.budget and dollars and float(dollars[1]) > t.persona.budget:
        return True
    for need in t.persona.needs:
        shown = facts.get(need.attribute, "")
        number = re.fullmatch(rf"(-?[\d.]+) ?{re.escape(need.unit)}", shown)
        if number and need.op in ("<=", ">="):
            value, bound = float(number[1]), float(need.value)
            if value > bound if need.op == "<=" else value < bound:
                return True
        elif shown and need.op in ("=", "!=") and (shown == need.value) != (need.op == "="):
            return True
    return False


def _misfits(good: int, bad: int) -> Change:
    """A report of opened products that break a need, with as many that do not."""

    def change(t: Trajectory, rng: Random) -> Trajectory | None:
        found = pages(t)
        wrong, right = [p for p in found if _breaks(p, t)], [p for p in found if not _breaks(p, t)]
        return reported(t, told([*right[:good], *wrong[:bad]])) if len(wrong) >= bad and len(right) >= good else None

    return change


def _another_kind(t: Trajectory, rng: Random) -> Trajectory | None:
    """The pages that were opened are of another category, in the results and in the report."""
    found = pages(t)
    if not found:
        return None
    for at in acts(t):
        result = t.steps[at].tool_result
        t = step_at(t, at, tool_result=replace(result, text=result.text.replace(t.persona.category, "Garden Gnomes")))
    wrong = [Seen(p.id, p.name, p.price, [("material", "clay")], "Garden Gnomes") for p in found[:1]]
    return reported(t, told(wrong))


KINDS = [
    Kind("an id in brackets that was never shown", "citations", _adding("It is quieter than [{}].")),
    Kind("the same in round brackets", "citations", _adding("The Aurel Mira ({}) is louder.")),
    Kind("the same in small letters", "citations", lambda t, rng: _adding(f"It is quieter than [p99{rng.randrange(1000):03d}].")(t, rng)),
    Kind("the same without brackets", "citations", _adding("It is quieter than {}.")),
    Kind("a page that was never opened", "citations", _adding("Source: [W99871].")),
    Kind("a web address", "citations", _adding("See https://best-tests.example/list for more.")),
    Kind("a web address without its scheme", "citations", _adding("See www.best-tests.example/list for more.")),
    Kind("a recommended product that was never shown", "citations", _other_ids(0.1)),
    Kind("all values wrong", "grounding", _values(1.0, _bigger)),
    Kind("a third of the values wrong", "grounding", _values(0.34, _bigger)),
    Kind("one value wrong", "grounding", _values(0.0, _bigger)),
    Kind("all values off by one", "grounding", _values(1.0, _slightly)),
    Kind("other units", "grounding", _values(1.0, _unit)),
    Kind("the values of another product", "grounding", _exchanged),
    Kind("other prices", "grounding", _prices),
    Kind("another opinion of reviewers", "grounding", _opinion),
    Kind("properties that no page shows", "grounding", _invented_facts),
    Kind("wrong values in prose", "grounding", _in_prose),
    Kind("all ids never shown", "products", _other_ids(1.0)),
    Kind("products by name alone", "products", _names_only),
    Kind("advice without a product", "products", _advice),
    Kind("only products that break a need", "score", _misfits(0, 1)),
    Kind("two products that break a need", "score", _misfits(0, 2)),
    Kind("one that breaks a need beside one that does not", "score", _misfits(1, 1)),
    Kind("another kind of product", "score", _another_kind),
]
