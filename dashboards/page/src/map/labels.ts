// Names on the base map: placed once a zoom for the whole city, so that a name across two tiles is one name.

import { TILE } from "./camera";
import type { Feature } from "./features";

export interface Label {
  text: string;
  x: number; // pixels of the whole world at that zoom, from the city's centre
  y: number;
  angle: number;
  half: number; // half its width, pixels
  size: number; // font size, pixels
  water: boolean;
}

export const FONT = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif";

interface Run {
  x: number;
  y: number;
  angle: number;
  length: number;
}

/** The longest nearly straight run of a line, in pixels at `scale`. */
function straightest(line: Float32Array, scale: number): Run {
  let best: Run = { x: 0, y: 0, angle: 0, length: 0 };
  let start = 0;
  for (let i = 1; i < line.length / 2; i++) {
    const [x0, y0] = [line[2 * start]! * scale, line[2 * start + 1]! * scale];
    const [x1, y1] = [line[2 * i]! * scale, line[2 * i + 1]! * scale];
    const length = Math.hypot(x1 - x0, y1 - y0);
    let straight = true;
    for (let k = start + 1; k < i && straight; k++) {
      const [x, y] = [line[2 * k]! * scale, line[2 * k + 1]! * scale];
      straight = Math.abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) <= 4 * length;
    }
    if (!straight) {
      start = i - 1;
      continue;
    }
    if (length > best.length) best = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, angle: Math.atan2(y1 - y0, x1 - x0), length };
  }
  return best;
}

/** Place names for one zoom: larger things first, none over another, no name twice within 700 pixels. */
export function placeLabels(features: Feature[], z: number, dpr: number, measure: (text: string, size: number) => number): Label[] {
  const zoom = z - Math.log2(dpr);
  const scale = TILE * 2 ** z;
  const wished = features
    .filter((f) => f.name !== "" && wanted(f, zoom))
    .sort((a, b) => order(a) - order(b));
  const placed: Label[] = [];
  const cells = new Map<string, Label[]>();
  const cell = 256;
  for (const feature of wished) {
    const size = (feature.layer === "place" ? 13 : feature.layer === "road" && feature.rank <= 2 ? 12 : 11) * dpr;
    const half = measure(feature.name, size) / 2 + 2 * dpr;
    const label = feature.layer === "road" ? alongRoad(feature, scale, half, size) : atMiddle(feature, scale, half, size);
    if (!label) continue;
    const [cx, cy] = [Math.floor(label.x / cell), Math.floor(label.y / cell)];
    let free = true;
    for (let y = cy - 3; y <= cy + 3 && free; y++) {
      for (let x = cx - 3; x <= cx + 3 && free; x++) {
        free = !(cells.get(`${x},${y}`) ?? []).some((other) => tooNear(label, other, dpr));
      }
    }
    if (!free) continue;
    placed.push(label);
    const key = `${cx},${cy}`;
    cells.set(key, [...(cells.get(key) ?? []), label]);
  }
  return placed;
}

function wanted(feature: Feature, zoom: number): boolean {
  if (feature.layer === "place") return zoom >= 10 + feature.rank * 0.7 && zoom < 14 + feature.rank * 0.5;
  if (feature.layer === "road") return zoom >= [13, 13.5, 14, 14.5, 15.4, 16.4, 17.4][feature.rank]!;
  if (feature.layer === "building") return zoom >= 17;
  return (feature.layer === "water" || feature.layer === "green" || feature.layer === "square") && zoom >= 14.5;
}

function order(feature: Feature): number {
  const layer = { place: 0, road: 1, water: 3, green: 5, square: 6, building: 9, rail: 9, stream: 9 }[feature.layer];
  return layer + (feature.layer === "road" ? feature.rank * 0.5 : feature.rank * 0.1);
}

function alongRoad(feature: Feature, scale: number, half: number, size: number): Label | null {
  let best: Run = { x: 0, y: 0, angle: 0, length: 0 };
  for (const line of feature.lines) {
    const run = straightest(line, scale);
    if (run.length > best.length) best = run;
  }
  if (best.length < 2 * half) return null;
  let { angle } = best;
  if (angle > Math.PI / 2) angle -= Math.PI;
  if (angle <= -Math.PI / 2) angle += Math.PI;
  return { text: feature.name, x: best.x, y: best.y, angle, half, size, water: false };
}

function atMiddle(feature: Feature, scale: number, half: number, size: number): Label | null {
  const [west, north, east, south] = feature.box;
  if (feature.layer !== "place" && (east - west) * scale < 1.6 * half) return null;
  const [x, y] = [((west + east) / 2) * scale, ((north + south) / 2) * scale];
  return { text: feature.name, x, y, angle: 0, half, size, water: feature.layer === "water" };
}

/** Boxes turned by their angles are compared as circles along their baselines: coarse, but never too near. */
function tooNear(a: Label, b: Label, dpr: number): boolean {
  const far = Math.hypot(a.x - b.x, a.y - b.y);
  if (a.text === b.text && far < 700 * dpr) return true;
  if (far > a.half + b.half + a.size) return false;
  const steps = (label: Label): [number, number][] => {
    const n = Math.max(1, Math.ceil(label.half / label.size));
    return Array.from({ length: 2 * n + 1 }, (_, i) => {
      const at = ((i - n) / n) * label.half;
      return [label.x + Math.cos(label.angle) * at, label.y + Math.sin(label.angle) * at];
    });
  };
  const reach = (a.size + b.size) * 0.75;
  const others = steps(b);
  return steps(a).some(([x, y]) => others.some(([u, v]) => Math.hypot(x - u, y - v) < reach));
}
