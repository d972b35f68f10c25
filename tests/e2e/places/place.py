"""A venv of a user, wheels written without a build, and a package index on this machine."""

import base64
import hashlib
import json
import os
import subprocess
import textwrap
import venv
import zipfile
from pathlib import Path

import zoo_core

ROOT = Path(__file__).parents[3]
GOOD = """
from zoo_core.plugin import SamplerSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_samplers():
    return [SamplerSpec("walk", "{module}:Walk")]

def __getattr__(name):
    if name != "Walk":
        raise AttributeError(name)
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Walk:
        steps: int = 3

        def __call__(self, model, rng, cond):
            return rng.normal(model.event.shape, stream="x")
    return Walk
"""


def wheel(folder, dist, source, *, version="1.0", points=None, requires=()):
    """A wheel of one module, written without a build."""
    folder.mkdir(parents=True, exist_ok=True)
    module = dist.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    points = {dist.rpartition("-")[2]: module} if points is None else points
    listed = "".join(f"{name} = {value}\n" for name, value in points.items())
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    files = {
        f"{module}.py": textwrap.dedent(source).replace("{module}", module),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[density_zoo]\n{listed}" if points else "",
    }
    rows = []
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            rows.append(f"{name},sha256={digest.rstrip(b'=').decode()},{len(text.encode())}\n")
        archive.writestr(f"{info}/RECORD", f"{''.join(rows)}{info}/RECORD,,\n")
    return path


def digest(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


class Place:
    """A venv with the core in it and pip in reach, its user, and a folder of wheels."""

    def __init__(self, folder, third_party):
        self.folder, self.wheels = folder, folder / "wheels"
        self.wheels.mkdir()
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (self.site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (self.site / "third_party.pth").write_text(f"{third_party}\n")
        for package in (ROOT / "zoo_core", ROOT / "kernels" / "zoo_kernels"):
            (self.site / package.name).symlink_to(package)
        info = self.site / f"density_zoo-{zoo_core.__version__}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: density-zoo\nVersion: {zoo_core.__version__}\n"
        )
        self.config = folder / "config" / "density-zoo" / "plugins.toml"

    def wheel(self, dist, source=GOOD, **options):
        return wheel(self.wheels, dist, source, **options)

    def zoo(self, *arguments, code=0, stdin=subprocess.DEVNULL, **variables):
        """The command in this environment; pip reads no configuration and no index."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "ZOO_", "PYTHON"))
        }
        kept |= {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PIP_CONFIG_FILE": os.devnull}
        kept |= {"XDG_CONFIG_HOME": str(self.folder / "config"), "HOME": str(self.folder)}
        kept |= {"XDG_CACHE_HOME": str(self.folder / "cache"), **variables}
        command = [
            self.folder / "venv" / "bin" / "python",
            "-m",
            "zoo_core",
            "plugins",
            *arguments,
        ]
        done = subprocess.run(
            [str(part) for part in command],
            env=kept,
            cwd=self.folder,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, **options):
        return json.loads(self.zoo(*arguments, "--json", **options).stdout)

    def local(self, *arguments, **options):
        """The same, with the folder of wheels and no index."""
        links = ("--offline", "--find-links", self.wheels)
        return self.json(*arguments, *links, **options)

    def installed(self):
        return {row["name"]: row for row in self.json("list")}
