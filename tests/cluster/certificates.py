"""Certificates made with openssl, as an operator makes them for Ray."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """`authority` is what others' certificates are held against."""

    certificate: Path
    key: Path
    authority: Path

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on, in this process."""
        monkeypatch.setenv("RAY_USE_TLS", "1")
        monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(self.certificate))
        monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(self.key))
        monkeypatch.setenv("RAY_TLS_CA_CERT", str(self.authority))


class Authority:
    """One that signs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.certificate, self.key = folder / "ca.crt", folder / "ca.key"
        subject = ("-days", "2", "-subj", f"/CN={folder.name}")
        _openssl("req", "-x509", *_KEY, *subject, "-keyout", self.key, "-out", self.certificate)

    def sign(self, name: str, addresses: str = "IP:127.0.0.1") -> Certificate:
        request, made, key = (self.folder / f"{name}.{end}" for end in ("csr", "crt", "key"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName = {addresses}\nextendedKeyUsage = serverAuth, clientAuth\n")
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signed = ("-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-extfile", extensions)
        _openssl("x509", "-req", "-in", request, "-days", "1", *signed, "-out", made)
        return Certificate(made, key, self.certificate)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
