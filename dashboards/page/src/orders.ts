// What a device can be told, and what became of it: one form, and the newest orders with the device's own answers.

import { get, newKey, post } from "./api";
import { h } from "./dom";
import { form, labelled, select, words } from "./forms";
import { dayTime, number } from "./format";
import type { Device, Kind, Order, OrderKind } from "./records";
import { named, t, tOr } from "./text";

const SHOWN = 5;

/** The section of a device's panel; `may`: whether orders may be given. Null where there is nothing to give or show. */
export function ordersOf(device: Device, kind: Kind | undefined, may: boolean, failed: (error: unknown) => void): { section: HTMLElement; refresh: () => void } | null {
  const known = kind?.orders ?? {};
  if (!may && Object.keys(known).length === 0) return null;
  const list = h("ul", { class: "rowlist", id: "orders" });
  const path = `/api/devices/${encodeURIComponent(device.id)}/commands`;
  let empty = true;
  const refresh = (): void => {
    get<Order[]>(`${path}?limit=${SHOWN}`).then((told) => {
      empty = told.length === 0;
      list.replaceChildren(...told.map((one) => h("li", {}, h("time", {}, dayTime(one.at_ms)), line(one, known))));
      if (!may) section.hidden = empty;
    }, failed);
  };
  const section = h("section", { hidden: !may }, h("h3", {}, t("orders")), may ? h("details", {}, h("summary", {}, t("orderNew")), ask(known, path, refresh)) : null, list);
  refresh();
  return { section, refresh };
}

/** One order: what, by whom, and how it stands. */
export function line(one: Order, known: Record<string, OrderKind>): HTMLElement {
  const told = Object.values(one.arguments).map((value) => (typeof value === "number" ? number(value, 2, 0) : String(value))).join(", ");
  const more = [one.actor, one.reason, one.detail].filter(Boolean).join(" · ");
  return h("span", {}, `${named(known[one.action], one.action)}${told ? ` (${told})` : ""} `, h("span", { class: `tag order_${one.state}` }, tOr(`order_${one.state}`, one.state)), h("span", { class: "more" }, ` ${more}`));
}

function ask(known: Record<string, OrderKind>, path: string, refresh: () => void): HTMLElement {
  const actions = Object.keys(known);
  const action = select(actions.map((name) => ({ value: name, text: named(known[name], name) })), actions[0], { id: "orderaction" });
  const place = h("div", { class: "fields" });
  const why = words("orderreason", false);
  let inputs: Record<string, HTMLInputElement> = {};
  const draw = (): void => {
    inputs = {};
    const wanted = Object.entries(known[action.value]?.arguments ?? {});
    place.replaceChildren(...wanted.map(([name, bound]) => {
      const numeric = bound.low !== null;
      const input = h("input", { id: `order_${name}`, type: numeric ? "number" : "text", required: bound.needed, maxlength: 200, ...(numeric ? { min: String(bound.low), max: String(bound.high), step: "any" } : {}) });
      inputs[name] = input;
      return labelled(tOr(`argument_${name}`, name), input, numeric ? `${number(bound.low, 2, 0)} … ${number(bound.high, 2, 0)}` : "");
    })); // prettier-ignore
  };
  action.onchange = draw;
  draw();
  const act = async (): Promise<void> => {
    const given = Object.entries(inputs).filter(([, input]) => input.value.trim() !== "");
    const told = Object.fromEntries(given.map(([name, input]) => [name, input.type === "number" ? Number(input.value) : input.value.trim()]));
    await post(path, { action: action.value, arguments: told, reason: why.value.trim() }, newKey());
    for (const input of Object.values(inputs)) input.value = "";
    why.value = "";
    refresh();
    setTimeout(refresh, 3000); // the device's own answer
  };
  return form([labelled(t("orderAction"), action), place, labelled(t("reasonOptional"), why)], t("orderGive"), act);
}
