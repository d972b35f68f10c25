"""Read a pickle as data: names are never imported, objects become records, nothing is called.

Every global of the pickle is a `_Global`, a name. Calling one gives a `Record` of that name and
its arguments; only the names in `_BUILDERS` make plain containers and tensors. Instructions that
would call, set or import something act on records and plain containers alone.

NVIDIA's persistence pickles (EDM, StyleGAN2-ADA, R3GAN) hold the source of their classes; it stays
a text. Names of Python's standard library other than plain types are refused: no checkpoint needs
`os.system`.
"""

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import torch
from torch import Tensor

__all__ = ["InertUnpickler", "Record"]

_Unpickler: Any = pickle._Unpickler
"""The unpickler in Python: its instructions can be replaced one by one."""
_PLAIN = {
    "argparse": ("Namespace",),
    "builtins": (
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
        *("object", "range", "set", "slice", "str", "tuple", "type"),
    ),
    "_codecs": ("encode",),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque"),
    "copyreg": ("_reconstructor",),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "functools": ("partial",),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "types": ("SimpleNamespace",),
    "typing": ("Any", "Dict", "List", "Optional", "Tuple", "Union"),
}
"""Names of the standard library that a checkpoint may hold; they become records as all others."""
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_STANDARD = sys.stdlib_module_names | {"nt", "posix"}


@dataclass(frozen=True)
class _Global:
    """A name of the pickle, `module.name`, which stands for nothing but itself."""

    name: str


_NEW_TYPES = {
    _Global(str(dtype)): dtype
    for dtype in (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2)
}
"""Types of tensors that have no storage of their own, by the name that `str(dtype)` gives."""


@dataclass(eq=False)
class Record:
    """An object of a class that is not imported: what it was called with, its state, its items."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        self.values.append(value)

    def extend(self, values: list[Any]) -> None:
        self.values.extend(values)

    def add(self, value: Any) -> None:
        self.values.append(value)

    def update(self, values: list[Any]) -> None:
        self.values.extend(values)


class InertUnpickler(_Unpickler):  # type: ignore[misc]
    """Python's unpickler, of which every instruction that acts on objects acts on data alone.

    `storage` gives the numbers of a tensor, (N,), for the persistent ids of torch's files;
    `nested` reads the bytes of a file inside the pickle.
    """

    dispatch = dict(_Unpickler.dispatch)

    def __init__(
        self,
        file: IO[bytes],
        storage: Callable[[Any], Any],
        nested: Callable[[bytes], Any],
    ) -> None:
        super().__init__(file)
        self.persistent_load, self._nested = storage, nested

    def find_class(self, module: str, name: str) -> _Global:
        module = _PYTHON_2.get(module, module)
        if module.split(".")[0] in _STANDARD and name not in _PLAIN.get(module, ()):
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return _Global(f"{module}.{name}")

    def made(self, called: Any, arguments: Any, keywords: Any = None) -> Any:
        """What calling a name gives: a container or tensor, otherwise a record."""
        if not isinstance(called, _Global) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls what is no name")
        if called.name == "torch.storage._load_from_bytes":
            (content,) = arguments
            return self._nested(content)
        if called.name == "torch._tensor._rebuild_from_type_v2":
            return self.made(arguments[0], arguments[2])
        if (build := _BUILDERS.get(called.name)) is not None and not keywords:
            return build(*arguments)
        return Record(called.name, (*arguments, keywords) if keywords else arguments)

    def _instantiate(self, called: Any, arguments: list[Any]) -> None:
        self.append(self.made(called, tuple(arguments)))

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self.made(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = self.made(self.stack[-1], arguments, keywords)

    def load_build(self) -> None:
        state = self.stack.pop()
        target = _one_of(self.stack[-1], Record, dict)
        if isinstance(target, Record):
            target.state = state

    def load_setitem(self) -> None:
        _one_of(self.stack[-3], dict, Record)
        super().load_setitem()

    def load_setitems(self) -> None:
        _one_of(self.metastack[-1][-1], dict, Record)
        super().load_setitems()

    def load_append(self) -> None:
        _one_of(self.stack[-2], list, Record)
        super().load_append()

    def load_appends(self) -> None:
        _one_of(self.metastack[-1][-1], list, Record)
        super().load_appends()

    def load_additems(self) -> None:
        _one_of(self.metastack[-1][-1], set, Record)
        super().load_additems()

    def load_refused(self) -> None:
        raise pickle.UnpicklingError("it uses registered extensions or buffers outside of it")

    dispatch |= {
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.ADDITEMS[0]: load_additems,
    }
    dispatch |= dict.fromkeys(
        (
            *(pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]),
            *(pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0]),
        ),
        load_refused,
    )


def _one_of(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise pickle.UnpicklingError("it changes what is no container")
    return value


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    """torch._utils._rebuild_tensor_v2; raises if the storage holds fewer numbers."""
    if not isinstance(storage, Tensor):
        raise pickle.UnpicklingError("a tensor without numbers")
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _tensor_of_bytes(
    storage: Any,
    offset: int,
    size: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    *rest: Any,
) -> Tensor:
    """torch._utils._rebuild_tensor_v3, for types that have no storage of their own."""
    if not isinstance(storage, Tensor) or dtype not in _NEW_TYPES:
        raise pickle.UnpicklingError("a tensor of unknown type")
    return _tensor(storage.view(torch.uint8).view(_NEW_TYPES[dtype]), offset, size, stride)


def _first(value: Any, *rest: Any) -> Any:
    return value


def _persistent(meta: Any) -> Record:
    """An object of NVIDIA's `persistence`: its class's name and state; the source is not used."""
    fields = _one_of(meta, dict)
    return Record(str(fields.get("class_name")), state=fields.get("state"))


def _reconstructed(cls: Any, base: Any = None, state: Any = None) -> Any:
    """copyreg._reconstructor: an object of a class, before its state is set."""
    return _BUILDERS[cls.name]() if cls.name in _BUILDERS else Record(cls.name)


_BUILDERS: dict[str, Callable[..., Any]] = {
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.set": set,
    "builtins.tuple": tuple,
    "collections.OrderedDict": dict,
    "copyreg._reconstructor": _reconstructed,
    "dnnlib.util.EasyDict": dict,
    "torch.Size": tuple,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}
