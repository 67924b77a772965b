"""Fitting a conversation into a model's context, by one stated rule.

While the prompt is longer than the budget:
1. tool results are shortened, the oldest first; the last message of the conversation comes last of all;
2. then user messages, the oldest first.

A text is shortened no further than needed, and to no less than `FLOOR` characters: its beginning and end stay, and a
note between them says how many characters were left out. Texts about that short, system messages and what the
assistant wrote are never touched. A conversation that fits is returned as it is.

Shortening changes earlier messages, so it is for engines that are given messages; sampling for training gives
tokens, and is refused instead.
"""

from __future__ import annotations

from collections.abc import Callable

FLOOR = 240
NOTE = 40  # characters of the note, about


class DoesNotFit(Exception):
    """The conversation is too long even with everything shortened. Carries the token counts."""

    def __init__(self, tokens: int, budget: int):
        super().__init__(f"the conversation needs {tokens} tokens even when shortened; {budget} are left for it")
        self.tokens = tokens
        self.budget = budget


def fit(messages: list[dict], budget: int, count: Callable[[list[dict]], int]) -> list[dict]:
    """The messages, shortened until `count(messages) <= budget`. Raises DoesNotFit.

    `count` gives the tokens of a whole prompt and must not grow when a text gets shorter. The argument is not
    changed.
    """
    if count(messages) <= budget:
        return messages
    for at in _order(messages):
        text = messages[at].get("content") or ""
        if len(text) <= FLOOR + NOTE:
            continue
        shortest = _with_content(messages, at, shorten(text, FLOOR))
        if count(shortest) <= budget:
            low, high = FLOOR, len(text)  # fits with `low` characters kept, does not with `high`
            while high - low > max(16, high // 32):
                middle = (low + high) // 2
                fits = count(_with_content(messages, at, shorten(text, middle))) <= budget
                low, high = (middle, high) if fits else (low, middle)
            return _with_content(messages, at, shorten(text, low))
        messages = shortest
    raise DoesNotFit(count(messages), budget)


def shorten(text: str, kept: int) -> str:
    """The text with at most `kept` of its characters: two thirds from the beginning, one from the end."""
    left_out = len(text) - kept
    if left_out <= 0:
        return text
    tail = kept // 3
    return f"{text[: kept - tail].rstrip()}\n[… {left_out} characters left out …]\n{text[len(text) - tail :].lstrip()}"


def _with_content(messages: list[dict], at: int, text: str) -> list[dict]:
    return [*messages[:at], {**messages[at], "content": text}, *messages[at + 1 :]]


def _order(messages: list[dict]) -> list[int]:
    """Positions of the messages that may be shortened, in the order in which they are."""
    last = len(messages) - 1
    of_role = {role: [i for i, m in enumerate(messages) if m["role"] == role] for role in ("tool", "user")}
    return [i for role in ("tool", "user") for i in of_role[role] if i != last] + [
        last for role in ("tool", "user") if last in of_role[role]
    ]
