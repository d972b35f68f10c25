"""What the tools for bundled weights share: a tag's folder, and a command that does one by one."""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import zoo_core as zoo
from zoo_core.errors import DataError, ZooError


def folder_of(name: str) -> Path:
    """Where the weights of the tag `name` are; raises `DataError` if none are bundled."""
    tag = zoo.info(name).tag
    if tag is None or tag.folder is None:
        raise DataError(f"{name} has no weights here.")
    return tag.folder


def command(doc: str, metavar: str, failure: str, do: Callable[[str], Iterable[str]]) -> int:
    """Print what `do` says of each argument of the command line; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("given", nargs="+", metavar=metavar)
    status = 0
    for given in parser.parse_args().given:
        try:
            for line in do(given):
                print(f"{given}: {line}")
        except ZooError as error:
            print(f"{given}: {failure}: {error}", file=sys.stderr)
            status = 1
    return status
