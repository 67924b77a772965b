"""What a trajectory must be to train on.

A filter is a pure function (Trajectory, FilterConfig) → None when it keeps the record, else (reason, detail). They run in the
order of FILTERS, the format first, because the others rely on it; the first that rejects decides. Users add their own by
import path (`filters.extra`): functions Trajectory → None | (reason, detail), which run last.

Near-duplicates and the floor on corrected mistakes are no filters of one record: `prstack.distill.filters.selection`.

Scores are computed anew from the final report and the tool results, never taken from the record.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prstack.distill.episode import last_of, tool_steps
from prstack.distill.filters import form, seen, wording
from prstack.distill.filters.citing import unshown
from prstack.distill.filters.contamination import contaminated, read_reference
from prstack.errors import UserError
from prstack.plugins import import_callable
from prstack.scoring import rubric
from prstack.scoring.conduct import NGRAM, repeated
from prstack.scoring.products import e_prod
from prstack.scoring.report import report_body
from prstack.settings import FilterConfig
from prstack.types import Step, Trajectory
from prstack.world.holdout import held_out_category, held_out_combination

Rejection = tuple[str, str]
"""(reason, detail): the reason is a short name that the funnel counts by."""
Filter = Callable[[Trajectory, FilterConfig], Rejection | None]

_WORD = re.compile(r"\w+")
_FAILED = re.compile(r"\s*(?:$|error:|<!doctype html|<html\b|\{\s*\"errors?\"\s*:|(?:HTTP(?:/\d(?:\.\d)?)?|status(?: code)?)\W{0,3}[45]\d\d\b)", re.I)
_REFUSED = re.compile(r"\b(?:captcha|verify (?:that )?you are (?:a )?human|too many requests|rate limit|access denied|bad gateway|service unavailable|gateway time-?out)\b", re.I)
SHORT = 500
"""A page that speaks of captchas is longer than a refusal, in characters."""


# --- episode -------------------------------------------------------------------------------------------------
def format_valid(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """The steps form a whole episode (`prstack.distill.filters.form`)."""
    found = form.fault(t)
    return (f"format:{found[0]}", found[1]) if found else None


def termination(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """The episode ended for one of the reasons that are kept."""
    return None if t.termination in config.terminations else (f"termination:{t.termination}", t.detail)


def rounds(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Reports that were written, the final one included."""
    n = len(t.reports)
    if n < config.min_rounds:
        return "too_few_rounds", f"{n} reports, at least {config.min_rounds} are needed"
    if n > config.max_rounds:
        return "too_many_rounds", f"{n} reports, at most {config.max_rounds} are kept"
    return None


def tool_calls(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Enough tool calls to be research, few enough to be directed."""
    n = len(tool_steps(t))
    if n < config.min_tool_calls:
        return "too_few_tool_calls", f"{n} tool calls, at least {config.min_tool_calls} are needed"
    if n > config.max_tool_calls:
        return "too_many_tool_calls", f"{n} tool calls, at most {config.max_tool_calls} are kept"
    return None


def tool_errors(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Share of tool calls that failed, by their mark or by what they say; to say nothing is to fail."""
    steps = tool_steps(t)
    failed = sum(not s.tool_result.ok or _says_it_failed(s.tool_result.text) for s in steps)
    if steps and failed / len(steps) > config.max_tool_error_rate:
        return "tool_errors", f"{failed} of {len(steps)} tool calls failed"
    return None


def _says_it_failed(text: str) -> bool:
    return bool(_FAILED.match(text)) or (len(text) < SHORT and bool(_REFUSED.search(text)))


def repetition(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """No words, syllables or symbols in a row again and again, no sentences again and again in any order, no product twice in one list of the report,
    and few word sequences that the agent wrote more than once.

    Over the plan that was followed, the tool-call turns and the final report: a revised plan or report repeats its first
    version by nature, and neither stays in the training conversation.
    """
    turns = _turns_that_stay(t)
    for step in turns:
        for text in (step.reasoning, step.content, step.tool_call.arguments if step.tool_call else ""):
            if unit := wording.run_in(text):
                return "repetition:run", f"{unit[:80]!r} again and again, in a {step.state} turn"
            if again := wording.sentences_again(text):
                return "repetition:sentences", f"{again:.0%} of the sentences of a {step.state} turn stood in it before"
    if repeats := (listed := seen.report(_report(t))).repeats:
        return "repetition:listed", f"{repeats} of the {listed.entries} entries of the report's lists are products that the list had before"
    share = repeated(text for s in turns for text in (s.reasoning, s.content))
    if share > config.max_repetition:
        return "repetition", f"{share:.0%} of the {NGRAM}-word sequences are repeated, at most {config.max_repetition:.0%} are kept"
    return None


def language(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Every turn that stays is in the wanted language, and of words."""
    if config.language == "any":
        return None
    turns = _turns_that_stay(t)
    for step in turns:
        text = f"{step.reasoning}\n{step.content}"
        if step.state != "report" and wording.lacks(text, config.language, few=0):
            return "language:other", f"no word that is common in {config.language!r} in a {step.state} turn: {text.strip()[:80]!r}"
        if word := wording.no_word(text):
            return "language:no_word", f"{word[:80]!r} in a {step.state} turn is no word"
        if letters := wording.foreign_letters(text):
            return "language:script", f"{letters} letters of another script in a {step.state} turn: {text.strip()[:80]!r}"
        if other := wording.other_language(text, config.language):
            return "language:other", f"a {step.state} turn is in {other!r}, {config.language!r} is wanted: {text.strip()[:80]!r}"
    if wording.lacks(text := "\n".join(f"{s.reasoning}\n{s.content}" for s in turns), config.language):
        return "language:other", f"hardly a word that is common in {config.language!r}: {text.strip()[:80]!r}"
    return None


def report_length(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Words of the final report, without its tags."""
    n = len(_WORD.findall(report_body(_report(t))))
    if n < config.min_report_words:
        return "report_too_short", f"{n} words, at least {config.min_report_words} are needed"
    if n > config.max_report_words:
        return "report_too_long", f"{n} words, at most {config.max_report_words} are kept"
    return None


# --- split ---------------------------------------------------------------------------------------------------
def held_out(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """The needs are none that evaluation holds out: neither the category, nor the attributes together, as the persona has
    them or as the rubric asks for them. Only the generated world is split so."""
    if not config.held_out or t.world != "generated":
        return None
    category = t.persona.category
    if held_out_category(category) or held_out_category(f"{category}s"):
        return "held_out_category", f"{category} belong to evaluation"
    for items in (t.persona.needs, [i for i in t.rubric if i.type in rubric.CONSTRAINTS]):
        attributes = sorted({item.attribute for item in items} - {""})
        if held_out_combination(category, attributes):
            return "held_out_combination", f"{', '.join(attributes)} of {category} together belong to evaluation"
    return None


def contamination(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """It shares no user, query or recommended product with what evaluation asks (`prstack.distill.filters.contamination`)."""
    if not config.evaluation:
        return None
    found = contaminated(t, read_reference(tuple(config.evaluation)), config.max_overlap)
    return (f"contamination:{found[0]}", found[1]) if found else None


# --- scores --------------------------------------------------------------------------------------------------
def citations(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Share of what the final report points at, as products, pages and web addresses, that a tool result shows."""
    missing, cited = unshown(seen.report(_report(t)), seen.evidence(t))
    if missing and 1 - len(missing) / cited < config.min_cited:
        return "citations", f"{', '.join(missing[:3])}: in no tool result ({len(missing)} of {cited} cited)"
    return None


def grounding(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Share of the final report's claims that a tool result supports, and number of those that one contradicts."""
    found = seen.grounding(t, _report(t))
    if found.precision < config.min_grounding:
        bad = next((f"{f.product_id}: {f.name}: {f.value} is {f.status}" for f in found.findings if f.status != "supported"), "no claims")
        return "grounding", f"{found.precision:.0%} of the claims are supported, at least {config.min_grounding:.0%} are needed ({bad})"
    if found.contradicted > config.max_contradicted:
        bad = next(f"{f.product_id}: {f.name}: {f.value}" for f in found.findings if f.status == "contradicted")
        return "grounding:contradicted", f"{found.contradicted} claims are not what a tool result shows ({bad})"
    return None


def products(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Distinct products that the report pitches and a tool returned (E.Prod)."""
    n = len(e_prod(seen.report(_report(t)), seen.evidence(t)))
    if n < config.min_products:
        return "products", f"{n} products that a tool returned, at least {config.min_products} are needed"
    return None


def score(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Verifiable rubric score of the final report, and number of needs that its products break."""
    found = seen.scored(t, _report(t))
    if found.score < config.min_score:
        return "score", f"rubric score {found.score:.2f}, at least {config.min_score:.2f} is needed"
    broken = [r.evidence for i, r in zip(t.rubric, found.items, strict=True) if r.status == "violated" and i.type in rubric.CONSTRAINTS]
    if len(broken) > config.max_broken:
        return "score:broken_need", f"{len(broken)} needs are broken ({broken[0]})"
    return None


def rubric_score(t: Trajectory) -> float:
    """The verifiable rubric score of the final report, in [0, 1]."""
    return seen.scored(t, _report(t)).score


def _report(t: Trajectory) -> str:
    return t.reports[-1] if t.reports else ""


def _turns_that_stay(t: Trajectory) -> list[Step]:
    """The tool-call turns, the plan that was followed and the final report."""
    acts = [s for s in t.steps if s.role == "research" and s.state == "toolcall"]
    return acts + [s for s in (last_of(t, "plan"), last_of(t, "report")) if s]


FILTERS: dict[str, Filter] = {
    "format": format_valid,
    "termination": termination,
    "held_out": held_out,
    "contamination": contamination,
    "rounds": rounds,
    "tool_calls": tool_calls,
    "tool_errors": tool_errors,
    "repetition": repetition,
    "language": language,
    "report_length": report_length,
    "citations": citations,
    "grounding": grounding,
    "products": products,
    "score": score,
}
"""Name → filter, in the order in which they run."""
LENIENT = ("rounds", "tool_errors", "repetition")
"""Filters that look at how the agent went about it; mistakes that were corrected make them reject."""


def chain(config: FilterConfig) -> dict[str, Callable[[Trajectory], Rejection | None]]:
    """Every filter of a configuration by name, in order; a user's own goes by its import path.

    Raises UserError for an import path that leads nowhere, and for a reference of `evaluation` that cannot be read.
    """
    if config.evaluation:
        read_reference(tuple(config.evaluation))
    out: dict[str, Callable[[Trajectory], Rejection | None]] = {
        name: (lambda t, f=f: f(t, config)) for name, f in FILTERS.items()
    }
    for path in config.extra:
        out[path] = _guarded(path, import_callable(path, "distill.filters.extra"))
    return out


def _guarded(path: str, function: Callable) -> Callable[[Trajectory], Rejection | None]:
    def run(t: Trajectory) -> Rejection | None:
        try:
            answer = function(t)
        except Exception as e:
            raise UserError(f"distill.filters.extra: {path} failed on trajectory {t.id}: {type(e).__name__}: {e}") from e
        if answer is None:
            return None
        if not (isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(a, str) and a for a in answer[:1])):
            raise UserError(f"distill.filters.extra: {path} must return None or (reason, detail), got {answer!r}")
        return answer[0], str(answer[1])

    return run
