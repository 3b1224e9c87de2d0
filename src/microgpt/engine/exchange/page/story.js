// Shows what `story.py` tells about the run.
"use strict";

function tell(story) {
  document.title = `${story.name}: a small language model`;
  $("name").textContent = story.name;
  const time = story.facts.train_seconds,
    steps = story.facts.step;
  const learnt = steps ? `, in ${steps.toLocaleString("en")} steps${time ? ` and ${duration(time)}` : ""}` : "";
  $("lead").textContent =
    `${story.params.toLocaleString("en")} parameters that learnt to continue ${story.text}${learnt}.`;
  figures(story);
  curves(story);
  samples(story.samples);
  table($("facts"), { ...story.scores, ...story.facts });
  table($("config"), story.config);
  $("made").textContent =
    `Made with microgpt ${story.version}. ` +
    "The model in this page runs on your device; the page asks the network for nothing.";
}

function magnitude(n) {
  const [size, letter] = [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ].find(([size]) => n >= size);
  return `${+(n / size).toPrecision(3)}${letter}`;
}

function duration(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} seconds`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}

function figures(story) {
  const nats = story.scores["test/loss"] ?? story.scores["val/loss"],
    unit = unitOf(story);
  const add = (value, name) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    $("figures").append(pair);
  };
  if (nats !== undefined) {
    const bits = nats / Math.LN2 / story.charsPerToken;
    add(
      nats.toFixed(3),
      `nats per ${unit}: the loss on ${story.scores["test/loss"] !== undefined ? "test" : "validation"} text`,
    );
    add(bits.toFixed(2), "bits per character, as a compressor would need");
    add(percent(Math.exp(-nats)), `typical probability of the right next ${unit}`);
    const { uniform, ...counted } = story.baselines;
    const [name, best] = Object.entries(counted).sort((a, b) => a[1] - b[1])[0] ?? [];
    const choices = Math.exp(nats).toFixed(1),
      blind = Math.log(story.vocabulary).toFixed(2);
    const kinds = `${story.vocabulary.toLocaleString("en")} ${unit}s`;
    const counts = best ? `, and ${name} ${best.toFixed(2)}` : "";
    $("meaning").textContent = [
      `A loss of ${nats.toFixed(3)} means that, on average, the model is as unsure of the next ${unit}`,
      `as if it chose among ${choices} equally likely ones.`,
      `Guessing blindly among the ${kinds} would cost ${blind} nats${counts}. Lower is better.`,
    ].join(" ");
  }
  add(story.params < 10000 ? story.params.toLocaleString("en") : magnitude(story.params), "parameters");
  if (nats === undefined) $("meaning").textContent = "This model has no recorded score.";
}

function curves({ curves, byPosition }) {
  const range = ([a, ...rest]) => `from ${a[1].toFixed(2)} to ${(rest.at(-1) ?? a)[1].toFixed(2)}`;
  const names = { "train/loss": "training", "val/loss": "validation" };
  const series = Object.entries(curves).map(([key, points]) => ({ name: names[key], points }));
  $("loss").hidden = !series.length;
  $("positions").hidden = !byPosition.length;
  if (series.length)
    chart($("loss").lastElementChild, series, {
      x: "step",
      y: "nats per token",
      summary: `Loss by step: ${series.map((s) => `${s.name} ${range(s.points)}`).join(", ")}.`,
    });
  if (byPosition.length) {
    const points = byPosition.map((loss, i) => [i + 1, loss]);
    chart($("positions").lastElementChild, [{ name: "validation", points }], {
      x: "position in the context",
      y: "nats per token",
      summary: `Validation loss by position: ${range(points)} at position ${points.length}.`,
    });
  }
}

function samples(list) {
  $("samples").hidden = !list.length;
  $("training").hidden = !list.length && $("loss").hidden && $("positions").hidden;
  if (!list.length) return;
  const slider = $("moment");
  slider.max = list.length - 1;
  slider.value = slider.max;
  slider.hidden = list.length === 1;
  const show = () => {
    const { step, text } = list[slider.value];
    $("step").textContent = step.toLocaleString("en");
    slider.setAttribute("aria-valuetext", `step ${step}`);
    $("sample").textContent = text;
  };
  slider.addEventListener("input", show);
  show();
}

function table(place, values) {
  for (const [name, value] of Object.entries(values)) {
    const row = element("tr"),
      shown = typeof value === "number" ? +value.toPrecision(6) : value;
    row.append(element("th", name, { scope: "row" }), element("td", String(shown)));
    place.append(row);
  }
}
