"""A hub of uWebSockets (socketify) for `perf/run --rivals`: its own topics do the fan-out. No checks, no limits."""

from socketify import App, AppListenOptions, CompressOptions, OpCode

ANSWER = b'{"status":"published"}'

app = App()


def publish(response, request):
    """Publishes once the whole body is there; most come in one piece."""
    channel, parts = request.get_parameter(0), []

    def on_data(response, chunk, is_last):
        parts.append(chunk)
        if is_last:
            app.publish(channel, b"".join(parts), OpCode.TEXT)
            response.write_header("Content-Type", "application/json").end(ANSWER)

    response.on_data(on_data)


def upgrade(response, request, context):
    words = [request.get_header(f"sec-websocket-{name}") for name in ("key", "protocol", "extensions")]
    response.upgrade(*words, context, request.get_parameter(0))


def listening(config):
    print(f"socketify listens on http://127.0.0.1:{config.port}", flush=True)


app.post("/publish/:channel", publish)
app.ws("/ws/:channel", {
    "compression": CompressOptions.DISABLED,
    "max_backpressure": 64 << 20,
    "idle_timeout": 0,
    "upgrade": upgrade,
    "open": lambda socket: socket.subscribe(socket.get_user_data()),
})
app.listen(AppListenOptions(port=0, host="127.0.0.1"), listening)
app.run()
