// The JavaScript examples of the sources, as their documents show them: only the address is filled in. `ws` stands in
// for the browser's WebSocket. Orders: {op: run, id, kind, url, …}, {op: send | close, id}. What an example hands to its
// application is told as a message.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../.cache/npm/", import.meta.url));
const { WebSocket } = require("ws");

const running = new Map();
const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");
const handOver = (id, what) => tell({ event: "message", id, text: JSON.stringify(what), binary: false });

// Courier's README: parse each message, ignore the heartbeat, come back after five seconds.
function courierReadme({ id, url }) {
  const ws = new WebSocket(url);
  ws.onopen = () => tell({ event: "open", id });
  ws.onmessage = (event) => {
    const data = JSON.parse(event.data);
    if (data.type === "ping") return;
    handOver(id, data);
  };
  ws.onclose = ({ code, reason }) => tell({ event: "close", id, code, reason });
  return ws;
}

// FreqSearch's document: subscribe on open, the whole frame is one JSON text.
function freqsearchDocument({ id, url, types }) {
  const ws = new WebSocket(url);
  ws.onopen = () => {
    if (types) ws.send(JSON.stringify({ action: "subscribe", event_types: types }));
    tell({ event: "open", id });
  };
  ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    handOver(id, [message.type, message.data, message.timestamp]);
  };
  ws.onclose = ({ code, reason }) => tell({ event: "close", id, code, reason });
  return ws;
}

// FreqSearch's frontend: a text ping at an interval, a text pong within five seconds, frames split by newline.
function freqsearchFrontend({ id, url, pingEvery }) {
  const ws = new WebSocket(url);
  const queue = [JSON.stringify({ action: "hello from the queue" })];
  let overdue, beat;
  const ping = () => {
    ws.send("ping");
    overdue = setTimeout(() => ws.close(1000, "Pong timeout"), 5000);
  };
  ws.onopen = () => {
    while (queue.length > 0) ws.send(queue.shift());
    ping();
    beat = setInterval(ping, pingEvery);
    tell({ event: "open", id });
  };
  ws.onmessage = (event) => {
    for (const line of event.data.split("\n")) {
      if (line.trim() === "") continue;
      if (line === "pong") {
        clearTimeout(overdue);
        handOver(id, { pong: true });
        continue;
      }
      handOver(id, JSON.parse(line));
    }
  };
  ws.onclose = ({ code, reason }) => {
    clearInterval(beat);
    clearTimeout(overdue);
    tell({ event: "close", id, code, reason });
  };
  return ws;
}

const kinds = { courierReadme, freqsearchDocument, freqsearchFrontend };
const orders = {
  run: (order) => {
    const ws = kinds[order.kind](order);
    ws.onerror = () => {}; // a close follows and carries the code
    running.set(order.id, ws);
  },
  send: ({ id, text }) => running.get(id).send(text),
  close: ({ id }) => running.get(id).close(1000, "Normal closure"),
};

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  orders[order.op](order);
}
for (const ws of running.values()) ws.terminate();
