// Sockets of the npm package `ws` that offer permessage-deflate, driven by the same JSON lines as ws.mjs. The first
// message of each socket tells which extensions were agreed.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../.cache/npm/", import.meta.url));
const { WebSocket } = require("ws");

const sockets = new Map();
const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

function open({ id, url }) {
  const socket = new WebSocket(url, { perMessageDeflate: { threshold: 0 } }); // every message of ours goes compressed
  sockets.set(id, socket);
  socket.on("open", () => {
    tell({ event: "message", id, text: JSON.stringify({ extensions: socket.extensions }) });
    tell({ event: "open", id });
  });
  socket.on("message", (data, binary) => tell({ event: "message", id, text: data.toString(), binary }));
  socket.on("close", (code, reason) => tell({ event: "close", id, code, reason: reason.toString() }));
  socket.on("error", () => {}); // a close follows and carries the code
}

const orders = {
  open,
  send: ({ id, text }) => sockets.get(id).send(text),
  close: ({ id }) => sockets.get(id).close(1000),
};

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  orders[order.op](order);
}
for (const socket of sockets.values()) socket.terminate();
