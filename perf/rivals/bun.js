// A hub of Bun (uWebSockets inside) for `perf/run --rivals`: its own topics do the fan-out. No checks, no limits.

const answer = { headers: { "Content-Type": "application/json" } };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 0,
  routes: {
    "/publish/:channel": {
      POST: async (request) => {
        server.publish(request.params.channel, await request.text());
        return new Response('{"status":"published"}', answer);
      },
    },
    "/ws/:channel": (request) => {
      if (server.upgrade(request, { data: request.params.channel })) return undefined;
      return new Response("Upgrade expected", { status: 426 });
    },
  },
  fetch: () => new Response("Not found", { status: 404 }),
  websocket: {
    open: (socket) => socket.subscribe(socket.data),
    message: () => {},
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: false,
    backpressureLimit: 64 << 20,
  },
});

console.log(`Bun listens on http://127.0.0.1:${server.port}`);
