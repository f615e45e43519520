// EventSources of Node itself, driven by JSON lines. Orders: {op: open, id, url, types}, {op: close, id}.
// Each event is told as a message whose text is the JSON of {type, id, data}.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

if (globalThis.EventSource === undefined) {
  // Node 20 and 22 have it behind a flag.
  const flags = ["--experimental-eventsource", "--no-warnings"];
  const child = spawn(process.execPath, [...flags, ...process.argv.slice(1)], { stdio: "inherit" });
  child.on("exit", (code) => process.exit(code ?? 1));
} else {
  await serve();
}

async function serve() {
  const sources = new Map();
  const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

  function open({ id, url, types }) {
    const source = new EventSource(url);
    const hear = ({ type, lastEventId, data }) =>
      tell({ event: "message", id, text: JSON.stringify({ type, id: lastEventId, data }) });
    for (const type of ["message", ...types]) source.addEventListener(type, hear);
    source.onopen = () => tell({ event: "open", id });
    source.onerror = () => tell({ event: "close", id, code: source.readyState, reason: "" });
    sources.set(id, source);
  }

  function close({ id }) {
    sources.get(id).close();
    tell({ event: "close", id, code: 1000, reason: "" });
  }

  const orders = { open, close };
  tell({ event: "ready" });
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    orders[order.op](order);
  }
  for (const source of sources.values()) source.close();
}
