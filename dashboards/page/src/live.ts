// The live stream: a WebSocket that comes back by itself, text beats and binary movements.

import type { Beat } from "./records";

export interface Moved {
  version: number;
  city_ms: number;
  index: Uint32Array;
  dlon: Float32Array;
  dlat: Float32Array;
  state: Uint8Array;
}

export interface Listener {
  beat(beat: Beat): void;
  moved(moved: Moved): void;
  /** Connected or not; called at each change. */
  linked(up: boolean): void;
}

const HEADER = 24;

/** Take a "moved" message apart; null for anything else. */
export function readMoved(bytes: ArrayBuffer): Moved | null {
  if (bytes.byteLength < HEADER) return null;
  const view = new DataView(bytes);
  const n = view.getUint32(4, true);
  if (view.getUint32(0, true) !== 1 || bytes.byteLength < HEADER + n * 13) return null;
  return {
    version: view.getFloat64(8, true),
    city_ms: view.getFloat64(16, true),
    index: new Uint32Array(bytes, HEADER, n),
    dlon: new Float32Array(bytes, HEADER + 4 * n, n),
    dlat: new Float32Array(bytes, HEADER + 8 * n, n),
    state: new Uint8Array(bytes, HEADER + 12 * n, n),
  };
}

/** Listen for ever; waits 0.5 s to 15 s between attempts, with jitter, so that a thousand pages do not return at once. */
export function listen(listener: Listener): void {
  let wait = 500;
  const open = (): void => {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      wait = 500;
      listener.linked(true);
    };
    socket.onmessage = (message: MessageEvent<string | ArrayBuffer>) => {
      if (typeof message.data === "string") listener.beat(JSON.parse(message.data) as Beat);
      else {
        const moved = readMoved(message.data);
        if (moved) listener.moved(moved);
      }
    };
    socket.onclose = () => {
      listener.linked(false);
      setTimeout(open, wait * (0.5 + Math.random()));
      wait = Math.min(wait * 2, 15_000);
    };
  };
  open();
}
