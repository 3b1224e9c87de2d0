// Lets the model continue a prompt.
"use strict";

class Writer {
  constructor(model, tokenizer) {
    Object.assign(this, { model, tokenizer, turn: 0, halted: 0 });
    $("writing").addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    $("halt").addEventListener("click", () => {
      this.halted = this.turn++;
    });
    $("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.start();
    });
  }

  settings() {
    const { start, ends } = this.tokenizer;
    const value = (id) => ($(id).value === "" ? null : Number($(id).value));
    return {
      temperature: value("temperature") ?? 0.8,
      topK: value("top-k"),
      topP: value("top-p"),
      seed: value("seed") ?? 0,
      count: value("count") ?? 500,
      start,
      ends,
    };
  }

  async start() {
    if (!$("writing").reportValidity()) return;
    const turn = ++this.turn,
      stop = $("stop").value,
      prompt = $("prompt").value,
      output = $("output"),
      words = new Text("");
    let ids;
    try {
      ids = encoded(this.tokenizer, prompt);
    } catch (error) {
      $("speed").textContent = complaint(error);
      return;
    }
    output.replaceChildren(element("span", prompt, { class: "given" }), words);
    $("halt").disabled = false;
    let text = "";
    const rest = this.breathe(),
      began = performance.now(),
      decode = this.tokenizer.decoder();
    let count = 0;
    for (const token of this.model.generate(ids, this.settings())) {
      if (token !== null) {
        text += decode(token);
        count++;
        const [shown, isStopped] = heldBack(text, stop);
        words.data = shown;
        if (isStopped) break;
      }
      await rest(() => {
        output.scrollTop = output.scrollHeight;
        $("speed").textContent = speed(count, began);
      });
      if (turn !== this.turn) break;
    }
    text += decode(null);
    if (stop === "" || !text.includes(stop)) words.data = text;
    if (turn !== this.turn && turn !== this.halted) return; // another text has begun
    output.scrollTop = output.scrollHeight;
    $("speed").textContent = `${turn === this.halted ? "Stopped" : "Done"}: ${speed(count, began)}`;
    $("halt").disabled = true;
  }

  breathe() {
    const rest = breather(),
      every = 100;
    let last = performance.now();
    return async (draw) => {
      if (performance.now() - last > every) {
        draw();
        last = performance.now();
      }
      await rest();
    };
  }
}

const speed = (count, began) =>
  `${count} tokens, ${(count / ((performance.now() - began) / 1000)).toFixed(0)} a second`;

// The part of a growing text to show: up to `stop`, and without an end that may be the beginning of it.
function heldBack(text, stop) {
  if (stop === "") return [text, false];
  const at = text.indexOf(stop);
  if (at >= 0) return [text.slice(0, at), true];
  for (let n = Math.min(stop.length - 1, text.length); n > 0; n--)
    if (stop.startsWith(text.slice(-n))) return [text.slice(0, -n), false];
  return [text, false];
}

function encoded(tokenizer, text) {
  const ids = tokenizer.encode(text);
  if (ids.length) return ids;
  try {
    return [tokenizer.encode("\n")[0] ?? 0];
  } catch {
    return [0];
  }
}

function complaint(error) {
  if (!(error instanceof UnknownCharacter)) throw error;
  return `The model never saw the character ${visible(error.message)}: leave it out.`;
}
