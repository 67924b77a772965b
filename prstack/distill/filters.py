"""What a trajectory must be to train on.

A filter is a pure function (Trajectory, FilterConfig) → None when it keeps the record, else (reason, detail). They run in the
order of FILTERS, the format first, because the others rely on it; the first that rejects decides. Users add their own by
import path (`filters.extra`): functions Trajectory → None | (reason, detail), which run last.

Scores are computed anew from the final report and the tool results, never taken from the record.
"""

from __future__ import annotations

from collections.abc import Callable

from prstack.distill.episode import last_of, tool_steps
from prstack.errors import UserError
from prstack.plugins import import_callable
from prstack.scoring import rubric
from prstack.scoring.conduct import NGRAM, repeated
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.products import e_prod
from prstack.scoring.report import parse_report, report_body
from prstack.settings import FilterConfig
from prstack.types import Step, Trajectory
from prstack.world.holdout import held_out_category, held_out_combination

Rejection = tuple[str, str]
"""(reason, detail): the reason is a short name that the funnel counts by."""
Filter = Callable[[Trajectory, FilterConfig], Rejection | None]



# --- format --------------------------------------------------------------------------------------------------
def format_valid(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """The steps form a whole episode: plan, tool calls and reports, each followed by its verdict, a report at the end."""
    if not t.steps:
        return "format:no_steps", f"the episode ended ({t.termination}) before its first step: {t.detail}".rstrip(": ")
    if problem := _order(t.steps) or _calls(t.steps) or _reports(t):
        return f"format:{problem[0]}", problem[1]
    return None if t.query.strip() else ("format:no_query", "the query is empty")


def _order(steps: list[Step]) -> Rejection | None:
    phases = {"plan": ("plan", "toolcall", "report"), "toolcall": ("toolcall", "report"), "report": ("toolcall", "report")}
    before: Step | None = None
    state = "plan"
    for i, step in enumerate(steps):
        if step.role == "research":
            if before is not None and before.role == "research":
                return "no_verdict", f"step {i - 1} has no verdict after it"
            if step.state not in phases[state]:
                return "order", f"step {i}: {step.state} after {state}"
            state = step.state
        elif step.role == "supervisor":
            if before is None or before.role != "research" or step.state != before.state or step.verdict is None:
                return "order", f"step {i}: a verdict must follow a step of the research agent in the same state"
        else:
            return "order", f"step {i} is by the role {step.role}"
        before = step
    if steps[0].state != "plan":
        return "no_plan", "the episode does not begin with a plan"
    return None


def _calls(steps: list[Step]) -> Rejection | None:
    ids: set[str] = set()
    for i, step in enumerate(steps):
        call, result = step.tool_call, step.tool_result
        if (call is None) != (result is None):
            return "unpaired_call", f"step {i} has a tool call without its result, or the reverse"
        if call and (step.role != "research" or step.state != "toolcall"):
            return "misplaced_call", f"step {i} ({step.role}, {step.state}) calls a tool"
        if call and result and result.call_id != call.id:
            return "unpaired_call", f"step {i}: the result answers {result.call_id!r}, the call is {call.id!r}"
        if call and (not call.id or call.id in ids):
            return "call_ids", f"step {i}: call id {call.id!r} is empty or was used before"
        if call:
            ids.add(call.id)
    return None


def _reports(t: Trajectory) -> Rejection | None:
    research = [s for s in t.steps if s.role == "research"]
    if research[-1].state != "report":
        return "no_report", f"the episode ended ({t.termination}) without a report: {t.detail}".rstrip(": ")
    final = research[-1].content
    if not (final.startswith("<report>") and final.endswith("</report>") and final.count("<report>") == 1):
        return "report_tags", f"the final report is not between <report> and </report>: {final[:80]!r}"
    if not t.reports or t.reports[-1] != final:
        return "report_mismatch", "the last of `reports` is not what the last report step says"
    return None


# --- episode -------------------------------------------------------------------------------------------------
def termination(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """The episode ended for one of the reasons that are kept."""
    return None if t.termination in config.terminations else (f"termination:{t.termination}", t.detail)


def tool_calls(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Enough tool calls to be research, few enough to be directed."""
    n = len(tool_steps(t))
    if n < config.min_tool_calls:
        return "too_few_tool_calls", f"{n} tool calls, at least {config.min_tool_calls} are needed"
    if n > config.max_tool_calls:
        return "too_many_tool_calls", f"{n} tool calls, at most {config.max_tool_calls} are kept"
    return None


def tool_errors(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Share of tool calls that failed."""
    steps = tool_steps(t)
    failed = sum(not s.tool_result.ok for s in steps)
    if steps and failed / len(steps) > config.max_tool_error_rate:
        return "tool_errors", f"{failed} of {len(steps)} tool calls failed"
    return None


def repetition(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Share of word sequences that the agent wrote more than once.

    Over the plan that was followed, the tool-call turns and the final report: a revised plan or report repeats its first
    version by nature, and neither stays in the training conversation.
    """
    written = [s for s in t.steps if s.role == "research" and s.state == "toolcall"]
    written += [s for s in (last_of(t, "plan"), last_of(t, "report")) if s]
    share = repeated(text for s in written for text in (s.reasoning, s.content))
    if share > config.max_repetition:
        return "repetition", f"{share:.0%} of the {NGRAM}-word sequences are repeated, at most {config.max_repetition:.0%} are kept"
    return None


def report_length(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Words of the final report, without its tags."""
    n = len(report_body(_report(t)).split())
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
    if held_out_category(category):
        return "held_out_category", f"{category} belong to evaluation"
    for items in (t.persona.needs, [i for i in t.rubric if i.type in rubric.CONSTRAINTS]):
        attributes = sorted({item.attribute for item in items} - {""})
        if held_out_combination(category, attributes):
            return "held_out_combination", f"{', '.join(attributes)} of {category} together belong to evaluation"
    return None


# --- scores --------------------------------------------------------------------------------------------------
def grounding(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Share of the final report's claims that a tool result supports."""
    found = ground(parse_report(_report(t)), Evidence.from_steps(t.steps))
    if found.precision < config.min_grounding:
        bad = next((f"{f.product_id}: {f.name}: {f.value} is {f.status}" for f in found.findings if f.status != "supported"), "no claims")
        return "grounding", f"{found.precision:.0%} of the claims are supported, at least {config.min_grounding:.0%} are needed ({bad})"
    return None


def products(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Distinct products that the report pitches and a tool returned (E.Prod)."""
    n = len(e_prod(parse_report(_report(t)), Evidence.from_steps(t.steps)))
    if n < config.min_products:
        return "products", f"{n} products that a tool returned, at least {config.min_products} are needed"
    return None


def score(t: Trajectory, config: FilterConfig) -> Rejection | None:
    """Verifiable rubric score of the final report."""
    value = rubric_score(t)
    if value < config.min_score:
        return "score", f"rubric score {value:.2f}, at least {config.min_score:.2f} is needed"
    return None


def rubric_score(t: Trajectory) -> float:
    """The verifiable rubric score of the final report, in [0, 1]."""
    return rubric.score(_report(t), t.rubric, Evidence.from_steps(t.steps)).score


def _report(t: Trajectory) -> str:
    return t.reports[-1] if t.reports else ""


FILTERS: dict[str, Filter] = {
    "format": format_valid,
    "termination": termination,
    "held_out": held_out,
    "tool_calls": tool_calls,
    "tool_errors": tool_errors,
    "repetition": repetition,
    "report_length": report_length,
    "grounding": grounding,
    "products": products,
    "score": score,
}
"""Name → filter, in the order in which they run."""


def chain(config: FilterConfig) -> dict[str, Callable[[Trajectory], Rejection | None]]:
    """Every filter of a configuration by name, in order; a user's own goes by its import path.

    Raises UserError for an import path that leads nowhere.
    """
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
