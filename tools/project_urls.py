"""The addresses of this project in the metadata of every distribution, from one setting.

`repo_url` in zensical.toml is the address of the repository, empty while there is none. From it
come `[project.urls]` of all pyproject.toml files and `repository-code` of CITATION.cff; an empty
one leaves them out.

python -m tools.project_urls           # write them
python -m tools.project_urls --check   # fail if one differs from the setting
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_URLS = re.compile(r"\[project\.urls\]\n(?:[^\[\n].*\n)*\n?")
_FIRST_TABLE = re.compile(r"^\[project\.", re.MULTILINE)
_CODE = re.compile(r"^repository-code: .*\n", re.MULTILINE)


def block(repo: str) -> str:
    """The table of URLs for an address, '' for an empty one."""
    if not repo:
        return ""
    urls = {
        "Source": repo,
        "Issues": f"{repo}/issues",
        "Changelog": f"{repo}/blob/main/CHANGELOG.md",
    }
    return "\n".join(["[project.urls]", *(f'{k} = "{v}"' for k, v in urls.items()), "", ""])


def with_urls(pyproject: str, repo: str) -> str:
    """A pyproject.toml with these URLs and no others, above its first other table of [project]."""
    bare = _URLS.sub("", pyproject)
    return _FIRST_TABLE.sub(lambda found: block(repo) + found[0], bare, count=1)


def with_code(citation: str, repo: str) -> str:
    """A CITATION.cff with this address."""
    return _CODE.sub("", citation) + (f"repository-code: {repo}\n" if repo else "")


def texts(root: Path = ROOT) -> dict[Path, str]:
    """Every file that states addresses, as the setting wants it."""
    repo = tomllib.loads((root / "zensical.toml").read_text())["project"]["repo_url"].rstrip("/")
    projects = [root / "pyproject.toml", *sorted(root.glob("plugins/*/pyproject.toml"))]
    wanted = {path: with_urls(path.read_text(), repo) for path in projects}
    citation = root / "CITATION.cff"
    return {**wanted, citation: with_code(citation.read_text(), repo)}


def main() -> int:
    stale = [path for path, text in texts().items() if path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path} differs from repo_url in zensical.toml: python -m tools.project_urls")
        return 1 if stale else 0
    for path in stale:
        path.write_text(texts()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
