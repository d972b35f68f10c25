"""Classes of licences: what weights may be used for, and whose terms a user has accepted.

    open             any use; loads
    non-commercial   loads, with a line that says so
    research-only    loads, with a line that says so
    none stated      loads only if the user accepts that, once for each name

What was accepted is remembered in `$XDG_CONFIG_HOME/density-zoo/licences.json`.
"""

import re
from pathlib import Path
from typing import Any

from zoo_core.catalog.specs import LicenseClass, Pretrained
from zoo_core.errors import ConfigError, UsageError, warn
from zoo_core.files import NoHomeError, config_dir, write_json
from zoo_core.reading import read_json

__all__ = ["UNSTATED", "check", "class_of", "class_of_weights"]

UNSTATED: LicenseClass = "none stated"
_NONE = ("", "unstated", "none", "none stated")
_OPEN = re.compile(
    r"(apache-2\.0|mit|isc|zlib|unlicense|0bsd|bsd-[23]-clause|cc0-1\.0|cc-by(-sa)?-[234]\.0"
    r"|l?gpl-[23]\.0(-only|-or-later)?|mpl-2\.0|odbl-1\.0)"
)


def class_of(license: str) -> LicenseClass | None:
    """The class of a licence by its SPDX name; None for a name that is not known here.

    >>> class_of("Apache-2.0"), class_of("CC-BY-NC-4.0"), class_of("unstated"), class_of("ours")
    ('open', 'non-commercial', 'none stated', None)
    """
    name = license.lower()
    if name in _NONE:
        return UNSTATED
    if re.match(r"cc-by-nc\b", name):
        return "non-commercial"
    return "open" if _OPEN.fullmatch(name) else None


def class_of_weights(weights: Pretrained) -> LicenseClass | None:
    """The class that weights state, or that of their licence's name."""
    return weights.license_class or class_of(weights.license)


def check(name: str, weights: Pretrained, *, accept: bool) -> None:
    """Say what the licence of weights restricts; raise `UsageError` where none is stated.

    `accept=True` accepts that for `name`, now and later.
    """
    found = class_of_weights(weights)
    if found == UNSTATED:
        _ask(name, weights, accept)
    elif found is None:
        warn(f"{name}: licence {weights.license}, whose class is not stated.")
    elif found != "open":
        warn(f"{name}: licence {weights.license}, {found} ({weights.source}).")


def _ask(name: str, weights: Pretrained, accept: bool) -> None:
    """Whether the user has accepted weights without a licence, before or just now."""
    known, terms = _read(), {"license": weights.license, "source": weights.source}
    if known.get(name) == terms:
        return
    if not accept:
        raise UsageError(
            f"{name}: whoever published these weights states no licence ({weights.source}), so "
            "nothing says what they may be used for.",
            hint=f"zoo.load({name!r}, accept_license=True) loads them, and remembers it",
            command="--accept-license loads them, and remembers it for this name",
        )
    write_json(_path(), known | {name: terms}, sort_keys=True)


def _path() -> Path:
    return config_dir() / "licences.json"


def _read() -> dict[str, Any]:
    try:
        known = read_json(_path())
    except (FileNotFoundError, NoHomeError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{_path()} cannot be read ({error}).", hint="mend or delete it"
        ) from error
    if not isinstance(known, dict):
        raise ConfigError(f"{_path()} is no table.", hint="mend or delete it")
    return known
