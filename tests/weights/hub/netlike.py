"""Nets of others: the tensors and the config of a miniature under foreign names."""

import json

NET = r"""
from dataclasses import dataclass
from zoo_core.weights.third_party import Converted, renamed

RULES = {r"net\.0\.(.*)": r"first.\1", r"net\.1\.(.*)": r"last.\1"}

@dataclass(frozen=True)
class NetLike:
    hidden: int | None = None

    def __call__(self, foreign):
        folder = "unet" if "unet" in foreign.tensors else ""
        config = foreign.configs.get("unet/config.json" if folder else "config.json", {})
        options = {"side": config.get("size", 2), "hidden": self.hidden or config.get("width", 8)}
        return Converted(options, renamed(foreign.tensors[folder], RULES))
"""

CONFIG = json.dumps({"_class_name": "Net", "size": 2, "width": 8, "unknown": 1})


def others(model):
    """The model's tensors under the names of others."""
    names = {"first": "net.0", "last": "net.1"}
    state = model.state_dict().items()
    return {f"{names[k.split('.')[0]]}.{k.split('.')[1]}": v.clone() for k, v in state}
