"""Settings of schedulers: the kit's, unless the user has others."""

from __future__ import annotations

import dask

from af_kit.cluster.scheduler_settings import SHORT_LOGS, unless_configured

(KEY,) = SHORT_LOGS


def test_the_users_setting_wins():
    shipped = dask.config.get(KEY, config=dask.config.merge(*dask.config.defaults))
    assert shipped > SHORT_LOGS[KEY]
    for configured, expected in ((shipped, SHORT_LOGS), (500, {})):
        with dask.config.set({KEY: configured}):
            assert unless_configured(SHORT_LOGS) == expected
