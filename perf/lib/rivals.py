"""The rivals: how each is had from ordinary packages (into perf/.cache, nothing is installed), and how it is started.
What is guided by a profile is built in target/pgo, by Rust's component llvm-tools.

Each `prepare_*` fetches what is missing and returns a function that starts the rival; it raises `Unavailable` with the
reason where it cannot be had.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import guided
from servers import CACHE, PERF, SERVER_CORE, Server, Unavailable, free_port, wait_listening

BUN, SOCKETIFY = "1.4.5", "0.0.31"
FETCH_SECONDS_MAX = 300


def command(words, **options):
    """Runs a step of a preparation; if it fails, the first line of its output that speaks of an error is the reason."""
    if not shutil.which(str(words[0])):
        raise Unavailable(f"needs {words[0]}")
    try:
        done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=FETCH_SECONDS_MAX, **options)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{words[0]} took longer than {FETCH_SECONDS_MAX} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if "err" in line.lower() or line.startswith("E:")]
        reason = next(iter(errors + lines[-1:]), f"exit code {done.returncode}")
        raise Unavailable(f"{pathlib.Path(words[0]).name}: {reason}")


def debian(folder, *packages):
    """Debian packages, unpacked: nothing is installed and no service starts."""
    root = CACHE / folder
    if not (root / "complete").exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as download:
            command(["apt-get", "-qq", "download", *packages], cwd=download)
            for package in pathlib.Path(download).glob("*.deb"):
                command(["dpkg", "-x", package, root])
        (root / "complete").touch()
    return root


def prepare_nchan():
    root = debian("nchan", "nginx", "libnginx-mod-nchan")
    return lambda: Nchan(root)


class Nchan(Server):
    """nginx with nchan: one worker, nothing stored, the same paths."""

    def __init__(self, root):
        self.folder = tempfile.TemporaryDirectory()
        self.port, self.options = free_port(), []
        kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        temporary = " ".join(f"{kind}_temp_path {kind};" for kind in kinds)
        (pathlib.Path(self.folder.name) / "nginx.conf").write_text(f"""
            load_module {root}/usr/lib/nginx/modules/ngx_nchan_module.so;
            daemon off; master_process off; pid nginx.pid; error_log stderr crit; worker_rlimit_nofile 20000;
            events {{ worker_connections 16000; multi_accept on; }}
            http {{ access_log off; keepalive_requests 1000000000; nchan_max_reserved_memory 512M;
              client_body_buffer_size 64k; {temporary}
              server {{ listen 127.0.0.1:{self.port} backlog=4096;
                location ~ ^/publish/(.+)$ {{ nchan_publisher http; nchan_channel_id $1; nchan_store_messages off; }}
                location ~ ^/ws/(.+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }} }} }}""")
        # With nchan loaded nginx wants /var/lib/nginx whatever its settings say: it gets one that only it sees.
        private = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c",
                   'mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/nginx && exec "$@"', "sh"]
        self.process = subprocess.Popen([*private, "taskset", "-c", str(SERVER_CORE), f"{root}/usr/sbin/nginx", "-p",
                                         self.folder.name, "-c", "nginx.conf", "-e", "stderr"])
        self.pids = [self.process.pid]
        wait_listening(self.port, self.process)

    def stop(self):
        # Killed: a graceful stop of nchan ends in a double free after all is done.
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def prepare_bun():
    """npm's package `bun` only picks the package of the machine, which holds the binary: that one is fetched."""
    folder = CACHE / "bun"
    binary = folder / "node_modules" / "@oven" / "bun-linux-x64" / "bin" / "bun"
    if not binary.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command(["npm", "install", "--no-save", "--no-package-lock", "--ignore-scripts", "--prefix", folder,
                 f"@oven/bun-linux-x64@{BUN}"], cwd=folder)
    return lambda: Server([binary, PERF / "rivals" / "bun.js"])


def prepare_socketify():
    """uWebSockets by way of PyPI's socketify, which wants libuv."""
    folder, libuv = CACHE / "socketify", debian("libuv", "libuv1")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        command([sys.executable, "-m", "venv", "--clear", folder])
        command([python, "-m", "pip", "install", "--quiet", f"socketify=={SOCKETIFY}"])
        (folder / "complete").touch()
    library = next(libuv.glob("usr/lib/*/libuv.so.1"), None)
    if library is None:
        raise Unavailable("Debian's libuv1 holds no libuv.so.1")
    path = {"LD_LIBRARY_PATH": str(library.parent)}
    # It takes 6 % of its core while it is idle.
    return lambda: Server([python, PERF / "rivals" / "socketify_server.py"], path, restless=True)


def prepare_nats():
    """nats-server speaks its own protocol inside WebSocket and does not answer a publish: fewer system calls."""
    binary = debian("nats", "nats-server") / "usr" / "sbin" / "nats-server"
    settings = CACHE / "nats.conf"
    settings.write_text('listen: "127.0.0.1:-1"\nping_interval: "10m"\nmax_connections: 20000\n'
                        'websocket { listen: "127.0.0.1:-1", no_tls: true }\n')
    return lambda: Server([binary, "-c", settings], None, r"ws://127\.0\.0\.1:(\d+)", options=["--nats"])


def prepare_axum():
    target = CACHE / "axum"
    command(["cargo", "build", "--release", "--locked", "--target-dir", target], cwd=PERF / "rivals" / "axum")
    return lambda: Server([target / "release" / "rival-axum"])


def prepare_axum_pgo():
    """No bar asks for it: what is built on axum is seldom built so. It says how much of a distance the build makes."""
    binary = guided.axum()
    return lambda: Server([binary])


RIVALS = {"nchan": prepare_nchan, "bun": prepare_bun, "socketify": prepare_socketify, "axum": prepare_axum,
          "axum-pgo": prepare_axum_pgo, "nats": prepare_nats}
# Built as Courier is with `--pgo`, and so measured only beside that, unless it is named.
GUIDED = ["axum-pgo"]


def prepared(names):
    """Name -> start function, and name -> reason for those that cannot be had."""
    ready, missing = {}, {}
    for name in names:
        try:
            ready[name] = RIVALS[name]()
        except (Unavailable, OSError) as reason:
            missing[name] = str(reason)
    return ready, missing
