"""The pages of Start and Theory: their Python runs, and Chinese pages show the same code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "index.md", *sorted(DOCS.glob("start/*.md")), *sorted(DOCS.glob("theory/*.md"))]
CHINESE = sorted((DOCS / "zh").rglob("*.md"))


def name(page):
    return str(page.relative_to(DOCS))


def blocks(page, language=r"\w*"):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_the_python_of_a_page_runs(page, tmp_path):
    """All blocks of a page in one process, in their order; what they claim is asserted in them."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", "\n".join(blocks(page, "python"))]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_page_of_theory_has_three_tasks():
    for page in DOCS.glob("**/theory/*.md"):
        assert len(re.findall(r"^### \d\. ", page.read_text(), re.MULTILINE)) == 3, page


@pytest.mark.parametrize("page", CHINESE, ids=name)
def test_a_chinese_page_shows_code_of_the_english_one(page):
    english = DOCS / page.relative_to(DOCS / "zh")
    assert [block for block in blocks(page) if block not in blocks(english)] == []


def test_start_and_theory_are_there_in_chinese():
    for page in PAGES:
        assert (DOCS / "zh" / page.relative_to(DOCS)).exists(), page


@pytest.mark.parametrize("page", CHINESE, ids=name)
def test_chinese_text_has_full_width_punctuation(page):
    """Half-width commas, stops and brackets next to a Han character are slips."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", page.read_text(), flags=re.DOTALL)
    assert re.findall(r"[\u4e00-\u9fff][,.;:?!()]|[,;:?!()][\u4e00-\u9fff]", text) == []
