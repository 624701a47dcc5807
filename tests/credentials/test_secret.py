from __future__ import annotations

import copy
import io
import logging
import pickle
import pprint
import stat
import subprocess
import sys
import traceback

import cloudpickle
import pytest
from certificates import Authority, Holder, jwt, proxy
from distributed.protocol import serialize

from af_kit.credentials.secret import SecretBytes, remove_secret, secret_path, write_secret
from af_kit.credentials.tokens import parse_token
from af_kit.credentials.x509 import parse_proxy
from af_kit.errors import InputError

# ---- the container


def test_nothing_shows_the_content():
    secret = SecretBytes(b"hunter2")
    assert secret.reveal() == b"hunter2"
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>60}",
        str([secret]),
        f"{[secret]}",
        pprint.pformat(secret),
    ]
    shown += [repr(InputError(secret)), str(dir(secret)), repr(serialize(secret)[0]), str(secret._reveal)]
    stream = io.StringIO()
    logger = logging.Logger("shown")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%s %r", secret, secret, extra={"more": secret})
    shown.append(stream.getvalue())
    assert not [text for text in shown if "hunter2" in text]
    assert "7 bytes, not shown" in repr(secret)


def test_secrets_are_compared_and_have_a_digest():
    assert SecretBytes(b"a") == SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"
    assert SecretBytes(b"a").digest() == SecretBytes(b"a").digest() != SecretBytes(b"b").digest()
    assert len({SecretBytes(b"a"), SecretBytes(b"a")}) == 1


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, lambda secret: cloudpickle.dumps(lambda: secret)])
def test_a_secret_is_not_pickled(dumps):
    with pytest.raises(TypeError, match="A secret is not pickled"):
        dumps(SecretBytes(b"hunter2"))


def test_copies_are_the_same_object():
    secret = SecretBytes(b"hunter2")
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


# ---- the file

WATCHED = """
import os, stat, sys
from pathlib import Path
from af_kit.credentials.secret import SecretBytes, write_secret
os.umask(0)
target = Path(sys.argv[1]) / "folder" / "name"
events, looking = [], []
def hook(event, args):
    if event.startswith(("open", "os.")) and not looking:
        events.append(event)
        looking.append(True)
        for path in [target.parent, *(target.parent.glob("*") if target.parent.exists() else [])]:
            if path.exists() and path.stat().st_mode & 0o077:
                print("OPEN TO OTHERS", event, path, oct(path.stat().st_mode))
        if not target.exists() or target.read_bytes() not in (b"first", b"second"):
            print("NOT WHOLE", event)
        looking.clear()
write_secret(target, SecretBytes(b"first"))
inode = target.stat().st_ino
sys.addaudithook(hook)
write_secret(target, SecretBytes(b"second"))
write_secret(target.parent.parent / "other" / "name", SecretBytes(b"third"))
looking.append(True)
print(*events)
print(target.read_bytes(), inode != target.stat().st_ino, oct(target.stat().st_mode), os.listdir(target.parent))
"""


def test_the_file_is_always_private_and_never_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "OPEN TO OTHERS" not in done.stdout
    assert "NOT WHOLE" not in done.stdout
    events, result = done.stdout.splitlines()
    assert "os.rename" in events  # the hook works
    assert "os.chmod" not in events
    assert result == "b'second' True 0o100600 ['name']"
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o700


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    target = secret_path(tmp_path, "name")
    target.mkdir(parents=True)
    target.parent.chmod(0o700)
    with pytest.raises(OSError, match="directory"):
        write_secret(target, SecretBytes(b"hunter2"))
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_is_a_link_or_open_to_others_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "af-secrets").symlink_to("elsewhere")
    with pytest.raises(OSError):  # noqa: PT011 - ENOTDIR or ELOOP
        write_secret(secret_path(tmp_path, "name"), SecretBytes(b"hunter2"))
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "af-secrets").unlink()
    (tmp_path / "af-secrets").mkdir()
    (tmp_path / "af-secrets").chmod(0o750)
    with pytest.raises(PermissionError, match=r"open to others .*mode 0750"):
        write_secret(secret_path(tmp_path, "name"), SecretBytes(b"hunter2"))


def test_the_file_and_its_empty_folder_are_removed(tmp_path):
    target = secret_path(tmp_path, "name")
    write_secret(target, SecretBytes(b"hunter2"))
    remove_secret(target)
    assert not list(tmp_path.iterdir())
    remove_secret(target)


# ---- exceptions


def test_no_exception_shows_a_secret_even_with_local_variables():
    authority = Authority()
    alice = authority.user()
    good, other = proxy(alice), proxy(alice)
    token = jwt(exp="soon")
    damaged = good.pem().replace(b"PRIVATE KEY-----\n", b"PRIVATE KEY-----\nAAAA", 1)
    bad = [
        alice.pem(),
        good.pem(password=b"pass phrase"),
        Holder(good.certificate, other.key, good.above).pem(),
        Holder(good.certificate, good.key).pem(),
        damaged,
        damaged.replace(b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\nAAAA"),
        b"".join(damaged.partition(b"-----BEGIN RSA")[1:]),
    ]
    seen = []
    for parse, content in [*((parse_proxy, content) for content in bad), (parse_token, token), (parse_token, bad[0])]:
        hidden = SecretBytes(content)
        try:
            parse(hidden, "/tmp/here")
        except InputError as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            ours = [frame for frame in shown.stack if "af_kit" in frame.filename]
            assert ours
            assert any(frame.locals for frame in ours)
            seen.append(str(shown) + repr([frame.locals for frame in ours]))
    assert len(seen) == 9
    lines = [*alice.secret_lines(), *good.secret_lines(), *other.secret_lines(), token.decode().split(".")[2]]
    assert not [line for line in lines if any(line in text for text in seen)]
