"""Pickles as others write them: whole modules and NVIDIA's persistent objects, some evil."""

import os
import pickle
import sys
import types
from contextlib import contextmanager

import torch
from torch import nn

PERSISTENCE = "torch_utils.persistence"
SOURCE = "raise SystemExit('the source inside a pickle was run')"


class Evil:
    """A pickle of it makes a folder when it is read in full."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def _reconstruct_persistent_obj(meta):
    raise AssertionError("a name of a pickle was called")


_reconstruct_persistent_obj.__module__ = PERSISTENCE


class Persistent:
    """An object of NVIDIA's `persistence`: its source, class and state."""

    def __init__(self, class_name, state, source=SOURCE):
        self.meta = {"type": "class", "version": 6, "module_src": source}
        self.meta |= {"class_name": class_name, "state": state}

    def __reduce__(self):
        return _reconstruct_persistent_obj, (self.meta,)


def persistent_module(tensors, class_name, arguments=None):
    """A module of NVIDIA's `persistence` that holds tensors by dotted names."""
    parameters = {n: nn.Parameter(t, t.is_floating_point()) for n, t in tensors.items()}
    return _module(parameters, class_name, arguments)


def _module(tensors, class_name, arguments):
    parts = sorted({name.split(".")[0] for name in tensors if "." in name})
    inner = {}
    for part in parts:
        own = {n.split(".", 1)[1]: t for n, t in tensors.items() if n.startswith(f"{part}.")}
        inner[part] = _module(own, "Inner", {})
    state = {
        "training": False,
        "_parameters": {n: t for n, t in tensors.items() if "." not in n} | {"bias_": None},
        "_buffers": {"seen": None},
        "_non_persistent_buffers_set": set(),
        "_modules": inner,
        "_init_args": (),
        "_init_kwargs": arguments or {},
    }
    return Persistent(class_name, state)


@contextmanager
def importable():
    """The module that persistent objects name can be found, as a pickler demands."""
    module = types.ModuleType(PERSISTENCE)
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    names = {"torch_utils": types.ModuleType("torch_utils"), PERSISTENCE: module}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def write_pickle(path, value, form="plain"):
    """A file of `pickle.dump`, or of `torch.save` in its format `zip` or `old`."""
    with importable():
        if form == "plain":
            path.write_bytes(pickle.dumps(value, 4))
        else:
            torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
