"""Completion: names in the place where each belongs, in a real bash and a real zsh."""

import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def offered(zoo, monkeypatch):
    """`offered(line)`: what is offered for the last word of a line."""

    def ask(line):
        *_, last = words = line.split(" ")
        monkeypatch.setenv("_ZOO_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        done = zoo()
        assert (done.code, done.err) == (0, "")
        return [item.partition(",")[2] for item in done.out.split()]

    return ask


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("zoo sam", {"sample"}),
        ("zoo plugins en", {"enable"}),
        ("zoo info d", {"dice", "dice.classy", "dice.fair", "dice.planned"}),
        ("zoo sample dice.f", {"dice.fair"}),
        ("zoo compare dice.fair f", {"fog.grey"}),
        ("zoo compress x --model dice.f", {"dice.fair"}),
        ("zoo train d", {"dice.planned"}),
        ("zoo --json info dice.c", {"dice.classy"}),
        ("zoo sample dice.fair --se", {"--set", "--seed"}),
        ("zoo likelihood dice.fair --data moo", {"moons"}),
        ("zoo choose moo", {"moons"}),
        ("zoo evaluate dice.fair --features pix", {"pixels"}),
        ("zoo evaluate dice.fair --metrics cov", {"coverage"}),
        ("zoo evaluate dice.fair --only l", {"likelihood"}),
        ("zoo plugins info t", {"tiny"}),
        ("zoo plugins install fl", {"flows"}),
        ("zoo sample nothing", set()),
        ("zoo nothing x", set()),
    ],
)
def test_names_are_offered_where_they_belong(offered, line, some):
    assert {*offered(line)} == some


def test_samplers_and_likelihoods_are_those_of_the_model_on_the_line(offered):
    assert "direct" in offered("zoo sample fog.grey --sampler ")
    assert "loaded" in offered("zoo sample dice.fair --sampler ")
    assert "loaded" not in offered("zoo sample fog.grey --sampler ")
    assert "exact" in offered("zoo evaluate dice.fair --method ")
    assert "exact" not in offered("zoo evaluate fog.grey --method ")
    assert "loaded" in offered("zoo sample ./folder --sampler ")


def test_paths_are_left_to_the_shell(offered):
    assert offered("zoo sample ./ru") == ["./ru"]


def test_a_broken_plugin_writes_nothing_into_the_line(shell, site, tmp_path, install):
    (tmp_path / "zoo_broken.py").write_text("import nothing_of_this_name")
    install(tmp_path, "acme-broken", {"broken": "zoo_broken"})
    asked = {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo info dice.f", "COMP_CWORD": "2"}
    done = shell(sites=[tmp_path], **asked)
    assert (done.code, done.out, done.err) == (0, "plain,dice.fair\n", "")


_BASH = """eval "$(zoo completion bash)"
COMP_WORDS=(zoo sample dice.f); COMP_CWORD=2; _zoo_completion zoo
echo "${COMPREPLY[@]}"
"""
_ZSH = """compdef() { }; compadd() { echo ${completions[@]}; }
eval "$(zoo completion zsh)"
words=(zoo sample dice.f); CURRENT=3; _zoo_completion
"""


@pytest.mark.parametrize(("name", "script"), [("bash", _BASH), ("zsh", _ZSH)])
def test_the_script_works_in_the_shell_that_it_is_for(zoo, home, monkeypatch, name, script):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    command = home / "zoo"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoo_core "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    done = subprocess.run([name, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("dice.fair\n", "")
