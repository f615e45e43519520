// Sockets of a headless Chromium page, driven by the same JSON lines as ws.mjs. Argument: the page to open.
// The page is one of the server's own, so that its sockets and requests are of the same origin.
import { createInterface } from "node:readline";
import { launch, tell } from "./browser.mjs";

const browser = await launch();
const page = await browser.newPage();
await page.exposeFunction("tell", tell);
await page.goto(process.argv[2]);
await page.evaluate(() => {
  globalThis.sockets = new Map();
  globalThis.orders = {
    open({ id, url }) {
      const socket = new WebSocket(url);
      sockets.set(id, socket);
      socket.onopen = () => tell({ event: "open", id });
      socket.onmessage = ({ data }) => tell({ event: "message", id, text: data, binary: typeof data !== "string" });
      socket.onclose = ({ code, reason }) => tell({ event: "close", id, code, reason });
    },
    send: ({ id, text }) => sockets.get(id).send(text),
    close: ({ id }) => sockets.get(id).close(1000),
    async fetch({ id, method, url, body }) {
      const answer = await fetch(url, { method, body: body ?? undefined });
      tell({ event: "result", id, status: answer.status, body: await answer.text() });
    },
  };
});

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  await page.evaluate((order) => orders[order.op](order), JSON.parse(line));
}
await browser.close();
