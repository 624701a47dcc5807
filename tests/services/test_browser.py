"""A user's day at the hub in a real browser, with screenshots in tests/artefacts/."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright
from temporary import temporary_service

from services.common import is_running, processes_below, wait_until
from services.jupyterhub.server import PROGRAMS, JupyterHub, missing
from services.oidc.server import GROUP

# The deadline of each step, long enough for a busy machine
PATIENCE_S = 180
PICTURES = Path(__file__).parents[1] / "artefacts" / "browser"
# No sandbox, because tests run as root; no requests other than those of the page.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOTEBOOK = "01-dimuon-exploration.ipynb"

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def hub(require) -> Iterator[JupyterHub]:
    require("browser", [*PROGRAMS, "chromium"])
    if reason := missing():
        pytest.skip(f"browser is not installed: {reason}")
    with temporary_service(JupyterHub, "browser") as hub:
        yield hub.start(
            {
                "AF_KIT_EVENTS": "20000",
                "DASK_AF_KIT__CLUSTER__TIMEOUT_S": str(PATIENCE_S),
                "DASK_LABEXTENSION__DEFAULT__WORKERS": "1",
            }
        )


class Browser:
    """One window, with screenshots."""

    def __init__(self, hub: JupyterHub, page: Page) -> None:
        self.hub, self.page = hub, page

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def log_in(self, user: str, *, pictures: bool = False) -> None:
        self.page.goto(self.hub.url)
        if pictures:
            self.picture("01-hub")
        self.page.get_by_role("button", name="Sign in with Test IAM").click()
        self.page.get_by_label("Name").fill(user)
        self.page.get_by_label("Password").fill(self.hub.oidc.password(user))
        if pictures:
            self.picture("02-login")
        self.page.get_by_role("button", name="Log in").click()

    def open_lab(self) -> None:
        """Open JupyterLab with no tabs from an earlier session."""
        self.page.wait_for_url("**/user/alice/lab**")
        self.page.goto(f"{self.hub.url}/user/alice/lab?reset")
        self.page.locator(".jp-Launcher").wait_for()

    def open_panel(self) -> None:
        self.page.locator(".jp-SideBar [data-id=dask-dashboard-launcher]").click()
        self.page.locator(".dask-DaskClusterManager").wait_for()

    def new_cluster(self) -> None:
        self.page.locator(".dask-DaskClusterManager").get_by_text("NEW").click()

    @property
    def cluster(self) -> Locator:
        return self.page.locator(".dask-ClusterListingItem")

    def scale(self, *, workers: int | None = None, limits: tuple[int, int] | None = None) -> None:
        self.cluster.get_by_role("button", name="SCALE").click()
        dialog = self.page.locator(".jp-Dialog")
        numbers = dialog.locator(".dask-ScalingInput")
        if limits:
            dialog.locator(".dask-ScalingCheckbox").check()
            numbers.nth(2).fill(str(limits[1]))
            numbers.nth(1).fill(str(limits[0]))
        else:
            dialog.locator(".dask-ScalingCheckbox").uncheck()
            numbers.nth(0).fill(str(workers))
        self.picture("05-scale" if workers else "11-adapt")
        dialog.get_by_role("button", name="SCALE").click()

    def open_pane(self, name: str) -> Locator:
        self.page.locator(".dask-DashboardListing-item").get_by_role("button", name=name, exact=True).click()
        frame = self.page.locator(".dask-DaskDashboard-widget:not(.lm-mod-hidden) iframe")
        frame.wait_for()
        return frame

    def rows(self, address: str) -> int:
        """Return the number of rows in the figure of a dashboard pane: rectangles of the task stream, progress bars."""
        frames = [frame for frame in self.page.frames if frame.url.endswith(address)]
        if not frames:  # the pane is not open yet
            return 0
        return frames[0].evaluate(
            """() => {
                const sources = window.Bokeh?.documents?.[0]?._all_models?.values() ?? [];
                const lengths = [...sources].filter(model => model.type === "ColumnDataSource")
                    .map(source => source.get_length() ?? 0);
                return Math.max(0, ...lengths);
            }"""
        )

    def open_notebook(self, name: str) -> None:
        self.page.locator(".jp-SideBar [data-id=filebrowser]").click()
        files = self.page.locator(".jp-DirListing-item")
        files.filter(has_text=re.compile("^notebooks")).first.dblclick()
        files.filter(has_text=name).dblclick()
        self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.wait_for()

    def menu(self, *names: str) -> None:
        self.page.locator(".lm-MenuBar-item").get_by_text(names[0], exact=True).click()
        self.page.locator(".lm-Menu-item:visible").get_by_text(names[1], exact=True).last.click()

    def run_all_cells(self) -> None:
        """Run all cells once the kernel is idle; before that, JupyterLab would ask which kernel to use."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
        self.menu("Run", "Run All Cells")

    def until(self, condition: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S) -> Any:
        """Wait as `wait_until` does, but let the page's events continue."""

        def check() -> Any:
            self.page.wait_for_timeout(500)
            return condition()

        return wait_until(check, what, within_s=within_s)


@pytest.fixture(scope="module")
def browser(hub, require) -> Iterator[Browser]:
    program = require("browser", ["chromium"])["chromium"]
    profile = tempfile.mkdtemp(prefix="af-kit-chromium-")
    shutil.rmtree(PICTURES, ignore_errors=True)
    with sync_playwright() as driver:
        window = driver.chromium.launch_persistent_context(
            profile, executable_path=program, args=FLAGS, viewport={"width": 1400, "height": 900}
        )
        window.set_default_timeout(PATIENCE_S * 1000)
        expect.set_options(timeout=PATIENCE_S * 1000)
        try:
            yield Browser(hub, window.pages[0])
        finally:
            window.close()
            shutil.rmtree(profile, ignore_errors=True)


def test_a_user_who_is_not_in_the_group_reads_the_reason(hub, browser):
    browser.log_in("mallory")
    expect(browser.page.get_by_text(f"this hub is for the members of its group '{GROUP}'")).to_be_visible()
    browser.picture("20-refused")
    browser.page.context.clear_cookies()


def test_a_cluster_that_does_not_start_shows_the_reason(hub, browser):
    settings = hub.home("alice") / ".config" / "dask" / "af_kit.yaml"
    settings.parent.mkdir(parents=True)
    settings.write_text("af_kit: {cluster: {backend: lokal}}\n")
    try:
        browser.log_in("alice")
        browser.open_lab()
        browser.open_panel()
        browser.new_cluster()
        dialog = browser.page.locator(".jp-Dialog")
        expect(dialog).to_contain_text("'lokal' is not a cluster backend. Did you mean 'local'?")
        browser.picture("21-no-cluster")
        dialog.get_by_role("button", name="Close").click()
        expect(browser.page.locator(".dask-DaskClusterManager").get_by_role("button", name="NEW")).to_be_enabled()
    finally:
        settings.unlink()
    browser.page.goto(f"{hub.url}/hub/logout")  # which ends her server
    browser.page.context.clear_cookies()
    browser.until(lambda: not _below(hub, b"singleuser"), "Her server does not end with the logout")


def test_a_day_at_the_hub(hub, browser):
    page = browser.page
    browser.log_in("alice", pictures=True)
    browser.open_lab()
    browser.picture("03-lab")

    browser.open_panel()
    browser.new_cluster()
    expect(browser.cluster).to_contain_text("Number of Workers: 1")
    page.locator(".dask-DashboardListing-item").first.wait_for()
    browser.picture("04-new")
    browser.scale(workers=2)
    expect(browser.cluster).to_contain_text("Number of Workers: 2")
    address = re.search(r"tcp://[\d.]+:\d+", browser.cluster.inner_text())[0]

    browser.open_pane("Task Stream")
    browser.open_notebook(NOTEBOOK)
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    browser.picture("06-notebook")
    browser.run_all_cells()
    browser.open_panel()
    page.locator(".lm-TabBar-tab").filter(has_text="Task Stream").click()
    browser.until(lambda: browser.rows("/individual-task-stream") > 4, "No tasks in the task stream")
    browser.picture("07-task-stream")

    page.locator(".lm-TabBar-tab").filter(has_text=NOTEBOOK).click()
    cells = browser.until(lambda: _executed(browser), "The notebook does not end", within_s=600)
    printed = "".join(_printed(cell) for cell in cells)
    assert f"The cluster of the Dask panel, {address}" in printed
    browser.picture("08-notebook-end")
    plot = page.locator('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output img[width="800"]')
    browser.until(lambda: _is_visible(plot), "The spectrum is not visible")
    browser.picture("09-plot")

    browser.scale(limits=(1, 2))
    expect(browser.cluster).to_contain_text("Maximum Workers: 2")
    expect(browser.cluster).to_contain_text("Number of Workers: 1")  # there is nothing to do
    browser.picture("12-adapted")

    processes = _below(hub, b"multiprocessing.spawn")
    assert processes
    browser.cluster.get_by_role("button", name="SHUTDOWN").click()
    expect(browser.cluster).to_have_count(0)
    browser.picture("13-shutdown")
    wait_until(
        lambda: not [p for p in processes if is_running(p)], "The workers do not end with their cluster", within_s=60
    )

    _check_a_cluster_of_a_notebook(browser)

    browser.menu("File", "Log Out")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Sign in with Test IAM")).to_be_visible()
    browser.picture("14-logged-out")
    page.goto(f"{hub.url}/user/alice/lab")
    expect(page.get_by_role("button", name="Sign in with Test IAM")).to_be_visible()


def _is_visible(image: Locator) -> bool:
    """Return whether an image is in the window; if not, scroll to it. It moves while cells above it are drawn."""
    return image.evaluate(
        """image => {
            const {top, bottom} = image.getBoundingClientRect();
            const visible = image.complete && image.naturalWidth > 300 && top > 0 && bottom < window.innerHeight;
            if (!visible) image.scrollIntoView({block: "center"});
            return visible;
        }"""
    )


def _check_a_cluster_of_a_notebook(browser: Browser) -> None:
    """Open the dashboard of a `connect()` in a notebook with the magnifying glass, and by the scheduler's address."""
    page = browser.page
    code = 'import af_kit\nclient = af_kit.connect("local", n_workers=1)\nclient.scheduler.address'
    mine = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    mine.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(mine, browser.hub.home("alice") / "notebooks" / "mine.ipynb")
    page.locator(".jp-SideBar [data-id=filebrowser]").click()
    page.get_by_title("Refresh the file browser").or_(page.get_by_role("button", name="Refresh")).first.click()
    page.locator(".jp-DirListing-item").filter(has_text="mine.ipynb").dblclick()
    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    notebook.locator(".jp-Cell").first.wait_for()
    browser.run_all_cells()
    expect(notebook.locator(".jp-OutputArea")).to_contain_text("tcp://")
    address = re.findall(r"tcp://[\d.]+:\d+", notebook.locator(".jp-OutputArea").inner_text())[-1]

    browser.open_panel()
    field = page.locator(".dask-URLInput input")
    page.locator(".dask-URLInput").get_by_role("button").click()
    expect(field).to_have_value(re.compile(r"/user/alice/proxy/127\.0\.0\.1:\d+/"))
    page.locator(".dask-DashboardListing-item").first.wait_for()
    browser.picture("15-by-its-link")
    field.fill("http://127.0.0.1:1/")
    field.press("Enter")
    expect(page.get_by_text("Dashboard not connected")).to_be_visible()
    field.fill(address)
    field.press("Enter")
    page.locator(".dask-DashboardListing-item").first.wait_for()
    pane = browser.open_pane("Progress")
    expect(pane).to_have_attribute("src", re.compile(r"/user/alice/proxy/127\.0\.0\.1:\d+/individual-progress"))
    browser.picture("16-by-its-address")


def _executed(browser: Browser) -> list[dict[str, Any]] | None:
    """Return the code cells of the notebook's file once all have run."""
    browser.page.keyboard.press("Control+s")
    try:
        content = json.loads((browser.hub.home("alice") / "notebooks" / NOTEBOOK).read_text())
    except ValueError:  # it is being written
        return None
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert not errors, "\n".join(errors[0]["traceback"])
    return cells if all(cell["execution_count"] for cell in cells) else None


def _printed(cell: dict[str, Any]) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def _below(hub: JupyterHub, word: bytes) -> list[dict[str, int]]:
    """Return the processes below the hub whose command line contains a word."""

    def contains(process: dict[str, int]) -> bool:
        try:
            return word in Path(f"/proc/{process['pid']}/cmdline").read_bytes()
        except OSError:
            return False

    return [process for process in processes_below(hub.process("hub")) if contains(process)]
