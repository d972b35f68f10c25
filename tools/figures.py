"""Records what users and their scripts see of the command, so that a change of it is a decision.

    python tools/figures.py                     write tests/compat/figures.json anew
    python tools/figures.py --out mine.json     write it elsewhere
    python tools/figures.py --demo              record the table of `make demo` as well

    help    the text of `--help` of every verb
    json    what every verb prints with --json, of the small models of tests/compat/frozen
    exits   exit code and class of the error of calls that are wrong
    demo    the table of `make demo`, without its times

tests/compat/test_figures.py compares; numbers may differ by the tolerance of golden tensors.
What depends on the machine or the day is kept as its type. The diff is for review.
"""

import argparse
import difflib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from zoo_core.cli import main as zoo

ROOT = Path(__file__).parents[1]
FROZEN = ROOT / "tests" / "compat" / "frozen"
BASELINE = ROOT / "tests" / "compat" / "figures.json"
TOLERANCE = 1e-3

MADE, TRAINED = "{frozen}/models/made.classes", "{frozen}/training/model"
RECIPE = "{frozen}/training/nsf_coupling.tiny.toml"
MOONS = ("--data", "moons", "--data-option", "train=64", "--data-option", "test=64")
CALLS = {
    "list": "list made*",
    "list of nothing": "list nothing*",
    "info of an architecture": "info made",
    "info of weights": "info made.digits",
    "sample": f"sample {MADE} -n 3 --cond 0,1,2 --out x.npz",
    "likelihood": f"likelihood {TRAINED} {' '.join(MOONS)}",
    "evaluate": f"evaluate {TRAINED} --only likelihood --only quality --samples 32",
    "evaluate --verify": f"evaluate {TRAINED} --verify",
    "compare": f"compare {TRAINED} {{frozen}}/models/nsf_coupling --samples 32",
    "train": f"train --recipe {RECIPE} --out run",
    "pull": "pull hf://me/tiny --offline",
    "push": f"push {TRAINED} me/tiny --dry-run",
    "convert": "convert {frozen}/bare/model.safetensors out.safetensors",
    "cache": "cache",
    "cache verify": "cache verify",
    "cache prune": "cache prune",
    "cache remove": "cache remove me/tiny",
    "data": "data",
    "data info": "data info moons",
    "plugins": "plugins",
    "plugins info": "plugins info flows",
    "plugins new": "plugins new acme-figures",
    "plugins disable": "plugins disable flows",
    "plugins enable": "plugins enable flows",
    "plugins doctor": "plugins doctor flows",
    "plugins sync": "plugins sync --dry-run",
    "doctor": "doctor",
}
"""By a title, in this order. Not here: `serve`, which does not end; `plugins check`, whose results
the kit's own tests hold; `plugins install` and `uninstall`, which change the environment;
`choose`, which trains; `compress` and `decompress`, whose coders are an extra."""
WRONG = (
    "lst",
    "list --pretraind",
    "list --seed -1",
    "info",
    "info dyce",
    "info made.digts",
    "info other:made",
    "info org/model",
    "sample made",
    "sample {frozen}/models/made --set steps=3",
    "sample {frozen}/models/made --sampler ddim",
    "sample {frozen}/models/made --cond 1",
    "sample {frozen}/models/made --out no/such/folder/x.npz",
    "sample {frozen}/models/made --out x.doc",
    "sample {frozen}/models",
    "sample ./damaged",
    "sample hf://me/other --offline",
    "likelihood {frozen}/models/wgan_gp --data digits",
    "likelihood {frozen}/models/made --data moons",
    "likelihood {frozen}/models/made --data digts",
    "evaluate {frozen}/models/made",
    "train --recipe made.nothing",
    "train --recipe {frozen}/training/nsf_coupling.tiny.toml --set model.stepz=3",
    "pull hf://me/other --offline",
    "push {frozen}/bare name --dry-run",
    "convert {frozen}/user/pins.json out.safetensors",
    "cache remove me/other",
    "data info npz:./nothing.npz",
    "plugins info nothing",
    "plugins disable nothing",
    "plugins new flows",
)
_MACHINE = re.compile(
    r"seconds|load_ms|folder|versions?|torch|speed"  # of the machine or the day
    r"|quality|now"  # counts of neighbours, which the last bit of a distance can change
)
_ONLY_TYPES = ("doctor", "plugins", "plugins info", "plugins doctor", "plugins sync")
"""Of these verbs nothing but the form is the same elsewhere."""


def run(argv: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = zoo(argv)
    return code, out.getvalue(), err.getvalue()


@contextmanager
def user() -> Iterator[Path]:
    """A user with the frozen cache and nothing else, in an empty folder."""
    before, here = dict(os.environ), Path.cwd()
    with TemporaryDirectory() as scratch:
        home = Path(scratch)
        shutil.copytree(FROZEN / "hub", home / "cache" / "hub", symlinks=True)
        shutil.copytree(FROZEN / "models" / "made", home / "damaged")
        with (home / "damaged" / "model.safetensors").open("ab") as file:
            file.write(b"!")
        for name in [n for n in os.environ if n.startswith(("ZOO_", "HF_", "XDG_"))]:
            del os.environ[name]
        os.environ |= {"XDG_CONFIG_HOME": f"{home}/config", "ZOO_CACHE": f"{home}/cache",
                       "XDG_CACHE_HOME": f"{home}/xdg", "COLUMNS": "99"}  # fmt: skip
        os.chdir(home)
        try:
            yield home
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ |= before


def helps(path: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Lines of `--help` by verb, of the verbs below `path` too, which the text itself lists."""
    _, out, _ = run([*path, "--help"])
    found = {" ".join(("zoo", *path)): out.rstrip().splitlines()}
    listed = re.search(r"^Verbs:\n((?:  .*\n)+)", out, re.MULTILINE)
    for verb in re.findall(r"^  ([\w-]+)", listed[1], re.MULTILINE) if listed else ():
        found |= helps((*path, verb))
    return found


def outputs(home: Path) -> dict[str, Any]:
    """The JSON of every call, with what belongs to this machine replaced by its type."""
    return {title: _output(title, argv, home) for title, argv in CALLS.items()}


def _output(title: str, argv: str, home: Path) -> Any:
    code, out, err = run(["--json", *_filled(argv)])
    if code:
        raise SystemExit(f"zoo {argv}: exit code {code}\n{err}")
    tree = json.loads(out)
    return typed(tree) if title in _ONLY_TYPES else _portable(tree, home)


def _filled(argv: str) -> list[str]:
    return [word.replace("{frozen}", str(FROZEN)) for word in argv.split()]


def exits() -> dict[str, list[Any]]:
    """Exit code and class of the error of every call that is wrong."""
    found = {}
    for argv in WRONG:
        code, out, err = run(["--json", *_filled(argv)])
        found[argv] = [code, json.loads(err.splitlines()[-1])["error"] if err else None]
    return found


def _portable(tree: Any, home: Path, key: str = "") -> Any:
    """The tree with places named, and with the types of what a machine or a day decides."""
    if _MACHINE.fullmatch(key):
        return typed(tree)
    if isinstance(tree, dict):
        return {k: _portable(v, home, k) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_portable(v, home, key) for v in tree]
    if isinstance(tree, str):
        text = tree.replace(str(FROZEN), "{frozen}").replace(str(home), "{home}")
        return f"{{elsewhere}}/{Path(text).name}" if Path(text).is_absolute() else text
    return _rounded(tree)


def _rounded(value: Any) -> Any:
    """Six digits, so that a record made elsewhere differs in few lines."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def typed(tree: Any) -> Any:
    """The form of a tree: keys, and types of values; of a list that of its entries, once each."""
    if isinstance(tree, dict):
        return {k: typed(v) for k, v in tree.items()}
    if isinstance(tree, list):
        forms = [typed(v) for v in tree]
        return [form for i, form in enumerate(forms) if form not in forms[:i]]
    return f"<{type(tree).__name__}>"


def demo() -> dict[str, list[Any]]:
    """Rows of `make demo` by model: family, density type, likelihood and bits per dimension."""
    sys.path.insert(0, str(ROOT / "examples"))
    import demo as example

    bundled = filter(example.is_bundled, map(example.zoo.info, example.zoo.list_models()))
    shown = [info.name for info in bundled if example.trained_on(info) in example.IMAGE_DATA]
    found = map(example.run, shown)
    rows = {r.name: [r.family, r.density, r.likelihood, r.relation, r.bits] for r in found}
    return {name: [_rounded(cell) for cell in row] for name, row in rows.items()}


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What differs between two trees of figures, a line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in new or key not in old:
                yield f"{where}/{key}: {'is new' if key in new else 'is gone'}"
            else:
                yield from differences(old[key], new[key], f"{where}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}[{i}]")
    elif isinstance(old, list) and isinstance(new, list):
        lines = difflib.ndiff(*([f"{entry}" for entry in entries] for entries in (old, new)))
        yield from (f"{where}: {line:.200}" for line in lines if line[0] in "+-")
    elif not _same(old, new):
        yield f"{where}: {old!r:.200} is now {new!r:.200}"


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return abs(old - new) <= TOLERANCE * max(1.0, abs(old))
    return type(old) is type(new) and bool(old == new)


def measured() -> dict[str, Any]:
    """All figures but those of the demo."""
    with user() as home:
        return {"help": helps(), "json": outputs(home), "exits": exits()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=BASELINE)
    parser.add_argument("--demo", action="store_true")
    arguments = parser.parse_args()
    old = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    found = old | measured() | ({"demo": demo()} if arguments.demo else {})
    arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    changed = list(differences(old, found))
    print("\n".join([*changed, f"{arguments.out}: {len(changed)} figures changed"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
