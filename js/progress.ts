/** Where the newest request stands: a thin line and a way out while computing, words after. */
import { effect } from "@preact/signals-core";
import { element } from "./dom.ts";
import type { WidgetState } from "./state.ts";

const HINT =
  "Click or drag over words, or over the picture. Shift adds, Alt subtracts, Esc clears.";

export interface ProgressView {
  line: HTMLElement;
  status: HTMLElement;
}

export function progress(state: WidgetState, lifetime: AbortSignal): ProgressView {
  const bar = element("div", "exclip-progress-bar");
  const line = element(
    "div",
    "exclip-progress",
    {
      "data-testid": "exclip-progress",
      role: "progressbar",
      "aria-label": "Computing interactions",
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    },
    bar,
  );
  const words = element("span", "exclip-computing");
  const cancel = element(
    "button",
    "exclip-cancel",
    { type: "button", "data-testid": "exclip-cancel" },
    "Cancel",
  );
  const running = element("div", "exclip-running", {}, words, cancel);
  const hint = element("div", "exclip-hint", {}, HINT);
  const error = element("div", "exclip-error", { "data-testid": "exclip-error", role: "alert" });
  const notice = element("div", "exclip-notice", {
    "data-testid": "exclip-notice",
    role: "status",
  });
  const status = element("div", "exclip-status", {}, running, hint, error, notice);

  cancel.addEventListener(
    "click",
    () => {
      cancel.disabled = true;
      state.cancel();
    },
    { signal: lifetime },
  );

  const stops = [
    effect(() => {
      const { phase, message } = state.status.value;
      const computing = phase === "computing";
      line.hidden = !computing;
      running.hidden = !computing;
      hint.hidden = computing || !state.interactions.value;
      cancel.disabled = false;
      error.hidden = phase !== "error";
      error.textContent = phase === "error" ? message || "The computation failed." : "";
    }),
    effect(() => {
      const { phase, message } = state.status.value;
      const cancelled = state.interactions.value
        ? "Cancelled. The last finished step is shown."
        : "Cancelled.";
      const said = phase === "cancelled" ? message || cancelled : phase === "idle" ? message : "";
      const all = [said, state.notice.value ?? ""].filter((text) => text !== "");
      notice.hidden = all.length === 0;
      notice.textContent = all.join(" ");
    }),
    effect(() => {
      const now = state.progress.value;
      const fraction = now && now.total > 0 ? Math.min(1, now.done / now.total) : null;
      line.classList.toggle("exclip-indeterminate", fraction === null);
      bar.style.transform = fraction === null ? "" : `scaleX(${fraction})`;
      words.textContent =
        fraction === null ? "Computing…" : `Computing… ${Math.round(100 * fraction)} %`;
      if (fraction === null) line.removeAttribute("aria-valuenow");
      else line.setAttribute("aria-valuenow", String(Math.round(100 * fraction)));
    }),
  ];
  lifetime.addEventListener("abort", () => {
    for (const stop of stops) stop();
  });
  return { line, status };
}
