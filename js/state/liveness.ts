/**
 * Whether a kernel is there: the handshake, the timeout after which a silent
 * kernel counts as missing, and the retry.
 */
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";
import type { ToKernel } from "../protocol.ts";

/** A live kernel answers a `join` at once; one that is gone never does. */
const TIMEOUT_MS = 10_000;

/** What we are waiting for from the kernel. */
export interface Owed {
  /** Whether something is being done that takes its time. */
  isComputing(): boolean;
  /** Whether something has been asked that is answered at once. */
  hasQuestions(): boolean;
  /** Ask again what has not been answered; `isThere` unless the last `join` is among it. */
  askAgain(isThere: boolean): void;
}

type Join = { kind: "join"; refresh?: true };

/** The channel to the kernel, whichever protocol it carries. */
interface Channel<Message> {
  send(content: Message | Join, callbacks?: undefined, buffers?: ArrayBuffer[]): void;
}

export interface Liveness<Message = ToKernel> {
  /** Whether a kernel will answer questions, as far as we know. */
  readonly answering: ReadonlySignal<boolean>;
  /** Something is being computed, and the kernel has stopped reporting on it. */
  readonly silent: ReadonlySignal<boolean>;
  /** The traits say that something is being computed, but no kernel has ever been heard from. */
  readonly abandoned: ReadonlySignal<boolean>;
  send(content: Message, buffer?: ArrayBuffer): void;
  /** Ask for the whole state, because we have missed some of it. */
  catchUp(): void;
  /** Whether that state is still on its way: anything chosen meanwhile is newer. */
  isCatchingUp(): boolean;
  /** Note that something has arrived from the kernel; `isAnswer` if it answers a `join`. */
  heard(isAnswer: boolean): void;
  dispose(): void;
}

export function createLiveness<Message = ToKernel>(
  model: Channel<Message>,
  owed: Owed,
): Liveness<Message> {
  const answering = signal(true);
  const silent = signal(false);
  const abandoned = signal(false);
  let everHeard = false;
  let catchingUp = false;
  let disposed = false;
  let delay = TIMEOUT_MS;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function send(content: Message | Join, buffer?: ArrayBuffer): void {
    if (disposed) return;
    try {
      model.send(content, undefined, buffer && [buffer]);
      wait();
    } catch {
      answering.value = false; // the host has closed the channel
    }
  }

  function wait(): void {
    clearTimeout(timer);
    timer = setTimeout(miss, delay);
  }

  function miss(): void {
    const computing = owed.isComputing();
    const questions = owed.hasQuestions();
    silent.value = computing && everHeard;
    if (everHeard && !computing && !questions) return;
    batch(() => {
      // Saved in the middle of a computation, or its kernel has gone since.
      if (computing && !everHeard) abandoned.value = true;
      answering.value = everHeard && !questions;
    });
    delay *= 2;
    // If the channel is back, this recovers what was lost with it. What is asked again may be done by now.
    owed.askAgain(!catchingUp);
    catchUp();
  }

  function catchUp(): void {
    catchingUp = true;
    send({ kind: "join", refresh: true });
  }

  return {
    answering,
    silent,
    abandoned,
    send,
    catchUp,
    isCatchingUp: () => catchingUp,
    heard(isAnswer) {
      everHeard = true;
      if (isAnswer) catchingUp = false;
      delay = TIMEOUT_MS;
      answering.value = true;
      silent.value = false;
      abandoned.value = false;
      wait();
    },
    dispose() {
      disposed = true;
      clearTimeout(timer);
    },
  };
}
