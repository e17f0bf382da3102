// Orders to all devices, the newest first: what was told, by whom, what the device answered.

import { get } from "../api";
import { h } from "../dom";
import { table } from "../forms";
import { dayTime } from "../format";
import { line } from "../orders";
import type { Order } from "../records";
import { t } from "../text";
import { deviceLink } from "./links";
import type { Office } from "./section";

export async function orders(office: Office): Promise<Node[]> {
  const told = await get<Order[]>("/api/commands?limit=200");
  if (told.length === 0) return [h("p", {}, t("ordersNone"))];
  const known = Object.assign({}, ...Object.values(office.city.kinds).map((kind) => kind.orders ?? {}));
  const rows = told.map((one) => [dayTime(one.at_ms), deviceLink(office, one.device), line(one, known)]);
  return [h("p", { class: "more" }, t("ordersNote")), table([t("time"), t("device"), t("orders")], rows, t("officeOrders"))];
}
