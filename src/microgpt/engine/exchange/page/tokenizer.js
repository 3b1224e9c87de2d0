// Tokenizers: the same indices as the library's, for characters, bytes, and byte pair encoding as in GPT-2.
"use strict";

// Each has encode(text) -> [index], shown(index) -> the token's text alone, and decoder() -> a function (index) -> the
// characters that the token completes; after the last token (null) -> what is left. A text ends at one of `ends`; if it
// is a document, it begins with `start`.
function makeTokenizer(description) {
  const { kind, start = null, ends } = description;
  const tokenizer = { char: characters, byte: bytes, bpe: pairsOfBytes }[kind](description);
  return { ...(start === null ? tokenizer : documents(tokenizer, description)), start, ends };
}

// An end shows as a line feed. One token may be both start and end.
function documents(inner, { start, ends, names }) {
  const isBound = (i) => i === start || i === ends[0];
  return {
    encode: (text) => [start, ...inner.encode(text)],
    decoder: () => {
      let decode = inner.decoder(),
        isFirst = true;
      return (i) => {
        const isStart = i === start && (isFirst || start !== ends[0]);
        isFirst = false;
        if (!isBound(i)) return decode(i);
        const rest = decode(null);
        decode = inner.decoder();
        return isStart ? rest : `${rest}\n`;
      };
    },
    shown: (i) => (isBound(i) ? names[i === start ? 0 : 1] : inner.shown(i)),
  };
}

class UnknownCharacter extends Error {}

function characters({ codes }) {
  const index = new Map(codes.map((code, i) => [code, i]));
  const shown = (i) => String.fromCodePoint(codes[i]);
  return {
    encode: (text) =>
      [...text].map((character) => {
        const found = index.get(character.codePointAt(0));
        if (found === undefined) throw new UnknownCharacter(character);
        return found;
      }),
    decoder: () => (i) => (i === null ? "" : shown(i)),
    shown,
  };
}

function bytes() {
  return { encode: (text) => [...new TextEncoder().encode(text)], ...fromBytes((i) => [i]) };
}

function pairsOfBytes({ tokens, merges, added }) {
  // `tokens` is spelt in GPT-2's alphabet, in which every byte is a visible character.
  const byte = new Map([...alphabet()].map((letter, i) => [letter, i]));
  const index = new Map(tokens.map((token, i) => [token, i]));
  const rank = new Map(merges.map((pair, i) => [pair, i]));
  const letters = [...alphabet()],
    cache = new Map();

  const rankOf = (a, b) => rank.get(`${a} ${b}`) ?? Infinity;

  function encodeWord(word) {
    let parts = [...new TextEncoder().encode(word)].map((b) => letters[b]);
    for (;;) {
      let best = Infinity;
      for (let i = 0; i + 1 < parts.length; i++) best = Math.min(best, rankOf(parts[i], parts[i + 1]));
      if (best === Infinity) return parts.map((part) => index.get(part)).filter((i) => i !== undefined);
      parts = merged(parts, best);
    }
  }

  // Merges the pairs of this rank from the left on, until a merge makes a pair that comes before them.
  function merged(parts, best) {
    const out = [];
    let i = 0,
      isOvertaken = false;
    while (i + 1 < parts.length && !isOvertaken) {
      if (rankOf(parts[i], parts[i + 1]) > best) {
        out.push(parts[i++]);
        continue;
      }
      const pair = parts[i] + parts[i + 1];
      isOvertaken = out.length > 0 && rankOf(out.at(-1), pair) < best;
      isOvertaken ||= i + 2 < parts.length && rankOf(pair, parts[i + 2]) < best;
      out.push(pair);
      i += 2;
    }
    return out.concat(parts.slice(i));
  }

  function encodePlain(text) {
    return (text.match(WORDS) ?? []).flatMap((word) => {
      if (!cache.has(word)) cache.set(word, encodeWord(word));
      return cache.get(word);
    });
  }

  const special = new Map(added.map(([name, i]) => [name, i]));
  const encode = (text) => {
    if (!special.size) return encodePlain(text);
    const names = [...special.keys()]
      .sort((a, b) => b.length - a.length)
      .map((name) => RegExp.escape?.(name) ?? escaped(name));
    return text
      .split(new RegExp(`(${names.join("|")})`, "u"))
      .flatMap((part) => (special.has(part) ? special.get(part) : encodePlain(part)));
  };
  const spelt = (i) => {
    for (const [name, at] of special) if (at === i) return [...new TextEncoder().encode(name)];
    return [...(tokens[i] ?? "")].map((letter) => byte.get(letter)).filter((b) => b !== undefined);
  };
  return { encode, ...fromBytes(spelt) };
}

// GPT-2's words. White space is Unicode's, which differs from JavaScript's \s.
const WORDS = new RegExp(
  [
    "'s|'t|'re|'ve|'m|'ll|'d",
    " ?\\p{L}+",
    " ?\\p{N}+",
    " ?[^\\p{White_Space}\\p{L}\\p{N}]+",
    "\\p{White_Space}+(?!\\P{White_Space})",
    "\\p{White_Space}+",
  ].join("|"),
  "gu",
);

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

function fromBytes(spelt) {
  const text = () => new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    decoder: () => {
      const open = text();
      return (i) => (i === null ? open.decode() : open.decode(Uint8Array.from(spelt(i)), { stream: true }));
    },
    shown: (i) => text().decode(Uint8Array.from(spelt(i))),
  };
}

function alphabet() {
  let other = 256;
  const isPlain = (b) => (b > 0x20 && b < 0x7f) || (b > 0xa0 && b !== 0xad);
  return String.fromCodePoint(...Array.from({ length: 256 }, (_, b) => (isPlain(b) ? b : other++)));
}
