"""Build the site: python -m tools.site [--only-pages]

Examples and samples are run by two processes and kept in build/site/cache by what they depend on.
`--only-pages` shows neither, which takes seconds. The site is build/site/html; Zensical checks its
links, and any warning fails the build.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tools.site import gallery, models, reference, samples
from tools.site.cache import ROOT
from tools.site.menu import menu
from tools.site.pages import SiteError, copy, sources

OUT = ROOT / "build" / "site"
DOCS, CACHE, HTML = OUT / "docs", OUT / "cache", OUT / "html"
ASSETS = [ROOT / "tools" / "site" / name for name in ("site.css", "site.js")]


def main() -> int:
    """Build the site; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only-pages", action="store_true", help="no gallery, no samples")
    given = parser.parse_args()
    started = time.time()
    site = tomllib.loads((ROOT / "zensical.toml").read_text())
    shutil.rmtree(DOCS, ignore_errors=True)
    DOCS.mkdir(parents=True)
    try:
        write_pages(site, pictures={} if given.only_pages else made())
        write_config(site)
    except SiteError as error:
        print(f"site: {error}", file=sys.stderr)
        return 1
    done = build()
    print(f"site: {HTML.relative_to(ROOT)} ({time.time() - started:.0f} s)", flush=True)
    return done


def made() -> dict[str, Path]:
    """The folders of the outputs of examples and models, by name; what is missing is made."""
    bundled = [r.name for r in models.rows() if r.tag and r.tag.status == "bundled"]
    os.environ["OMP_NUM_THREADS"] = "1"  # each of the processes has one
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        examples = {p.stem: pool.submit(gallery.executed, p, CACHE) for p in gallery.examples()}
        drawn = {name: pool.submit(samples.drawn, name, CACHE) for name in bundled}
        return {name: job.result() for name, job in (examples | drawn).items()}


def write_pages(site: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
    """All pages, as Markdown."""
    copy(sources(), DOCS, site["project"]["repo_url"])
    for asset in ASSETS:
        shutil.copy(asset, DOCS)
    for path, text in reference.pages():
        write(f"reference/{path}", text)
    write_models({name: p for name, p in pictures.items() if (p / samples.PICTURE).exists()})
    write_gallery({p.stem: pictures[p.stem] for p in gallery.examples() if p.stem in pictures})


def write_models(pictures: Mapping[str, Path]) -> None:
    """The pages of architectures and tags, with their pictures."""
    write("models/index.md", models.index_page(pictures))
    for row in models.rows():
        page = models.page_path(row)
        if row.tag is None:
            write(page, models.architecture_page(row, pictures))
        else:
            write(page, models.tag_page(row, pictures.get(row.name)))
        if row.name in pictures:
            picture = pictures[row.name] / samples.PICTURE
            shutil.copy(picture, (DOCS / page).parent / f"{row.name}.png")


def write_gallery(outputs: Mapping[str, Path]) -> None:
    """The pages of the examples, with their pictures."""
    if outputs:
        write("gallery/index.md", gallery.index(dict(outputs)))
        names = next(iter(gallery.groups().values()))
        shown = "\n".join(gallery.cards(names, dict(outputs), "gallery/"))
        home = (DOCS / "index.md").read_text().partition("\n## ")
        write("index.md", f"{home[0]}\n{shown}{home[1]}{home[2]}")
    for name, folder in outputs.items():
        write(f"gallery/{name}.md", gallery.page(gallery.EXAMPLES / f"{name}.py", folder))
        for picture in folder.glob("*.png"):
            shutil.copy(picture, DOCS / "gallery")


def write(path: str, text: str) -> None:
    """Write a page of the site."""
    (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
    (DOCS / path).write_text(text)


def write_config(site: Mapping[str, Any]) -> None:
    """Zensical's settings, with the menu; JSON is YAML."""
    project = {k: v for k, v in site["project"].items() if v != ""}
    first = site["first"] | {"gallery": [name for g in gallery.groups().values() for name in g]}
    places = {"docs_dir": "docs", "site_dir": "html", "nav": menu(site | {"first": first}, DOCS)}
    paths = [str(ROOT), *(str(p.parent) for p in ROOT.glob("plugins/*/src/*/"))]
    project["plugins"]["mkdocstrings"]["handlers"]["python"]["paths"] = paths
    (OUT / "mkdocs.yml").write_text(json.dumps(project | places, ensure_ascii=False, indent=1))


def build() -> int:
    """Build the HTML by Zensical, whose warnings are errors."""
    shutil.rmtree(HTML, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--clean",
        "--strict",
        "-f",
        "mkdocs.yml",
    ]
    return subprocess.run(command, cwd=OUT, env={**os.environ, "NO_COLOR": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
