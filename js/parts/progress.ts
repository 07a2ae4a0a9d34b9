/** The status of the newest request: a thin line and *Cancel* while computing, a message afterwards. */
import { errorOf } from "../state/looks.ts";
import type { WidgetState } from "../state/widget-state.ts";
import { textButton } from "../ui/buttons.ts";
import { box, element, panel } from "../ui/dom.ts";
import { message } from "../ui/message.ts";
import type { Scope } from "../ui/scope.ts";
import { plain } from "../view/number-format.ts";

const HINT =
  "Click or drag over words or image, or use arrow keys and Enter. Shift adds, Alt subtracts, I inverts, Esc clears.";

export interface ProgressView {
  line: HTMLElement;
  /** How to select. */
  hint: HTMLElement;
  status: HTMLElement;
}

export function progress(state: WidgetState, scope: Scope): ProgressView {
  const bar = box("exclip-progress-bar");
  const line = panel("exclip-progress", "progressbar", "Computing interactions", bar);
  const words = element("span", "exclip-computing", { "data-testid": "exclip-computing" });
  const cancel = textButton("Cancel", "exclip-cancel", scope, state.cancel);
  cancel.classList.add("exclip-button");
  const running = box("exclip-running", words, cancel);
  const hint = box("exclip-hint", HINT);
  const error = message("exclip-error", "alert");
  const notice = message("exclip-notice", "status");
  const status = box("exclip-status", running, hint, error.node, notice.node);
  status.tabIndex = -1;

  function count(): void {
    const now = state.progress.value;
    const fraction = now && now.total > 0 ? Math.min(1, now.done / now.total) : null;
    const percent = fraction === null ? null : Math.round(100 * fraction);
    line.classList.toggle("exclip-indeterminate", fraction === null);
    bar.style.transform = fraction === null ? "" : `scaleX(${fraction})`;
    const seconds = now?.ends ? Math.ceil((now.ends - performance.now()) / 1000) : 0;
    const left = seconds > 1 && percent !== 100 ? ` · about ${duration(seconds)} left` : "";
    const doing = state.stale.value ? "Replacing what is shown…" : "Computing…";
    words.textContent = percent === null ? doing : `${doing} ${percent} %${left}`;
    line.ariaValueNow = percent === null ? null : `${percent}`;
  }

  scope.effect(() => {
    const { phase, message } = state.status.value;
    const computing = phase === "computing";
    // Otherwise the focus would fall to the page as its button disappears.
    if (!computing && cancel.matches(":focus")) status.focus({ preventScroll: true });
    line.hidden = !computing;
    running.hidden = !computing;
    hint.hidden = computing || !state.interactions.value;
    error.show(phase === "error" ? message || "The computation failed." : null);
    const stays = state.stale.value
      ? "previous result"
      : state.interactions.value && "newest estimate";
    const cancelled = `Cancelled.${stays ? ` Showing the ${stays}.` : ""}`;
    const said = phase === "cancelled" ? message || cancelled : phase === "idle" ? message : "";
    const now = computing ? state.progress.value : state.summary.value;
    const off = computing && now ? errorOf(now, state.look.value) : now?.error;
    const bound = off && `Each word × patch is known to about ±${plain(off)}.`;
    notice.show([said, bound, state.notice.value].filter(Boolean).join(" "));
  });
  scope.effect(() => {
    count();
    if (state.status.value.phase !== "computing") return;
    // The time left also counts down between two steps.
    const clock = setInterval(count, 1000);
    return () => clearInterval(clock);
  });
  return { line, hint, status };
}

function duration(seconds: number): string {
  return seconds < 100 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
