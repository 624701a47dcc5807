"""An issuer of bearer tokens: an https server with its public key, and tokens signed with its private key.

python -m services.xrootd.issuer PORT CERTIFICATE KEY JWKS
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
import time
import uuid
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from af_kit.credentials.private_files import write_private

__all__ = ["make_key", "make_token"]

_KEY_ID = "af-kit-test"


def make_key(folder: Path) -> Path:
    """Create the issuer's key, if it does not exist, and return the file of the public key (a JWKS)."""
    public = folder / "jwks.json"
    if not public.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(folder / "token-issuer.key", pem)
        numbers = key.public_key().public_numbers()
        x, y = (_base64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        entry = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": _KEY_ID, "x": x, "y": y}
        public.write_text(json.dumps({"keys": [entry]}))
    return public


def make_token(folder: Path, issuer: str, scope: Sequence[str], *, lifetime_s: float = 3600, **claims: Any) -> str:
    """Return a signed token with the WLCG profile.

    Parameters
    ----------
    folder : Path
        The folder of `make_key`.
    scope : sequence of str
        The scopes, such as ``"storage.read:/"``.
    claims
        Additional claims, or replacements of the usual claims: ``aud="https://elsewhere"``.
    """
    now = int(time.time())
    content = {
        "wlcg.ver": "1.0",
        "aud": "https://wlcg.cern.ch/jwt/v1/any",
        "iss": issuer,
        "sub": "alice",
        "jti": str(uuid.uuid4()),
        "iat": now - 1,
        "nbf": now - 1,
        "exp": int(now + lifetime_s),
        "scope": " ".join(scope),
        **claims,
    }
    header = {"typ": "JWT", "alg": "ES256", "kid": _KEY_ID}
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, content))
    key = serialization.load_pem_private_key((folder / "token-issuer.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _serve(port: int, certificate: str, key: str, jwks: Path) -> None:
    issuer = f"https://localhost:{port}"
    pages = {
        "/.well-known/openid-configuration": json.dumps({"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}).encode(),
        "/jwks": jwks.read_bytes(),
    }

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = pages.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

    server = ThreadingHTTPServer(("127.0.0.1", port), Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
