/**
 * Lays the tokens over the caption, which keeps its own spelling: cuts it into
 * words and the text between them. Optionally cuts it into pieces as the model
 * reads them, one for each row of the matrix, special tokens included.
 */
import type { Token } from "../protocol.ts";

export interface Word {
  text: string;
  /** The rows of the interaction matrix that make up this word. */
  tokens: number[];
  /** Whether it is a token such as `<eot>`, which stands for nothing in the caption. */
  special: boolean;
  /** Whether it never joins a phrase. */
  alone?: boolean;
}

export type Part = { word: Word } | { between: string };

interface Span extends Word {
  start: number | null;
  end: number | null;
}

/** Join the pieces of each word, in order, without special tokens; or return every token as a piece. */
function group(tokens: readonly Token[], pieces: boolean): Span[] {
  if (pieces) return tokens.map((token, index) => ({ ...token, tokens: [index] }));
  const spans = new Map<number, Span>();
  tokens.forEach((token, index) => {
    if (token.special) return;
    const span = spans.get(token.word);
    if (!span) {
      spans.set(token.word, { ...token, tokens: [index] });
      return;
    }
    span.tokens.push(index);
    span.text += token.text;
    if (token.start !== null) span.start = Math.min(span.start ?? token.start, token.start);
    if (token.end !== null) span.end = Math.max(span.end ?? token.end, token.end);
  });
  return [...spans.values()];
}

/** Shown for a piece that only continues a letter begun in an earlier piece. */
const REST = "·";

export function partsOf(caption: string, tokens: readonly Token[], pieces = false): Part[] {
  // Offsets count code points, while a JavaScript string counts UTF-16 units.
  const letters = Array.from(caption);
  const parts: Part[] = [];
  let cursor = 0;
  for (const { start: from, end: to, ...word } of group(tokens, pieces)) {
    const start = Math.max(from ?? cursor, cursor);
    const end = Math.min(to ?? cursor, letters.length);
    if (start < end) {
      if (start > cursor) parts.push({ between: letters.slice(cursor, start).join("") });
      cursor = end;
      word.text = letters.slice(start, end).join("");
    } else if (pieces && to !== null && to <= cursor) {
      word.text = REST;
    } else {
      // Its place in the caption is unknown: show the token's own text, set apart.
      const last = parts.at(-1);
      if (!word.special && last && "word" in last) parts.push({ between: " " });
    }
    parts.push({ word });
  }
  if (cursor < letters.length) parts.push({ between: letters.slice(cursor).join("") });
  return parts;
}

/** Return only the words. */
export function wordsOf(caption: string, tokens: readonly Token[], pieces = false): Word[] {
  return partsOf(caption, tokens, pieces).flatMap((part) => ("word" in part ? [part.word] : []));
}
