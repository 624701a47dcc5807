"""The hub's configuration, with addresses and secrets from the file that ``server.py`` writes."""

import json
import os
import shutil
import sys
from pathlib import Path

c = get_config()  # noqa: F821 - defined by JupyterHub
settings = json.loads(Path(os.environ["AF_KIT_HUB_SETTINGS"]).read_text())
folder = Path(settings["folder"])

# Everything listens on this machine only.
hub = f"http://127.0.0.1:{settings['port']}"
c.JupyterHub.bind_url = hub
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings['hub_port']}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings['proxy_port']}"
c.ConfigurableHTTPProxy.auth_token = settings["proxy_token"]
c.ConfigurableHTTPProxy.command = settings["proxy"]
c.ConfigurableHTTPProxy.pid_file = str(folder / "proxy.pid")
c.ConfigurableHTTPProxy.should_start = True
c.JupyterHub.cookie_secret = bytes.fromhex(settings["cookie_secret"])
c.JupyterHub.db_url = f"sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cleanup_proxy = True
c.JupyterHub.cleanup_servers = True
c.JupyterHub.shutdown_on_logout = True  # a server that keeps running keeps its cluster

# The members of one group of the provider may log in.
c.JupyterHub.authenticator_class = "generic-oauth"
c.CryptKeeper.keys = [settings["crypt_key"]]
oauth = c.GenericOAuthenticator
oauth.login_service = settings["organisation"]
oauth.client_id = settings["client"]
oauth.client_secret = settings["client_secret"]
oauth.oauth_callback_url = f"{hub}/hub/oauth_callback"
oauth.authorize_url = f"{settings['issuer']}/auth"
oauth.token_url = f"{settings['issuer']}/token"
oauth.userdata_url = f"{settings['issuer']}/me"
oauth.logout_redirect_url = (
    f"{settings['issuer']}/session/end?client_id={settings['client']}&post_logout_redirect_uri={hub}/hub/login"
)
oauth.scope = ["openid", "profile", "email"]
oauth.username_claim = "preferred_username"
oauth.enable_auth_state = True
oauth.manage_groups = True
oauth.auth_state_groups_key = "oauth_user.groups"
oauth.allowed_groups = {settings["group"]}
oauth.custom_403_message = (
    f"You have an account at {settings['organisation']}, but this hub is for the members of its group "
    f"{settings['group']!r}. Ask the group's managers for membership, then log in again."
)


def first_start(spawner):
    """Create a new user's home with the notebooks; existing files stay."""
    home = folder / "homes" / spawner.user.name
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    notebooks = home / "notebooks"
    if not notebooks.exists():
        shutil.copytree(settings["notebooks"], notebooks, ignore=shutil.ignore_patterns("out", ".ipynb_checkpoints"))
    # Otherwise JupyterLab asks whether it may fetch news from the network.
    notification = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    if not notification.exists():
        notification.parent.mkdir(parents=True, exist_ok=True)
        notification.write_text('{"fetchNews": "false", "checkForUpdates": false}')


# Users' servers are processes of the user who started the hub: only for tests.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "homes" / "{username}")
c.Spawner.pre_spawn_hook = first_start
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"] if os.getuid() == 0 else []
c.Spawner.ip = "127.0.0.1"
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = c.Spawner.http_timeout = 180
c.Spawner.environment = settings["environment"]
c.Spawner.env_keep = ["PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV"]
