// Small drawings: severity and state as shapes, the same on map, queue and legend.

import { svg } from "./dom";
import { t, type Word } from "./text";

const SHAPES: Record<number, string> = {
  1: "M10 2.500a7.500 7.500 0 1 1 0 15a7.500 7.500 0 1 1 0-15z",
  2: "M10 1L19 10L10 19L1 10z",
  3: "M10 1.500L19 18H1z",
  4: "M6.300 1.200h7.400l5.100 5.100v7.400l-5.100 5.100h-7.400l-5.100-5.100v-7.400z",
};

/** The severity's shape in its colour, with its word for a screen reader. */
export function severityIcon(severity: number, size = 20): SVGElement {
  const level = Math.min(4, Math.max(1, severity));
  const low = level === 3 ? 2 : 0;
  return svg(
    "svg",
    { viewBox: "0 0 20 20", width: size, height: size, class: `sev${level}`, role: "img", "aria-label": t(`severity${level}` as Word) },
    svg("path", { d: SHAPES[level] ?? "", fill: "currentColor" }),
    svg("path", { d: `M9 ${5 + low}h2v6h-2zM9 ${12.5 + low}h2v2h-2z`, fill: "var(--panel)" }),
  );
}
