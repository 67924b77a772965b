"""Corrections as first-person reflections, by rule.

1. The findings of a verdict (items that are not ok, else its reason) are rewritten into the first person: "you did not" →
   "I did not", "the report" → "my draft", "Add the budget" → "I need to add the budget".
2. What cannot be said without naming who said it (a supervisor, a rubric, an approval) is replaced by a plain sentence of
   the finding's kind.
3. The findings are set into a frame: how the agent comes to look again, and what it does next. Which frame is chosen by a
   hash of the trajectory's id and the position, so that the phrasing varies and stays the same on every run.

`without_supervision` drops the sentences of the agent's own text that speak of the supervision.
"""

from __future__ import annotations

import hashlib
import re

from prstack.types import Verdict

FRAMES = {
    "plan": [
        "Going over my plan once more, I see a gap: {findings}. I plan for that now.",
        "My first plan was not good enough: {findings}. Here is a better one.",
        "Before I start I check my plan against what was asked: {findings}. So I change it.",
        "Wait, my plan is not complete yet: {findings}. I put that right first.",
    ],
    "toolcall": [
        "That step was a mistake: {findings}. I do it differently now.",
        "Looking at what I just did: {findings}. I take another step.",
        "My last step did not bring me further: {findings}. Here is a better one.",
        "Let me correct myself: {findings}. I try again, with more care.",
    ],
    "toolcall_dropped": [
        "I had another step in mind, but it would not help: {findings}. This one is better.",
        "Before I act I check the step I was about to take: {findings}. I choose another one.",
        "Let me not act too fast: {findings}. I take a better step.",
        "My first idea for this step falls away: {findings}. So I do this instead.",
    ],
    "report": [
        "I drafted the report in my mind and checked it: {findings}. I put that right before I answer.",
        "Before I answer I read my draft against what I have seen: {findings}. I correct it.",
        "My draft does not hold up yet: {findings}. I fix that first.",
        "Checking my draft once more: {findings}. That has to change before I answer.",
    ],
}
"""Frames by what was corrected; `toolcall_dropped` when the wrong call does not stay in the conversation."""

PLAIN = {
    "covers_needs": "my plan leaves out a need that was stated",
    "valid_call": "my tool call was not valid",
    "not_duplicate": "my call repeats one I have made already",
    "relevant_result": "the result of my call has little to do with what is needed",
    "has_action": "I neither called a tool nor wrote a report",
    "format": "my draft is not in the form that a report needs",
    "visited": "my draft recommends a product whose page I have not opened",
    "supported": "my draft claims something that I have not seen",
    "meets_constraints": "my draft recommends a product that breaks a need",
    "answers_rubric": "my draft does not answer everything that was asked",
    "plan": "my plan has a gap",
    "toolcall": "my step does not help",
    "report": "my draft is not good enough yet",
}
"""Finding kind, or state → what can always be said of it."""

_SHOPPERS_WORDS = [
    (r"\bneed: ([^\"]+)$", r'need: "\1"'),
    (r"\bneed is broken \(([^\"()]+)\)", r'need is broken ("\1")'),
    (r"^left unanswered: ([^\"]+)$", r'my draft leaves a point open ("\1")'),
]
"""Where a finding repeats what the shopper asked for, it is quoted: "my budget" is not the agent's."""
_REWRITES = [
    (r"^(?:\W*)(?:feedback|findings?|issues?|problems?|notes?|reason|supervisor|reviewer)\s*:\s*", ""),
    (r"^rubric item \S+:\s*", ""),
    (r"^(?:please|kindly)\s+", "I need to "),
    (r"\bplease\s+", ""),
    (r"\bdo you\b", "do I"),
    (r"\byou are\b|\byou're\b", "I am"),
    (r"\byou were\b", "I was"),
    (r"\byou(?:'ve| have)\b", "I have"),
    (r"\byourself\b", "myself"),
    (r"\byours?\b", "my"),
    (r"\b(to|for|with|from|gives?|shows?|lets?) you\b", r"\1 me"),
    (r"\byou\b", "I"),
    (r"\bthe (?:research )?agent (?:is|are)\b", "I am"),
    (r"\bthe (?:research )?agent has\b", "I have"),
    (r"\bthe (?:research )?agent does\b", "I do"),
    (r"\bthe (?:research )?agent's\b", "my"),
    (r"\bthe (?:research )?agent\b", "I"),
    (r"\b(?:the|this) (?:final )?report\b", "my draft"),
    (r"\b(?:the|this) (plan|step|call|tool call|draft|turn)\b", r"my \1"),
    (r"\bis recommended\b", "is in my draft"),
    (r"\b(?:its page )?was never (?:visited|opened)\b", "I never opened its page"),
]
_IMPERATIVE = re.compile(
    r"^(?:add|answer|avoid|call|check|choose|cite|compare|correct|cover|drop|fix|give|include|leave|list|look|make|mention|"
    r"name|open|plan|read|remove|repeat|replace|rewrite|search|say|show|state|support|take|try|use|verify|visit|write)\b",
    re.I,
)
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']*'(?!\w)")
_NOT_MINE = re.compile(
    r"\b(?:supervis\w*|reviewer|feedback|verdicts?|rubrics?|approv\w*|reject(?:ed|s)?|you|your|yourself|please|as (?:asked|told|instructed)|"
    r"was (?:asked|told|instructed))\b|<\|?\w|\|>|\[/?inst",
    re.I,
)
"""What a reflection never holds, quotations aside."""

_MARKUP = re.compile(r"</?[a-z_]+>|<\||\"decision\"|^\s*\[", re.I)

_SUPERVISION = [
    re.compile(r"\bsupervis(?:or|ors|ion|ory|ed)\b", re.I),
    re.compile(r"\b(?:verdicts?|rubrics?)\b", re.I),
    re.compile(r"\breviewer (?:asked|asks|wants|wanted|told|tells|requires|required|rejected|approved|sent)\b", re.I),
    re.compile(r"(?<!customer )(?<!customers' )(?<!user )(?<!buyer )(?<!owner )(?<!review )\bfeedback\b(?! (?:from|of|by) (?:the )?(?:buyers|customers|owners|users|reviewers))", re.I),
    re.compile(r"\byou (?:should|must|need to|have to|ought to|asked me to (?:revise|correct|redo))\b", re.I),
    re.compile(r"\b(?:plan|step|call|report|draft|turn)\b[^.!?]{0,40}\b(?:approved|rejected|sent back|returned to me|needs? correcting)\b", re.I),
    re.compile(r"\b(?:approved|rejected)\b[^.!?]{0,20}\b(?:plan|step|call|report|draft)\b", re.I),
    re.compile(r"\b(?:i was|been|as) (?:asked|told|instructed) to (?:revise|correct|fix|redo|rewrite)\b", re.I),
]
_SENTENCE = re.compile(r"[^\n]+?(?:[.!?]+(?=\s|$)|(?=\n)|$)")


def reflect(verdict: Verdict, state: str, trajectory_id: str, position: int, dropped: bool = False) -> str:
    """The reflection on a correction: one or more first-person sentences.

    `position` is the place of the correction in the trajectory; `dropped` says that the wrong call leaves the conversation.
    """
    failed = [(item.kind, item.reason) for item in verdict.items if not item.ok] or [(state, verdict.reason)]
    findings = list(dict.fromkeys(first_person(reason, PLAIN.get(kind, PLAIN[state])) for kind, reason in failed))
    frames = FRAMES["toolcall_dropped" if state == "toolcall" and dropped else state]
    digest = hashlib.sha256(f"{trajectory_id}/{position}".encode()).digest()
    return frames[int.from_bytes(digest[:4], "big") % len(frames)].format(findings="; ".join(findings))


def first_person(reason: str, plain: str) -> str:
    """A finding as a clause that the agent can say of itself; `plain` where that cannot be done."""
    text = re.sub(r"(?:^|(?<=\s))\d+[.)]\s+", "", " ".join(reason.split())).rstrip(" .!;:")
    text = re.sub(r"(?<=\w\w)[.!?]+\s+", "; ", text)  # a finding is one clause
    kept: list[str] = []

    def put_by(quote: re.Match) -> str:
        kept.append(quote.group())
        return f"\x00{len(kept) - 1}\x00"

    for pattern, quoted in _SHOPPERS_WORDS:
        text = re.sub(pattern, quoted, text, flags=re.I)
    text = _QUOTED.sub(put_by, text)
    for pattern, better in _REWRITES:
        text = re.sub(pattern, better, text, flags=re.I)
    if _IMPERATIVE.match(text):
        text = f"I need to {text[0].lower()}{text[1:]}"
    if len(re.findall(r"\w+", text)) < 2 or _NOT_MINE.search(text):
        return plain
    if re.match(r"[A-Z][a-z' ]", text) and not re.match(r"I\b", text):
        text = text[0].lower() + text[1:]
    text = re.sub("\x00(\\d+)\x00", lambda m: kept[int(m.group(1))], text)
    return plain if _MARKUP.search(text) else text


def without_supervision(text: str) -> str:
    """The text without the sentences that speak of the supervision; unchanged when there are none."""
    if not any(p.search(text) for p in _SUPERVISION):
        return text
    lines = []
    for line in text.splitlines():
        sentences = _SENTENCE.findall(line)
        kept = [s for s in sentences if not any(p.search(s) for p in _SUPERVISION)]
        if kept or not line.strip():
            lines.append("".join(kept).strip() if len(kept) < len(sentences) else line)
    return "\n".join(lines).strip()
