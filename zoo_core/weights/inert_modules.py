"""The tensors of what a pickle holds, by dotted name, and what its modules were made with.

A module's record has the state of `torch.nn.Module`: `_parameters`, `_buffers`, `_modules` and
`_non_persistent_buffers_set`. NVIDIA's also has `_init_args` and `_init_kwargs`.
"""

from collections.abc import Iterator
from typing import Any

from zoo_core.weights.inert_pickle import Record

__all__ = ["leaves", "made_modules"]


def leaves(value: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Everything that is no container, by dotted name; of modules the tensors of a state dict."""
    items = _module_items(value) if _is_module(value) else _items(value)
    if items is None:
        yield ".".join(path) or "tensor", value
        return
    for key, item in items:
        yield from leaves(item, *path, str(key))


def made_modules(value: Any, *path: str) -> dict[str, Any]:
    """The outermost modules whose record says what they were made with, by dotted name."""
    if _is_module(value) and "_init_kwargs" in value.state:
        made = {
            "class": value.name,
            "positional": _plain(value.state.get("_init_args") or ()),
            "arguments": _plain(value.state["_init_kwargs"] or {}),
        }
        return {".".join(path): made}
    items = _module_items(value) if _is_module(value) else _items(value)
    found: dict[str, Any] = {}
    for key, item in items or ():
        found |= made_modules(item, *path, str(key))
    return found


def _is_module(value: Any) -> bool:
    return (
        isinstance(value, Record)
        and isinstance(value.state, dict)
        and all(type(value.state.get(k)) is dict for k in ("_parameters", "_buffers", "_modules"))
    )


def _module_items(module: Record) -> Iterator[tuple[Any, Any]]:
    """What a state dict of the module holds."""
    state = module.state
    hidden = state.get("_non_persistent_buffers_set")
    skipped = hidden if isinstance(hidden, set) else set()
    for part in ("_parameters", "_buffers", "_modules"):
        for name, item in state[part].items():
            if item is not None and not (part == "_buffers" and name in skipped):
                yield name, item


def _items(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """What a container holds; None for what is none."""
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    if isinstance(value, Record) and (value.items or isinstance(value.state, dict)):
        return iter([*value.items.items(), *_items_of_state(value)])
    return None


def _items_of_state(record: Record) -> list[tuple[Any, Any]]:
    return list(record.state.items()) if isinstance(record.state, dict) else []


def _plain(value: Any) -> Any:
    """A value as JSON has it; of all others the name of their kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return f"<{value.name if isinstance(value, Record) else type(value).__name__}>"
