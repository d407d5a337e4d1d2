for (const chart of document.querySelectorAll("svg[data-hover]")) {
  const points = JSON.parse(chart.dataset.hover);
  const readout = chart.closest("figure").querySelector("output");
  const atRest = readout.textContent;
  const cursor = document.createElementNS(chart.namespaceURI, "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y2", chart.dataset.height);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const across = (100 * (event.clientX - box.left)) / box.width;
    const [x, label] = points.reduce((best, one) =>
      Math.abs(one[0] - across) < Math.abs(best[0] - across) ? one : best);
    cursor.setAttribute("x1", x + "%");
    cursor.setAttribute("x2", x + "%");
    chart.append(cursor);
    readout.textContent = label;
  });
  chart.addEventListener("pointerleave", () => {
    cursor.remove();
    readout.textContent = atRest;
  });
}
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
