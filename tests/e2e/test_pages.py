"""Pages of the documentation: their code runs, and Chinese pages show the same code."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "index.md", *sorted(DOCS.glob("start/*.md")), *sorted(DOCS.glob("theory/*.md"))]
GUIDES = [DOCS / "guides" / f"{name}.md" for name in ("training", "comparison")]
CHINESE = sorted((DOCS / "zh").rglob("*.md"))


def name(page):
    return str(page.relative_to(DOCS))


def blocks(page, language=r"\w*"):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run(command, folder):
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES + GUIDES if blocks(p, "python")], ids=name)
def test_the_python_of_a_page_runs(page, tmp_path):
    """All blocks of a page in one process, in their order; what they claim is asserted in them."""
    run([sys.executable, "-c", "\n".join(blocks(page, "python"))], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES + GUIDES if blocks(p, "bash")], ids=name)
def test_the_commands_of_a_page_run(page, tmp_path):
    """But those that install (pip, make, zoo doctor --fix): other tests do that."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["zoo"] and "--fix" not in words:
            run([sys.executable, "-m", "zoo_core", *words[1:]], tmp_path)


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
