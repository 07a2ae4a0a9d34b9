/// <reference types="vite/client" />
/** Runs every test with the widget's own styles, and fails it on any error in the console. */
import { afterEach, beforeEach, expect, vi } from "vitest";
import "../style.css";

beforeEach(() => {
  vi.spyOn(console, "error");
});

afterEach(() => {
  expect(console.error).not.toHaveBeenCalled();
  vi.restoreAllMocks();
  document.body.replaceChildren();
  delete document.body.dataset.jpThemeLight;
});
