// The worker that draws the base map: features in, 512-pixel bitmaps out. No city map: a calm graticule.

import { TILE } from "./camera";
import type { Answer, Order, Theme } from "./base";
import { type Feature, Features, type Layer, readFeature } from "./features";
import { FONT, type Label, placeLabels } from "./labels";

interface Style {
  ground: string;
  green: string;
  square: string;
  water: string;
  building: string;
  edge: string;
  rail: string;
  roads: string[];
  casing: string;
  name: string;
  waterName: string;
  grid: string;
}

const STYLES: Record<Theme, Style> = {
  dark: {
    ground: "#101820", green: "#143029", square: "#16212b", water: "#10304a", building: "#1c2935", edge: "#2b3a48", rail: "#33414e",
    roads: ["#566d7f", "#4d6374", "#445867", "#394b59", "#2f3e4b", "#273440", "#24313c"], casing: "#0c131a",
    name: "#a5b7c5", waterName: "#6fa3c4", grid: "#1a2530",
  },
  light: {
    ground: "#eef1f0", green: "#d5e6d0", square: "#e6e8e6", water: "#bfd8e8", building: "#dfe2e3", edge: "#d0d5d8", rail: "#c3c9ce",
    roads: ["#ffffff", "#ffffff", "#ffffff", "#ffffff", "#ffffff", "#f8f9f9", "#e2e6e6"], casing: "#ccd3d8",
    name: "#56646f", waterName: "#3d7396", grid: "#e2e7e8",
  },
}; // prettier-ignore

const ROAD_WIDTH = [9, 8, 6.5, 5, 3.6, 1.8, 0.8]; // CSS pixels at zoom 15, by rank
const BATCH = 64; // features a path: one path for a whole layer takes twenty times as long

const features = new Features();
const labels = new Map<string, Label[]>();
let origin: [number, number] = [0, 0];
const ruler = new OffscreenCanvas(8, 8).getContext("2d");

function measure(text: string, size: number): number {
  if (!ruler) return text.length * size * 0.6;
  ruler.font = `500 ${size}px ${FONT}`;
  return ruler.measureText(text).width;
}

async function load(basemap: boolean): Promise<string> {
  if (!basemap) return "";
  const response = await fetch("/api/basemap", { credentials: "same-origin" });
  if (!response.ok) return `status ${response.status}`;
  const told = (await response.json()) as { features?: Parameters<typeof readFeature>[0][] };
  for (const one of told.features ?? []) {
    const feature = readFeature(one, origin);
    if (feature) features.add(feature);
  }
  return "";
}

/** Draws features of one tile: world offsets to pixels, filled or stroked in batches. */
class Brush {
  constructor(
    readonly context: OffscreenCanvasRenderingContext2D,
    private readonly z: number,
    private readonly tx: number,
    private readonly ty: number,
    private readonly near: Feature[],
  ) {}

  of(layer: Layer, rank?: number): Feature[] {
    return this.near.filter((f) => f.layer === layer && (rank === undefined || f.rank === rank));
  }

  private trace(feature: Feature): void {
    const world = 2 ** this.z * TILE;
    const [left, top] = [(origin[0] * 2 ** this.z - this.tx) * TILE, (origin[1] * 2 ** this.z - this.ty) * TILE];
    for (const line of feature.lines) {
      for (let i = 0; i < line.length; i += 2) {
        const [x, y] = [line[i]! * world + left, line[i + 1]! * world + top];
        if (i === 0) this.context.moveTo(x, y);
        else this.context.lineTo(x, y);
      }
      if (feature.fill) this.context.closePath();
    }
  }

  fill(found: Feature[], colour: string, edge = ""): void {
    this.context.fillStyle = colour;
    for (const feature of found) {
      this.context.beginPath();
      this.trace(feature);
      this.context.fill("evenodd"); // one feature at a time: its own inner rings are holes
      if (edge) {
        this.context.strokeStyle = edge;
        this.context.lineWidth = 1;
        this.context.stroke();
      }
    }
  }

  stroke(found: Feature[], colour: string, width: number, dash: number[] = []): void {
    this.context.strokeStyle = colour;
    this.context.lineWidth = width;
    this.context.setLineDash(dash);
    for (let start = 0; start < found.length; start += BATCH) {
      this.context.beginPath();
      for (const feature of found.slice(start, start + BATCH)) this.trace(feature);
      this.context.stroke();
    }
    this.context.setLineDash([]);
  }
}

function drawTile(z: number, tx: number, ty: number, theme: Theme, dpr: number): ImageBitmap {
  const canvas = new OffscreenCanvas(TILE, TILE);
  const context = canvas.getContext("2d", { alpha: false });
  if (!context) throw new Error("no 2D canvas");
  const style = STYLES[theme];
  context.fillStyle = style.ground;
  context.fillRect(0, 0, TILE, TILE);
  if (features.all.length === 0) {
    graticule(context, style);
    return canvas.transferToImageBitmap();
  }
  const world = 2 ** z;
  const margin = 0.08; // wide roads reach over the edge
  const near = features.within(
    (tx - margin) / world - origin[0], (ty - margin) / world - origin[1],
    (tx + 1 + margin) / world - origin[0], (ty + 1 + margin) / world - origin[1],
  ); // prettier-ignore
  const brush = new Brush(context, z, tx, ty, near);
  context.lineJoin = "round";
  context.lineCap = "round";
  const zoom = z - Math.log2(dpr);
  brush.fill(brush.of("water"), style.water);
  brush.fill(brush.of("green"), style.green);
  brush.stroke(brush.of("stream"), style.water, 2 * dpr);
  if (zoom >= 13) brush.fill(brush.of("square"), style.square);
  if (zoom >= 13.5) brush.fill(brush.of("building"), style.building, zoom >= 15 ? style.edge : "");
  if (zoom >= 13) brush.stroke(brush.of("rail"), style.rail, 1.4 * dpr, [6 * dpr, 4 * dpr]);
  drawRoads(brush, style, zoom, dpr, theme);
  drawNames(context, z, tx, ty, style, dpr, theme);
  return canvas.transferToImageBitmap();
}

function drawRoads(brush: Brush, style: Style, zoom: number, dpr: number, theme: Theme): void {
  const width = (rank: number): number => Math.max(0.5, ROAD_WIDTH[rank]! * 1.55 ** (zoom - 15)) * dpr;
  const least = [9, 10, 11, 12, 13, 14.5, 15.5];
  for (let rank = 5; rank >= 0; rank--) {
    if (zoom < Math.max(14, least[rank]!) || theme === "dark") continue;
    brush.stroke(brush.of("road", rank), style.casing, width(rank) + 1.6 * dpr);
  }
  for (let rank = 6; rank >= 0; rank--) {
    if (zoom < least[rank]!) continue;
    const dash = rank === 6 ? [3 * dpr, 3 * dpr] : [];
    brush.stroke(brush.of("road", rank).filter((f) => !f.fill), style.roads[rank]!, width(rank), dash);
  }
}

function drawNames(
  context: OffscreenCanvasRenderingContext2D, z: number, tx: number, ty: number, style: Style, dpr: number, theme: Theme,
): void { // prettier-ignore
  const key = `${z}/${dpr}`;
  let placed = labels.get(key);
  if (!placed) labels.set(key, (placed = placeLabels(features.all, z, dpr, measure)));
  const [left, top] = [(origin[0] * 2 ** z - tx) * TILE, (origin[1] * 2 ** z - ty) * TILE];
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const label of placed) {
    const [x, y] = [label.x + left, label.y + top];
    const reach = label.half + label.size;
    if (x < -reach || y < -reach || x > TILE + reach || y > TILE + reach) continue;
    context.save();
    context.translate(x, y);
    context.rotate(label.angle);
    context.font = `500 ${label.size}px ${FONT}`;
    context.lineWidth = 3 * dpr;
    context.strokeStyle = theme === "dark" ? "rgba(14,21,28,.9)" : "rgba(255,255,255,.9)";
    context.strokeText(label.text, 0, 0);
    context.fillStyle = label.water ? style.waterName : style.name;
    context.fillText(label.text, 0, 0);
    context.restore();
  }
}

function graticule(context: OffscreenCanvasRenderingContext2D, style: Style): void {
  context.strokeStyle = style.grid;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = 0.5; at < TILE; at += TILE / 4) {
    context.moveTo(at, 0);
    context.lineTo(at, TILE);
    context.moveTo(0, at);
    context.lineTo(TILE, at);
  }
  context.stroke();
}

const answer = (told: Answer, moved: Transferable[] = []): void => postMessage(told, { transfer: moved });

onmessage = async (message: MessageEvent<Order>) => {
  const order = message.data;
  if (order.do === "load") {
    ({ origin } = order);
    let error: string;
    try {
      error = await load(order.basemap);
    } catch (problem) {
      error = String(problem); // told to the page, which says so and shows the graticule
    }
    answer({ done: "loaded", features: features.all.length, error });
    return;
  }
  const bitmap = drawTile(order.z, order.x, order.y, order.theme, order.dpr);
  answer({ done: "tile", key: `${order.theme}/${order.z}/${order.x}/${order.y}`, bitmap }, [bitmap]);
};
