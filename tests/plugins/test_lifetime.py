from __future__ import annotations

from certificates import proxy, write

from af_kit.plugins.lifetime import lifetimes, shortfall
from af_kit.plugins.proxy import send_proxy


def test_a_run_that_outlasts_the_proxy_is_warned_about(client, alice, folder, tmp_path, clock):
    assert shortfall(client, 1e9) is None  # nothing was sent
    source = write(tmp_path / "x509up", proxy(alice, 4000).pem())
    send_proxy(client, source, cert_dir=folder, watch=False)
    (lifetime,) = lifetimes(client)
    assert 3900 < lifetime.seconds_left <= 4000
    assert shortfall(client, 3000) is None
    assert "expires in 1 h 6 min, but this run will take 3 h 0 min" in shortfall(client, 3 * 3600)
    clock.ahead_s = 5000
    assert "expired 16 min ago: they can no longer open files" in shortfall(client)
