"""Child processes: which variables and which folders they get to see."""

import json
import os
import sys

import pytest

from zoo_core import child, doctor

SECRETS = (
    "HF_TOKEN", "hf_token", "Hf_Token", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "GITHUB_TOKEN",
    "GH_PAT", "MY_SECRET", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "aws_session_token",
    "WANDB_API_KEY", "PGPASSWORD", "PGPASSFILE", "MYSQL_PWD", "DB_PASSWD", "KEY_PASSPHRASE",
    "GOOGLE_APPLICATION_CREDENTIALS", "CI_CRED", "NPM_AUTH", "SSH_AUTH_SOCK", "SENTRY_DSN",
    "SESSION_COOKIE", "BEARER", "CI_JOB_JWT",
)  # fmt: skip
KEPT = ("PATH", "PWD", "OLDPWD", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME",
        "ZOO_CACHE", "ZOO_KERNELS", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "LD_LIBRARY_PATH",
        "VIRTUAL_ENV", "PYTHONHASHSEED", "PATTERN")  # fmt: skip


@pytest.fixture
def variables(monkeypatch):
    """An environment of nothing but what a test sets."""

    def only(**named):
        monkeypatch.setattr(os, "environ", named)

    return only


def test_secrets_are_left_out_in_any_spelling_and_nothing_else_is(variables):
    variables(**dict.fromkeys([*SECRETS, *KEPT], "x"))
    assert child.environment() == {**dict.fromkeys(KEPT, "x"), "PYTHONSAFEPATH": "1"}


def test_a_password_in_a_url_is_a_secret_under_any_name(variables):
    variables(STORE="postgres://me:secret@host/x", PAGE="https://host/@me", MAIL="me@host")
    assert child.environment().keys() == {"PAGE", "MAIL", "PYTHONSAFEPATH"}


def test_a_caller_names_the_secrets_that_a_child_needs(variables):
    variables(PIP_INDEX_URL="https://me:secret@host", HF_TOKEN="x", MY_PIP_TOKEN="x")
    assert child.environment("pip_").keys() == {"PIP_INDEX_URL", "PYTHONSAFEPATH"}


@pytest.mark.parametrize("name", ["PYTHONPATH", "PATH"])
@pytest.mark.parametrize(
    ("before", "after"),
    [("/a::/b", "/a:/b"), (":/a", "/a"), ("/a:", "/a"), (":", None), ("", None), ("a:/b", "a:/b")],
)
def test_empty_entries_of_a_search_path_mean_no_folder(variables, name, before, after):
    variables(**{name: before.replace(":", os.pathsep)})
    want = after and after.replace(":", os.pathsep)
    assert child.environment().get(name) == want


def test_neither_a_child_nor_its_children_run_files_of_the_current_folder(tmp_path, monkeypatch):
    marker = tmp_path / "PWNED"
    for name in ("json", "subprocess", "pip", "zoo_core"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", "") + os.pathsep)
    grandchild = "[sys.executable, '-m', 'json', '--help'], capture_output=True"
    code = f"import json, subprocess, sys, zoo_core; subprocess.run({grandchild})"
    for arguments in (("-c", code), ("-m", "json.tool", "--help"), ("-m", "pip", "--version")):
        done = child.python(*arguments, timeout=60)
        assert done.returncode == 0, done.stderr
    assert not marker.exists()


def test_a_child_that_takes_too_long_is_ended():
    with pytest.raises(child.TimeoutExpired):
        child.python("-c", "import time; time.sleep(60)", timeout=0.2)


def test_a_child_reads_no_input_and_may_print_what_is_no_text():
    code = "import sys; sys.stdout.buffer.write(b'\\xff'); sys.exit(len(sys.stdin.read()))"
    done = child.python("-c", code, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\ufffd")


def test_the_compiler_sees_no_secret(tmp_path, monkeypatch):
    pytest.importorskip("ninja")
    from zoo_kernels.build import BuildError

    compiler = tmp_path / "c++"
    note = f"import json, os; json.dump(list(os.environ), open('{tmp_path}/seen', 'w'))"
    compiler.write_text(f"#!{sys.executable}\n{note}\nraise SystemExit(1)\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    for name in SECRETS:
        monkeypatch.setenv(name, "x")
    with pytest.raises(BuildError):
        doctor.compile_kernels()
    assert not set(SECRETS) & set(json.loads((tmp_path / "seen").read_text()))
