"""Keys of a token issuer that are fetched from its URL: they come in, rotate without dropping anybody, and outlive its fall."""

import base64
import http.server
import json
import signal
import subprocess
import threading
import time

import pytest

from support.frames import ScriptedPeer
from support.process import wait_until
from support.tokens import REQUIRED, encoded

PUBLIC_PREFIX_BYTES = 12  # of a DER public key of Ed25519 (RFC 8410), before its 32 bytes


class Issuer:
    """Serves a key set on loopback and signs tokens with openssl."""

    def __init__(self, folder):
        self.folder, self.announced, self.fetches = folder, [], 0
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802
                issuer.fetches += 1
                body = json.dumps({"keys": issuer.announced}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fall(self):
        self.server.shutdown()
        self.server.server_close()

    def make(self, kid: str) -> dict:
        """A new key, as a set announces it."""
        run = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True).stdout  # noqa: E731
        file = str(self.folder / f"{kid}.pem")
        run("genpkey", "-algorithm", "ed25519", "-out", file)
        x = run("pkey", "-in", file, "-pubout", "-outform", "DER")[PUBLIC_PREFIX_BYTES:]
        return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": encoded(x)}

    def mint(self, kid: str) -> str:
        now = int(time.time())
        claims = {"sub": "alice", "wallet": "w", "iat": now, "exp": now + 600, "iss": "https://id.example"}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": kid}, claims))
        text, key = self.folder / "signed", str(self.folder / f"{kid}.pem")
        text.write_text(signed)
        words = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", str(text)]
        signature = subprocess.run(words, check=True, capture_output=True).stdout
        return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.fixture
def issuer(tmp_path):
    issuer = Issuer(tmp_path)
    yield issuer
    issuer.fall()


def lets_in(courier, token: str) -> bool:
    return courier.get("/history/global", {"Authorization": f"Bearer {token}"}).status == 200


def test_keys_are_fetched_and_rotate_and_outlive_the_issuer(issuer, start_courier):
    issuer.announced = [issuer.make("one")]
    settings = REQUIRED | {"auth.jwt.jwks": issuer.url}
    courier = start_courier(settings)
    one = issuer.mint("one")
    wait_until(lambda: lets_in(courier, one), what="the first key")
    peer = ScriptedPeer(courier.port, f"/ws/global?token={one}")
    # The issuer rotates: a token that names the new key makes the server look, and the old key is good for a while.
    two = issuer.make("two")
    issuer.announced = [two]
    token = issuer.mint("two")
    wait_until(lambda: lets_in(courier, token), seconds=25, what="the second key")
    assert lets_in(courier, one) and issuer.fetches == 2
    # A flood of tokens by a key that nobody has is no flood for the issuer.
    issuer.make("three")
    stranger = issuer.mint("three")
    assert not any(lets_in(courier, stranger) for _ in range(50)) and issuer.fetches <= 3
    # It falls; a reload keeps what was fetched, and drops nobody.
    issuer.fall()
    courier.signal(signal.SIGHUP)
    wait_until(lambda: "settings reloaded" in courier.stderr(), what="the reload")
    assert lets_in(courier, one) and lets_in(courier, token)
    peer.frame(0x9, b"still here")
    assert peer.next().opcode == 0xA


def test_first_url_that_a_reload_adds_is_fetched_at_once(issuer, start_courier):
    """It once took effect at the next start only."""
    issuer.announced = [issuer.make("one")]
    courier = start_courier(REQUIRED, config="schemas: {mode: strict}\n")
    one = issuer.mint("one")
    assert not lets_in(courier, one)

    def reload(url: str):
        courier.config_path.write_text(f'{{auth: {{jwt: {{jwks: "{url}"}}}}}}\n')
        courier.signal(signal.SIGHUP)

    reload(issuer.url)
    wait_until(lambda: lets_in(courier, one), what="the key of the new URL")
    # Another in its place: its keys are those that count.
    issuer.announced = [issuer.make("two")]
    token = issuer.mint("two")
    reload(f"{issuer.url}?again")
    wait_until(lambda: lets_in(courier, token), what="the key of the second URL")
    wait_until(lambda: not lets_in(courier, one), what="the end of the first one's")


def test_fetched_keys_leave_the_schemas_in_force(issuer, start_courier):
    """What was announced with the first keys once had no schemas: from then on nothing was checked."""
    issuer.announced = [issuer.make("one")]
    settings = REQUIRED | {"auth.jwt.jwks": issuer.url, "schemas.mode": "strict"}
    courier = start_courier(settings, config='auth: {rules: [{match: "**", publish: true, subscribe: true}]}\n')
    one = issuer.mint("one")
    wait_until(lambda: lets_in(courier, one), what="the key")
    answer = courier.post("/publish/a", {"type": "nobody.knows.this"}, {"Authorization": f"Bearer {one}"})
    assert answer.status == 400 and answer.json()["detail"]["error"] == "Event validation failed"
