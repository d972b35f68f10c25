"""The site in a browser: nothing wider than the page, no console errors, all pictures load.

A page with frames of 1,280 and 390 px loads the pages of the site in Debian's chromium and writes
down what it sees. To look at them: `make site`, then open build/site/html.
"""

import json
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HTML = ROOT / "build" / "site" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = (1280, 390)
SHOWN = [
    "",
    "start/*/",
    "guides/*/",
    "gallery/",
    "gallery/likelihood_kinds/",
    "gallery/first_samples/",
    "models/",
    "models/flows/",
    "models/*/vae/",
    "models/*/edm/emoji/",
    "models/*/edm/cifar10_vp/",
    "models/*/r3gan/emoji/",
    "reference/",
    "reference/zoo_core/models-and-sampling/",
    "reference/plugin/declarations/",
    "reference/zoo_diffusion/",
    "reference/components/",
    "reference/recipe-keys/",
    "reference/command/",
    "theory/*/",
    "benchmarks/",
    "design/",
    "development/changelog/",
    "zh/**/",
]
PROBE = """<!doctype html><meta charset="utf-8"><pre id="out">unfinished</pre><script>
const wait = ms => new Promise(done => setTimeout(done, ms));
async function look(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.src = "/" + page;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const inside = frame.contentDocument, images = [...inside.images];
  images.forEach(image => image.loading = "eager");
  for (let i = 0; i < 100 && !images.every(image => image.complete); i++) await wait(50);
  await wait(100);
  const edge = frame.contentWindow.innerWidth;
  const found = {
    page, width, title: inside.title, wide: inside.documentElement.scrollWidth - edge,
    broken: images.filter(image => !image.naturalWidth).map(image => image.src),
    outside: [...inside.querySelectorAll("[src],link[href]")].map(e => e.src || e.href)
      .filter(a => a.startsWith("http") && !a.startsWith(location.origin)),
    empty: images.filter(image => !image.alt).map(image => image.src),
  };
  frame.remove();
  return found;
}
(async () => {
  const found = [];
  for (const page of PAGES) for (const width of WIDTHS) found.push(await look(page, width));
  document.getElementById("out").textContent = JSON.stringify(found);
})();
</script>"""


class Server(SimpleHTTPRequestHandler):
    """The files of the site, and the page that looks at them."""

    def __init__(self, *args, probe, **kwargs):
        self.probe = probe
        super().__init__(*args, **kwargs)

    def do_GET(self):
        if self.path != "/probe":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.probe.encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def html():
    """The built site."""
    if find_spec("zensical") is None:
        pytest.skip("zensical is not installed: make .venv/docs")
    built = subprocess.run(
        [sys.executable, "-m", "tools.site"], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return HTML


def pages(html):
    """The pages of SHOWN that patterns stand for, by their addresses."""
    found = {p.parent.relative_to(html).as_posix() for p in html.rglob("index.html")}
    for pattern in SHOWN:
        named = {"." if not pattern else pattern.rstrip("/")} & found
        matched = {
            p.parent.relative_to(html).as_posix() for p in html.glob(f"{pattern}index.html")
        }
        assert named | matched, f"the site has no page {pattern!r}"
        yield from sorted(named | matched)


def looked_at(html, profile):
    """What the browser saw of each page at each width, and what it wrote to its console."""
    addresses = ["" if p == "." else f"{p}/" for p in dict.fromkeys(pages(html))]
    probe = PROBE.replace("PAGES", json.dumps(addresses)).replace("WIDTHS", json.dumps(WIDTHS))
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Server, directory=str(html), probe=probe)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom"]
    command += ["--virtual-time-budget=600000", f"http://127.0.0.1:{server.server_port}/probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    finally:
        server.shutdown()
    written = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert written, done.stderr[-2000:]
    text = written[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text), re.findall(r".*CONSOLE.*", done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; Debian: apt-get install chromium")
def test_pages_fit_a_screen_and_a_telephone_and_load_everything_from_the_site(html, tmp_path):
    found, console = looked_at(html, tmp_path)
    assert len(found) >= 2 * len(SHOWN)
    assert console == []
    assert [(f["page"], f["width"], f["wide"]) for f in found if f["wide"] > 0] == []
    assert {src for f in found for src in f["broken"]} == set()
    assert {src for f in found for src in f["outside"]} == set()
    assert {src for f in found for src in f["empty"]} == set(), "pictures without a text"


@pytest.mark.slow
def test_the_gallery_shows_all_its_examples_and_their_pictures(html):
    examples = {p.stem for p in (ROOT / "examples" / "gallery").glob("[a-z]*.py")}
    index = (html / "gallery" / "index.html").read_text()
    assert len(examples) >= 15
    assert [e for e in sorted(examples) if f'href="{e}/"' not in index] == []
    for example in examples:
        assert ".png" in (html / "gallery" / example / "index.html").read_text(), example


@pytest.mark.slow
def test_every_architecture_and_tag_has_a_page_and_bundled_ones_show_samples(html):
    from zoo_core.catalog.registry import current

    for row in current().list_models("*"):
        tag = "" if row.tag is None else f"/{row.tag.tag}"
        page = html / "models" / row.spec.family / f"{row.spec.arch}{tag}" / "index.html"
        assert page.exists(), row.name
        if row.tag is not None and row.tag.status == "bundled":
            assert f'alt="samples of {row.name}, seed 0"' in page.read_text()
