"""TLS between our own processes wherever Ray has it between its own, with the same certificates: both ends show one.

`RAY_USE_TLS` turns it on; `RAY_TLS_SERVER_CERT`, `RAY_TLS_SERVER_KEY` and `RAY_TLS_CA_CERT` name the files. Who
connects holds the other's certificate against the address that it connects to, as Ray does.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

from engine.errors import ConfigError

_CERTIFICATE, _KEY, _AUTHORITY = "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"


def uses_tls() -> bool:
    """As Ray reads its variable."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def server_context() -> ssl.SSLContext | None:
    """For who listens; None without TLS. Raises ConfigError."""
    if not uses_tls():
        return None
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # nobody resumes, and who only sends would never read them
    return context


def client_context() -> ssl.SSLContext | None:
    """For who connects; None without TLS. Raises ConfigError."""
    return _context(ssl.PROTOCOL_TLS_CLIENT) if uses_tls() else None


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    """From the files as they are now, so that a renewed certificate is shown from the next connection on."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
    certificate, key, authority = (_path(name) for name in (_CERTIFICATE, _KEY, _AUTHORITY))
    _load(lambda: context.load_cert_chain(certificate, key), f"{_CERTIFICATE} ({certificate}) with {_KEY} ({key})")
    _load(lambda: context.load_verify_locations(authority), f"{_AUTHORITY} ({authority})")
    return context


def _path(name: str) -> str:
    path = os.environ.get(name)
    if not path:
        raise ConfigError(f"RAY_USE_TLS is set and {name} is not: name the file, as for Ray itself.", param=name)
    return path


def _load(how: Callable[[], None], what: str) -> None:
    try:
        how()
    except OSError as error:
        raise ConfigError(f"RAY_USE_TLS is set, and {what} cannot be used: {error}.") from None


def plainly(error: BaseException) -> str:
    """What went wrong with a connection, with what it means where that is TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate does not hold here: {error.verify_message} (every node needs one for its own address, "
            f"signed by the authority in {_AUTHORITY})"
        )
    if isinstance(error, ssl.SSLEOFError):
        return f"it ended the connection in TLS: it may not trust our certificate's authority ({_AUTHORITY})"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return f"it speaks no TLS ({reason}): RAY_USE_TLS has to be the same on every node"
        if "ALERT" in reason or "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason:
            return (
                f"one end refused the other's certificate ({reason}): {_AUTHORITY}'s authority has to have signed both"
            )
        return f"TLS failed: {reason}"
    return str(error)
