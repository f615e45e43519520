"""Certificates made for a test with the `openssl` command, and servers that use them.

Such a server has its first address encrypted and a plain one beside it, so that what the kit asks (stats, publishes)
goes the plain way: `port` is the plain one, `tls_port` the other.
"""

import datetime
import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.process import Courier

FURTHER = re.compile(r"^Courier listens on http://127\.0\.0\.1:([0-9]+) ")
KEYS = {
    "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    "p384": ["ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"],
    "ed25519": ["ed25519"],
    "rsa2048": ["rsa:2048"],
    "rsa3072": ["rsa:3072"],
    "rsa4096": ["rsa:4096"],
}


def openssl(*arguments, given: bytes = b"", check: bool = True, seconds: float = 30) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["openssl", *map(str, arguments)], input=given, capture_output=True, timeout=seconds, check=check
    )


@dataclass
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str = "authority"):
        self.folder, self.name = folder, name
        self.own = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        openssl("req", "-x509", "-newkey", *KEYS["p256"], "-nodes", "-days", 30, "-subj", f"/CN={name}",
                "-keyout", self.own.key, "-out", self.own.cert)  # fmt: skip

    def sign(self, name: str, *, key: str = "p256", days: int = 30, alt: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request = openssl("req", "-newkey", *KEYS[key], "-nodes", "-subj", f"/CN={name}", "-keyout", pair.key).stdout
        names = self.folder / f"{name}.names"
        names.write_text(f"subjectAltName={alt}\n")
        openssl("x509", "-req", "-CA", self.own.cert, "-CAkey", self.own.key, "-CAcreateserial", "-days", days,
                "-extfile", names, "-out", pair.cert, given=request)  # fmt: skip
        return pair

    def sign_until(self, name: str, ends: float, *, alt: str) -> Pair:
        """As `sign`, valid from yesterday to the second `ends` since 1970."""
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files = {end: self.folder / f"{name}.{end}" for end in ("request", "names", "index", "settings")}
        openssl("req", "-newkey", *KEYS["p256"], "-nodes", "-subj", f"/CN={name}", "-keyout", pair.key, "-out", files["request"])
        files["names"].write_text(f"subjectAltName={alt}\n")
        files["index"].touch()
        files["settings"].write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase={files['index']}\nnew_certs_dir={self.folder}\nrand_serial=yes\n"
            "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
        )
        moments = [datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y%m%d%H%M%SZ") for at in (ends - 86_400, ends)]
        openssl("ca", "-config", files["settings"], "-batch", "-notext", "-cert", self.own.cert, "-keyfile", self.own.key,
                "-in", files["request"], "-out", pair.cert, "-startdate", moments[0], "-enddate", moments[1],
                "-extfile", files["names"])  # fmt: skip
        return pair

    def context(self, client: Pair | None = None, **options) -> ssl.SSLContext:
        """What a client needs that trusts this authority."""
        context = ssl.create_default_context(cafile=self.own.cert)
        for name, value in options.items():
            setattr(context, name, value)
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        return context


def settings(pair: Pair, client_ca: Path | None = None, more: str = "") -> str:
    """A settings file: the first address encrypted, a plain one beside it."""
    authority = f', client_ca: "{client_ca}"' if client_ca else ""
    return f"""tls: {{cert: "{pair.cert}", key: "{pair.key}"{authority}}}
listeners: [{{address: "127.0.0.1:0"}}]
{more}"""


def both_ports(courier: Courier) -> Courier:
    """Reads where a server that was just started listens."""
    courier.tls_port = courier.port
    courier.port = int(FURTHER.match(courier._read_line())[1])
    return courier


def tls_stats(courier: Courier) -> dict:
    return courier.stats()["tls"]
