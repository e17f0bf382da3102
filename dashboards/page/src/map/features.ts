// The base map's GeoJSON as flat arrays: rings and lines in offsets from the city's centre, with a box each and a grid
// over all, so that a tile asks only for what lies in it.

import { clean } from "../clean";
import { mercatorX, mercatorY } from "./camera";

const WIDE = 4096; // cells of the grid
const LONGEST = 48; // letters of a name on the map

export type Layer = "green" | "water" | "square" | "building" | "rail" | "road" | "stream" | "place";

export interface Feature {
  layer: Layer;
  rank: number; // of a road: 0 motorway .. 5 path; of a place: 0 largest
  name: string;
  fill: boolean;
  lines: Float32Array[]; // x, y, x, y ...
  box: [number, number, number, number]; // west, north, east, south
}

interface Geometry {
  type: string;
  coordinates: unknown;
}
interface Told {
  type: string;
  properties?: Record<string, unknown> | null;
  geometry?: Geometry | null;
}

const ROADS: Record<string, number> = {
  motorway: 0, trunk: 0, primary: 1, secondary: 2, tertiary: 3, residential: 4, unclassified: 4, living_street: 4,
  road: 4, busway: 4, pedestrian: 4, service: 5, track: 5, footway: 6, path: 6, cycleway: 6, steps: 6, bridleway: 6,
}; // prettier-ignore
const PLACES = ["city", "town", "borough", "suburb", "quarter", "neighbourhood", "village"];

/** Layer and rank from the file's `layer` and `class` (docs/city-files.md); null for what this map does not draw. */
function layerOf(told: Record<string, unknown>, areal: boolean): { layer: Layer; rank: number } | null {
  const sort = String(told["class"] ?? "");
  switch (told["layer"]) {
    case "water":
      return { layer: areal ? "water" : "stream", rank: 0 };
    case "park":
      return { layer: "green", rank: 0 };
    case "square":
      return { layer: "square", rank: 0 };
    case "building":
      return { layer: "building", rank: 0 };
    case "rail":
      return { layer: "rail", rank: sort === "tram" ? 1 : 0 };
    case "place":
      return { layer: "place", rank: Math.max(0, PLACES.indexOf(sort)) };
    case "road":
      return areal ? { layer: "square", rank: 0 } : { layer: "road", rank: ROADS[sort.replace(/_link$/, "")] ?? 5 };
    default:
      return null;
  }
}

/** Coordinate lists of any geometry, one for each ring or line. */
function* listsOf(geometry: Geometry): Generator<[number, number][]> {
  const { type, coordinates } = geometry;
  if (type === "Point") yield [coordinates as [number, number]];
  else if (type === "LineString") yield coordinates as [number, number][];
  else if (type === "MultiLineString" || type === "Polygon") yield* coordinates as [number, number][][];
  else if (type === "MultiPolygon") for (const part of coordinates as [number, number][][][]) yield* part;
}

/** A name as it is drawn: in one line, of a length that leaves room for others, without marks that disorder the line. */
function shown(name: string): string {
  const letters = [...clean(name).replace(/\s+/g, " ").trim()];
  return letters.length > LONGEST ? `${letters.slice(0, LONGEST - 1).join("")}…` : letters.join("");
}

/** One GeoJSON feature as a Feature; null for what the map doesn't draw. */
export function readFeature(told: Told, origin: [number, number]): Feature | null {
  if (!told.geometry) return null;
  const areal = told.geometry.type.endsWith("Polygon");
  const sort = layerOf(told.properties ?? {}, areal);
  if (!sort) return null;
  const box: Feature["box"] = [Infinity, Infinity, -Infinity, -Infinity];
  const lines: Float32Array[] = [];
  for (const list of listsOf(told.geometry)) {
    const line = new Float32Array(list.length * 2);
    list.forEach(([lon, lat], i) => {
      const [x, y] = [mercatorX(lon) - origin[0], mercatorY(lat) - origin[1]];
      line[2 * i] = x;
      line[2 * i + 1] = y;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    });
    lines.push(line);
  }
  const name = told.properties?.["name"];
  return { ...sort, name: typeof name === "string" ? shown(name) : "", fill: areal, lines, box };
}

/** All features of a layer with a grid over them. */
export class Features {
  readonly all: Feature[] = [];
  private readonly cells = new Map<string, number[]>();
  private readonly wide: number[] = []; // those over so many cells that the grid does not help
  private readonly size = 2 ** -14; // a tile of zoom 14

  add(feature: Feature): void {
    const i = this.all.push(feature) - 1;
    const [west, north, east, south] = feature.box.map((edge) => Math.floor(edge / this.size)) as Feature["box"];
    if (!((east - west + 1) * (south - north + 1) <= WIDE)) {
      this.wide.push(i);
      return;
    }
    for (let y = north; y <= south; y++) {
      for (let x = west; x <= east; x++) {
        const cell = this.cells.get(`${x},${y}`);
        if (cell) cell.push(i);
        else this.cells.set(`${x},${y}`, [i]);
      }
    }
  }

  /** Features whose box meets the box, each once, in their file's order. */
  within(west: number, north: number, east: number, south: number): Feature[] {
    const [x0, x1] = [Math.floor(west / this.size), Math.floor(east / this.size)];
    const [y0, y1] = [Math.floor(north / this.size), Math.floor(south / this.size)];
    const hit = (f: Feature): boolean => f.box[0] <= east && f.box[2] >= west && f.box[1] <= south && f.box[3] >= north;
    if ((x1 - x0 + 1) * (y1 - y0 + 1) > 64) return this.all.filter(hit);
    const found = new Set<number>(this.wide);
    for (let y = y0; y <= y1; y++) {
      for (let x = x0; x <= x1; x++) for (const i of this.cells.get(`${x},${y}`) ?? []) found.add(i);
    }
    return [...found].sort((a, b) => a - b).map((i) => this.all[i]!).filter(hit);
  }
}
