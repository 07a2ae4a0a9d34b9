/**
 * What can be looked at: the caption and, if there is a foil, also the foil and
 * the difference of the two. All three share one selection, through the aligned
 * rows.
 */
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import { differenceOf, placesOf, rowsOf, subtract } from "../algebra/alignment.ts";
import { hide, type Interactions } from "../algebra/interactions.ts";
import type { Selection } from "../algebra/selection.ts";
import type { AlignedRows, Grid, SentSummary, Summary, TextName, Token } from "../protocol.ts";
import type { Results } from "./results.ts";
import type { Selections } from "./selections.ts";
import type { SyncedTraits } from "./traits.ts";

export type Look = TextName | "difference";

/** A text with its own interactions; the difference of two captions is one, too. */
export interface ExplainedText {
  readonly caption: ReadonlySignal<string>;
  readonly tokens: ReadonlySignal<readonly Token[]>;
  readonly interactions: ReadonlySignal<Interactions | null>;
  /** What is selected, as rows of this text. */
  readonly selected: ReadonlySignal<Selection>;
}

export interface Looks {
  readonly look: ReadonlySignal<Look>;
  readonly hasFoil: ReadonlySignal<boolean>;
  readonly texts: Readonly<Record<Look, ExplainedText>>;
  /** The numbers for the current look. */
  readonly summary: ReadonlySignal<Summary | null>;
  /** Patches whose activations are far longer than the others': they describe the whole image. */
  readonly outliers: ReadonlySignal<Selection>;
  readonly outliersHidden: Signal<boolean>;
  lookAt(look: Look): void;
  /** Select rows of the current look's text. */
  selectTokens(rows: Selection): void;
}

const spelled = ({ caption, tokens }: ExplainedText) => ({
  caption: caption.value,
  tokens: tokens.value,
});

export function createLooks(
  traits: SyncedTraits,
  grid: ReadonlySignal<Grid>,
  { shown }: Results,
  selections: Selections,
): Looks {
  const chosen = signal<Look>("caption");
  const foil = traits.signal("foil", null);
  const hasFoil = computed(() => foil.value !== null);
  const look = computed<Look>(() => (hasFoil.value ? chosen.value : "caption"));
  const summary = traits.signal("_summary", null);
  const outliersHidden = signal(false);
  const outliers = computed(() => {
    const { rows, columns } = grid.value;
    return (summary.value?.outliers ?? []).filter((p) => p < rows * columns);
  });
  const tokens = {
    caption: traits.signal("_tokens", []),
    foil: traits.signal("_foil_tokens", []),
  };
  const aligned = traits.signal("_alignment", []);
  /** The caption's rows paired with the foil's; unpaired without a foil. */
  const alignment = computed<readonly AlignedRows[]>(() =>
    hasFoil.value ? aligned.value : tokens.caption.value.map((_, row) => [row, null] as const),
  );
  /** The selected places in the alignment. */
  const places = computed(() => [
    ...placesOf(alignment.value, 0, selections.tokens.value),
    ...placesOf(alignment.value, 1, selections.foilOnly.value),
  ]);

  function text(
    name: TextName,
    caption: ReadonlySignal<string>,
    selected: () => Selection,
  ): ExplainedText {
    return {
      caption,
      tokens: tokens[name],
      // Between two updates of the traits, these may not fit together.
      interactions: computed(() => {
        const { rows, columns } = grid.value;
        const a = shown[name].value;
        const fits =
          a?.tokens === tokens[name].value.length && a.rows === rows && a.columns === columns;
        if (!fits) return null;
        return outliersHidden.value ? hide(a, outliers.value) : a;
      }),
      selected: computed(() => selected().filter((row) => row < tokens[name].value.length)),
    };
  }
  const caption = text("caption", traits.signal("caption", ""), () => selections.tokens.value);
  const other = text(
    "foil",
    computed(() => foil.value ?? ""),
    () => rowsOf(alignment.value, 1, places.value),
  );
  const difference = computed(() =>
    differenceOf(spelled(caption), spelled(other), alignment.value),
  );

  traits.onChange(({ now }) => {
    if ((now.foil ?? null) === null) chosen.value = "caption";
  });

  return {
    look,
    hasFoil,
    texts: {
      caption,
      foil: other,
      difference: {
        caption: computed(() => difference.value.caption),
        tokens: computed(() => difference.value.tokens),
        interactions: computed(() => {
          const [a, b] = [caption.interactions.value, other.interactions.value];
          return a && b && subtract(a, b, alignment.value);
        }),
        selected: computed(() => places.value.toSorted((a, b) => a - b)),
      },
    },
    summary: computed(() => {
      const found = summary.value && summaryOf(summary.value, look.value);
      return found && { ...found, outliers: outliersHidden.value ? [] : outliers.value };
    }),
    outliers,
    outliersHidden,
    lookAt(next) {
      chosen.value = next;
    },
    selectTokens(rows) {
      if (look.peek() === "caption") return selections.selectTokens(rows, []);
      const rowsByPlace = alignment.peek();
      const at = look.peek() === "foil" ? placesOf(rowsByPlace, 1, rows) : rows;
      const alone = at.filter((place) => rowsByPlace[place]?.[0] === null);
      selections.selectTokens(rowsOf(rowsByPlace, 0, at), rowsOf(rowsByPlace, 1, alone));
    },
  };
}

/** Return about how far off a look's values may be at most; null if all are exact, or if it is not known. */
export function errorOf(
  { error, foil_error }: Pick<SentSummary, "error" | "foil_error">,
  look: Look,
): number | null {
  // The error of what is exact is null; an older state lacks the foil's.
  const [own, other] = [Number(error), Number(foil_error)];
  // The errors of two captions may add up.
  return (look === "caption" ? own : look === "foil" ? other : own + other) || null;
}

function summaryOf(sent: SentSummary, look: Look): Summary | null {
  const { foil_similarity: similarity = null, foil_total: total = null, foil_own: own } = sent;
  if (look === "caption") return sent;
  if (similarity === null) return null;
  const foil = { similarity, total, residual: null, own, error: errorOf(sent, look) };
  if (look === "foil") return foil;
  return {
    ...foil,
    similarity: sent.similarity - similarity,
    total: sent.total !== null && total !== null ? sent.total - total : null,
    own: sent.own && own && [sent.own[0] - own[0], sent.own[1] - own[1]],
  };
}
