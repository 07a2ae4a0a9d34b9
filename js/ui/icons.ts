/** The drawings on the small buttons. */

/** Paths in a box of 16 by 16, stroked. */
export const icons = {
  box: "M2.5 5v-2.5H5M11 2.5h2.5V5M13.5 11v2.5H11M5 13.5H2.5V11M7 2.5h2M7 13.5h2M2.5 7v2M13.5 7v2",
  brush: "M13.5 2.5L7.5 8.5M9 10L6 7c-2.5 0-2 4-4 5.5 2.5 1.5 7 1 7-2.5z",
  lasso: "M4.5 10.5C-.5 8 2 2.5 8 2.5s8 5 3.5 7.5c-2 1-5 1.2-7 .5-2-.5-2.5 2 .5 2s1.5 2.5-1 2",
  edit: "M2.5 13.5l.7-3.2L10.5 3l2.5 2.5-7.3 7.3zM9 4.5L11.5 7",
  add: "M8 3v10M3 8h10",
  subtract: "M3 8h10",
  invert: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11zM8 2.5v11M9.5 3v10M11 4v8M12.5 6v4",
  outliers: "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6zM3 13L13 3",
  clear: "M4 4l8 8M12 4l-8 8",
  settings: "M2 5h5M11 5h3M9 3v4M2 11h2M8 11h6M6 9v4",
  pieces: "M1.5 5.5h2.5v5h-2.5zM6 5.5h4v5h-4zM12 5.5h2.5v5h-2.5z",
  table: "M2.5 3h11v10h-11zM2.5 6.5h11M2.5 9.7h11M6.5 3v10",
  locked: "M4 7.5h8v6H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  unlocked: "M4 7.5h8v6H4zM5.5 7.5V5a2.5 2.5 0 0 1 4.7-1.2",
  smooth: "M1.5 12.5c3.5 0 3.5-9 6.5-9s3 9 6.5 9",
} as const;
