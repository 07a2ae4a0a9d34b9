/** The newest request: its status, estimates and progress, and how to cancel it. */
import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import { same } from "../algebra/selection.ts";
import type { EstimateMessage, Report, Request, TextName } from "../protocol.ts";
import { assembleFrames, type Bytes, type Shape } from "./frames.ts";
import type { Liveness } from "./liveness.ts";
import type { Results } from "./results.ts";
import type { SyncedTraits } from "./traits.ts";

export interface Status {
  phase: Request["phase"];
  message: string;
}

export interface Progress {
  done: number;
  total: number;
  /** When it should be finished (as `performance.now()`); null until that is known. */
  ends: number | null;
  /** About how far off the values shown so far may be: see `SentSummary`. */
  error: number;
  foil_error: number;
}

export interface Requests {
  readonly status: ReadonlySignal<Status>;
  readonly progress: ReadonlySignal<Progress | null>;
  /** Process a report from the kernel; `buffer` comes with an estimate. */
  receive(report: Report, buffer: Bytes | undefined): void;
  cancel(): void;
}

/** A view that joins a running computation hears within this time how far along it is. */
const JOIN_MS = 100;

const NONE = { id: -1, phase: "idle", message: "" } as const;

const ABANDONED: Status = {
  phase: "idle",
  message: "No kernel is computing this. To compute it, run the cell again.",
};

export function createRequests(
  traits: SyncedTraits,
  results: Results,
  { send, catchUp, abandoned }: Pick<Liveness, "send" | "catchUp" | "abandoned">,
): Requests {
  const request = traits.signal("_request", NONE);
  const progress = signal<Progress | null>(null);
  /** The newest request that was cancelled here: its further estimates are ignored. */
  const cancelled = signal<number>(NONE.id);
  const status = computed<Status>(() => {
    const now = request.value;
    if (now.phase !== "computing") return now;
    if (now.id <= cancelled.value) return { phase: "cancelled", message: "" };
    return abandoned.value ? ABANDONED : now;
  });

  let current: number | null = null;
  let refreshed: number = NONE.id;
  let assemblers: Partial<
    Record<TextName, { shape: Shape; accept: ReturnType<typeof assembleFrames> }>
  > = {};
  /** Reports on a request that is not in the traits yet: JupyterLab delivers messages first. */
  let early: { report: Exclude<Report, { kind: "alive" }>; buffer: Bytes | undefined }[] = [];
  /** What the time left is calculated from; null if we did not see the request begin. */
  let start: { time: number; done: number } | null = null;

  traits.onChange(({ now }) => {
    const { id, phase } = now._request ?? NONE;
    if (id !== current) {
      start = current === null ? null : { time: performance.now(), done: 0 };
      current = id;
      progress.value = null;
      assemblers = {};
      if (phase === "computing") results.expire();
      const waiting = early;
      early = [];
      for (const { report, buffer } of waiting) receive(report, buffer);
    }
    if (phase === "done" && !now._result?.byteLength && refreshed !== id) {
      refreshed = id;
      // marimo announces the end before the result, but in the same task.
      setTimeout(() => {
        // The update with the result was lost with the connection.
        if (id === current && !traits.now()._result?.byteLength) catchUp();
      });
    }
  });

  function accept(estimate: EstimateMessage, buffer: Bytes): void {
    const { part } = estimate;
    const shape = results.shapeOf(part);
    let assembler = assemblers[part];
    if (!assembler || !same(assembler.shape, shape)) {
      assembler = { shape, accept: assembleFrames(shape, part) };
      assemblers[part] = assembler;
    }
    results.show(part, assembler.accept(estimate, buffer));
  }

  function receive(report: Report, buffer: Bytes | undefined): void {
    start ??= { time: performance.now(), done: 0 };
    if (report.kind === "alive") {
      // The newest estimate follows, even if we already have it.
      assemblers = {};
      return;
    }
    const { id, phase } = traits.now()._request ?? NONE;
    if (report.id > id) {
      // Only those of the newest request, so that they never pile up.
      const newest = early[0]?.report.id ?? NONE.id;
      if (report.id > newest) early = [];
      if (report.id >= newest) early.push({ report, buffer });
      return;
    }
    if (report.id < id || id <= cancelled.peek() || phase !== "computing") return;
    if (report.kind === "estimate") {
      if (buffer) accept(report, buffer);
      return;
    }
    const { done, total, error = 0, foil_error = 0 } = report;
    const time = performance.now();
    // Progress reported at once was made before this view joined.
    if (time - start.time < JOIN_MS) start = { time, done };
    const rate = (done - start.done) / (time - start.time);
    const ends = rate > 0 ? time + (total - done) / rate : null;
    progress.value = { done, total, ends, error, foil_error };
  }

  return {
    status,
    progress,
    receive,
    cancel() {
      cancelled.value = request.peek().id;
      send({ kind: "cancel", id: cancelled.peek() });
    },
  };
}
