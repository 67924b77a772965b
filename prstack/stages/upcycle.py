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
    spec = write(base, out, c.experts, c.topk, c.kind, c.shared, c.noise, c.reinit)
    size = sum(f.stat().st_size for f in out.glob("*.safetensors"))
    beside = f" beside a shared one of {spec.shared} units" if spec.shared else ""
    print(f"{c.model} → {spec.architecture}: {spec.layers} layers of {spec.experts} experts, {spec.topk} active{beside}, {size / 2**20:,.0f} MiB")
    if c.noise or c.reinit:
        print(f"Not the dense model's function at step 0: upcycle.noise={c.noise:g}, upcycle.reinit={c.reinit:g} (docs/training.md says how far from it)")
    print(out)
    return 0
