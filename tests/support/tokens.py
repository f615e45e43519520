"""Tokens for tests, made with nothing but hmac, so that a wrong one can be made as easily as a right one."""

import base64
import hashlib
import hmac
import itertools
import json
import time

SECRET = "a secret of the tests that is long enough"
REQUIRED = {"auth.mode": "required", "auth.jwt.secret": SECRET}
NUMBERS = itertools.count()


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def mint(user: str = "alice", *, ends_in: float = 600, secret: str = SECRET, header=None, **claims) -> str:
    """A token of `user` that ends in so many seconds; a claim that is None is left out."""
    now = int(time.time())
    payload = {
        "user_id": user,
        "wallet_address": f"wallet-of-{user}",
        "iat": now - 1,
        "exp": int(time.time() + ends_in),
        "jti": f"t{next(NUMBERS)}",
    } | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header or {"alg": "HS256"}, payload))
    tag = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(tag)}"


def bearer(token: str) -> dict:
    return {"Authorization": f"Bearer {token}"}


def api_keys(**services: list[str]) -> tuple[dict[str, str], str]:
    """A key per service, which may publish to those patterns, and the text of the file that holds their hashes."""
    keys = {service: f"courier_{service}_{encoded(service.encode() * 8)}" for service in services}
    lines = [
        {"service": service, "id": service, "sha256": hashlib.sha256(keys[service].encode()).hexdigest(), "publish": patterns}
        for service, patterns in services.items()
    ]
    return keys, json.dumps({"keys": lines})
