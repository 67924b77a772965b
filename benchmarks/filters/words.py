"""Faults in how the agent writes: repetition, language, length."""

from __future__ import annotations

from random import Random

from benchmarks.filters.edit import Change, Kind, acts, reasoned, report, reported, step_at
from prstack.types import Trajectory

GERMAN = "Ich suche zuerst nach den besten Treffern und öffne dann jede Seite, um zu prüfen, ob das Gerät wirklich zu dem passt, was gewünscht ist."
SPANISH = "Primero busco los mejores resultados y luego abro cada página para comprobar que el producto cumple con todo lo que se pide, y no más caro."
CHINESE = "我先搜索符合预算的商品，然后逐个打开页面核对每一项需求，最后写出报告。"
RUSSIAN = "Сначала я ищу лучшие результаты, а потом открываю каждую страницу и проверяю все требования."
POLISH = "Najpierw szukam najlepszych wyników, potem otwieram każdą stronę i sprawdzam wszystkie potrzeby, zanim napiszę raport dla klienta."
TURKISH = "Önce en iyi sonuçları arıyorum, sonra her sayfayı açıp istenen bütün özellikleri tek tek kontrol ediyorum ve raporu yazıyorum."


def _in(language: str, turns: int = 1) -> Change:
    return lambda t, rng: reasoned(t, rng, lambda _: language, turns)


def _throughout(language: str) -> Change:
    """Every turn in the language, the report as well, but for its lines of values."""

    def change(t: Trajectory, rng: Random) -> Trajectory | None:
        for n, s in enumerate(t.steps):
            if s.role == "research":
                t = step_at(t, n, reasoning=language, content=language if s.state == "plan" else s.content)
        kept = [line if line.startswith(("<", "- ")) or line[:1].isdigit() else "" if not line else language for line in report(t).split("\n")]
        return reported(t, "\n".join(kept))

    return change


def _clause(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: f"{said} {CHINESE[:18]}")


def _keys(t: Trajectory, rng: Random) -> Trajectory:
    """Letters at random, of the length of words."""

    def typed(said: str) -> str:
        return " ".join("".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9))) for _ in range(40))

    return reasoned(t, rng, typed)


def _one_word(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: said + " " + "".join(rng.choice("abcdefghij") for _ in range(80)))


def _word_again(t: Trajectory, rng: Random) -> Trajectory:
    word = rng.choice(["Bora", "n", "the", "enough", "HEPA"])
    return reasoned(t, rng, lambda said: f"{said} {' '.join([word] * rng.randint(20, 200))}")


def _syllable_again(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: said + " " + rng.choice(["ent", "k", "ra", "stra"]) * rng.randint(20, 100))


def _line_again(t: Trajectory, rng: Random) -> Trajectory | None:
    line = next((line for line in report(t).split("\n") if line.startswith("- ")), None)
    return reported(t, report(t).replace(line, "\n".join([line] * rng.randint(12, 40)), 1)) if line else None


def _in_a_call(t: Trajectory, rng: Random) -> Trajectory:
    at = rng.choice(acts(t))
    call = t.steps[at].tool_call
    return step_at(t, at, tool_call=type(call)(call.id, call.name, '{"query": "' + "long-armed " * 40 + '"}'))


def _sentence_everywhere(t: Trajectory, rng: Random) -> Trajectory:
    """The same long sentence, twice in each turn."""
    said = "I keep in mind what the shopper asked for, look at each page with care, and go on to the next one when it does not fit."
    return reasoned(t, rng, lambda _: f"{said} {said}", 99)


def _counted(t: Trajectory, rng: Random) -> Trajectory:
    """A loop that counts, so that no two sentences are the same."""
    return reasoned(t, rng, lambda _: " ".join(f"Step {n}: I look at the next page and check each need on it." for n in range(1, 60)))


def _two_in_turn(t: Trajectory, rng: Random) -> Trajectory:
    a, b = "I should open the page of the first product now.", "But wait, let me think about the search again before that."
    return reasoned(t, rng, lambda _: " ".join([a, b] * 30))


def _report_twice(t: Trajectory, rng: Random) -> Trajectory | None:
    body = report(t).removeprefix("<report>").removesuffix("</report>")
    return reported(t, f"<report>{body * 3}</report>")


def _short(*bodies: str) -> Change:
    return lambda t, rng: reported(t, f"<report>\n{rng.choice(bodies)}\n</report>")


def _long(t: Trajectory, rng: Random) -> Trajectory | None:
    many, likes = ["Some", "Many", "Few", "Most"], ["colour", "shape", "weight"]
    more = (f"{rng.choice(many)} shoppers of group {n} like the {rng.choice(likes)}." for n in range(400))
    return reported(t, report(t).replace("</report>", " ".join(more) + "\n</report>"))


def _long_letters(t: Trajectory, rng: Random) -> Trajectory | None:
    """A wall of text without spaces: few words, many characters."""
    return reported(t, report(t).replace("</report>", ",".join(f"option{n}" for n in range(4000)) + "\n</report>"))


KINDS = [
    Kind("a word again and again", "repetition", _word_again),
    Kind("a syllable again and again", "repetition", _syllable_again),
    Kind("a line of the report again and again", "repetition", _line_again),
    Kind("words of a call again and again", "repetition", _in_a_call),
    Kind("one sentence in every turn, twice", "repetition", _sentence_everywhere),
    Kind("a loop that counts", "repetition", _counted),
    Kind("two sentences by turns", "repetition", _two_in_turn),
    Kind("the report three times over", "repetition", _report_twice),
    Kind("a German turn", "language", _in(GERMAN)),
    Kind("a Spanish turn", "language", _in(SPANISH)),
    Kind("a Chinese turn", "language", _in(CHINESE)),
    Kind("a Russian turn", "language", _in(RUSSIAN)),
    Kind("a Chinese clause", "language", _clause),
    Kind("a Polish or Turkish turn", "language", lambda t, rng: _in(rng.choice([POLISH, TURKISH]))(t, rng)),
    Kind("Polish or Turkish throughout", "language", lambda t, rng: _throughout(rng.choice([POLISH, TURKISH]))(t, rng)),
    Kind("letters at random in a turn", "language", _keys),
    Kind("a word of eighty letters", "language", _one_word),
    Kind("a report of a few words", "report_length", _short("Done.", "See above.", "I recommend the first one, as it is good.")),
    Kind("an empty report", "report_length", _short("", " ", "\n\n")),
    Kind("a report of thousands of words", "report_length", _long),
    Kind("a report with a wall of letters", "report_length", _long_letters),
]
