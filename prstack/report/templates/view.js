const form = document.getElementById("filters");
const list = document.getElementById("list");
const detail = document.getElementById("detail");
const items = [...list.children];
const fold = reader(detail);

function passes(d, f) {
  const score = d.score === "" ? null : Number(d.score);
  const low = Number(f.low || 0), high = Number(f.high || 1), whole = low <= 0 && high >= 1;
  const left = Number(d.revised) - Number(d.corrected);
  return f.text.toLowerCase().split(/\s+/).every((word) => d.text.includes(word))
    && (!f.termination || d.termination === f.termination)
    && (!f.user || d.user === f.user)
    && (!f.outcome || d.outcome === f.outcome)
    && (!f.rounds || d.rounds === f.rounds)
    && (!f.corrected || (f.corrected === "open" ? left > 0 : f.corrected === "0" ? d.corrected === "0" : Number(d.corrected) >= Number(f.corrected)))
    && (whole || (score !== null && score >= low && score <= high));
}

function order(by) {
  const number = (li, key, empty) => (li.dataset[key] === "" ? empty : Number(li.dataset[key]));
  const keys = {
    order: (li) => number(li, "order"), low: (li) => number(li, "score", 2), high: (li) => -number(li, "score", -1),
    corrected: (li) => -number(li, "corrected"), rounds: (li) => -number(li, "rounds"), calls: (li) => -number(li, "calls"),
  };
  return (a, b) => keys[by](a) - keys[by](b) || number(a, "order") - number(b, "order");
}

function filter() {
  const f = Object.fromEntries(new FormData(form));
  let found = 0;
  for (const li of items) {
    li.hidden = !passes(li.dataset, f);
    if (!li.hidden) found += 1;
  }
  list.append(...items.sort(order(f.sort)));
  document.getElementById("found").textContent = `${found} of ${items.length}`;
}

function show(id) {
  const template = document.getElementById("t-" + id);
  if (!template) return;
  for (const li of items) li.classList.toggle("chosen", li.dataset.id === id);
  detail.replaceChildren(template.content.cloneNode(true));
  detail.scrollTop = 0;
  fold();
  const chosen = items.find((li) => li.dataset.id === id);
  if (chosen) chosen.scrollIntoView({ block: "nearest" });
}

function fromAddress() {
  const id = decodeURIComponent(location.hash.slice(1));
  const first = items.find((li) => !li.hidden);
  if (id) show(id);
  else if (first) show(first.dataset.id);
}

function step(by) {
  const visible = items.filter((li) => !li.hidden);
  const at = visible.findIndex((li) => li.classList.contains("chosen"));
  const next = visible[Math.min(Math.max(at + by, 0), visible.length - 1)];
  if (next) location.hash = next.dataset.id;
}

form.addEventListener("input", filter);
form.addEventListener("submit", (e) => e.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
addEventListener("hashchange", fromAddress);
addEventListener("keydown", (e) => {
  if (e.target.matches("input, select") || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === "j") step(1);
  if (e.key === "k") step(-1);
});
filter();
fromAddress();
