// Sprites for the device buffer: a kind is a shape, a state is a colour and a shape. Drawn once a size with canvas 2D,
// then kept as pixel offsets and values, so that stamping a device is a dozen array writes.

import { CASE, FINE, ODD, SILENT, UNSEEN, URGENT } from "./fleet";

export interface Palette {
  kinds: Record<string, string>;
  other: string;
  odd: string;
  case: string;
  urgent: string;
  silent: string;
  unseen: string;
  rim: string;
  info: string;
}

export const DARK: Palette = {
  kinds: { pole: "#57b39c", cell: "#5f9be8", truck: "#e7e3a1", feeder: "#b59be6", gateway: "#9fb4c4" },
  other: "#8fb3b0", odd: "#f4d35e", case: "#ff9f43", urgent: "#ff5d5d", silent: "#a7a3c2", unseen: "#4a5a68",
  rim: "#ffffff", info: "#7cc4ff",
}; // prettier-ignore

export const LIGHT: Palette = {
  kinds: { pole: "#1f7a66", cell: "#2463b8", truck: "#5b4a00", feeder: "#6d48b3", gateway: "#4b6272" },
  other: "#3f6a68", odd: "#a87b00", case: "#c65b00", urgent: "#c8102e", silent: "#6a6486", unseen: "#9aa7b2",
  rim: "#ffffff", info: "#1769aa",
}; // prettier-ignore

export interface Sprite {
  radius: number; // half of its square, device pixels
  dx: Int16Array;
  dy: Int16Array;
  at: Int32Array; // offsets in a buffer of the width that it was made for
  value: Uint32Array;
}

type Context = OffscreenCanvasRenderingContext2D;

/** Path of a kind's shape around (0, 0) with radius r. */
export function shapeOf(kind: string, context: Context | CanvasRenderingContext2D, r: number): void {
  context.beginPath();
  if (kind === "truck") polygon(context, 4, r * 1.2, 0);
  else if (kind === "feeder") context.rect(-r * 0.9, -r * 0.9, r * 1.8, r * 1.8);
  else if (kind === "gateway") polygon(context, 6, r * 1.15, Math.PI / 6);
  else context.arc(0, 0, kind === "cell" ? r * 1.45 : r, 0, 2 * Math.PI);
}

function polygon(context: Context | CanvasRenderingContext2D, corners: number, r: number, turn: number): void {
  for (let i = 0; i < corners; i++) {
    const angle = turn + (i * 2 * Math.PI) / corners - Math.PI / 2;
    const [x, y] = [Math.cos(angle) * r, Math.sin(angle) * r];
    if (i === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  }
  context.closePath();
}

/** Path of a severity's shape: 1 circle, 2 diamond, 3 triangle, 4 octagon. */
export function severityShape(severity: number, context: Context | CanvasRenderingContext2D, r: number): void {
  context.beginPath();
  if (severity >= 4) polygon(context, 8, r, Math.PI / 8);
  else if (severity === 3) polygon(context, 3, r * 1.15, 0);
  else if (severity === 2) polygon(context, 4, r * 1.05, 0);
  else context.arc(0, 0, r * 0.85, 0, 2 * Math.PI);
}

export function severityColour(severity: number, palette: Palette): string {
  return severity >= 4 ? palette.urgent : severity === 3 ? palette.urgent : severity === 2 ? palette.case : palette.info;
}

/** Draw one device's mark at (0, 0). `r`: radius in device pixels. */
export function drawMark(kind: string, state: number, r: number, palette: Palette, context: Context | CanvasRenderingContext2D): void {
  const own = palette.kinds[kind] ?? palette.other;
  const colour = [own, palette.odd, palette.case, palette.urgent, palette.silent, palette.unseen][state] ?? own;
  const loud = state === CASE || state === URGENT;
  const size = loud ? r * 1.35 : r;
  context.lineWidth = Math.max(1, r * 0.32);
  context.strokeStyle = colour;
  context.fillStyle = colour;
  if (state === URGENT && r >= 3) {
    // Four ticks around it: an urgent device is told apart by shape as well.
    context.beginPath();
    for (let i = 0; i < 4; i++) {
      const [x, y] = [Math.cos((i * Math.PI) / 2 + Math.PI / 4), Math.sin((i * Math.PI) / 2 + Math.PI / 4)];
      context.moveTo(x * size * 1.5, y * size * 1.5);
      context.lineTo(x * size * 2, y * size * 2);
    }
    context.stroke();
  }
  shapeOf(kind, context, size);
  if (state === SILENT || state === UNSEEN) {
    if (r >= 3) context.stroke();
    else context.fill();
    if (state === SILENT && r >= 3) cross(context, size * 0.62);
    return;
  }
  if (kind === "cell" && (state === FINE || state === ODD) && r >= 3) context.stroke();
  else context.fill();
  if (loud && r >= 3.5) {
    context.strokeStyle = palette.rim;
    context.lineWidth = Math.max(1, r * 0.25);
    context.stroke();
  }
}

function cross(context: Context | CanvasRenderingContext2D, r: number): void {
  context.beginPath();
  context.moveTo(-r, -r);
  context.lineTo(r, r);
  context.moveTo(r, -r);
  context.lineTo(-r, r);
  context.stroke();
}

/** Rasterise what `draw` draws around (0, 0) within `radius` pixels, for a buffer `width` pixels wide. */
export function rasterise(radius: number, width: number, draw: (context: Context) => void): Sprite {
  const half = Math.ceil(radius) + 1;
  const side = 2 * half + 1;
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no 2D canvas");
  context.translate(half + 0.5, half + 0.5);
  draw(context);
  const pixels = new Uint32Array(context.getImageData(0, 0, side, side).data.buffer);
  const kept: number[] = [];
  for (let i = 0; i < pixels.length; i++) if (pixels[i]! >>> 24 > 40) kept.push(i);
  const dx = Int16Array.from(kept, (i) => (i % side) - half);
  const dy = Int16Array.from(kept, (i) => Math.floor(i / side) - half);
  return {
    radius: half,
    dx,
    dy,
    at: Int32Array.from(kept, (_, k) => dy[k]! * width + dx[k]!),
    value: Uint32Array.from(kept, (i) => pixels[i]!),
  };
}

/** All sprites of one size: by kind index * 6 + state, and the pins of severities 1..4. */
export class Sheet {
  readonly marks: Sprite[] = [];
  readonly pins: Sprite[] = [];

  constructor(kinds: string[], readonly r: number, readonly width: number, readonly palette: Palette, dpr: number) {
    for (const kind of kinds) {
      for (let state = 0; state <= UNSEEN; state++) {
        const size = state === UNSEEN ? r * 0.75 : r;
        this.marks.push(rasterise(size * 3 + 1, width, (context) => drawMark(kind, state, size, palette, context)));
      }
    }
    const p = Math.max(6.5 * dpr, r * 1.3);
    for (let severity = 1; severity <= 4; severity++) {
      this.pins.push(rasterise(p * 1.5, width, (context) => drawPin(severity, p, palette, context)));
    }
  }
}

/** A case's pin: its severity's shape with a rim and an exclamation mark. */
export function drawPin(severity: number, r: number, palette: Palette, context: Context | CanvasRenderingContext2D): void {
  severityShape(severity, context, r);
  context.fillStyle = severityColour(severity, palette);
  context.fill();
  context.lineWidth = Math.max(1.2, r * 0.18);
  context.strokeStyle = palette.rim;
  context.stroke();
  context.fillStyle = "#10161c";
  const low = severity === 3 ? r * 0.12 : 0;
  context.fillRect(-r * 0.11, -r * 0.5 + low, r * 0.22, r * 0.6);
  context.fillRect(-r * 0.11, r * 0.22 + low, r * 0.22, r * 0.22);
}
