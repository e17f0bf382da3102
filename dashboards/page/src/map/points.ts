// The device canvas: one pixel buffer the size of the screen, cleared, stamped and put back once a frame.

import type { Camera } from "./camera";
import type { Fleet } from "./fleet";
import { DARK, type Palette, Sheet, type Sprite } from "./sprites";

export interface Pin {
  id: string;
  x: number;
  y: number;
  severity: number;
  subject: string;
}

/** Radius of a device's mark, CSS pixels, by zoom. */
export function markRadius(zoom: number): number {
  if (zoom < 12) return 1;
  if (zoom < 13.5) return 1.5;
  if (zoom < 14.3) return 2.5;
  if (zoom < 15.2) return 4;
  if (zoom < 16.2) return 5;
  return zoom < 17.2 ? 6.5 : 8;
}

export class Points {
  palette: Palette = DARK;
  pins: Pin[] = [];
  selected = -1;
  hovered = -1;
  private readonly context: CanvasRenderingContext2D;
  private image: ImageData | null = null;
  private pixels = new Uint32Array(0);
  private sheet: Sheet | null = null;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no 2D canvas");
    this.context = context;
  }

  resize(width: number, height: number): void {
    if (this.canvas.width === width && this.canvas.height === height && this.image) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.sheet = null;
  }

  /** Draw everything at page time `now`. */
  draw(fleet: Fleet, camera: Camera, dpr: number, now: number): void {
    if (!this.image) return;
    const { width } = this.canvas;
    const r = markRadius(camera.zoom) * dpr;
    if (!this.sheet || this.sheet.r !== r || this.sheet.palette !== this.palette) {
      this.sheet = new Sheet(fleet.kinds, r, width, this.palette, dpr);
    }
    this.pixels.fill(0);
    this.stampAll(fleet, camera, dpr, now, this.sheet.marks);
    if (camera.zoom >= 12) this.stampPins(fleet, camera, dpr, now, this.sheet);
    this.context.putImageData(this.image, 0, 0);
    if (this.hovered >= 0 && this.hovered !== this.selected) this.ring(fleet, this.hovered, camera, dpr, now, 1.5);
    if (this.selected >= 0) this.ring(fleet, this.selected, camera, dpr, now, 2.5);
  }

  private stampAll(fleet: Fleet, camera: Camera, dpr: number, now: number, marks: Sprite[]): void {
    const { width, height } = this.canvas;
    const scale = camera.scale * dpr;
    const [left, top] = [width / 2 - camera.x * scale, height / 2 - camera.y * scale];
    const { x, y, fromX, fromY, began, lasts, kind, state } = fleet;
    const order = fleet.stamping();
    const pixels = this.pixels;
    for (let k = 0; k < order.length; k++) {
      const i = order[k]!;
      let px = x[i]!;
      let py = y[i]!;
      if (lasts[i] !== 0) {
        const part = (now - began[i]!) / lasts[i]!;
        if (part < 1) {
          px = fromX[i]! + (px - fromX[i]!) * part;
          py = fromY[i]! + (py - fromY[i]!) * part;
        }
      }
      const sx = (px * scale + left) | 0;
      const sy = (py * scale + top) | 0;
      if (sx < 0 || sy < 0 || sx >= width || sy >= height) continue;
      const sprite = marks[kind[i]! * 6 + state[i]!]!;
      const edge = sprite.radius;
      if (sx < edge || sy < edge || sx >= width - edge || sy >= height - edge) stampClipped(pixels, width, height, sprite, sx, sy);
      else stamp(pixels, sprite, sy * width + sx);
    }
  }

  private stampPins(fleet: Fleet, camera: Camera, dpr: number, now: number, sheet: Sheet): void {
    const { width, height } = this.canvas;
    for (let i = this.pins.length - 1; i >= 0; i--) {
      const pin = this.pins[i]!;
      const [x, y] = this.pinAt(pin, fleet, camera, now);
      const sprite = sheet.pins[Math.min(4, Math.max(1, pin.severity)) - 1]!;
      stampClipped(this.pixels, width, height, sprite, Math.round(x * dpr), Math.round(y * dpr));
    }
  }

  /** Where a case's pin is drawn, CSS pixels: above its device, which may move, or at its own place. */
  pinAt(pin: Pin, fleet: Fleet, camera: Camera, now: number): [number, number] {
    const row = fleet.rowOf(pin.subject);
    const [x, y] = row >= 0 ? camera.toScreen(fleet.nowX(row, now), fleet.nowY(row, now)) : camera.toScreen(pin.x, pin.y);
    return [x, y - markRadius(camera.zoom) - (row >= 0 && row === this.selected ? 18 : 10)];
  }

  private ring(fleet: Fleet, row: number, camera: Camera, dpr: number, now: number, weight: number): void {
    const [x, y] = camera.toScreen(fleet.nowX(row, now), fleet.nowY(row, now));
    const context = this.context;
    context.beginPath();
    context.arc(x * dpr, y * dpr, (markRadius(camera.zoom) + 5) * dpr, 0, 2 * Math.PI);
    context.lineWidth = (weight + 2) * dpr;
    context.strokeStyle = "rgba(8,14,20,.75)";
    context.stroke();
    context.lineWidth = weight * dpr;
    context.strokeStyle = this.palette.rim;
    context.stroke();
  }
}

function stamp(pixels: Uint32Array, sprite: Sprite, at: number): void {
  const { at: offsets, value } = sprite;
  for (let p = 0; p < offsets.length; p++) pixels[at + offsets[p]!] = value[p]!;
}

function stampClipped(pixels: Uint32Array, width: number, height: number, sprite: Sprite, sx: number, sy: number): void {
  for (let p = 0; p < sprite.dx.length; p++) {
    const [x, y] = [sx + sprite.dx[p]!, sy + sprite.dy[p]!];
    if (x >= 0 && y >= 0 && x < width && y < height) pixels[y * width + x] = sprite.value[p]!;
  }
}
