import math
import random

import pytest

from prstack.world.diversity import diversity, self_bleu, words


def naive_self_bleu(texts):
    """BLEU of each text against all others, counted anew for each: the definition."""
    from collections import Counter

    def grams(text, n):
        return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))

    scores = []
    for i, text in enumerate(texts):
        others = texts[:i] + texts[i + 1 :]
        log = 0.0
        for n in range(1, 5):
            mine, theirs = grams(text, n), [grams(o, n) for o in others]
            hits = sum(min(c, max(t[g] for t in theirs)) for g, c in mine.items())
            added = int(n > 1)
            if not hits + added:
                log = -math.inf
                break
            log += math.log((hits + added) / (sum(mine.values()) + added)) / 4
        closest = min((abs(len(o) - len(text)), len(o)) for o in others)[1]
        scores.append(math.exp(log + min(0.0, 1 - closest / len(text))) if log > -math.inf else 0.0)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("seed", range(5))
def test_self_bleu_is_its_definition(seed):
    rng = random.Random(seed)
    texts = [[rng.choice("abcde") for _ in range(rng.randint(1, 12))] for _ in range(12)]
    assert self_bleu(texts) == pytest.approx(naive_self_bleu(texts), abs=1e-12)


def test_the_ends_of_the_scale():
    assert self_bleu([list("abcdef")] * 3) == pytest.approx(1)
    assert self_bleu([list("abcdef"), list("ghijkl"), list("mnopqr")]) == 0
    same, different = diversity(["a quiet kettle for tea"] * 20), diversity([f"w{n} x{n} y{n} z{n}" for n in range(20)])
    assert same.self_bleu == pytest.approx(1) and same.distinct[1] == 0.05
    assert different.self_bleu == 0 and different.distinct == {1: 1.0, 2: 1.0, 3: 1.0} and different.texts == 20


def test_order_does_not_matter_and_empty_texts_are_left_out():
    texts = ["one two three", "two three four", "", "!!", "three four five six"]
    assert diversity(texts).texts == 3 and diversity(texts).self_bleu == pytest.approx(diversity(texts[::-1]).self_bleu)
    assert words("Ünder-way, 3.5 kg") == ["ünder", "way", "3", "5", "kg"]
    with pytest.raises(ValueError, match="two texts"):
        diversity(["", "one"])
