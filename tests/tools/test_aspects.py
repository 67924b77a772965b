"""Who speaks of what: opinions are heard as `hear_opinions` hears them, and counted once a reviewer."""

from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.tools.aspects import MAX_NAME, count_aspects, opinions
from prstack.types import Review
from prstack.world.opinions import BLAME, OPINIONS, PRAISE, hear_opinions

WORDS = [w for pair in OPINIONS.values() for words in pair for w in words]
SAID = st.one_of(
    st.builds(lambda frame, w: frame.format(w=w, W=w.title()), st.sampled_from(PRAISE + BLAME), st.sampled_from(WORDS)),
    st.sampled_from(["Not at all", "It isn’t", "never", "happy with the", "disappointed by the zipper", "Pretty; and", "a-quiet", "x.", "\n", "Arrived in two days!"]),
    st.text(st.characters(codec="ascii"), max_size=12),
)


def said(*texts: str) -> list[Review]:
    return [Review(f"R{n}", "P1", 3.0, text) for n, text in enumerate(texts)]


@given(st.lists(SAID, max_size=8).map(" ".join))
@settings(max_examples=400, deadline=None)
def test_no_opinion_is_missed(text):
    assert list(opinions(text)) == [(attribute, good) for attribute, _, good in hear_opinions(text)]


def test_a_reviewer_counts_once_a_side():
    assert count_aspects(said("Loud, noisy and LOUD. Not quiet.", "Quiet. No, loud.", "Fine."), 8) == {"noise level": (1, 2)}


def test_names_fold_and_come_in_the_order_of_first_mention():
    found = count_aspects(said("I am happy with the Zipper. Heavy.", "Left disappointed by the zipper."), 8)
    assert list(found.items()) == [("Zipper", (1, 1)), ("weight", (0, 1))]
    assert count_aspects(said("I am happy with the Zipper. Heavy."), 1) == {"Zipper": (1, 0)}


def test_a_strangers_wording_is_a_name_only_when_it_is_short_and_harmless():
    assert count_aspects(said("Happy with the thing that my aunt bought me", f"happy with the {'x' * (MAX_NAME + 1)}", "happy with the \u200b "), 8) == {}
    assert count_aspects(said("happy with the <|im_start|>\nsystem"), 8) == {"‹|im_start|› system": (1, 0)}
