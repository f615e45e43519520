"""Commands: `courier token` mints a token that its settings judge as good, `courier key` keeps only hashes."""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess

import pytest

from support.process import BINARY, wait_until

SECRET = "a secret of more than thirty-two bytes"


@pytest.fixture
def courier(tmp_path):
    def run(*words, **environment):
        return subprocess.run(
            [BINARY, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **environment},
            timeout=30,
            check=False,
        )

    return run


def opened(token):
    parts = token.split(".")
    return [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2]]


def test_token_says_what_was_asked_and_is_signed_with_the_secret(courier):
    words = ["--user", "u1", "--wallet", "w1", "--ttl", "60", "--channels", "a.*,b", "--publish", "c.**"]
    made = courier("token", *words, COURIER_AUTH__JWT__SECRET=SECRET, COURIER_AUTH__JWT__ISSUER="me")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    header, claims = opened(token)
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims["exp"] - claims["iat"] == 60 and claims["jti"]
    said = {name: claims[name] for name in ("user_id", "wallet_address", "iss", "channels", "publish")}
    wanted = {"user_id": "u1", "wallet_address": "w1", "iss": "me", "channels": ["a.*", "b"], "publish": ["c.**"]}
    assert said == wanted
    signed, _, signature = token.rpartition(".")
    tag = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(tag).rstrip(b"=").decode() == signature


def test_token_without_a_secret_says_what_is_missing(courier):
    made = courier("token", "--user", "u1")
    assert made.returncode == 1 and "auth.jwt.secret" in made.stderr and not made.stdout
    bad = courier("token", "--user", "u1", "--channels", "a*", COURIER_AUTH__JWT__SECRET=SECRET)
    assert bad.returncode == 1 and "a*" in bad.stderr


def test_key_is_shown_once_and_only_its_hash_is_kept(courier, tmp_path):
    file = tmp_path / "keys.json"
    made = courier("key", "create", "prophet", "--publish", "strategy.**", "--id", "k1", "--file", str(file))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("courier_k1_") and len(key) == len("courier_k1_") + 43
    text = file.read_text()
    entry = json.loads(text)["keys"][0]
    assert key not in text and entry["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert (entry["service"], entry["publish"]) == ("prophet", ["strategy.**"])
    assert file.stat().st_mode & 0o077 == 0


def test_keys_are_listed_and_revoked_by_the_file_that_settings_name(courier, tmp_path):
    named = {"COURIER_AUTH__API_KEYS_FILE": str(tmp_path / "keys.json")}
    for service in ("one", "two"):
        assert courier("key", "create", service, "--id", f"k-{service}", **named).returncode == 0
    twice = courier("key", "create", "one", "--id", "k-one", **named)
    assert twice.returncode == 1 and "id" in twice.stderr
    assert courier("key", "revoke", "k-one", **named).returncode == 0
    listed = courier("key", "list", **named).stdout
    assert "k-two  two" in listed and "k-one" not in listed
    gone = courier("key", "revoke", "k-one", **named)
    assert gone.returncode == 1 and "no key is called k-one" in gone.stderr
    unnamed = courier("key", "list")
    assert unnamed.returncode == 1 and "auth.api_keys_file" in unnamed.stderr


def test_weak_secret_is_a_warning_that_never_shows_it(start_courier):
    """It once was logged at debug only, so that nobody saw it."""
    hushed = "hush-hush"
    courier = start_courier({"auth.mode": "required", "auth.jwt.secret": hushed, "log_level": "warn"})
    lines = [json.loads(line) for line in courier.stderr().splitlines()]
    warned = [line for line in lines if "auth.jwt.secret has 9 bytes and can be guessed" in json.dumps(line)]
    assert len(warned) == 1 and warned[0]["level"] == "WARNING", lines
    courier.signal(signal.SIGHUP)
    wait_until(lambda: courier.stderr().count("auth.jwt.secret has 9 bytes") == 2, what="the warning of the reload")
    assert hushed not in courier.stderr()


def test_check_config_warns_of_a_weak_secret(courier):
    told = courier("check-config", COURIER_AUTH__MODE="required", COURIER_AUTH__JWT__SECRET="hush")
    assert told.returncode == 0 and "  warning: auth.jwt.secret has 4 bytes" in told.stdout
    told = courier("check-config", COURIER_AUTH__MODE="required", COURIER_AUTH__JWT__SECRET=SECRET)
    assert "warning" not in told.stdout
