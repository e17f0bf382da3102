// Talking to the server: one place for the session, errors and idempotency keys.

/** A call that the server refused, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly error: string,
    readonly detail: string,
    readonly fix: string,
    readonly retry = 0, // seconds, where the server named some
  ) {
    super(detail);
  }
}

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...init });
  if (response.ok) return response;
  let told: { error?: string; detail?: string; fix?: string } = {};
  try {
    told = (await response.json()) as typeof told;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const retry = Number(response.headers.get("Retry-After") ?? 0);
  throw new Refused(response.status, told.error ?? "http", told.detail ?? response.statusText, told.fix ?? "", retry);
}

export async function get<T>(path: string): Promise<T> {
  return (await (await call(path)).json()) as T;
}

export async function getBytes(path: string): Promise<ArrayBuffer> {
  return (await call(path, { headers: { Accept: "application/octet-stream" } })).arrayBuffer();
}

/** A write; `key` makes a repeated call one action (null: it needs none). An empty answer is null. */
export async function post<T>(path: string, body: unknown, key: string | null): Promise<T> {
  const headers = { "Content-Type": "application/json", ...(key ? { "Idempotency-Key": key } : {}) };
  const response = await call(path, { method: "POST", headers, body: JSON.stringify(body) });
  return (response.status === 204 ? null : await response.json()) as T;
}

/** A file as it is, for its photo or table. */
export async function send<T>(path: string, file: Blob, key: string | null): Promise<T> {
  const headers = { "Content-Type": file.type || "application/octet-stream", ...(key ? { "Idempotency-Key": key } : {}) };
  return (await (await call(path, { method: "POST", headers, body: file })).json()) as T;
}

/** A change of what is there. */
export async function patch<T>(path: string, body: unknown): Promise<T> {
  return (await (await call(path, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json()) as T;
}

export async function put(path: string, body: unknown): Promise<void> {
  await call(path, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** A removal that answers with how it stands then. */
export async function removed<T>(path: string): Promise<T> {
  return (await (await call(path, { method: "DELETE" })).json()) as T;
}

export async function remove(path: string): Promise<void> {
  await call(path, { method: "DELETE" });
}

/** Exchange the one-time token behind the # for a session cookie; the address loses it at once. */
export async function enter(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  const headers = { "Content-Type": "application/json" };
  try {
    await call("/api/session", { method: "POST", headers, body: JSON.stringify({ token }) });
  } catch (error) {
    // A used token with a living session (reload, bookmark) is no reason to stay outside: the next call will tell.
    if (!(error instanceof Refused) || error.status !== 401) throw error;
  }
}

/** A fresh idempotency key. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
