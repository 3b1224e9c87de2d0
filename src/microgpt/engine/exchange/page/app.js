// Opens the page.
"use strict";

function decoded(text) {
  const binary = atob(text),
    bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function begin() {
  const { story, model: description } = JSON.parse($("data").textContent);
  tell(story);
  const reader = new Reader(story, description.size);
  await pause(); // the story stands before the model is there
  const bytes = Uint8Array.fromBase64?.($("weights").textContent) ?? decoded($("weights").textContent);
  $("weights").remove();
  const model = new Model(description, bytes),
    tokenizer = makeTokenizer(description.tokenizer);
  const writer = new Writer(model, tokenizer);
  reader.begin(model.twin(), tokenizer);
  $("text").value = story.opening;
  writer.start().then(() => reader.start());
  return { story, model, tokenizer, writer, reader };
}

const opened = begin();
opened.catch((error) => {
  $("failure").hidden = false;
  $("failure").textContent = `The model cannot run here: ${error.message}`;
  throw error;
});
