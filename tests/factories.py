"""Made-up but plausible episodes for tests: deterministic, in the formats of the real ones, with mistakes on demand.

`Script` writes an episode step by step; `trajectory(n, mistakes…)` is a whole one about blenders under 60 dB and $120 whose
report earns full marks, and `trajectories(n)` a mix of them.
"""

from __future__ import annotations

import json
import random

from prstack.types import (
    Need,
    Persona,
    RubricItem,
    Step,
    ToolCall,
    ToolResult,
    Trajectory,
    Usage,
    Verdict,
    VerdictItem,
)

QUERY = "I need help with a purchase. I am looking for blenders. At most $120. No louder than 60 dB."
PLAN = "Needs:\n- blenders\n- at most $120\n- no louder than 60 dB\nSteps:\n1. Search for blenders.\n2. Open the pages of the best hits.\n3. Report."
VAGUE_PLAN = "Needs:\n- blenders\n- at most $120\nSteps:\n1. Search for blenders.\n2. Report."
BRANDS = ["Aurel", "Bonvar", "Corima", "Dellan", "Estiva", "Fenwick"]


def product_page(id: str, title: str, price: float, noise: int, rating: float = 4.3) -> str:
    return (
        f"{id} | {title}\ncategory: Blenders\nbrand: {title.split()[0]}\nprice: ${price:.2f}\nrating: {rating} stars, 27 reviews\n"
        f"availability: in stock\nattributes:\n- noise level: {noise} dB\n- jar material: glass\ndescription: A blender for every day.\n"
        f"reviews:\n- R{id[1:]}8, 5 stars: Does what it should."
    )


def search_text(query: str, hits: list[tuple[str, str, float]]) -> str:
    lines = [f'{len(hits)} result{"s" * (len(hits) != 1)} for "{query}", page 1']
    lines += [f"[{n}] {id} | {title} | Blenders | ${price:.2f} | 4.3 stars, 27 reviews" for n, (id, title, price) in enumerate(hits, 1)]
    return "\n".join(lines)


class Script:
    """Writes the steps of one episode; every method appends the research step and the verdict on it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.reports: list[str] = []
        self.scores: list[float] = []
        self._calls = 0

    def plan(self, content: str, reasoning: str = "I list the needs first.", wrong: str = "") -> Script:
        return self._add(Step("research", "plan", self._round("plan"), reasoning, content), "covers_needs", wrong)

    def call(
        self, name: str, arguments: dict | str, text: str, reasoning: str = "", wrong: tuple[str, str] | None = None, error: str = "", content: str = ""
    ) -> Script:
        self._calls += 1
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
        id = f"c{self._calls}"
        step = Step("research", "toolcall", self._round("toolcall"), reasoning, content, ToolCall(id, name, raw), ToolResult(id, not error, text, error))
        return self._add(step, *(wrong or ("valid_call", "")))

    def talk(self, content: str, wrong: str = "the step neither calls a tool nor reports") -> Script:
        return self._add(Step("research", "toolcall", self._round("toolcall"), "I think aloud.", content), "has_action", wrong)

    def report(self, body: str, reasoning: str = "", wrong: tuple[str, str] | None = None, score: float = 1.0) -> Script:
        text = f"<report>\n{body}\n</report>"
        step = Step("research", "report", len(self.reports), reasoning, text)
        self.reports.append(text)
        self.scores.append(score)
        self._add(step, *(wrong or ("format", "")))
        self.steps[-1].verdict.score = score
        return self

    def trajectory(self, id: str, **fields: object) -> Trajectory:
        values: dict = {
            "id": id,
            "user_id": f"u-{id}",
            "seed": 0,
            "persona": Persona("Shops for blenders.", "Blenders", [Need("no louder than 60 dB", ["e1"], "noise level", "<=", "60", "dB")], 120.0),
            "query": QUERY,
            "rubric": rubric(),
            "steps": self.steps,
            "reports": self.reports,
            "scores": self.scores,
            "termination": "approved",
            "usage": [Usage("user", 10, 5, 1, 0.1), Usage("research", 900, 300, 8, 1.0), Usage("supervisor", 900, 100, 8, 1.0)],
            "engines": {"user": "expert", "research": "expert", "supervisor": "expert"},
            "prompt_version": "test",
            "world": "generated",
        }
        return Trajectory(**values | fields)

    def _round(self, state: str) -> int:
        """Corrections in a row right before, in this state."""
        n = 0
        for step in reversed(self.steps):
            if step.role == "research":
                continue
            if step.state != state or step.verdict.decision != "revise":
                break
            n += 1
        return n

    def _add(self, step: Step, kind: str, wrong: str) -> Script:
        self.steps.append(step)
        items = [VerdictItem(kind, not wrong, wrong)]
        verdict = Verdict("revise", wrong.capitalize() + ".", items) if wrong else Verdict("approve", "Good.", items)
        self.steps.append(Step("supervisor", step.state, step.round, verdict=verdict))
        return self


def rubric() -> list[RubricItem]:
    return [
        RubricItem("r1", "entity_match", "Recommends Blenders", 0.2, "instruction_following", "search", attribute="category", value="Blenders"),
        RubricItem("r2", "budget_match", "Stays within 120 USD", 0.3, "instruction_following", "search", attribute="price", op="<=", value="120", unit="USD"),
        RubricItem("r3", "numeric_range", "no louder than 60 dB", 0.3, "instruction_following", "product_page", attribute="noise level", op="<=", value="60", unit="dB"),
        RubricItem("r4", "grounding", "Every claim rests on what the tools showed", 0.2, "depth", "product_page"),
    ]


def trajectory(
    n: int = 0,
    *,
    vague_plan: bool = False,
    duplicate: bool = False,
    malformed: bool = False,
    not_json: bool = False,
    no_action: bool = False,
    irrelevant: bool = False,
    bad_report: bool = False,
    search_again: bool = False,
    filler: int = 0,
    id: str | None = None,
    **fields: object,
) -> Trajectory:
    """A whole episode. Each flag plants a mistake with its correction; `filler` lengthens the product pages by words.

    `bad_report`: a report with an unsupported claim, rewritten. `search_again`: a report that pitches an unopened product,
    after which its page is opened.
    """
    rng = random.Random(n)
    base = 100 + 10 * n
    shop = [(f"P{base + i}", f"{rng.choice(BRANDS)} Mira {i + 1} Blender", round(rng.uniform(60, 115), 2), rng.randint(48, 59)) for i in range(3)]
    pages = {id_: product_page(id_, title, price, noise) + " It hums along" * filler for id_, title, price, noise in shop}
    listing = search_text("quiet blender", [(id_, title, price) for id_, title, price, _ in shop])
    s = Script()
    if vague_plan:
        s.plan(VAGUE_PLAN, wrong="the plan leaves out a need: no louder than 60 dB")
    s.plan(PLAN)
    if malformed:
        s.call("product_search", {"q": "quiet blender"}, "error: query is missing; give it", "I search.", ("valid_call", "the call failed (query is missing)"), "arguments")
    if not_json:
        s.call("product_search", '{"query": "quiet blender', "error: the arguments are not JSON", "I search.", ("valid_call", "the call is not valid JSON"), "arguments")
    if irrelevant:
        s.call("product_search", {"query": "loud mixer"}, '0 results for "loud mixer", page 1', "I search mixers.", ("relevant_result", "the search found nothing; other words are needed"))
    s.call("product_search", {"query": "quiet blender", "max_price": 120}, listing, "I search for quiet blenders within the budget.")
    if no_action:
        s.talk("I could open a page now.")
    first, second, third = shop
    s.call("visit_product", {"product_id": first[0]}, pages[first[0]], f"{first[1]} may fit. Its page will tell.")
    if duplicate:
        s.call("visit_product", {"product_id": first[0]}, pages[first[0]], "I look at this once more.", ("not_duplicate", "visit_product was called with the same arguments before"))
    s.call("visit_product", {"product_id": second[0]}, pages[second[0]], f"Next I open {second[1]}.")
    good = "\n".join(f"{k}. [{id_}] {title} — ${price:.2f}\n- noise level: {noise} dB\n- jar material: glass" for k, (id_, title, price, noise) in enumerate(shop[:2], 1))
    if search_again:
        unopened = good + f"\n3. [{third[0]}] {third[1]} — ${third[2]:.2f}"
        s.report(unopened, "I have enough.", ("visited", f"{third[0]} is recommended but its page was never opened"), 0.7)
        s.call("visit_product", {"product_id": third[0]}, pages[third[0]], f"I open {third[1]}.")
    if bad_report:
        s.report(good + "\n- warranty: 5 years", "I report.", ("supported", f"{second[0]} is said to have warranty: 5 years, but no source says so"), 0.8)
    s.report(good, "Both meet every need, so I report them.")
    return s.trajectory(id or f"t{n:04d}", **fields)


FLAGS = ["vague_plan", "duplicate", "malformed", "not_json", "no_action", "irrelevant", "bad_report", "search_again"]


def trajectories(n: int, seed: int = 0) -> list[Trajectory]:
    """`n` episodes, each with its own mix of corrected mistakes."""
    rng = random.Random(seed)
    return [trajectory(i, **{f: rng.random() < 0.25 for f in FLAGS}) for i in range(n)]
