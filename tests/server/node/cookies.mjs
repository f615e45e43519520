// A headless Chromium with a cookie of the server, and pages of any origin that the test names: their content comes from
// here, not from a network. Driven by JSON lines: {"op":"try","id","page","url","kind"} opens a page of that address and in it
// a socket, an EventSource or a request, and tells how far it came. Arguments: the cookie, as JSON.
import { createInterface } from "node:readline";
import { launch, tell } from "./browser.mjs";

const browser = await launch([
  // Every name is this machine, so that pages of other sites can reach the server as such.
  "--host-resolver-rules=MAP * 127.0.0.1",
  // The rules for private networks are another layer, and not the one that is tested.
  "--disable-features=BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessRespectPreflightResults,LocalNetworkAccessChecks",
]);
const context = await browser.newContext({ ignoreHTTPSErrors: true });
await context.addCookies([JSON.parse(process.argv[2])]);

const kinds = {
  socket: (url) => new Promise((done) => {
    const socket = new WebSocket(url);
    socket.onmessage = ({ data }) => done({ heard: data });
    socket.onclose = ({ code, reason }) => done({ code, reason });
    socket.onopen = () => socket.send("ping");
  }),
  stream: (url) => new Promise((done) => {
    const source = new EventSource(url, { withCredentials: true });
    source.onopen = () => done({ heard: "open" });
    source.onerror = () => done({ code: source.readyState, reason: "" });
  }),
  request: (url) => fetch(url, { method: "POST", body: '{"n":1}', credentials: "include", headers: { "Content-Type": "text/plain" } })
    .then((answer) => ({ status: answer.status }), () => ({ code: 0, reason: "not readable" })),
};

tell({ event: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, page: address, url, kind } = JSON.parse(line);
  const page = await context.newPage();
  await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: "<title>a page</title>" }));
  await page.goto(address);
  const said = await page.evaluate(`(${kinds[kind]})(${JSON.stringify(url)})`);
  tell({ event: "result", id, ...said });
  await page.close();
}
await browser.close();
