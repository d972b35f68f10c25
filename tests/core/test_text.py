"""Text of others is printed with what a terminal would obey or hide made visible."""

import json
from importlib.metadata import EntryPoint

import pytest

from zoo_core.catalog.plugins import Plugins
from zoo_core.cli import main
from zoo_core.cli.command import Settings
from zoo_core.cli.printing import fields, heading, indented, remark, show, table
from zoo_core.errors import IntegrityError
from zoo_core.text import printable, printable_lines

# colours, a title, a C1 control, a return, an override of direction, zero width, half a character
EVIL = "a\x1b[31m\x1b]0;title\x07\x9b2J\r\u202eb\u200b\udc80"
SHOWN = r"a\x1b[31m\x1b]0;title\x07\x9b2J\r\u202eb\u200b\udc80"


def harmless(text):
    return all(c.isprintable() or c == "\n" for c in text)


def test_what_a_terminal_would_obey_becomes_visible():
    assert printable(EVIL) == SHOWN
    assert printable("two\nlines\tand a tab") == r"two\nlines\tand a tab"
    assert printable("µ, 漢字, ≤ and Ω stay") == "µ, 漢字, ≤ and Ω stay"
    assert printable(SHOWN) == SHOWN


def test_lines_stay_lines():
    assert printable_lines(f"one\r\n\t{EVIL}\n") == f"one\n        {SHOWN}\n"


def test_an_error_quotes_names_printably_in_python_too():
    error = IntegrityError(f"tensor {EVIL} is odd.", hint=f"rename {EVIL}")
    assert str(error) == f"tensor {SHOWN} is odd. [rename {SHOWN}]"
    assert error.args == (error.message,)


def test_tables_fields_headings_and_remarks_are_printable(capfd):
    lines = [*table([EVIL, "n"], [[EVIL, 1], ["b", [EVIL]]]), *fields([(EVIL, EVIL)]), EVIL]
    lines += [heading(EVIL, EVIL), indented(heading(EVIL)), indented(EVIL)]
    show(Settings(), None, lines)
    remark(Settings(), EVIL)
    out, err = capfd.readouterr()
    assert harmless(out) and harmless(err)
    assert out.count(SHOWN) == 10 and err == f"{SHOWN}\n"
    rows = table(["name", "n"], [[EVIL, 1], ["b", 2]])
    assert len({line.rindex(" ") for line in rows[1:]}) == 1  # aligned by what is shown


def test_our_own_bold_type_stays_on_a_terminal():
    assert heading("name", EVIL) == f"\x1b[1mname\x1b[0m{SHOWN}"
    assert indented(heading("name")) == "  \x1b[1mname\x1b[0m"


def test_json_escapes_by_itself(capfd):
    show(Settings(json=True), {"name": EVIL}, [])
    out = capfd.readouterr().out
    assert harmless(out) and json.loads(out) == {"name": EVIL}


@pytest.mark.parametrize("argv", [["info", EVIL], ["pull", f"./{EVIL}"], ["lst" + EVIL]])
@pytest.mark.parametrize("flags", [[], ["--traceback"], ["--json"]])
def test_errors_are_printable(argv, flags, minis, capfd):
    assert main([*argv, *flags]) in (2, 3)
    out, err = capfd.readouterr()
    assert harmless(out) and harmless(err) and "x1b" in err


def test_what_a_plugin_raises_is_printable(tmp_path, monkeypatch, caplog):
    (tmp_path / "evil_terminal.py").write_text(f"raise RuntimeError({EVIL!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    Plugins([EntryPoint("evil", "evil_terminal", "density_zoo")], disabled=(), strict=False)
    err = "\n".join(caplog.messages)
    assert harmless(err) and r"\x1b[31m" in err
