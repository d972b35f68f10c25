"""Whether a config describes the modules of a model: asked before saving.

Loading builds a model from its config and then needs every tensor by name and shape. What was put
into a model after it was built, or came as a bare module, would be saved and could not be loaded.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from zoo_core import config as configs
from zoo_core.catalog.networks import Network, is_module
from zoo_core.errors import UsageError

__all__ = ["check_described", "record", "unwrapped_state"]


@dataclass(frozen=True)
class _Record:
    """What a config built: the shapes of a module's state, and the table of a network."""

    shapes: Mapping[str, torch.Size]
    table: Mapping[str, Any] | None


def record(module: nn.Module, table: Mapping[str, Any] | None = None) -> None:
    """Keep on a module what a config has built; `table` is the JSON form of a network's."""
    built = _Record(_shapes(module.state_dict()), table)
    object.__setattr__(module, "_zoo_record", built)


def check_described(model: nn.Module, config: Any, *, submodels: Collection[str] = ()) -> None:
    """Raise `UsageError` unless the config describes all that a model has but its submodels."""
    for field, kind in configs.field_types(type(config)).items():
        value = getattr(config, field)
        if value is not None and isinstance(kind, Network):
            _check_network(model, field, kind, value)
    if (built := _recorded(model)) is not None:
        changed = _changed(built.shapes, unwrapped_state(model), submodels)
        if changed:
            raise UsageError(
                f"the model cannot be saved: {changed} is not as its config describes it, so that "
                "zoo.load could not read it.",
                hint="build the model with a config that describes the change; to keep the "
                "parameters alone, torch.save(model.state_dict(), path)",
                command="build the model with a config that describes the change",
            )


def unwrapped_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as if no submodule were wrapped by `torch.compile` or `DataParallel`."""
    state = model.state_dict()
    wrappers = [(n, _inner_name(m)) for n, m in model.named_modules() if _inner_name(m)]
    for name, inner in sorted(wrappers, reverse=True):  # the innermost first
        prefix = f"{name}." if name else ""
        old = f"{prefix}{inner}."
        state = {(prefix + k[len(old) :] if k.startswith(old) else k): v for k, v in state.items()}
    return state


def _check_network(model: nn.Module, field: str, kind: Network, value: Any) -> None:
    if is_module(value):
        raise _undescribed(field, f"is a bare {type(value).__name__}", kind)
    table = kind.write(value)
    built = [(m, r) for m in model.modules() if (r := _recorded(m)) and r.table == table]
    if not built:
        raise _undescribed(field, "is not what the model was built with", kind)
    for module, original in built:
        if _changed(original.shapes, unwrapped_state(module)):
            raise _undescribed(field, "has other parameters than it was built with", kind)


def _recorded(module: nn.Module) -> _Record | None:
    found = vars(module).get("_zoo_record")
    return found if isinstance(found, _Record) else None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {k: torch.Size() if is_lazy(v) else v.shape for k, v in state.items()}


def _changed(
    built: Mapping[str, torch.Size], state: Mapping[str, Tensor], skip: Collection[str] = ()
) -> str:
    """The first tensor that was added, removed or reshaped; an empty string if none was."""
    now = _shapes(state)
    names = [n for n in sorted({*built, *now}) if n.split(".")[0] not in skip]
    return next((n for n in names if built.get(n) != now.get(n)), "")


def _inner_name(module: nn.Module) -> str:
    """The attribute that holds the module inside a wrapper; "" if it is no wrapper."""
    if isinstance(module, DataParallel | DistributedDataParallel):
        return "module"
    return "_orig_mod" if "_orig_mod" in module._modules else ""


def _undescribed(field: str, what: str, kind: Network) -> UsageError:
    return UsageError(
        f"the model cannot be saved: its {field} {what}, which no config describes.",
        hint="register the network by the hook zoo_networks, NetworkSpec(name, target, config, "
        f"{kind.signature!r}), and pass {field}=name; to keep the parameters alone, "
        "torch.save(model.state_dict(), path)",
        command=f"register the network by the hook zoo_networks, and name it: --set {field}=NAME",
    )
