"""Fixed text that stands in every conversation, as tokens of its own: what a small model should not spend its context on.

1. The frame: each line of the system turn (prompt and tool schemas) is one token, so that 800 tokens become some forty.
2. Tool calls: their JSON up to the first value that varies, and what closes them.
3. The labels of the tools' texts, and the sentences that the generated world writes again and again.

What carries meaning (needs, attributes, values, names, numbers) is never part of a phrase: it is cut the same everywhere. Another
prompt or another tool's text is simply cut into words.
"""

from __future__ import annotations

import json
import re

from prstack.dialogue.render import TEMPLATE
from prstack.prompts import Prompts
from prstack.tools.schemas import SCHEMAS
from prstack.world.generated.catalogue import EXTRAS
from prstack.world.generated.stock import NEUTRAL
from prstack.world.opinions import BLAME, PRAISE

LABELS = (
    "\ncategory: ", "\nbrand: ", "\nprice: $", "\nrating: ", " stars, ", " reviews", "no reviews", "\navailability: in stock\nattributes:\n- ",
    "\navailability: out of stock\nattributes:\n- ", "\ndescription: ", "\nreviewers on:\n- ", "\nreviews:", "\nrelated: ", " good", " bad", " stars: ", " star: ", ' results for "', '", page ', "user\n<tool_response>\n",
    "\n</tool_response>", "assistant\n", "\nkind: ", "\npublished: ", " | guide | ", " | forum | ", " | lab_test | ", " | brand | ",
)  # fmt: skip
DESCRIBED = (
    "Made with ", " in mind, and at home with ", " too. ", "For ", "Many of its owners use it for ", " are what it was drawn for. ", "It comes in ", "The finish is ", "Shown here in ",
)  # fmt: skip
CLOSINGS = ('"}}\n</tool_call>', "}}\n</tool_call>", '", "max_price": ', '", "page": ', ', "page": ', "\n</think>\n\n", "<think>\n", "<report>\n", "\n</report>", "\n\n## Comparison\n")


def phrases() -> list[str]:
    """All of them, longest first, without repeats."""
    found = [*_frame(), *_calls(), *LABELS, *CLOSINGS, *DESCRIBED, *NEUTRAL, *EXTRAS, *_parts([*PRAISE, *BLAME])]
    return sorted(dict.fromkeys(p for p in found if len(p) > 2), key=lambda p: (-len(p), p))


def _frame() -> list[str]:
    """The lines of the template around tools, of the system prompt, and of the schemas."""
    text = TEMPLATE.read_text(encoding="utf-8")
    tools = re.search(r"tool_section\(\) %}\n(.*?)\{%- endmacro", text, re.S)
    lines = [line for line in (tools[1] if tools else "").split("\n") if "{%" not in line and "{{" not in line]
    prompt = Prompts().render("research_system").split("\n")
    schemas = [json.dumps(s, ensure_ascii=False) for s in SCHEMAS]
    return [f"{line}\n" for line in (*prompt[:-1], *lines, *schemas) if line.strip()] + [prompt[-1]]


def _calls() -> list[str]:
    """A call of each tool up to its first argument, with and without the thinking that ends before it."""
    opened = []
    for schema in SCHEMAS:
        function = schema["function"]
        opened.append(f'<tool_call>\n{{"name": "{function["name"]}", "arguments": {{"{function["parameters"]["required"][0]}": "')
    return [*(f"\n</think>\n\n{o}" for o in opened), *opened]


def _parts(templates: list[str]) -> list[str]:
    """What stands around the words that vary."""
    return [part for t in templates for part in re.split(r"\{\w+\}", t) if len(part.split()) > 1]
