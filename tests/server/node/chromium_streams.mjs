// EventSources of a headless Chromium page, driven by the same JSON lines as streams.mjs. Argument: the page to open,
// one of the server's own, so that the streams are of the same origin.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../.cache/npm/", import.meta.url));
const { chromium } = require("playwright-core");

const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
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
