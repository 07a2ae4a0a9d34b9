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
  /** What was asked for; for an image, its file, and for a test, its message. */
  value: unknown;
  /** How much of it has been sent, 0..1. */
  sent: number;
  /** How often its answer was due; but for the first time, only while the kernel was there. */
  missed: number;
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
  /**
   * Whether an answer is due, on these topics or on any. A masking test may take its time; anything else is
   * answered at once.
   */
  isWaiting(topics?: readonly Topic[]): boolean;
  isTesting(): boolean;
  /**
   * Repeat the changes that have not been answered. An image, which is long, and a test, whose inputs
   * may have changed, are repeated once the kernel turns out to be there (`isThere`). An image counts
   * as lost after a few times; a test may take any time.
   */
  askAgain(isThere: boolean): void;
}

const MIB = 2 ** 20;
/** Hosts drop long messages silently: marimo's limit, 2 MiB, is the lowest. */
const UPLOAD_CHUNK = MIB;
const UPLOAD_LIMIT = 32 * MIB;

/** How often an image may miss its answer before it counts as lost. */
const MOST_MISSED = 2;
const LOST = "No answer came; try again.";

/** Changes are answered in the order in which they are asked. */
const isChange = (topic: Topic): topic is keyof Changes => topic !== "image" && topic !== "test";
const isOpen = (question: Question | undefined) => question?.refused === null;

export function createQuestions(
  send: (content: ToKernel, buffer?: ArrayBuffer) => void,
): Questions & Answered {
  const open = signal<Partial<Record<Topic, Question>>>({});
  // Rises across reloads of the page too, because the kernel outlives the page.
  const first = Date.now();
  let last = first;

  const list = () => Object.entries(open.peek()) as [Topic, Question][];

  function put(topic: Topic, question: Question | undefined): void {
    const { [topic]: _, ...others } = open.peek();
    open.value = question ? { ...others, [topic]: question } : others;
  }

  function begin(topic: Topic, value: unknown): void {
    put(topic, { number: last, value, sent: 0, missed: 0, refused: null });
  }

  function refuse(topic: Topic, refused: string): void {
    const question = open.peek()[topic];
    if (question) put(topic, { ...question, refused });
  }

  /** Send an image from its start, until its question is no longer open or is sent from the start again. */
  async function sendImage(number: number, file: File): Promise<void> {
    const { name, size } = file;
    for (let offset = 0; offset < size; offset += UPLOAD_CHUNK) {
      const read = file.slice(offset, offset + UPLOAD_CHUNK).arrayBuffer();
      const chunk = await read.catch(() => null);
      const question = open.peek().image;
      if (question?.number !== number || !isOpen(question) || question.sent !== offset / size)
        return;
      if (!chunk) return refuse("image", `${name} could not be read. Choose an image file.`);
      put("image", { ...question, sent: Math.min(1, (offset + UPLOAD_CHUNK) / size) });
      send({ kind: "upload", question: number, offset, bytes: size, name }, chunk);
    }
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
      const value: ToKernel = {
        kind: "test",
        question: last,
        tokens: [...tokens],
        region: [...region],
      };
      begin("test", value);
      send(value);
    },
    clearTests() {
      put("test", undefined);
      send({ kind: "clear_tests" });
    },
    upload(file) {
      const { name, size } = file;
      last += 1;
      begin("image", file);
      if (size > UPLOAD_LIMIT) {
        const mib = (size / MIB).toFixed(0);
        refuse(
          "image",
          `${name} has ${mib} MiB; an image may have at most ${UPLOAD_LIMIT / MIB} MiB.`,
        );
      } else if (size === 0) refuse("image", `${name} is empty.`);
      else sendImage(last, file);
    },
    forget: (topic) => put(topic, undefined),
    isWaiting: (topics) =>
      list().some(
        ([topic, question]) => (topics?.includes(topic) ?? topic !== "test") && isOpen(question),
      ),
    isTesting: () => isOpen(open.peek().test),
    askAgain(isThere) {
      for (const [topic, question] of list()) {
        const { number, value, missed } = question;
        if (!isOpen(question)) continue;
        if (isChange(topic)) {
          send({ kind: "change", question: number, changes: { [topic]: value } });
        } else if (!missed) put(topic, { ...question, missed: 1 });
        else if (isThere) {
          if (topic === "test") send(value as ToKernel);
          else if (missed === MOST_MISSED) refuse(topic, LOST);
          else {
            put(topic, { ...question, sent: 0, missed: missed + 1 });
            sendImage(number, value as File);
          }
        }
      }
    },
    receive(answer) {
      // Each browser hears the answers to the others as well.
      if (answer.question <= first || answer.question > last) return;
      for (const [topic, question] of list()) {
        const own = question.number === answer.question;
        if (answer.kind === "refused") {
          if (own) refuse(topic, answer.message);
          continue;
        }
        // This one answers the changes before it too.
        if (!own && !(isChange(topic) && question.number < answer.question)) continue;
        // The reason for a refusal stays beside a text that is still being written.
        const written = topic === "caption" || topic === "foil";
        if (isOpen(question) || !written) put(topic, undefined);
      }
    },
  };
}
