// Every device as typed arrays, row = device: what the map stamps and picks from. No objects, 76,000 are 3 MB.

import type { Moved } from "../live";
import { mercatorX, mercatorY } from "./camera";

export const STATES = ["fine", "odd", "case", "urgent", "silent", "unseen"] as const;
export const [FINE, ODD, CASE, URGENT, SILENT, UNSEEN] = [0, 1, 2, 3, 4, 5];
const RANK = [1, 2, 4, 5, 3, 0]; // what is stamped above what
const KEYFRAME_MS = 5000; // a moving truck's cadence
const SHORTEST_MS = 900;
const LONGEST_MS = 8000;
const FAR = 0.00003; // a jump of more than about a kilometre is no drive: it is not animated

export interface Header {
  n: number;
  version: number;
  centre: [number, number];
  kinds: string[];
  origins: string[];
  ids_bytes: number;
}

export class Fleet {
  readonly n: number;
  readonly version: number;
  readonly kinds: string[];
  readonly origins: string[];
  readonly ids: string[];
  readonly kind: Uint8Array;
  readonly state: Uint8Array;
  readonly origin: Uint8Array;
  readonly x: Float32Array; // where it is going
  readonly y: Float32Array;
  readonly fromX: Float32Array; // where it was when it was last heard
  readonly fromY: Float32Array;
  readonly began: Float64Array; // page time of that, ms
  readonly lasts: Float32Array; // how long the way takes, ms; 0: it stands
  readonly order: Uint32Array; // rows, least important first
  private readonly row = new Map<string, number>();
  private readonly lon: number;
  private readonly lat: number;
  private readonly merc: [number, number];
  private readonly moving = new Set<number>();
  private ordered = false;

  constructor(bytes: ArrayBuffer) {
    const size = new DataView(bytes).getUint32(0, true);
    const text = new TextDecoder();
    const header = JSON.parse(text.decode(new Uint8Array(bytes, 4, size))) as Header;
    const { n } = header;
    [this.n, this.version, this.kinds, this.origins] = [n, header.version, header.kinds, header.origins];
    [this.lon, this.lat] = header.centre;
    this.merc = [mercatorX(this.lon), mercatorY(this.lat)];
    let at = 4 + size;
    this.x = new Float32Array(bytes, at, n).slice();
    this.y = new Float32Array(bytes, (at += 4 * n), n).slice();
    this.kind = new Uint8Array(bytes, (at += 4 * n), n).slice();
    this.state = new Uint8Array(bytes, (at += n), n).slice();
    this.origin = new Uint8Array(bytes, (at += n), n).slice();
    const ids = text.decode(new Uint8Array(bytes, at + n, header.ids_bytes));
    this.ids = n ? ids.split("\n") : [];
    for (let i = 0; i < n; i++) {
      this.x[i] = this.placeX(this.x[i]!);
      this.y[i] = this.placeY(this.y[i]!);
      this.row.set(this.ids[i]!, i);
    }
    this.fromX = this.x.slice();
    this.fromY = this.y.slice();
    this.began = new Float64Array(n);
    this.lasts = new Float32Array(n);
    this.order = new Uint32Array(n);
  }

  rowOf(id: string): number {
    return this.row.get(id) ?? -1;
  }

  placeX(dlon: number): number {
    return dlon / 360;
  }

  placeY(dlat: number): number {
    return mercatorY(this.lat + dlat) - this.merc[1];
  }

  /** Take a batch of movements at page time `now`. `smooth` false: no animation (first picture, fast clocks). */
  apply(moved: Moved, now: number, smooth: boolean): void {
    const { index, dlon, dlat, state } = moved;
    for (let k = 0; k < index.length; k++) {
      const i = index[k]!;
      if (i >= this.n) continue;
      if (this.state[i] !== state[k]) {
        this.state[i] = state[k]!;
        this.ordered = false;
      }
      this.move(i, this.placeX(dlon[k]!), this.placeY(dlat[k]!), now, smooth);
    }
  }

  private move(i: number, x: number, y: number, now: number, smooth: boolean): void {
    if (x === this.x[i] && y === this.y[i]) return;
    const [hereX, hereY] = [this.nowX(i, now), this.nowY(i, now)];
    const since = now - this.began[i]!;
    const near = Math.abs(x - hereX) < FAR && Math.abs(y - hereY) < FAR;
    this.x[i] = x;
    this.y[i] = y;
    if (!smooth || !near) {
      this.fromX[i] = x;
      this.fromY[i] = y;
      this.lasts[i] = 0;
      this.began[i] = now;
      this.moving.delete(i);
      return;
    }
    this.fromX[i] = hereX;
    this.fromY[i] = hereY;
    this.lasts[i] = since < 2 * LONGEST_MS ? Math.min(LONGEST_MS, Math.max(SHORTEST_MS, since)) : KEYFRAME_MS;
    this.began[i] = now;
    this.moving.add(i);
  }

  /** How far row i is on its way at page time `now`, 0..1. */
  private part(i: number, now: number): number {
    const lasts = this.lasts[i]!;
    return lasts === 0 ? 1 : Math.min(1, (now - this.began[i]!) / lasts);
  }

  nowX(i: number, now: number): number {
    const part = this.part(i, now);
    return part >= 1 ? this.x[i]! : this.fromX[i]! + (this.x[i]! - this.fromX[i]!) * part;
  }

  nowY(i: number, now: number): number {
    const part = this.part(i, now);
    return part >= 1 ? this.y[i]! : this.fromY[i]! + (this.y[i]! - this.fromY[i]!) * part;
  }

  /** Forget what has arrived; the speed of the fastest still on its way, units a second (0: nothing moves). */
  settle(now: number): number {
    let fastest = 0;
    for (const i of this.moving) {
      const lasts = this.lasts[i]!;
      if (now - this.began[i]! >= lasts) {
        this.lasts[i] = 0;
        this.moving.delete(i);
      } else {
        const way = Math.max(Math.abs(this.x[i]! - this.fromX[i]!), Math.abs(this.y[i]! - this.fromY[i]!));
        fastest = Math.max(fastest, (way / lasts) * 1000);
      }
    }
    return fastest;
  }

  /** Rows in stamping order: alarms last, on top. Counting sort, redone only after a state changed. */
  stamping(): Uint32Array {
    if (this.ordered) return this.order;
    const starts = new Uint32Array(RANK.length + 1);
    for (let i = 0; i < this.n; i++) starts[RANK[this.state[i]!]! + 1]!++;
    for (let r = 0; r < RANK.length; r++) starts[r + 1]! += starts[r]!;
    for (let i = 0; i < this.n; i++) this.order[starts[RANK[this.state[i]!]!]!++] = i;
    this.ordered = true;
    return this.order;
  }

  /** The row nearest to a place within `reach` (units), the more important one where two are close; -1 for none. */
  pick(x: number, y: number, reach: number, now: number): number {
    let best = -1;
    let least = reach * reach;
    for (let i = 0; i < this.n; i++) {
      const dx = (this.lasts[i] ? this.nowX(i, now) : this.x[i]!) - x;
      const dy = (this.lasts[i] ? this.nowY(i, now) : this.y[i]!) - y;
      let far = dx * dx + dy * dy;
      if (far > reach * reach) continue;
      far *= 1 - RANK[this.state[i]!]! * 0.12;
      if (far < least || (far === least && best >= 0 && RANK[this.state[i]!]! >= RANK[this.state[best]!]!)) {
        least = far;
        best = i;
      }
    }
    return best;
  }

  /** The box that holds all devices: west, north, east, south. */
  box(): [number, number, number, number] {
    let [west, north, east, south] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < this.n; i++) {
      west = Math.min(west, this.x[i]!);
      east = Math.max(east, this.x[i]!);
      north = Math.min(north, this.y[i]!);
      south = Math.max(south, this.y[i]!);
    }
    return this.n ? [west, north, east, south] : [-1e-4, -1e-4, 1e-4, 1e-4];
  }

  /** How many devices are in each state. */
  census(): number[] {
    const counts = STATES.map(() => 0);
    for (let i = 0; i < this.n; i++) counts[this.state[i]!]!++;
    return counts;
  }
}
