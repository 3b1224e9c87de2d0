// Small helpers of the page. All text is set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const pause = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });

// A function to await often: it lets the browser draw and listen every `ms`.
function breather(ms = 24) {
  let last = performance.now();
  return async () => {
    if (performance.now() - last < ms) return;
    await pause();
    last = performance.now();
  };
}

const percent = (p) => (p >= 0.1 ? `${(100 * p).toFixed(0)}%` : p >= 0.001 ? `${(100 * p).toFixed(1)}%` : "<0.1%");
const unitOf = (story) => (story.spansCharacters ? "token" : "character");

// A token's text with white space made visible.
function visible(text) {
  const names = { "\n": "⏎", "\t": "⇥", " ": "␣", "\r": "␍" };
  return [...text].map((c) => names[c] ?? (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(c) ? "�" : c)).join("") || "∅";
}
