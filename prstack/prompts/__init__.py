"""The prompts of every role: one template a file, its purpose and variables in the comment at its head.

`Prompts(folder)` lays a user's folder of templates over these; `version` is a hash of what is then in force for the three roles, and
goes into every trajectory. The prompts of a judge and of distillation make no trajectory: they are no part of it, and `hash` gives each its own. Data stands under `## Heading` lines, as text or as one JSON object a line, so that scripted agents can
read the same prompts that models read (`sections`). Free text is inserted with `| body`, so that it cannot open a section.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, TemplateNotFound

from prstack.errors import UserError

HERE = Path(__file__).parent


class Prompts:
    """Renders prompt templates. Raises UserError for a folder that holds a template of an unknown name."""

    def __init__(self, folder: str | None = None):
        self._env = Environment(
            loader=ChoiceLoader([FileSystemLoader(p) for p in ([folder] if folder else []) + [str(HERE)]]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            auto_reload=False,  # `version` says what is in force, however a file changes meanwhile
        )
        self._constant: dict[str, str] = {}  # the texts of prompts that take no values
        self._env.filters["body"] = lambda v: re.sub(r"^## ", "### ", str(v), flags=re.M)  # free text makes no sections
        self._env.filters["json"] = lambda v: json.dumps(v, ensure_ascii=False)
        self.names = sorted(p.stem for p in HERE.glob("*.jinja"))
        if folder:
            own = Path(folder)
            if not own.is_dir():
                raise UserError(f"agents.prompts={folder}: no such folder")
            if unknown := sorted(p.stem for p in own.glob("*.jinja") if p.stem not in self.names):
                raise UserError(f"agents.prompts={folder}: no prompt is called {unknown[0]} (there are: {', '.join(self.names)})")
        self.version = self.hash(*(n for n in self.names if not n.startswith(("judge_", "distill_"))))

    def hash(self, *names: str) -> str:
        """A hash of the templates of these names, as they are in force. Raises UserError for an unknown name."""
        if unknown := [n for n in names if n not in self.names]:
            raise UserError(f"no prompt is called {unknown[0]}")
        sources = [self._env.loader.get_source(self._env, f"{n}.jinja")[0] for n in names]
        return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:12]

    def render(self, name: str, **values: object) -> str:
        """The text of a prompt. Raises UserError for an unknown name, jinja2.UndefinedError for a missing value."""
        if not values and name in self._constant:
            return self._constant[name]
        try:
            text = self._env.get_template(f"{name}.jinja").render(**values).strip()
        except TemplateNotFound as e:
            raise UserError(f"no prompt is called {name}") from e
        if not values:
            self._constant[name] = text
        return text


def sections(text: str) -> dict[str, str]:
    """Heading → body of the `## Heading` sections of a rendered prompt; text before the first stands under ''."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    out = {"": parts[0].strip()}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        out[heading.strip()] = body.strip()
    return out


def json_lines(text: str) -> list[dict]:
    """The JSON objects of a section, one a line."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
