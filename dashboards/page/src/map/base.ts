// The base canvas: 512-pixel bitmaps drawn by a worker, kept in a bounded cache; a missing tile is cut from a parent.

import { type Camera, MAX_ZOOM, TILE } from "./camera";

export type Theme = "dark" | "light";

/** What the worker is told, and what it answers. */
export type Order =
  | { do: "load"; origin: [number, number]; basemap: boolean }
  | { do: "tile"; z: number; x: number; y: number; theme: Theme; dpr: number };
export type Answer =
  | { done: "loaded"; features: number; error: string }
  | { done: "tile"; key: string; bitmap: ImageBitmap };

export const GROUND: Record<Theme, string> = { dark: "#0e151c", light: "#eef1f0" };
const MOST_TILES = 120; // a megabyte each
const MOST_WAITING = 8; // newest wishes first: what was scrolled past is not drawn

export function tileKey(theme: Theme, z: number, x: number, y: number): string {
  return `${theme}/${z}/${x}/${y}`;
}

export class Base {
  private readonly context: CanvasRenderingContext2D;
  private readonly tiles = new Map<string, ImageBitmap>();
  private readonly asked = new Set<string>();
  private readonly worker: Worker;
  private ready = false;
  private theme: Theme = "dark";

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly origin: [number, number],
    basemap: boolean,
    private readonly changed: () => void,
  ) {
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("no 2D canvas");
    this.context = context;
    this.worker = new Worker(new URL("./tiles.ts", import.meta.url), { type: "module" });
    this.worker.onmessage = (message: MessageEvent<Answer>) => this.hear(message.data);
    this.tell({ do: "load", origin, basemap });
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    this.changed();
  }

  resize(width: number, height: number): void {
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
  }

  close(): void {
    this.worker.terminate();
  }

  private tell(order: Order): void {
    this.worker.postMessage(order);
  }

  private hear(answer: Answer): void {
    if (answer.done === "loaded") {
      this.ready = true;
      if (answer.error) console.warn(`base map: ${answer.error}`);
    } else {
      this.asked.delete(answer.key);
      this.tiles.set(answer.key, answer.bitmap);
      for (const [key, bitmap] of this.tiles) {
        if (this.tiles.size <= MOST_TILES) break;
        bitmap.close();
        this.tiles.delete(key);
      }
    }
    this.changed();
  }

  /** Draw the base under the camera. `still`: smooth edges; in motion nearest pixels do, at a third of the cost. */
  draw(camera: Camera, dpr: number, still: boolean): void {
    const { width, height } = this.canvas;
    const z = Math.min(MAX_ZOOM, Math.max(6, Math.round(camera.zoom + Math.log2(dpr))));
    const world = 2 ** z; // tiles across the world
    const side = (camera.scale * dpr) / world; // device pixels of a tile
    const left = (this.origin[0] + camera.x) * world - width / 2 / side;
    const top = (this.origin[1] + camera.y) * world - height / 2 / side;
    this.context.imageSmoothingEnabled = still;
    this.context.fillStyle = GROUND[this.theme];
    this.context.fillRect(0, 0, width, height);
    for (let y = Math.floor(top); y <= Math.floor(top + height / side); y++) {
      for (let x = Math.floor(left); x <= Math.floor(left + width / side); x++) {
        const px = Math.round((x - left) * side);
        const py = Math.round((y - top) * side);
        const right = Math.round((x + 1 - left) * side);
        const bottom = Math.round((y + 1 - top) * side);
        this.drawTile(z, x, y, px, py, right - px, bottom - py, dpr);
      }
    }
  }

  private drawTile(z: number, x: number, y: number, px: number, py: number, w: number, h: number, dpr: number): void {
    const key = tileKey(this.theme, z, x, y);
    const own = this.tiles.get(key);
    if (own) {
      this.tiles.delete(key); // the cache's order is the order of use
      this.tiles.set(key, own);
      this.context.drawImage(own, px, py, w, h);
      return;
    }
    if (this.ready && !this.asked.has(key) && this.asked.size < MOST_WAITING) {
      this.asked.add(key);
      this.tell({ do: "tile", z, x, y, theme: this.theme, dpr });
    }
    for (let up = 1; up <= 5 && z - up >= 0; up++) {
      const parent = this.tiles.get(tileKey(this.theme, z - up, x >> up, y >> up));
      if (!parent) continue;
      const part = TILE / 2 ** up;
      const mask = 2 ** up - 1;
      this.context.drawImage(parent, (x & mask) * part, (y & mask) * part, part, part, px, py, w, h);
      return;
    }
  }
}
