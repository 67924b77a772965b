import pytest

from prstack.types import Attribute, Constraint, Product
from prstack.world.limits import limit, standing, verdict

LAMP = Product("P1", "Lamp", "Lamps", price=80.5, attributes=[Attribute("weight", "1.2 kg", 1.2, "kg"), Attribute("colour", "dark red")])


@pytest.mark.parametrize(
    ("need", "asked", "where", "said"),
    [
        (Constraint("price", "<=", "120", "USD"), "at most $120", "lower", "is lower, fits"),
        (Constraint("price", ">=", "80.5", "USD"), "at least $80.50", "equal", "is equal, fits"),
        (Constraint("weight", "<=", "1", "kg"), "at most 1 kg", "higher", "is higher, does not fit"),
        (Constraint("weight", ">=", "1500", "g"), "at least 1500 g", "lower", "is lower, does not fit"),
        (Constraint("colour", "=", "Dark Red"), "has to be Dark Red", "the same", "is the same, fits"),
        (Constraint("colour", "!=", "dark red"), "must not be dark red", "the same", "is the same, does not fit"),
        (Constraint("colour", "!=", "blue"), "must not be blue", "another", "is another, fits"),
        (Constraint("width", "<=", "5", "cm"), "at most 5 cm", None, "does not say"),
        (Constraint("weight", "<=", "5", "cm"), "at most 5 cm", None, "does not say"),
    ],
)
def test_where_a_product_stands_and_what_follows(need, asked, where, said):
    assert (limit(need), standing(need, LAMP), verdict(need, LAMP)) == (asked, where, said)
    assert verdict(need, LAMP, ("yes", "no")) == said.replace("does not fit", "no").replace("fits", "yes")
