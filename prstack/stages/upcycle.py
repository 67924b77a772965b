"""`prstack upcycle`: a dense checkpoint → a mixture of experts that computes the same function."""

from __future__ import annotations

from pathlib import Path

from prstack.errors import UserError
from prstack.settings import Config
from prstack.stages.models import resolve_model
from trainers.upcycle import upcycle as write


def upcycle(config: Config, _: list[str]) -> int:
    """Writes `upcycle.out` and says what it holds. Raises UserError."""
    c = config.upcycle
    if not c.out:
        raise UserError("give upcycle.out=FOLDER, where the sparse checkpoint is to lie")
    out = Path(c.out).expanduser()
    if out.exists():
        raise UserError(f"upcycle.out={c.out}: exists already; give another folder")
    base = resolve_model(c.model)
    spec = write(base, out, c.experts, c.topk, c.kind)
    size = sum(f.stat().st_size for f in out.glob("*.safetensors"))
    print(f"{c.model} → {spec.architecture}: {spec.layers} layers of {spec.experts} experts, {spec.topk} active, {size / 2**20:,.0f} MiB")
    print(out)
    return 0
