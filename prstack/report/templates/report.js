for (const conversation of document.querySelectorAll("details.conversation")) reader(conversation)();

// The values of every line at the step under the pointer.
for (const svg of document.querySelectorAll("svg[data-plot]")) {
  const plot = JSON.parse(svg.dataset.plot);
  const at = svg.querySelector(".at"), readout = svg.querySelector(".readout"), width = svg.viewBox.baseVal.width;
  const nearest = (xs, x) => xs.reduce((best, value, n) => (Math.abs(value - x) < Math.abs(xs[best] - x) ? n : best), 0);
  svg.addEventListener("pointermove", (e) => {
    const box = svg.getBoundingClientRect();
    const part = ((e.clientX - box.left) / box.width * width - plot.left) / (plot.right - plot.left);
    const x = plot.x0 + Math.min(Math.max(part, 0), 1) * (plot.x1 - plot.x0);
    const first = plot.series[0], step = first.x[nearest(first.x, x)];
    const place = plot.left + (plot.right - plot.left) * (plot.x1 > plot.x0 ? (step - plot.x0) / (plot.x1 - plot.x0) : 0.5);
    at.setAttribute("x1", place);
    at.setAttribute("x2", place);
    at.style.visibility = "visible";
    const values = plot.series.map((s) => (plot.series.length > 1 ? s.name.split(" ")[0] + " " : "") + s.y[nearest(s.x, step)]);
    readout.textContent = `${plot.label} ${step}: ${values.join(", ")}`;
  });
  svg.addEventListener("pointerleave", () => {
    at.style.visibility = "hidden";
    readout.textContent = "";
  });
}
