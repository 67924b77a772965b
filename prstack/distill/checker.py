"""Is an internalised conversation what it must be? Verified against the trajectory, with code of its own.

Nothing here is shared with `internalise`, so that a fault there cannot hide itself here. `violations` returns one entry a
fault; its kinds:

- `role`: a role, an order of turns or a message key that training must not see; `query`: the user turn is not the query.
- `voice`: the supervision speaks, or is spoken of; `marker`: markup of the dialogue, or a verdict, inside a text.
- `call_lost`, `call_invented`, `call_changed`, `call_order`, `call_kept`: the tool calls are those of the trajectory, in its
  order and its turns; corrected ones only where the policy keeps them, or where something later relies on their results.
- `result_changed`, `result_order`: the calls of a turn are followed by their own results, as they were.
- `duplicate`: the same call twice, where none of the two is a corrected one that the policy keeps.
- `lost_evidence`: a later call or the report names what only a call that was dropped had shown.
- `content_changed`: what a tool-call turn says besides its call is not the plan and its own words; `plan_lost`.
- `report_changed`, `report_extra`: the report is the final one, untouched, and the only one.
- `reflection_missing`: a correction that something better followed has no reflection before the better action.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from prstack.types import Step, Trajectory, Verdict

KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "reasoning_content", "tool_calls"},
    "tool": {"role", "tool_call_id", "name", "content"},
}

# The agent may speak of reviewers' opinions and customers' feedback; what it may not speak of is being supervised.
SPOKEN_OF = re.compile(
    r"\bsupervis(?:or|ors|ion|ory|ed)\b|\bverdicts?\b|\brubrics?\b"
    r"|\breviewer (?:ask|want|told|tell|requir|reject|approv|sent)\w*"
    r"|\byou (?:should|must|need to|have to|ought to)\b"
    r"|\b(?:plan|step|call|report|draft|turn)\b[^.!?]{0,40}\b(?:approved|rejected|sent back|needs? correcting)\b"
    r"|\b(?:approved|rejected)\b[^.!?]{0,20}\b(?:plan|step|call|report|draft)\b"
    r"|\b(?:i was|been|as) (?:asked|told|instructed) to (?:revise|correct|fix|redo|rewrite)\b",
    re.I,
)
FEEDBACK = re.compile(r"(?P<whose>\b(?:customers?'?|users?'?|buyers?'?|owners?'?|reviews?)\s+)?\bfeedback\b(?P<of>\s+(?:from|of|by)\s+(?:the\s+)?(?:buyer|customer|owner|user|reviewer)s)?", re.I)
ADDRESSED = re.compile(r"\b(?:supervis\w*|feedback|verdicts?|rubrics?|approv\w*|rejected|you|your|yourself|please|reviewer)\b", re.I)
IN_REPORT = re.compile(r"\bsupervisor\b|\bverdict:|\brubric\b", re.I)
MARKUP = re.compile(r"</?(?:think|tool_call|tool_response|tools)>|<\|\w+\|>|\"decision\"\s*:|^\s*\[(?:supervisor|feedback|user|system)\]", re.I | re.M)
MINE = re.compile(r"\b(?:I|my|me|myself)\b", re.I)
QUOTES = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']*'(?!\w)")

GIST = {
    "covers_needs": "plan leaves out need needs",
    "plan": "plan gap",
    "valid_call": "tool call valid arguments",
    "not_duplicate": "call repeats made already",
    "relevant_result": "result call little needed",
    "has_action": "neither called tool nor wrote report",
    "toolcall": "step help",
    "format": "draft form report needs",
    "visited": "draft recommends product page opened",
    "supported": "draft claims seen",
    "meets_constraints": "draft recommends product breaks need",
    "answers_rubric": "draft answer everything asked",
    "report": "draft good enough",
}
"""Words of which a reflection on such a finding holds at least two, when it does not use the finding's own words."""
COMMON = {
    "that", "this", "with", "from", "have", "been", "were", "what", "which", "when", "then", "than", "they",
    "them", "their", "there", "must", "should", "does", "doesn", "into", "only", "also",
}


@dataclass(slots=True)
class Violation:
    kind: str
    detail: str


def violations(trajectory: Trajectory, messages: list[dict], wrong_actions: str, internalised: bool = True) -> list[Violation]:
    """Every fault of the conversation; an empty list means that it may be trained on.

    `internalised=False`: corrections, or what was sent back, stayed as they were (`distill.internalise=turns` or `none`). User turns
    may stand after the query then, and what is said is not looked at; query, calls, results and final report are checked all the same.
    """
    if found := _shape(trajectory, messages, internalised):
        return found  # the checks below read messages by their shape
    episode = _Episode(trajectory)
    assistant = [m for m in messages if m["role"] == "assistant"]
    if not internalised:
        return [*_report(trajectory, assistant[-1:]), *_calls(episode, messages, "keep_corrected")]
    return [
        *_report(trajectory, assistant),
        *_calls(episode, messages, wrong_actions),
        *_contents(episode, assistant),
        *_voices(episode, assistant),
        *_reflections(episode, assistant),
    ]


class _Episode:
    """The raw steps, as this checker reads them."""

    def __init__(self, trajectory: Trajectory):
        self.id = trajectory.id
        self.research: list[Step] = []
        self.revised: dict[int, Verdict] = {}
        self.turns: list[int] = []  # of each research step: the first step of its assistant turn
        for step in trajectory.steps:
            if step.role == "research":
                self.turns.append(self.turns[-1] if step.joined and self.turns else len(self.research))
                self.research.append(step)
            elif step.verdict and step.verdict.decision == "revise":
                self.revised.setdefault(len(self.research) - 1, step.verdict)
        self.calls = {s.tool_call.id: (i, s) for i, s in enumerate(self.research) if s.tool_call}
        self.plan = next((s for s in reversed(self.research) if s.state == "plan"), None)
        self.own = {s for step in self.research for text in (step.reasoning, step.content) for s in _sentences(text)}


def _shape(trajectory: Trajectory, messages: list[dict], internalised: bool) -> list[Violation]:
    roles = [m.get("role") for m in messages]
    owed = 0  # results of the last assistant turn's calls that did not come yet
    if roles[:2] != ["system", "user"]:
        return [Violation("role", f"the conversation begins with {roles[:2]}")]
    for i, m in enumerate(messages):
        if m["role"] not in KEYS or (i > 1 and m["role"] in (("system", "user") if internalised else ("system",))):
            return [Violation("role", f"message {i} has the role {m['role']}")]
        if extra := set(m) - KEYS[m["role"]]:
            return [Violation("role", f"message {i} ({m['role']}) has the key {sorted(extra)[0]}")]
        if not isinstance(m.get("content"), str):
            return [Violation("role", f"message {i} ({m['role']}) has no text")]
        if internalised and m["role"] == "assistant" and i > 2 and roles[i - 1] == "assistant":
            return [Violation("result_order", f"message {i}: no tool result between two assistant turns")]
        calls = m.get("tool_calls")
        if calls is not None and (not calls or any(set(c) != {"type", "id", "function"} for c in calls)):
            return [Violation("role", f"message {i}: the tool calls of an assistant turn are not well-formed")]
        if m["role"] == "tool" and not owed:
            return [Violation("result_order", f"message {i}: a tool result without a call before it")]
        owed = owed - 1 if m["role"] == "tool" else len(calls or [])
    if roles[-1] != "assistant":
        return [Violation("report_changed", "the conversation does not end with the agent's report")]
    if messages[1]["content"] != trajectory.query:
        return [Violation("query", f"the user turn is not the query: {messages[1]['content'][:80]!r}")]
    return []


def _report(trajectory: Trajectory, assistant: list[dict]) -> list[Violation]:
    out = []
    if assistant[-1].get("tool_calls") or assistant[-1]["content"] != trajectory.reports[-1]:
        out.append(Violation("report_changed", f"the last turn is not the final report: {assistant[-1]['content'][:80]!r}"))
    for m in assistant[:-1]:
        if "<report>" in m["content"]:
            out.append(Violation("report_extra", "a report before the final one"))
        if not m.get("tool_calls"):
            out.append(Violation("call_lost", f"a turn before the report calls no tool: {m['content'][:80]!r}"))
    return out


def _calls(episode: _Episode, messages: list[dict], policy: str) -> list[Violation]:
    out: list[Violation] = []
    kept: list[str] = []
    seen: set[int] = set()
    for i, m in enumerate(messages):
        calls = m.get("tool_calls") or []
        here = {episode.turns[episode.calls[c["id"]][0]] for c in calls if c["id"] in episode.calls}
        if len(here) > 1 or here & seen:
            out.append(Violation("call_order", f"message {i}: its calls are not those of one turn of the agent"))
        seen |= here
        for n, call in enumerate(calls, 1):
            out += _call(episode, call)
            kept.append(call["id"])
            result = messages[i + n] if i + n < len(messages) else {}
            if result.get("role") != "tool" or result.get("tool_call_id") != call["id"]:
                out.append(Violation("result_order", f"call {call['id']} is not followed by its result"))
            elif call["id"] in episode.calls:
                was = episode.calls[call["id"]][1]
                if result["content"] != was.tool_result.text or result.get("name") != was.tool_call.name:
                    out.append(Violation("result_changed", f"the result of {call['id']} is not what the tool returned"))
    known = [id for id in kept if id in episode.calls]
    order = [episode.calls[id][0] for id in known]
    if order != sorted(set(order)):
        out.append(Violation("call_order", f"calls come as {known}"))
    out += _policy(episode, known, policy)
    return out


def _call(episode: _Episode, call: dict) -> list[Violation]:
    if call["id"] not in episode.calls:
        return [Violation("call_invented", f"the trajectory has no call {call['id']}")]
    was, function = episode.calls[call["id"]][1].tool_call, call["function"]
    if (function.get("name"), function.get("arguments")) != (was.name, was.arguments):
        return [Violation("call_changed", f"{call['id']} was {was.name}({was.arguments})")]
    return []


def _policy(episode: _Episode, kept: list[str], policy: str) -> list[Violation]:
    out, later_text = [], _later_texts(episode)
    seen: dict[tuple[str, str], str] = {}
    for id, (i, step) in episode.calls.items():
        corrected, arguments = i in episode.revised, _object(step.tool_call.arguments)
        if arguments is None:
            if id in kept:
                out.append(Violation("call_kept", f"{id}: arguments that are no JSON object: {step.tool_call.arguments[:80]!r}"))
            continue
        if id not in kept:
            if not corrected or policy == "keep_corrected":
                out.append(Violation("call_lost", f"{id} {step.tool_call.name}({step.tool_call.arguments}) is gone"))
            elif lost := _only_here(episode, id, kept, later_text(i)):
                out.append(Violation("lost_evidence", f"only {id} had shown {', '.join(sorted(lost))}"))
            continue
        if corrected and policy == "drop" and not _only_here(episode, id, [k for k in kept if k != id], later_text(i)):
            out.append(Violation("call_kept", f"{id} was corrected and nothing relies on it"))
        key = (step.tool_call.name, json.dumps(arguments, sort_keys=True))
        other = seen.setdefault(key, id)
        if other != id and (policy == "drop" or not (corrected or episode.calls[other][0] in episode.revised)):
            out.append(Violation("duplicate", f"{id} repeats {other}: {key[0]}({key[1]})"))
    return out


def _later_texts(episode: _Episode) -> Any:
    """Step index → what the calls that stand after it and the final report say."""

    def after(i: int) -> str:
        later = [s.tool_call.arguments for j, s in enumerate(episode.research) if j > i and s.tool_call and j not in episode.revised]
        return "\n".join([*later, episode.research[-1].content if episode.research[-1].state == "report" else ""])

    return after


def _only_here(episode: _Episode, id: str, others: list[str], later: str) -> set[str]:
    """What a call's result lists or opens, no other kept result does, and a later text names."""
    shown = _entries(episode.calls[id][1])
    for other in others:
        shown -= _entries(episode.calls[other][1])
    words = set(re.findall(r"[\w-]+", later))
    return {entry.split()[-1] for entry in shown if entry.split()[-1] in words}


def _entries(step: Step) -> set[str]:
    """`open ID` for the page that a result opens, `list ID` for each numbered hit."""
    if not step.tool_result or not step.tool_result.ok:
        return set()
    lines = step.tool_result.text.split("\n")
    found = {f"list {m[1]}" for line in lines[1:] if (m := re.match(r"\[\d+\] (\S+) \|", line))}
    if (m := re.match(r"(\S+) \| ", lines[0])) and len(lines) > 1 and re.match(r"category|kind", lines[1]):
        found.add(f"open {m[1]}")
    return found


def _contents(episode: _Episode, assistant: list[dict]) -> list[Violation]:
    out = []
    for n, m in enumerate(assistant):
        for call in m.get("tool_calls") or []:
            if call["id"] not in episode.calls:
                continue
            head = episode.research[episode.turns[episode.calls[call["id"]][0]]]
            allowed = _sentences(episode.calls[call["id"]][1].content) | (_sentences(head.content) if head.tool_call else set())
            if n == 0 and episode.plan:
                allowed |= _sentences(episode.plan.content)
            if new := _sentences(m["content"]) - allowed:
                out.append(Violation("content_changed", f"turn {n} says what the agent did not: {min(new)[:80]!r}"))
            if gone := {s for s in _sentences(episode.calls[call["id"]][1].content) - _sentences(m["content"]) if not _supervised(s)}:
                out.append(Violation("content_changed", f"turn {n} no longer says: {min(gone)[:80]!r}"))
    if episode.plan and assistant:
        first = _sentences(assistant[0]["content"]) | _sentences(assistant[0].get("reasoning_content", ""))
        if gone := {s for s in _sentences(episode.plan.content) - first if not _supervised(s)}:
            out.append(Violation("plan_lost", f"the first turn lacks of the plan: {min(gone)[:80]!r}"))
    return out


def _voices(episode: _Episode, assistant: list[dict]) -> list[Violation]:
    out = []
    for n, m in enumerate(assistant):
        final = n == len(assistant) - 1
        reasoning, content = m.get("reasoning_content", ""), m["content"]
        if MARKUP.search(reasoning + "\n" + content) or re.search(r"</?report>", reasoning) or content.count("<report>") > 1:
            out.append(Violation("marker", f"turn {n} holds markup or a verdict"))
        texts = [(s, s in episode.own) for s in sorted(_sentences(reasoning) | (set() if final else _sentences(content)))]
        for sentence, own in texts:
            said = sentence if own else QUOTES.sub("", sentence)  # a reflection may quote what a product is said to be
            if _supervised(said) or (not own and ADDRESSED.search(said)):
                out.append(Violation("voice", f"turn {n}: {sentence[:120]!r}"))
        if final and (m2 := IN_REPORT.search(content)):
            out.append(Violation("voice", f"the report says {m2.group()!r}"))
    return out


def _supervised(sentence: str) -> bool:
    return bool(SPOKEN_OF.search(sentence)) or any(not (f["whose"] or f["of"]) for f in FEEDBACK.finditer(sentence))


def _reflections(episode: _Episode, assistant: list[dict]) -> list[Violation]:
    """Each correction needs a sentence of its own, in the turn of the better action, that is not in the trajectory."""
    place = {call["id"]: n for n, m in enumerate(assistant) for call in m.get("tool_calls") or []}
    wanted: dict[int, list[tuple[int, Verdict]]] = {}
    for i, verdict in episode.revised.items():
        if (n := _better(episode, i, place, len(assistant) - 1)) is not None:
            wanted.setdefault(n, []).append((i, verdict))
    out = []
    for n, corrections in sorted(wanted.items()):
        reasoning = assistant[n].get("reasoning_content", "")
        new = [s for s in _sentence_list(reasoning) if s not in episode.own]
        mine = bool(MINE.search(" ".join(new)))
        for i, verdict in corrections:
            state = episode.research[i].state
            findings = [(f.kind, f.reason) for f in verdict.items if not f.ok] or [(state, verdict.reason)]
            held = next((s for s in new if any(_says(s, kind, reason, state) for kind, reason in findings)), None)
            if held is None or not mine:
                out.append(Violation("reflection_missing", f"turn {n} does not reflect on: {findings[0][1][:120]}"))
                continue
            new.remove(held)
            text = " ".join([held, *new])
            if silent := [reason for kind, reason in findings if not _says(text, kind, reason, state)]:
                out.append(Violation("reflection_missing", f"turn {n} is silent on: {silent[0][:120]}"))
    return out


def _better(episode: _Episode, i: int, place: dict[str, int], last: int) -> int | None:
    """The assistant turn that holds the better action after the corrected step i; None when nothing followed."""
    state = episode.research[i].state
    later = [s for j, s in enumerate(episode.research) if j > i and episode.turns[j] != episode.turns[i]]
    if state == "plan":
        return 0 if any(s.state == "plan" for s in later) else None
    for step in later:
        if step.tool_call and step.tool_call.id in place:
            return place[step.tool_call.id]
    return last if later else None


def _says(sentence: str, kind: str, reason: str, state: str) -> bool:
    own = _words(reason)
    if own and len(_words(sentence) & own) >= min(2, len(own)):
        return True
    plain, gist = reason.lower().strip(" .!?"), GIST.get(kind, GIST[state]).split()
    return (len(plain.split()) > 1 and plain in sentence.lower()) or len(set(re.findall(r"\w+", sentence.lower())) & set(gist)) >= 2


def _words(text: str) -> set[str]:
    return {w for w in re.findall(r"[a-z0-9]+", text.lower()) if (len(w) > 3 or any(c.isdigit() for c in w)) and w not in COMMON}


def _sentence_list(text: str) -> list[str]:
    pieces = (s.strip() for line in text.split("\n") for s in re.split(r"(?<=[.!?])\s+", line))
    return [s for s in pieces if s]


def _sentences(text: str) -> set[str]:
    return set(_sentence_list(text))


def _object(text: str) -> dict | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
