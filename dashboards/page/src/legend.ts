// What the map's marks mean, drawn by the same code that draws them.

import { h } from "./dom";
import { DARK, drawMark, LIGHT, type Palette } from "./map/sprites";
import { STATES } from "./map/fleet";
import type { City } from "./records";
import { named, t, type Word } from "./text";

function mark(kind: string, state: number, palette: Palette): HTMLCanvasElement {
  const canvas = h("canvas", { width: 44, height: 44, "aria-hidden": "true" });
  canvas.style.width = canvas.style.height = "22px";
  canvas.style.position = "static";
  const context = canvas.getContext("2d");
  if (context) {
    context.translate(22, 22);
    drawMark(kind, state, 10, palette, context);
  }
  return canvas;
}

export function drawLegend(box: HTMLDetailsElement, city: City, kinds: string[], theme: "dark" | "light"): void {
  const palette = theme === "dark" ? DARK : LIGHT;
  const shapes = kinds.map((kind) => h("li", {}, mark(kind, 0, palette), named(city.kinds[kind], kind)));
  const states = STATES.map((state, i) => h("li", {}, mark("pole", i, palette), t(`device_${state}` as Word)));
  box.replaceChildren(h("summary", {}, t("legend")), h("div", { class: "parts" }, h("ul", {}, ...shapes), h("ul", {}, ...states)));
}
