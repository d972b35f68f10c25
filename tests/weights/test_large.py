"""Loading takes the memory of the model and one tensor more, in the type that was asked for."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from zoo_core import child
from zoo_core.catalog.layout import INDEX, METADATA
from zoo_core.weights.assign import Place, undrawn

WIDTH, LAYERS = 2048, 8
MIB = 1 << 20
EACH = WIDTH * WIDTH * 4 // MIB
"""MiB of a layer, each a shard, in single precision."""
LOAD = """
import sys, threading, time
from dataclasses import dataclass
import torch
import zoo_core as zoo
from zoo_core.plugin import Condition, Event, GenerativeModel

@dataclass(frozen=True)
class Config:
    width: int = 1

class Wide(GenerativeModel):
    def __init__(self, config: Config):
        super().__init__(config, Event((2,)), Condition())
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(config.width, config.width, bias=False) for _ in range(8))
        self.register_buffer("shift", torch.tensor(0.5), persistent=False)

def anonymous():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) // 1024

def watch():
    global most
    while not over:
        most = max(most, anonymous())
        time.sleep(0.001)

folder, dtype = sys.argv[1], getattr(torch, sys.argv[2])
torch.ones(1 << 20).isfinite().all()
before = most = anonymous()
over, thread = False, threading.Thread(target=watch, daemon=True)
thread.start()
model = zoo.load(folder, cls=Wide, dtype=dtype)
over = True
thread.join()
assert model.layers[3].weight.dtype == model.shift.dtype == dtype
assert float(model.layers[3].weight[0, 0]) == 3.0 and float(model.shift) == 0.5
print(most - before)
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A folder of shards, a layer each."""
    folder = tmp_path_factory.mktemp("wide")
    shards = {}
    for i in range(LAYERS):
        name = f"model-{i + 1:05}-of-{LAYERS:05}.safetensors"
        save_file({f"layers.{i}.weight": torch.full((WIDTH, WIDTH), float(i))}, folder / name)
        shards[f"layers.{i}.weight"] = name
    (folder / INDEX).write_text(json.dumps({"weight_map": shards}))
    known = {"schema": 1, "arch": "Wide", "plugin": None, "class": "x:Wide"}
    (folder / METADATA).write_text(json.dumps({**known, "config": {"width": WIDTH}}))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read in /proc")
@pytest.mark.parametrize(("dtype", "share"), [("float32", 1.0), ("bfloat16", 0.5)])
def test_memory_holds_the_model_and_one_shard_at_most(wide, dtype, share, tmp_path):
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    done = child.python(str(script), str(wide), dtype, timeout=90)
    assert done.returncode == 0, done.stdout
    model, slack = share * EACH * LAYERS, 24
    assert model * 0.9 < int(done.stdout) < model + 2 * EACH + slack


def test_large_parameters_are_not_drawn_and_small_ones_are():
    with undrawn():
        small, drawn = torch.nn.Linear(4, 4), torch.nn.Parameter(torch.zeros(2, 1 << 18))
        torch.nn.init.normal_(drawn)
    assert (
        float(drawn.detach().abs().max()) == 0.0 and float(small.weight.detach().abs().max()) > 0.0
    )
    torch.nn.init.normal_(drawn)
    assert float(drawn.detach().abs().max()) > 0.0


def test_tied_parameters_stay_tied_and_integers_keep_their_type():
    from zoo_core.weights.tensors import load_tensors

    net = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False) for _ in range(2)])
    net[1].weight = net[0].weight
    net.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensors = {"0.weight": value, "1.weight": value, "count": torch.tensor([7])}
    load_tensors(net, tensors, "here", place=Place(dtype=torch.float16))
    assert net[1].weight is net[0].weight and net[0].weight.dtype == torch.float16
    assert net.count.dtype == torch.int64 and int(net.count) == 7
    value[0, 0] = 9.0
    assert float(net[0].weight.detach()[0, 0]) == 1.0  # a copy


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_is_loaded_onto_a_gpu_tensor_by_tensor():
    from zoo_core.weights.tensors import load_tensors

    net = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.BatchNorm1d(1024))
    state = {k: torch.randn(v.shape).abs() if v.ndim else v for k, v in net.state_dict().items()}
    load_tensors(net, state, "here", place=Place("cuda", torch.bfloat16))
    for name, value in net.state_dict().items():
        assert value.is_cuda and torch.equal(value.cpu(), state[name].to(value.dtype))
    net.eval()(torch.ones(3, 512, device="cuda", dtype=torch.bfloat16)).sum().backward()
