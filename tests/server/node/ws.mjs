// Sockets of the npm package `ws`, driven by JSON lines: orders on stdin, what happens on stdout.
// Orders: {op: open|send|close|fetch, id, …}. Ends when stdin ends.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../.cache/npm/", import.meta.url));
const { WebSocket } = require("ws");

const sockets = new Map();
const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

function open({ id, url }) {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  sockets.set(id, socket);
  socket.on("open", () => tell({ event: "open", id }));
  socket.on("message", (data, binary) => tell({ event: "message", id, text: data.toString(), binary }));
  socket.on("close", (code, reason) => tell({ event: "close", id, code, reason: reason.toString() }));
  socket.on("error", () => {}); // a close follows and carries the code
}

async function fetchOne({ id, method, url, body }) {
  const answer = await fetch(url, { method, body });
  tell({ event: "result", id, status: answer.status, body: await answer.text() });
}

const orders = {
  open,
  send: ({ id, text }) => sockets.get(id).send(text),
  close: ({ id }) => sockets.get(id).close(1000),
  fetch: fetchOne,
};

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  await orders[order.op](order);
}
for (const socket of sockets.values()) socket.terminate();
