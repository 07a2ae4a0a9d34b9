/**
 * Questions to the kernel: changed inputs, an image, a masking test. Each has a
 * number. Only the newest question on a topic counts; it stays listed until it
 * is accepted. If it is refused, it stays with the reason.
 */
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { Selection } from "../algebra/selection.ts";
import type { Answer, Changes, ToKernel } from "../protocol.ts";

/** What a question may be about. */
export type Topic = keyof Changes | "image" | "test";

export interface Question {
  number: number;
  /** What was asked for; for an image, the file's name. */
  value: unknown;
  /** How much of it has been sent, 0..1. */
  sent: number;
  /** Why it was refused; null if it was not. */
  refused: string | null;
}

/** What the parts of the screen use to ask. */
export interface Questions {
  readonly open: ReadonlySignal<Readonly<Partial<Record<Topic, Question>>>>;
  change(changes: Changes): void;
  test(tokens: Selection, region: Selection): void;
  clearTests(): void;
  upload(file: File): void;
  /** Take a question off the list, answered or not. */
  forget(topic: Topic): void;
}

/** What the state does with the questions. */
interface Answered {
  receive(answer: Answer): void;
  /** Whether an answer is due. A masking test may take its time; anything else is answered at once. */
  isWaiting(): boolean;
  /** Repeat the changes that have not been answered. */
  askAgain(): void;
}

const MIB = 2 ** 20;
/** Hosts drop long messages silently: marimo's limit, 2 MiB, is the lowest. */
const UPLOAD_CHUNK = MIB;
const UPLOAD_LIMIT = 32 * MIB;

export function createQuestions(
  send: (content: ToKernel, buffer?: ArrayBuffer) => void,
): Questions & Answered {
  const open = signal<Partial<Record<Topic, Question>>>({});
  // Rises across reloads of the page too, because the kernel outlives the page.
  let last = Date.now();

  const list = () => Object.entries(open.peek()) as [Topic, Question][];
  const isOpen = (question: Question | undefined) => question?.refused === null;

  function put(topic: Topic, question: Question | undefined): void {
    const { [topic]: _, ...others } = open.peek();
    open.value = question ? { ...others, [topic]: question } : others;
  }

  function begin(topic: Topic, value: unknown): number {
    put(topic, { number: last, value, sent: 0, refused: null });
    return last;
  }

  function refuse(topic: Topic, refused: string): void {
    const question = open.peek()[topic];
    if (question) put(topic, { ...question, refused });
  }

  return {
    open,
    change(changes) {
      last += 1;
      for (const [topic, value] of Object.entries(changes)) begin(topic as Topic, value);
      send({ kind: "change", question: last, changes });
    },
    test(tokens, region) {
      last += 1;
      const question = begin("test", null);
      send({ kind: "test", question, tokens: [...tokens], region: [...region] });
    },
    clearTests() {
      put("test", undefined);
      send({ kind: "clear_tests" });
    },
    async upload(file) {
      const { name, size } = file;
      last += 1;
      const number = begin("image", name);
      const current = () => {
        const question = open.peek().image;
        return question?.number === number && isOpen(question) ? question : null;
      };
      if (size > UPLOAD_LIMIT) {
        const mib = (size / MIB).toFixed(0);
        return refuse(
          "image",
          `${name} has ${mib} MiB; an image may have at most ${UPLOAD_LIMIT / MIB} MiB.`,
        );
      }
      if (size === 0) return refuse("image", `${name} is empty.`);
      try {
        for (let offset = 0; offset < size; offset += UPLOAD_CHUNK) {
          const chunk = await file.slice(offset, offset + UPLOAD_CHUNK).arrayBuffer();
          const question = current();
          if (!question) return;
          put("image", { ...question, sent: Math.min(1, (offset + UPLOAD_CHUNK) / size) });
          send({ kind: "upload", question: number, offset, bytes: size, name }, chunk);
        }
      } catch {
        if (current()) refuse("image", `${name} could not be read. Choose an image file.`);
      }
    },
    forget: (topic) => put(topic, undefined),
    isWaiting: () => list().some(([topic, question]) => topic !== "test" && isOpen(question)),
    askAgain() {
      for (const [topic, { number, value, refused }] of list()) {
        if (refused !== null || topic === "image" || topic === "test") continue;
        send({ kind: "change", question: number, changes: { [topic]: value } });
      }
    },
    receive(answer) {
      const own = (topic: Topic) => open.peek()[topic]?.number === answer.question;
      if (answer.kind === "refused") {
        for (const [topic] of list()) if (own(topic)) refuse(topic, answer.message);
        return;
      }
      const alone = (["image", "test"] as const).find(own);
      if (alone) return put(alone, undefined);
      // Changes are answered in order: this one answers those before it too.
      for (const [topic, question] of list()) {
        if (topic === "image" || topic === "test" || question.number > answer.question) continue;
        // The reason for a refusal stays beside a text that is still being written.
        const written = topic === "caption" || topic === "foil";
        if (isOpen(question) || !written) put(topic, undefined);
      }
    },
  };
}
