"""Check the credentials of storage: X.509 proxy, bearer token, and the certificates of the authorities."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from af_kit.credentials.ca_certificates import STANDARD_FOLDERS, find_ca_certificates
from af_kit.credentials.credential import CredentialInfo, format_duration
from af_kit.credentials.environment_variables import user_value
from af_kit.credentials.tokens import find_token, read_token
from af_kit.credentials.x509 import default_proxy, find_proxy, read_proxy
from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning
from af_kit.errors import InputError

__all__ = ["check_authorities", "check_proxy", "check_sent", "check_token"]

# The most certificates and revocation lists to read: a folder has hundreds, and each takes a millisecond.
_MOST_READ = 600


def check_proxy() -> Iterator[Finding]:
    """Check the proxy: it exists, belongs to this user, is complete and has time left; its VO and groups."""
    check = "X.509 proxy"
    try:
        find_proxy()
    except InputError as error:
        if user_value("X509_USER_PROXY") or default_proxy().exists():
            yield problem(check, str(error), "Create one (`voms-proxy-init --voms VO`), or correct X509_USER_PROXY.")
        else:
            yield warning(check, "there is none", "Files on the grid require one: `voms-proxy-init --voms VO`.")
        return
    try:
        _, about = read_proxy()
    except InputError as error:
        yield problem(check, str(error), "Create a new one: `voms-proxy-init --voms VO`.")
        return
    yield _lifetime(check, about)
    if about.mode & 0o077:
        mode = f"{stat.S_IMODE(about.mode):04o}"
        yield warning(check, f"{about.source} has mode {mode}: other users can steal it", f"chmod 600 {about.source}")
    if about.voms is None:
        yield warning(
            "VO",
            "the proxy has no VOMS attributes",
            "Most storage requires a VO: use `voms-proxy-init --voms VO` instead of `grid-proxy-init`.",
        )
    else:
        groups = ", ".join(about.voms.fqans) or "no groups"
        ended = about.voms.until is not None and about.voms.until < datetime.now(UTC)
        if ended:
            yield problem(
                "VO",
                f"the attributes of {about.voms.vo} have expired",
                "Create a new proxy: `voms-proxy-init --voms VO`.",
            )
        else:
            yield ok("VO", f"{about.voms.vo}: {groups}")


def check_token() -> Iterator[Finding]:
    """Check the bearer token that WLCG's token discovery finds."""
    check = "bearer token"
    try:
        found = find_token()
    except InputError as error:
        if user_value("BEARER_TOKEN_FILE"):
            yield problem(check, str(error), "Get one (`oidc-token`, `htgettoken`), or unset BEARER_TOKEN_FILE.")
        else:
            yield ok(check, "there is none; only storage that requires tokens needs one")
        return
    try:
        _, about = read_token(found)
    except InputError as error:
        yield problem(check, str(error), "Get a new one: `oidc-token`, `htgettoken`.")
        return
    scope = f"; scope {' '.join(about.scope)}" if about.scope else ""
    yield _lifetime(check, about, scope)


def _lifetime(check: str, about: CredentialInfo, more: str = "") -> Finding:
    left = about.seconds_left
    if left <= 0:
        return problem(check, f"{about.source} expired {format_duration(-left)} ago ({about.who})", f"{about.renew}.")
    if about.until is None:
        return ok(check, f"{about.source} of {about.who}; without a time limit{more}")
    least = setting("doctor.min_lifetime_s")
    seen = f"{about.source} of {about.who}, {format_duration(left)} left{more}"
    # A token is valid for an hour or less, and an agent renews it.
    if left < (least if check == "X.509 proxy" else min(least, 300)):
        return warning(
            check, seen, f"{about.renew} before a long run. A session that has sent it sends the new one automatically."
        )
    return ok(check, seen)


def check_authorities() -> Iterator[Finding]:
    """Check the folder of CA certificates: it exists and is up to date."""
    check = "X509_CERT_DIR"
    found = find_ca_certificates()
    named = user_value("X509_CERT_DIR")
    if found is None:
        seen = f"{named} contains no certificates" if named else f"not set, and none at {' or '.join(STANDARD_FOLDERS)}"
        advice = (
            "XRootD needs this folder. Set the variable to the one in your site's documentation; CVMFS (grid.cern.ch) "
            "and the package ca-policy-egi-core contain it."
        )
        yield (problem if named else warning)(check, seen, advice)
        return
    variable, path = found
    if variable == "X509_CERT_BUNDLE":
        yield warning(check, f"only one file, {path}", "This is enough for https, but root:// needs the folder.")
        return
    if named and Path(path) != Path(named):
        yield warning(check, f"{named} contains no certificates; {path} is used", "Correct or unset X509_CERT_DIR.")
    yield from _certificates(check, Path(path))


def _certificates(check: str, folder: Path) -> Iterator[Finding]:
    now = datetime.now(UTC)
    files = sorted({path.resolve() for path in folder.glob("*.[0-9]")})
    ends = [end for path in files[:_MOST_READ] if (end := _end(path)) is not None]
    expired = sum(end < now for end in ends)
    seen = f"{folder}: {len(files)} authorities"
    if not ends:
        yield problem(check, f"{seen}, none of which can be read", "Set it to a folder of certificates in PEM format.")
    elif expired == len(ends):
        yield problem(check, f"{seen}, all expired", "The folder is not updated: report this to its admin.")
    else:
        yield ok(check, seen + (f", {expired} expired" if expired else ""))
    lists = sorted(folder.glob("*.r[0-9]"))
    updates = [update for path in lists[:_MOST_READ] if (update := _next_update(path)) is not None]
    late = sum(update < now for update in updates)
    if not lists:
        yield ok("CRLs", "no revocation lists: revoked certificates are accepted")
    elif updates and late > len(updates) / 2:
        yield warning(
            "CRLs",
            f"{late} of {len(updates)} revocation lists are outdated",
            "fetch-crl does not update this folder, and XRootD may refuse servers because of it: tell the admin.",
        )
    else:
        yield ok("CRLs", f"{len(lists)} revocation lists" + (f", {late} outdated" if late else ""))


def _end(path: Path) -> datetime | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _next_update(path: Path) -> datetime | None:
    from cryptography import x509

    try:
        content = path.read_bytes()
        load = x509.load_pem_x509_crl if b"-----BEGIN" in content else x509.load_der_x509_crl
        return load(content).next_update_utc
    except (OSError, ValueError):
        return None


def check_sent(client: Any) -> Iterator[Finding]:
    """Check the credentials that were sent to the workers, and how long they are valid."""
    from af_kit.plugins.lifetime import lifetimes

    sent = lifetimes(client)
    if not sent:
        yield ok("sent to the workers", "neither a proxy nor a token: workers cannot read files that require one")
    for one in sent:
        if one.seconds_left <= 0:
            seen = f"{one.what} of {one.who}, expired {format_duration(-one.seconds_left)} ago"
            yield problem("sent to the workers", seen, f"{one.renew} and send it: af_kit.send_proxy(client).")
        else:
            left = "" if one.seconds_left == float("inf") else f", {format_duration(one.seconds_left)} left"
            yield ok("sent to the workers", f"{one.what} of {one.who}{left}")
