"use strict";

// Makes what is shown in `root` readable: its buttons fold reasoning and tool results, its strip jumps to a turn. Returns the
// function that folds what was put there since, as the buttons stand.
function reader(root) {
  const folded = { reasoning: true, result: true };
  const fold = () => {
    for (const [kind, closed] of Object.entries(folded)) {
      for (const d of root.querySelectorAll(`details.${kind}:not(.bad)`)) d.open = !closed;
      const button = root.querySelector(`[data-fold=${kind}]`);
      if (button) button.setAttribute("aria-pressed", String(!closed));
    }
  };
  root.addEventListener("click", (e) => {
    const kind = e.target.dataset.fold;
    if (kind) {
      folded[kind] = !folded[kind];
      fold();
    } else if (e.target.matches(".case .strip i")) {
      const turn = root.querySelectorAll(".turn")[[...e.target.parentNode.children].indexOf(e.target)];
      turn.scrollIntoView({ block: "start", behavior: "smooth" });
      turn.classList.add("flash");
      setTimeout(() => turn.classList.remove("flash"), 1200);
    }
  });
  return fold;
}
