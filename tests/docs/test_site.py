"""The built site: strict, whole, and every formula rendered without any network."""

import functools
import html.parser
import http.server
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import gflow

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly from a copy, so that the checkout stays as it is."""
    work = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "docs", work / "docs", ignore=shutil.ignore_patterns("reports"))
    for name in ("mkdocs.yml", "gflow", "studies", "results"):
        if (ROOT / name).exists():
            (work / name).symlink_to(ROOT / name)
    # Not with --quiet: it silences the warnings that --strict counts.
    for command in (["gflow.study.publish"], ["mkdocs", "build", "--strict"]):
        run = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=work,
            env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert run.returncode == 0, run.stdout + run.stderr
    return work / "site"


@pytest.fixture(scope="module")
def server(site):
    """The site's address on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


class References(html.parser.HTMLParser):
    """What a page loads or links to."""

    def __init__(self):
        super().__init__()
        self.links, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        elif tag in ("img", "script", "source", "iframe") and attrs.get("src"):
            self.loads.append(attrs["src"])
        elif tag == "link" and attrs.get("rel") in ("stylesheet", "icon"):
            self.loads.append(attrs["href"])
        if attrs.get("srcset"):
            self.loads.append(attrs["srcset"].split()[0])


def pages(site):
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def references(page):
    parser = References()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_pages_load_nothing_from_elsewhere(site):
    found = {str(p.relative_to(site)): [u for u in references(p).loads if urlsplit(u).netloc] for p in pages(site)}
    assert {page: urls for page, urls in found.items() if urls} == {}


def test_every_local_reference_leads_to_a_file(site):
    broken = []
    for page in pages(site):
        here = "/" + page.relative_to(site).as_posix()
        parser = references(page)
        for url in parser.links + parser.loads:
            parts = urlsplit(urljoin(here, url))
            target = site / unquote(parts.path).lstrip("/")
            if not (parts.scheme or parts.netloc or target.is_file() or (target / "index.html").is_file()):
                broken.append(f"{here}: {url}")
    assert broken == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: formulas are checked where there is one")
def test_every_formula_renders_without_any_network(site, server, tmp_path):
    formulas, failed = 0, []
    for page in (p for p in pages(site) if "arithmatex" in p.read_text(encoding="utf-8")):
        dom = render(server + page.relative_to(site).as_posix(), tmp_path)
        rendered, wanted = (len(re.findall(f'class="{name}"', dom)) for name in ("katex", "arithmatex"))
        formulas += wanted
        if rendered != wanted or "data-math-ready" not in dom:
            failed.append(f"{page.relative_to(site)}: {rendered} of {wanted} formulas")
    assert failed == []
    assert formulas > 300


def render(url, profile):
    """The page's DOM after its scripts ran, in a browser that can reach this machine only."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    command = [str(CHROMIUM), *flags, offline, f"--user-data-dir={profile}", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def public_names(module):
    """What a module offers: its ``__all__``, else what it defines or imports from its own parts."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    own = (n for n, o in vars(module).items() if getattr(o, "__module__", "").startswith(module.__name__))
    return {name for name in own if not name.startswith("_")}


def where(module, name):
    """The paths under which a public name may be documented: the public one, or where it is defined."""
    home = getattr(getattr(module, name), "__module__", module.__name__)
    return {f"{module.__name__}.{name}", f"{home}.{name}"}


def test_every_public_name_has_an_entry_in_the_api_pages(site):
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "api").rglob("*.html"))
    documented = set(re.findall(r'id="(gflow\.[\w.]+)"', text))
    documented.add("gflow.velocity.S")  # a type variable
    modules = [importlib.import_module(info.name) for info in pkgutil.iter_modules(gflow.__path__, "gflow.")]
    missing = [f"{m.__name__}.{n}" for m in modules for n in public_names(m) if not where(m, n) & documented]
    assert missing == []
