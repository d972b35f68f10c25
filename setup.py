"""Compiles the kernels where torch and a C++ compiler are present; else a pure wheel.

Everything else is in pyproject.toml. pip needs --no-build-isolation to see the installed torch.
"""

import runpy
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path(__file__).parent / "kernels" / "zoo_kernels"
build = runpy.run_path(str(PACKAGE / "build.py"))
BUILDING = {"bdist_wheel", "editable_wheel", "build", "build_ext", "install"}


def compiled() -> Path | None:
    """The library, or None with the reason printed and kept beside the package."""
    failure = PACKAGE / build["FAILURE"]
    failure.unlink(missing_ok=True)
    try:
        return build["build_extension"](Path("build/kernels"))
    except (build["BuildError"], OSError) as error:
        print(f"density-zoo: pure install, without compiled kernels: {error}", file=sys.stderr)
        failure.write_text(f"at installation: {error}\n")
        return None


class CopyLibrary(build_ext):
    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, target)


library = compiled() if BUILDING & set(sys.argv) else None
tags = {"py_limited_api": "cp311"}
if library and (platform := build["wheel_platform"](library)):
    tags["plat_name"] = platform
extensions = [Extension("zoo_kernels._C", sources=[], py_limited_api=True)] if library else []
setup(
    ext_modules=extensions,
    cmdclass={"build_ext": CopyLibrary},
    options={"bdist_wheel": tags} if library else {},
    package_data={"zoo_kernels": ["csrc/*", "tuned/*", build["FAILURE"]]},
)
