/**
 * Questions to the kernel: changed inputs, a picture, a test of a selection.
 * Each is numbered; the newest of a kind is the one that counts, and stays
 * listed until it is answered, or refused in words.
 */
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { Selection } from "../algebra/selection.ts";
import type { Answer, Changes, ToKernel } from "../protocol.ts";

/** What a question may be about. */
export type Topic = keyof Changes | "picture" | "test";

export interface Question {
  number: number;
  /** What was asked for; a file's name for a picture. */
  value: unknown;
  /** How much of it has been sent, 0..1. */
  sent: number;
  /** Why not, in words. */
  refused: string | null;
}

export interface Asking {
  readonly open: ReadonlySignal<Readonly<Partial<Record<Topic, Question>>>>;
  ask(changes: Changes): void;
  test(tokens: Selection, region: Selection): void;
  clearTests(): void;
  upload(file: File): void;
  /** Takes a question off the list, answered or not. */
  forget(topic: Topic): void;
}

/** What the state says to it. */
interface Told {
  receive(answer: Answer): void;
  /** Asks again what has not been answered. */
  repeat(): void;
}

const MIB = 2 ** 20;
/** Hosts drop long messages in silence: marimo's limit, 2 MiB, is the lowest. */
const UPLOAD_CHUNK = MIB;
const UPLOAD_MOST = 32 * MIB;

export function createAsking(
  send: (content: ToKernel, buffer?: ArrayBuffer) => void,
): Asking & Told {
  const open = signal<Partial<Record<Topic, Question>>>({});
  // Rising over reloads of the page too: the kernel outlives it.
  let last = Date.now();

  const questions = () => Object.entries(open.peek()) as [Topic, Question][];

  function put(topic: Topic, question: Question | undefined): void {
    const { [topic]: _, ...others } = open.peek();
    open.value = question ? { ...others, [topic]: question } : others;
  }

  function begin(topics: readonly Topic[], asked: (topic: Topic) => unknown): number {
    last += 1;
    for (const topic of topics) {
      put(topic, { number: last, value: asked(topic), sent: 0, refused: null });
    }
    return last;
  }

  function refuse(topic: Topic, refused: string): void {
    const question = open.peek()[topic] ?? { number: last, value: null, sent: 0 };
    put(topic, { ...question, refused });
  }

  return {
    open,
    ask(changes) {
      const ask = begin(
        Object.keys(changes) as Topic[],
        (topic) => changes[topic as keyof Changes],
      );
      send({ kind: "ask", ask, changes });
    },
    test(tokens, region) {
      const ask = begin(["test"], () => null);
      send({ kind: "test", ask, tokens: [...tokens], region: [...region] });
    },
    clearTests() {
      put("test", undefined);
      send({ kind: "untest" });
    },
    async upload(file) {
      const { name, size } = file;
      const upload = begin(["picture"], () => name);
      const current = () => {
        const question = open.peek().picture;
        return question?.number === upload && question.refused === null ? question : null;
      };
      if (size > UPLOAD_MOST) {
        const long = `${name} has ${(size / MIB).toFixed(0)} MiB; a picture may have ${UPLOAD_MOST / MIB} at most.`;
        return refuse("picture", long);
      }
      if (size === 0) return refuse("picture", `${name} is empty.`);
      try {
        for (let offset = 0; offset < size; offset += UPLOAD_CHUNK) {
          const chunk = await file.slice(offset, offset + UPLOAD_CHUNK).arrayBuffer();
          const question = current();
          if (!question) return;
          put("picture", { ...question, sent: Math.min(1, (offset + UPLOAD_CHUNK) / size) });
          send({ kind: "upload", upload, offset, bytes: size, name }, chunk);
        }
      } catch {
        if (current()) refuse("picture", `${name} could not be read. Is it a file?`);
      }
    },
    forget: (topic) => put(topic, undefined),
    repeat() {
      for (const [topic, { number, value, refused }] of questions()) {
        if (refused !== null || topic === "picture" || topic === "test") continue;
        send({ kind: "ask", ask: number, changes: { [topic]: value } });
      }
    },
    receive(answer) {
      for (const [topic, question] of questions()) {
        const number = topic === "picture" ? answer.upload : answer.ask;
        if (number === undefined || number < question.number) continue;
        if (answer.kind === "refused") {
          if (number === question.number) refuse(topic, answer.message);
        } else if ((topic === "test") === (answer.kind === "tested")) {
          // What was refused while something is being written stays beside it.
          const written = topic === "caption" || topic === "foil" || topic === "picture";
          if (question.refused === null || !written) put(topic, undefined);
        }
      }
      // A test of what is not shown any more comes to nothing.
      if (answer.kind === "accepted") put("test", undefined);
    },
  };
}
