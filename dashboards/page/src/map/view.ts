// The map: both canvases in one frame, the frame only when something changed, and what hands and keys do to it.

import type { City } from "../records";
import { Base, type Theme } from "./base";
import { Camera, mercatorX, mercatorY } from "./camera";
import type { Fleet } from "./fleet";
import { type Pin, Points } from "./points";
import { DARK, LIGHT } from "./sprites";

export interface Hit {
  row: number; // of the fleet, -1 for none
  pin: Pin | null;
  px: number;
  py: number;
}

export interface Watcher {
  hover(hit: Hit): void;
  click(hit: Hit): void;
}

const REACH_PX = 14;
const STILL_MS = 160; // after the last motion the base is drawn once more, smooth

export class MapView {
  readonly camera = new Camera();
  readonly points: Points;
  frames = 0; // drawn so far; the bench reads it
  private fleet: Fleet | null = null;
  private base: Base | null = null;
  private origin: [number, number] = [0, 0];
  private dpr = 1;
  private asked = 0;
  private baseStale = true;
  private movedAt = 0;
  private drawnAt = 0;
  private target: { zoom: number; px: number; py: number } | null = null;
  private glide: { x: number; y: number; zoom: number } | null = null;
  private theme: Theme = "dark";
  private readonly baseCanvas: HTMLCanvasElement;
  private readonly hands = new Map<number, { x: number; y: number }>();
  private pressed: { x: number; y: number; far: boolean } | null = null;
  private spread = 0;
  private timer = 0;

  constructor(private readonly box: HTMLElement, private readonly watcher: Watcher) {
    this.baseCanvas = box.querySelector("canvas.base")!;
    this.points = new Points(box.querySelector("canvas.points")!);
    new ResizeObserver(() => this.resize()).observe(box);
    this.listen();
    this.resize();
  }

  /** Show a city: its base map, and its fleet. */
  show(city: City, fleet: Fleet, keep: boolean): void {
    this.origin = [mercatorX(city.centre[0]), mercatorY(city.centre[1])];
    this.fleet = fleet;
    if (!keep) {
      this.base?.close();
      this.base = new Base(this.baseCanvas, this.origin, city.basemap, () => this.refresh(true));
      this.base.setTheme(this.theme);
      this.resize();
      this.fit(city);
    }
    this.refresh(true);
  }

  fit(city: City): void {
    if (city.bounds) {
      const [west, south, east, north] = city.bounds;
      const { origin } = this;
      this.camera.fit(mercatorX(west) - origin[0], mercatorY(north) - origin[1], mercatorX(east) - origin[0], mercatorY(south) - origin[1], 24);
    } else if (this.fleet) this.camera.fit(...this.fleet.box());
    this.target = this.glide = null;
    this.stir();
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    this.points.palette = theme === "dark" ? DARK : LIGHT;
    this.base?.setTheme(theme);
    this.refresh(true);
  }

  setPins(pins: { id: string; lon: number; lat: number; severity: number; subject: string }[]): void {
    this.points.pins = pins.map((pin) => ({
      id: pin.id,
      severity: pin.severity,
      subject: pin.subject,
      x: mercatorX(pin.lon) - this.origin[0],
      y: mercatorY(pin.lat) - this.origin[1],
    }));
    this.refresh(false);
  }

  /** Glide to a place, at least at zoom 16. */
  goTo(x: number, y: number): void {
    this.target = null;
    this.glide = { x, y, zoom: Math.max(this.camera.zoom, 16) };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      Object.assign(this.camera, this.glide);
      this.glide = null;
    }
    this.stir();
  }

  goToLonLat(lon: number, lat: number): void {
    this.goTo(mercatorX(lon) - this.origin[0], mercatorY(lat) - this.origin[1]);
  }

  select(row: number): void {
    this.points.selected = row;
    this.refresh(false);
  }

  /** Something changed: draw a frame. `base`: the base as well. */
  refresh(base: boolean): void {
    this.baseStale ||= base;
    if (!this.asked) this.asked = requestAnimationFrame((now) => this.frame(now));
  }

  /** Where a device is drawn now, CSS pixels; for tests and for the tooltip. */
  screenOf(row: number): [number, number] {
    const { fleet } = this;
    if (!fleet) return [0, 0];
    const now = performance.now();
    return this.camera.toScreen(fleet.nowX(row, now), fleet.nowY(row, now));
  }

  /** True while the camera is not on its way anywhere. */
  get resting(): boolean {
    return this.target === null && this.glide === null;
  }

  zoomBy(step: number, px = this.camera.width / 2, py = this.camera.height / 2): void {
    this.glide = null;
    this.target = { zoom: (this.target?.zoom ?? this.camera.zoom) + step, px, py };
    this.stir();
  }

  pan(dx: number, dy: number): void {
    this.target = this.glide = null;
    this.camera.pan(dx, dy);
    this.stir();
  }

  private stir(): void {
    this.movedAt = performance.now();
    this.refresh(true);
  }

  private resize(): void {
    const { width, height } = this.box.getBoundingClientRect();
    if (width < 2 || height < 2) return;
    this.dpr = Math.min(2, devicePixelRatio || 1);
    const { camera } = this;
    camera.width = width;
    camera.height = height;
    this.base?.resize(Math.round(width * this.dpr), Math.round(height * this.dpr));
    this.points.resize(Math.round(width * this.dpr), Math.round(height * this.dpr));
    this.refresh(true);
  }

  private frame(now: number): void {
    this.asked = 0;
    const { fleet, base } = this;
    if (!fleet || !base) return;
    const gliding = this.advance(now);
    const speed = fleet.settle(now) * this.camera.scale * this.dpr; // pixels a second
    const moving = gliding || now - this.movedAt < STILL_MS;
    if (this.baseStale || moving) {
      base.draw(this.camera, this.dpr, !moving);
      this.baseStale = moving;
    }
    this.points.draw(fleet, this.camera, this.dpr, now);
    this.frames++;
    this.drawnAt = now;
    if (gliding || moving) this.refresh(moving);
    else if (speed > 0) this.later(speed);
  }

  /** The next frame when the fastest device has moved half a pixel: a still camera over slow trucks costs little. */
  private later(speed: number): void {
    const wait = Math.min(500, 500 / speed) - 8;
    if (wait <= 9) this.refresh(false);
    else if (!this.timer) {
      this.timer = window.setTimeout(() => {
        this.timer = 0;
        this.refresh(false);
      }, wait);
    }
  }

  /** Move the camera along; true while it is on its way. */
  private advance(now: number): boolean {
    const step = Math.min(1, (now - this.drawnAt) / 1000 / 0.09);
    const { camera } = this;
    if (this.target) {
      const left = this.target.zoom - camera.zoom;
      const near = Math.abs(left) < 0.004;
      const before = camera.zoom;
      camera.zoomTo(near ? this.target.zoom : camera.zoom + left * step, this.target.px, this.target.py);
      if (near || camera.zoom === before) this.target = null;
    }
    if (this.glide) {
      const { glide } = this;
      const part = Math.min(1, step * 0.6);
      camera.x += (glide.x - camera.x) * part;
      camera.y += (glide.y - camera.y) * part;
      camera.zoom += (glide.zoom - camera.zoom) * part;
      if (Math.hypot(glide.x - camera.x, glide.y - camera.y) * camera.scale < 0.5 && Math.abs(glide.zoom - camera.zoom) < 0.004) {
        this.glide = null;
      }
    }
    const gliding = this.target !== null || this.glide !== null;
    if (gliding) this.movedAt = now;
    return gliding;
  }

  /** What is under a CSS pixel: a case's pin before a device. */
  hit(px: number, py: number): Hit {
    const { fleet, camera, points } = this;
    const now = performance.now();
    if (!fleet) return { row: -1, pin: null, px, py };
    if (camera.zoom >= 12) {
      for (const pin of points.pins) {
        const [x, y] = points.pinAt(pin, fleet, camera, now);
        if (Math.hypot(px - x, py - y) < 9) return { row: fleet.rowOf(pin.subject), pin, px, py };
      }
    }
    const [x, y] = camera.toPlace(px, py);
    return { row: fleet.pick(x, y, REACH_PX / camera.scale, now), pin: null, px, py };
  }

  private listen(): void {
    const { box } = this;
    const place = (event: PointerEvent | WheelEvent | MouseEvent): [number, number] => {
      const { left, top } = box.getBoundingClientRect();
      return [event.clientX - left, event.clientY - top];
    };
    box.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 40 : 1;
      this.zoomBy(-Math.max(-1, Math.min(1, (event.deltaY * lines) / 240)), ...place(event));
    }, { passive: false }); // prettier-ignore
    box.addEventListener("dblclick", (event) => this.zoomBy(event.shiftKey ? -1 : 1, ...place(event)));
    box.addEventListener("pointerdown", (event) => this.press(event, ...place(event)));
    box.addEventListener("pointermove", (event) => this.drag(event, ...place(event)));
    for (const name of ["pointerup", "pointercancel"] as const) {
      box.addEventListener(name, (event) => this.release(event, name === "pointerup", ...place(event)));
    }
    box.addEventListener("pointerleave", () => this.hover({ row: -1, pin: null, px: 0, py: 0 }));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  private press(event: PointerEvent, x: number, y: number): void {
    if (event.button !== 0 || !(event.target instanceof HTMLCanvasElement)) return;
    this.box.setPointerCapture(event.pointerId);
    this.hands.set(event.pointerId, { x, y });
    this.pressed = { x, y, far: this.hands.size > 1 };
    this.spread = this.distance();
  }

  private drag(event: PointerEvent, x: number, y: number): void {
    const hand = this.hands.get(event.pointerId);
    if (!hand) {
      this.hover(this.hit(x, y));
      return;
    }
    const others = this.hands.size;
    this.pan((x - hand.x) / others, (y - hand.y) / others);
    hand.x = x;
    hand.y = y;
    if (this.pressed && Math.hypot(x - this.pressed.x, y - this.pressed.y) > 4) this.pressed.far = true;
    if (others === 2) {
      const spread = this.distance();
      const [a, b] = [...this.hands.values()] as [{ x: number; y: number }, { x: number; y: number }];
      if (this.spread > 0 && spread > 0) {
        this.camera.zoomTo(this.camera.zoom + Math.log2(spread / this.spread), (a.x + b.x) / 2, (a.y + b.y) / 2);
      }
      this.spread = spread;
      this.stir();
    }
  }

  private release(event: PointerEvent, good: boolean, x: number, y: number): void {
    if (!this.hands.delete(event.pointerId)) return;
    const { pressed } = this;
    if (good && pressed && !pressed.far && this.hands.size === 0) this.watcher.click(this.hit(x, y));
    if (this.hands.size === 0) this.pressed = null;
    this.spread = 0;
  }

  private distance(): number {
    const [a, b] = [...this.hands.values()];
    return a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0;
  }

  private hover(hit: Hit): void {
    if (hit.row !== this.points.hovered) {
      this.points.hovered = hit.row;
      this.refresh(false);
    }
    this.watcher.hover(hit);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 240 : 80;
    const pans: Record<string, [number, number]> = {
      ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step],
    }; // prettier-ignore
    const pan = pans[event.key];
    if (pan) this.pan(...pan);
    else if (event.key === "+" || event.key === "=") this.zoomBy(0.7);
    else if (event.key === "-" || event.key === "_") this.zoomBy(-0.7);
    else return;
    event.preventDefault();
  }
}
