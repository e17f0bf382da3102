// One camera for both canvases, and the projection: Web Mercator as offsets from the city's centre, so that float32
// holds them to millimetres. One unit is the whole world; `scale` is CSS pixels a unit.

export const TILE = 512;
export const MIN_ZOOM = 9;
export const MAX_ZOOM = 19;

export function mercatorX(lon: number): number {
  return (lon + 180) / 360;
}

export function mercatorY(lat: number): number {
  const phi = (lat * Math.PI) / 180;
  return (1 - Math.log(Math.tan(Math.PI / 4 + phi / 2)) / Math.PI) / 2;
}

export class Camera {
  x = 0;
  y = 0;
  zoom = 14;
  width = 1;
  height = 1;

  get scale(): number {
    return TILE * 2 ** this.zoom;
  }

  /** CSS pixels of a place on the canvas. */
  toScreen(x: number, y: number): [number, number] {
    const scale = this.scale;
    return [(x - this.x) * scale + this.width / 2, (y - this.y) * scale + this.height / 2];
  }

  /** The place under a CSS pixel. */
  toPlace(px: number, py: number): [number, number] {
    const scale = this.scale;
    return [(px - this.width / 2) / scale + this.x, (py - this.height / 2) / scale + this.y];
  }

  pan(dx: number, dy: number): void {
    const scale = this.scale;
    this.x -= dx / scale;
    this.y -= dy / scale;
  }

  /** Zoom so that what is under (px, py) stays there. */
  zoomTo(zoom: number, px: number, py: number): void {
    const [x, y] = this.toPlace(px, py);
    this.zoom = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom));
    const scale = this.scale;
    this.x = x - (px - this.width / 2) / scale;
    this.y = y - (py - this.height / 2) / scale;
  }

  /** Show a box of offsets with a margin in CSS pixels on each side. */
  fit(west: number, north: number, east: number, south: number, margin = 48): void {
    this.x = (west + east) / 2;
    this.y = (north + south) / 2;
    const room = Math.min(
      Math.max(40, this.width - 2 * margin) / Math.max(east - west, 1e-9),
      Math.max(40, this.height - 2 * margin) / Math.max(south - north, 1e-9),
    );
    this.zoom = Math.min(17, Math.max(MIN_ZOOM, Math.log2(room / TILE)));
  }
}
