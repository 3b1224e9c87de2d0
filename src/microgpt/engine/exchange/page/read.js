// Lets the model read a text, and shows what it expected and where it looked.
"use strict";

class Reader {
  // `size` of the model is enough to draw what the model will fill.
  constructor(story, size) {
    Object.assign(this, { story, size, turn: 0, layer: size.layers - 1, chosen: 0, ids: [], baseline: null });
    this.heads = new Float32Array(size.layers * size.headCount).fill(1);
    this.drawLayers();
    this.drawHeads();
    $("lens").parentElement.style.minHeight = `${7 + 2.2 * (size.layers + 2)}rem`;
  }

  begin(model, tokenizer) {
    Object.assign(this, { model, tokenizer });
    model.heads = this.heads;
    $("reading").addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    $("tokens").addEventListener("click", ({ target }) => target.dataset.at && this.choose(+target.dataset.at, true));
    $("tokens").addEventListener("keydown", (event) => this.move(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawAttention());
  }

  // Read the text in the box, with all heads at first.
  async start() {
    let ids;
    try {
      ids = encoded(this.tokenizer, $("text").value);
    } catch (error) {
      $("read-status").textContent = complaint(error);
      return;
    }
    const isCut = ids.length > this.model.context;
    this.note = isCut ? `The model sees ${this.model.context} tokens at once: these are the first. ` : "";
    this.baseline = null;
    await this.read(ids.slice(0, this.model.context));
  }

  // Read tokens, first with all heads, to know what the ones that are off cost.
  async read(ids) {
    const turn = (this.reading = ++this.turn);
    let nats = null;
    if (this.baseline === null) {
      this.model.heads = this.heads.map(() => 1);
      nats = await this.surprisal(ids, turn);
      if (nats === null) return;
      this.baseline = mean(nats);
    }
    this.model.heads = this.heads;
    if (nats === null || this.heads.some((on) => !on)) nats = await this.surprisal(ids, turn);
    if (nats === null) return;
    this.reading = 0;
    Object.assign(this, { ids, nats });
    this.show(mean(nats));
  }

  // The surprisal of each token in nats; none for the first; null if another text has begun meanwhile.
  async surprisal(ids, turn) {
    const rest = breather(),
      nats = [NaN];
    for (const [i, id] of ids.entries()) {
      this.model.goTo(i, ids);
      const { logits } = this.model.read(id, ["logits"]);
      if (i + 1 < ids.length) nats.push(-Math.log(Math.max(1e-30, softmax(logits.data)[ids[i + 1]])));
      await rest();
      if (turn !== this.turn) return null;
    }
    return nats;
  }

  show(mean) {
    const unit = unitOf(this.story);
    const loss = Number.isNaN(mean)
      ? ""
      : `, ${mean.toFixed(3)} nats (${(mean / Math.LN2).toFixed(3)} bits) per ${unit}`;
    $("read-status").textContent = `${this.note}${this.ids.length} tokens${loss}`;
    $("effect").textContent = this.effect(mean, unit);
    this.drawTokens();
    this.choose(Math.min(this.chosen || this.ids.length - 1, this.ids.length - 1));
  }

  // What the heads that are off cost.
  effect(mean, unit) {
    const off = this.heads.filter((on) => !on).length,
      change = mean - this.baseline;
    if (!off) return "All heads are on.";
    const rise = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(3)}`;
    const losses = `from ${this.baseline.toFixed(3)} to ${mean.toFixed(3)} nats per ${unit} (${rise})`;
    return `${off} ${off === 1 ? "head" : "heads"} off: the loss on this text goes ${losses}.`;
  }

  drawTokens() {
    const decode = this.tokenizer.decoder();
    const options = this.ids.map((id, i) => {
      const nats = this.nats[i],
        text = decode(id),
        bits = nats / Math.LN2;
      const option = element("span", text, { role: "option", "data-at": i, "aria-selected": "false", tabindex: "-1" });
      const label = Number.isNaN(nats) ? "the first token" : `${bits.toFixed(1)} bits, ${percent(Math.exp(-nats))}`;
      option.setAttribute("aria-label", `${visible(this.tokenizer.shown(id))}: ${label}`);
      option.title = label;
      if (text === "\n") option.prepend(element("span", "⏎", { class: "mark", "aria-hidden": "true", "data-at": i }));
      if (!Number.isNaN(nats))
        option.style.backgroundColor = `rgb(var(--heat) / ${Math.min(0.75, bits / 12).toFixed(3)})`;
      return option;
    });
    $("tokens").replaceChildren(...options);
  }

  move(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(this.ids.length - 1, this.chosen + by)), true);
  }

  // Show what the model computed at one token: the cache still holds all before it, so one step computes it again.
  choose(at, hasFocus = false) {
    if (this.reading || !this.ids.length) return; // the cache is being filled
    const options = $("tokens").children;
    for (const option of $("tokens").querySelectorAll("[aria-selected=true]")) {
      option.setAttribute("aria-selected", "false");
      option.tabIndex = -1;
    }
    this.chosen = at;
    options[at].setAttribute("aria-selected", "true");
    options[at].tabIndex = 0;
    if (hasFocus) options[at].focus();
    this.model.goTo(at, this.ids);
    const found = this.model.read(this.ids[at], ["logits", "attention", "stream"]);
    this.attention = found.attention.map(rowsOf);
    const nats = this.nats[at],
      came = this.ids[at + 1],
      p = softmax(found.logits.data);
    const here = `Token ${at + 1}, “${this.shown(at)}”`,
      bits = (nats / Math.LN2).toFixed(2);
    $("chosen").textContent = Number.isNaN(nats)
      ? `${here}: nothing came before it.`
      : `${here}: the model gave it ${percent(Math.exp(-nats))}, a surprise of ${bits} bits (${nats.toFixed(2)} nats).`;
    this.drawNext(p, came);
    this.drawLens(
      found.stream.map((x) => Float32Array.from(x.places(), (i) => x.data[i])),
      p,
      came,
    );
    this.drawAttention();
  }

  shown(at) {
    return visible(this.tokenizer.shown(this.ids[at]));
  }

  drawNext(p, came) {
    const best = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, 8);
    if (came !== undefined && !best.includes(came)) best[best.length - 1] = came;
    $("next").replaceChildren(
      ...best.map((id) => {
        const item = element("li", "", id === came ? { class: "came" } : {}),
          bar = element("i", "", { "aria-hidden": "true" });
        bar.style.width = `${100 * p[id]}%`;
        const track = element("div");
        track.append(bar);
        item.append(element("b", visible(this.tokenizer.shown(id))), track, element("span", percent(p[id])));
        if (id === came) item.title = "the token that came";
        return item;
      }),
    );
  }

  drawLens(stream, final, came) {
    const head = element("thead"),
      body = element("tbody"),
      titles = element("tr");
    titles.append(
      ...["After", "Likeliest", "Its probability"].map((text, i) =>
        element("th", text, { scope: "col", ...(i > 1 ? { class: "number" } : {}) }),
      ),
    );
    if (came !== undefined)
      titles.append(
        element("th", `“${visible(this.tokenizer.shown(came))}”`, {
          scope: "col",
          class: "number",
          title: "the token that came",
        }),
      );
    head.append(titles);
    stream.forEach((x, i) => {
      const p = i + 1 < stream.length ? softmax(this.model.look(x)) : final,
        best = greatest(p),
        row = element("tr");
      const token = element("td");
      token.append(element("code", visible(this.tokenizer.shown(best))));
      row.append(
        element("th", i ? `layer ${i - 1}` : "embedding", { scope: "row" }),
        token,
        element("td", percent(p[best]), { class: "number" }),
      );
      if (came !== undefined) row.append(element("td", percent(p[came]), { class: "number" }));
      body.append(row);
    });
    $("lens").replaceChildren(head, body);
  }

  drawLayers() {
    $("layers").replaceChildren(
      ...Array.from({ length: this.size.layers }, (_, layer) => {
        const label = element("label"),
          input = element("input", "", { type: "radio", name: "layer", value: layer });
        input.checked = layer === this.layer;
        input.addEventListener("change", () => {
          this.layer = layer;
          this.drawHeads();
          this.drawAttention();
        });
        label.append(input, element("span", `Layer ${layer}`));
        return label;
      }),
    );
  }

  drawHeads() {
    const {
      heads,
      size: { headCount },
    } = this;
    $("heads").replaceChildren(
      ...Array.from({ length: headCount }, (_, head) => {
        const row = element("div"),
          label = element("label"),
          box = element("input", "", { type: "checkbox" });
        const at = this.layer * headCount + head;
        box.checked = heads[at] === 1;
        box.addEventListener("change", () => {
          heads[at] = box.checked ? 1 : 0;
          if (this.ids.length) this.read(this.ids);
        });
        label.append(box, element("span", `Head ${head}`));
        row.append(label, element("canvas", "", { role: "img" }));
        return row;
      }),
    );
  }

  // One strip a head: from the chosen token to each token before it.
  drawAttention() {
    if (!this.attention) return;
    const colour = getComputedStyle(document.documentElement).getPropertyValue("--look").split(" ").map(Number);
    for (const [head, canvas] of [...$("heads").querySelectorAll("canvas")].entries()) {
      const row = this.attention[this.layer][head],
        n = this.ids.length;
      canvas.width = n;
      canvas.height = 1;
      const context = canvas.getContext("2d"),
        image = context.createImageData(n, 1);
      for (let i = 0; i <= this.chosen; i++) image.data.set([...colour, 255 * Math.sqrt(row[i])], 4 * i);
      context.putImageData(image, 0, 0);
      const most = greatest(row.subarray(0, this.chosen + 1));
      const where = `most at token ${most + 1}, “${this.shown(most)}”: ${percent(row[most])}`;
      canvas.setAttribute("aria-label", `Head ${head} of layer ${this.layer} looks ${where}`);
      canvas.title = where;
    }
  }
}

// The mean over all tokens but the first.
const mean = (nats) => nats.slice(1).reduce((a, b) => a + b, 0) / (nats.length - 1);

// (1, H, 1, S) -> H arrays of S numbers.
function rowsOf(attention) {
  const [, H, , S] = attention.shape,
    places = attention.places();
  return Array.from({ length: H }, (_, h) =>
    Float32Array.from(places.subarray(h * S, (h + 1) * S), (i) => attention.data[i]),
  );
}
