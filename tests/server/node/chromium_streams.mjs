// EventSources of a headless Chromium page, driven by the same JSON lines as streams.mjs. Argument: the page to open,
// one of the server's own, so that the streams are of the same origin.
import { createInterface } from "node:readline";
import { launch, tell } from "./browser.mjs";

const browser = await launch();
const page = await browser.newPage();
await page.exposeFunction("tell", tell);
await page.goto(process.argv[2]);
await page.evaluate(() => {
  const sources = new Map();
  globalThis.orders = {
    open({ id, url, types }) {
      const source = new EventSource(url);
      const hear = ({ type, lastEventId, data }) =>
        tell({ event: "message", id, text: JSON.stringify({ type, id: lastEventId, data }) });
      for (const type of ["message", ...types]) source.addEventListener(type, hear);
      source.onopen = () => tell({ event: "open", id });
      source.onerror = () => tell({ event: "close", id, code: source.readyState, reason: "" });
      sources.set(id, source);
    },
    close({ id }) {
      sources.get(id).close();
      tell({ event: "close", id, code: 1000, reason: "" });
    },
  };
});

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  await page.evaluate((order) => orders[order.op](order), JSON.parse(line));
}
await browser.close();
