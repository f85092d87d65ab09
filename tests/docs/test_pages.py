"""The pages are short, linked, and agree with the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cascade import plugins
from cascade.analysis.leaderboard import SORTS
from cascade.datasets import demo
from cascade.version import __version__
from tests.support import doc_pages
from tests.support.doc_pages import GENERATED, PAGES, ROOT
from tests.test_architecture import LAYERS

LONGEST = 150  # lines
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as the site and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", doc_pages.prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()) for heading in headings]
    return {re.sub(r"\s+", "-", heading.strip()) for heading in plain}


def test_there_are_pages() -> None:
    assert len(PAGES) >= 19


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (GENERATED, "CHANGELOG.md")])
def test_a_page_is_short(page: str) -> None:
    assert len(doc_pages.text_of(page).splitlines()) <= LONGEST


@pytest.mark.parametrize("page", [*PAGES, "llms.txt", "benchmarks/README.md", "cache/README.md"])
def test_the_links_resolve(page: str) -> None:
    for link in _LINK.findall(doc_pages.prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_of_the_project_exist(page: str) -> None:
    named = re.findall(
        r"`((?:cascade|tests|scripts|benchmarks|prompts|examples|docs)/[\w./-]*)`", doc_pages.prose(page)
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_site_has_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(f"docs/{name}" for name in re.findall(r"[\w-]+\.md", json.dumps(nav))) == [
        page for page in PAGES if page.startswith("docs/")
    ]


@pytest.mark.parametrize("index", ["README.md", "llms.txt"])
def test_an_index_links_to_every_page(index: str) -> None:
    links = set(_LINK.findall((ROOT / index).read_text(encoding="utf-8")))
    assert {page for page in PAGES if page.startswith("docs/")} - links <= {"docs/index.md"}


@pytest.mark.parametrize("page", [*PAGES, "llms.txt", "benchmarks/README.md"])
def test_one_word_stands_for_one_thing(page: str) -> None:
    if page == "CHANGELOG.md":
        pytest.skip("it is history")
    text = doc_pages.text_of(page).replace("`unparsed`", "").replace('"unparsed"', "")
    text = text.replace(".unparsed", "")  # JSON and the summary keep the key
    assert re.findall(r"\b(?:ears|brain|sittings?|unparsed)\b", text, re.IGNORECASE) == []


# Facts


def test_the_readme_has_a_line_for_each_command() -> None:
    listed = [command.name[0] for command in doc_pages.inline_commands("README.md") if command.name]
    table = re.findall(r"^\| `cascade (\w+)` \|", doc_pages.text_of("README.md"), re.MULTILINE)
    commands = set(re.findall(r"^### cascade (\w+)", doc_pages.text_of(GENERATED), re.MULTILINE))
    assert set(table) == commands and len(table) == len(commands)
    assert set(listed) >= commands


def test_the_readme_counts_the_demo_set() -> None:
    items = demo.load().items
    text = " ".join(doc_pages.text_of("README.md").split())
    assert f"captions the {len({item.audio for item in items})} clips" in text
    assert f"asks its {len(items)} questions" in text


def test_the_captions_page_lists_every_engine() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \|", doc_pages.text_of("docs/captions.md"), re.MULTILINE)
    slots = {name: plugins.find("captioners", name).SLOT for name in plugins.CAPTIONERS}
    assert dict(rows) == {**slots, "bundle": "any"}


def test_the_reports_page_lists_what_a_leaderboard_is_sorted_by() -> None:
    assert all(f"`{name}`" in doc_pages.text_of("docs/reports.md") for name in SORTS)


def test_the_rooms_are_the_folders() -> None:
    (tree,) = [block for block in doc_pages.blocks("docs/architecture.md", "text") if block.startswith("cascade/")]
    named = re.findall(r"^  ([\w.]+)/? ", tree, re.MULTILINE)
    there = [path.name for path in (ROOT / "cascade").iterdir() if not path.name.startswith("_")]
    assert sorted(named) == sorted(set(there) - {"py.typed"})


def test_the_direction_of_imports_is_the_one_that_is_held() -> None:
    blocks = doc_pages.blocks("docs/architecture.md", "text")
    (layers,) = [block for block in blocks if block.startswith("version, ")]
    documented = [set(line.split(", ")) for line in layers.splitlines()]
    assert [*documented, {"__init__", "__main__"}] == list(LAYERS)


def test_the_files_of_the_walks_exist() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", doc_pages.prose("docs/architecture.md"))
    assert len(named) > 15
    assert [path for path in named if not any((place / path).exists() for place in (ROOT, ROOT / "cascade"))] == []


@pytest.fixture(scope="module")
def corpus() -> dict[str, float]:
    """The figures of the reply corpus, as its benchmark prints them."""
    command = [sys.executable, str(ROOT / "benchmarks" / "extraction.py"), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize("page", ["docs/replies.md", "benchmarks/README.md"])
def test_the_figures_of_the_reply_corpus_are_current(page: str, corpus: dict[str, float]) -> None:
    text = doc_pages.text_of(page)
    assert f"{corpus['invented rows']:,.0f}".replace(",", " ") in text
    assert f"{100 * corpus['invented read_right']:.1f} %" in text
    assert corpus["invented wrong"] == 0


def test_the_version_is_cited() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__
    assert f"version = {{{__version__}}}" in doc_pages.text_of("README.md")


def test_the_make_targets_exist() -> None:
    makefile = Path(ROOT, "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([\w-]+)", doc_pages.text_of(page), re.MULTILINE)
        assert set(named) <= targets, page
