/** The fixtures that pytest also reads: what either side of a gallery may send. */
import { describe, expect, it } from "vitest";
import fromKernel from "../../tests/protocol/gallery_from_kernel.json";
import toKernel from "../../tests/protocol/gallery_to_kernel.json";
import { readMessage } from "../gallery/protocol.ts";

const buffers = (lengths: readonly number[]) =>
  lengths.map((length) => new DataView(new ArrayBuffer(length)));

describe("messages from the kernel of a gallery", () => {
  it.each(fromKernel.valid)("reads: $name", ({ content, buffers: lengths }) => {
    expect(readMessage(content, buffers(lengths))).toEqual(content);
  });

  it.each(fromKernel.invalid)("refuses: $name", ({ content, buffers: lengths }) => {
    expect(readMessage(content, buffers(lengths))).toBeNull();
  });
});

it("has an example of every kind that a gallery sends", () => {
  const kinds = toKernel.valid.map(({ content }) => content.kind);
  expect(new Set(kinds)).toEqual(new Set(["join", "ask", "window", "open"]));
});
