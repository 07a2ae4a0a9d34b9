/** Lays the tokens on the caption: its own spelling, cut into words and the text between. */
import type { Token } from "./protocol.ts";

export interface Word {
  text: string;
  /** The rows of the interaction matrix that make up this word. */
  tokens: number[];
}

export type Part = { word: Word } | { between: string };

interface Span extends Word {
  start: number | null;
  end: number | null;
}

/** Pieces of one word joined, in order; special tokens are no words. */
function group(tokens: readonly Token[]): Span[] {
  const spans = new Map<number, Span>();
  tokens.forEach((token, index) => {
    if (token.special) return;
    const span = spans.get(token.word);
    if (!span) {
      const { text, start, end } = token;
      spans.set(token.word, { text, tokens: [index], start, end });
      return;
    }
    span.tokens.push(index);
    span.text += token.text;
    if (token.start !== null) span.start = Math.min(span.start ?? token.start, token.start);
    if (token.end !== null) span.end = Math.max(span.end ?? token.end, token.end);
  });
  return [...spans.values()];
}

export function partsOf(caption: string, tokens: readonly Token[]): Part[] {
  // Offsets count code points, while a JavaScript string counts UTF-16 units.
  const letters = Array.from(caption);
  const parts: Part[] = [];
  let cursor = 0;
  for (const span of group(tokens)) {
    const start = Math.max(span.start ?? cursor, cursor);
    const end = Math.min(span.end ?? cursor, letters.length);
    if (start < end) {
      if (start > cursor) parts.push({ between: letters.slice(cursor, start).join("") });
      cursor = end;
      parts.push({ word: { text: letters.slice(start, end).join(""), tokens: span.tokens } });
    } else {
      // No place in the caption is known: the token's own text, set apart.
      const last = parts.at(-1);
      if (last && "word" in last) parts.push({ between: " " });
      parts.push({ word: { text: span.text, tokens: span.tokens } });
    }
  }
  if (cursor < letters.length) parts.push({ between: letters.slice(cursor).join("") });
  return parts;
}
