import { describe, expect, it } from "vitest";
import { assembleFrames, decode, type Shape } from "../state/frames.ts";
import { payload } from "../testing/mock.ts";

const SHAPE: Shape = [2, 2, 3];
const VALUES = Array.from({ length: 12 }, (_, i) => i / 8 - 0.5);
const CLS = [0.25, -0.25];
const BYTES = 56;

/** A frame cut into chunks of at most `size` bytes. */
function chunks(frame: number, size: number, values = VALUES) {
  const whole = payload(values, CLS);
  return Array.from({ length: Math.ceil(BYTES / size) }, (_, i) => {
    const length = Math.min(size, BYTES - i * size);
    return {
      chunk: { frame, offset: i * size, bytes: BYTES },
      data: new DataView(whole.buffer, whole.byteOffset + i * size, length),
    };
  });
}

type Piece = ReturnType<typeof chunks>[number];

function feed(assemble: ReturnType<typeof assembleFrames>, pieces: (Piece | undefined)[]) {
  return pieces.map((piece) => (piece ? assemble(piece.chunk, piece.data) : {}));
}

describe("decoding a payload", () => {
  it("respects the offset of the view it is given", () => {
    const { frame } = decode(payload(VALUES, CLS), SHAPE);
    expect(Array.from(frame?.values ?? [])).toEqual(VALUES);
    expect(Array.from(frame?.cls ?? [])).toEqual(CLS);
    expect(frame).toMatchObject({ tokens: 2, rows: 2, columns: 3 });
  });

  it("says what is wrong with the length", () => {
    expect(decode(payload(VALUES, []), SHAPE).problem).toContain("2 × 2 × 3");
  });

  it("refuses numbers that are not finite", () => {
    expect(decode(payload([...VALUES.slice(1), Number.NaN], CLS), SHAPE).problem).toContain(
      "finite",
    );
  });
});

describe("assembling frames", () => {
  it.each([56, 40, 16, 5])("works in chunks of %i bytes", (size) => {
    const outcomes = feed(assembleFrames(SHAPE, "caption"), chunks(0, size));
    expect(outcomes.slice(0, -1).every((o) => !o.frame && !o.problem)).toBe(true);
    expect(Array.from(outcomes.at(-1)?.frame?.values ?? [])).toEqual(VALUES);
  });

  it("shows each step when it is complete", () => {
    const assemble = assembleFrames(SHAPE, "caption");
    const finer = VALUES.map((value) => value / 2);
    const [first] = feed(assemble, chunks(0, 56));
    const [second] = feed(assemble, chunks(1, 56, finer));
    expect(Array.from(first?.frame?.values ?? [])).toEqual(VALUES);
    expect(Array.from(second?.frame?.values ?? [])).toEqual(finer);
  });

  it("drops a step whose chunks are out of order, reports it once, and goes on with the next", () => {
    const assemble = assembleFrames(SHAPE, "caption");
    const [a, b, c, d] = chunks(0, 16);
    const outcomes = feed(assemble, [a, c, b, d]);
    expect(outcomes.filter((o) => o.problem)).toHaveLength(1);
    expect(outcomes.some((o) => o.frame)).toBe(false);
    expect(feed(assemble, chunks(1, 56))[0]?.frame).toBeDefined();
  });

  it("drops a step with a repeated chunk", () => {
    const [a, b, c, d] = chunks(0, 16);
    const outcomes = feed(assembleFrames(SHAPE, "caption"), [a, b, b, c, d]);
    expect(outcomes[2]?.problem).toMatch(/Estimate 1 of the caption was dropped/);
    expect(outcomes.some((o) => o.frame)).toBe(false);
  });

  it("keeps a finished step when it arrives again", () => {
    const assemble = assembleFrames(SHAPE, "caption");
    expect(feed(assemble, chunks(0, 56))[0]?.frame).toBeDefined();
    expect(feed(assemble, chunks(0, 56))).toEqual(feed(assemble, chunks(0, 56)).map(() => ({})));
  });

  it("reports a step that ended early, and shows the next", () => {
    const assemble = assembleFrames(SHAPE, "caption");
    feed(assemble, chunks(0, 16).slice(0, 2));
    const [outcome] = feed(assemble, chunks(1, 56));
    expect(outcome?.problem).toContain("missing");
    expect(outcome?.frame).toBeDefined();
  });

  it("never writes into a step that was shown", () => {
    const assemble = assembleFrames(SHAPE, "caption");
    const [first] = feed(assemble, chunks(0, 56));
    feed(
      assemble,
      chunks(
        1,
        16,
        VALUES.map((value) => value / 2),
      ),
    );
    expect(Array.from(first?.frame?.values ?? [])).toEqual(VALUES);
  });

  it("drops a step with numbers that are not finite, in whatever chunk they arrive", () => {
    const broken = VALUES.map((value, i) => (i === 6 ? Number.POSITIVE_INFINITY : value));
    const outcomes = feed(assembleFrames(SHAPE, "caption"), chunks(0, 5, broken));
    expect(outcomes.filter((o) => o.problem).map((o) => o.problem)).toEqual([
      expect.stringContaining("not finite"),
    ]);
    expect(outcomes.some((o) => o.frame)).toBe(false);
  });

  it("allocates no memory for a shape that its chunks do not have", () => {
    const huge: Shape = [1e6, 1e6, 1e6];
    const [piece] = chunks(0, 56);
    if (!piece) return;
    expect(assembleFrames(huge, "caption")(piece.chunk, piece.data).problem).toContain("needs");
  });

  it("drops wrong lengths", () => {
    const [piece] = chunks(0, 56);
    if (!piece) return;
    const accept = (bytes: number, data: DataView) =>
      assembleFrames(SHAPE, "caption")({ frame: 0, offset: 0, bytes }, data).problem;
    expect(accept(60, piece.data)).toContain("60 bytes");
    expect(accept(BYTES, new DataView(new ArrayBuffer(64)))).toContain("came twice");
  });
});
