"""The site's sources in one folder, and the site that Sphinx makes of them."""

from __future__ import annotations

from pathlib import Path

from builder import commands, configuration, pages, reference

CONFIGURATION = pages.ROOT / "docs"


def write_sources(folder: Path, *, executed: Path | None = None) -> None:
    """Write all pages into a folder; a file whose content is the same is left alone, so that Sphinx skips its page.

    Parameters
    ----------
    folder : Path
        Files in it that belong to no page are removed.
    executed : Path, optional
        A folder with executed copies of the notebooks; without it, they are shown without their outputs.
    """
    files: dict[str, bytes] = {}
    files_at = pages.repository()
    for source, target in pages.where().items():
        path = pages.ROOT / source
        if source == "README.md":
            continue
        if path.suffix == ".ipynb":
            copy = path if executed is None else executed / path.name
            files[target] = pages.notebook_on_site(copy, source, files_at=files_at).encode()
        elif path.suffix == ".md":
            files[target] = pages.on_site(path.read_text(encoding="utf-8"), source, files_at=files_at).encode()
        else:
            files[target] = path.read_bytes()
    files |= {f"{name}.rst": text.encode() for name, text in reference.pages().items()}
    files["reference/configuration.md"] = configuration.page().encode()
    files["reference/command-line.md"] = commands.page().encode()
    _synchronise(folder, files)


def _synchronise(folder: Path, files: dict[str, bytes]) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def run_sphinx(sources: Path, html: Path, *, doctrees: Path) -> int:
    """Make the site with Sphinx, warnings as errors, and return its exit code."""
    from sphinx.cmd.build import main

    options = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--jobs=auto"]
    folders = [f"--conf-dir={CONFIGURATION}", f"--doctree-dir={doctrees}", str(sources), str(html)]
    return main([*options, "--builder=html", *folders])
