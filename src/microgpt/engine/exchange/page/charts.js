// Curves as SVG, redrawn when their place changes width.
"use strict";

function svg(name, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Round numbers that cover low..high in about `count` steps.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1,
    size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

// Draw `series` [{ name, points: [[x, y], ...] }] into `place`, a block of fixed height. The first is a line, the
// second is dashed and has a square at each point, so that they differ by more than colour and a single point shows.
function chart(place, series, { x: xLabel, y: yLabel, summary }) {
  const draw = () => {
    const width = place.clientWidth,
      height = place.clientHeight;
    if (!width) return;
    const box = { left: 46, right: width - 12, top: 24, bottom: height - 40 };
    const points = series.flatMap((one) => one.points),
      xs = points.map((p) => p[0]),
      ys = points.map((p) => p[1]);
    const [x0, x1] = [Math.min(...xs), Math.max(...xs)],
      pad = (Math.max(...ys) - Math.min(...ys)) * 0.06 || 0.5;
    const [y0, y1] = [Math.min(...ys) - pad, Math.max(...ys) + pad];
    const X = (x) => box.left + ((x - x0) / (x1 - x0 || 1)) * (box.right - box.left);
    const Y = (y) => box.bottom - ((y - y0) / (y1 - y0)) * (box.bottom - box.top);
    const root = svg("svg", { role: "img", "aria-label": summary });
    for (const y of ticks(y0, y1, 5)) {
      root.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: Y(y), y2: Y(y) }));
      root.append(svg("text", { x: box.left - 8, y: Y(y) + 4, "text-anchor": "end" }, +y.toPrecision(6)));
    }
    for (const x of ticks(x0, x1, width < 420 ? 3 : 5))
      root.append(svg("text", { x: X(x), y: box.bottom + 18, "text-anchor": "middle" }, short(x)));
    root.append(svg("text", { x: (box.left + box.right) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
    root.append(svg("text", { x: 0, y: 12 }, yLabel));
    series.forEach(({ name, points }, i) => {
      const line = points.map(([x, y], k) => `${k ? "L" : "M"}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("");
      root.append(svg("path", { class: `s${i}`, d: points.length > 1 ? line : `${line}h4` }));
      for (const [x, y] of i ? points : [])
        root.append(svg("rect", { class: `s${i}`, x: X(x) - 3, y: Y(y) - 3, width: 6, height: 6 }));
      const text = { class: `s${i}`, x: box.right, y: 12 + 16 * i, "text-anchor": "end" };
      if (series.length > 1) root.append(svg("text", text, i ? `\u25a0 ${name}` : `\u2014 ${name}`));
    });
    place.replaceChildren(root);
  };
  new ResizeObserver(draw).observe(place);
}

const short = (x) => (x >= 10000 ? `${+(x / 1000).toPrecision(3)}k` : String(+x.toPrecision(6)));
