"""The real diffusers client against `zoo serve`, and against a Hub with faults.

It is among the peers of `make bench`; a folder that holds it may be on PYTHONPATH instead.
"""

import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from zoo_core.catalog.layout import third_party_files
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.snapshot import snapshot

diffusers = pytest.importorskip("diffusers", reason="needs diffusers: make .venv/bench")
pytestmark = pytest.mark.slow

NET = "unet/diffusion_pytorch_model.safetensors"
CLIENT = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import diffusers, torch
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
for line in sys.stdin:
    case = json.loads(line)
    where = dict(cache_dir=case["cache"], token=case.get("token"))
    try:
        if case["whole"]:
            net = diffusers.DDPMPipeline.from_pretrained("me/net", **where).unet
        else:
            net = diffusers.UNet2DModel.from_pretrained("me/net", subfolder="unet", **where)
        told = {"sum": sum(p.double().sum().item() for p in net.parameters())}
    except Exception as error:
        told = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A small pipeline as diffusers saves it, and the sum of its parameters."""
    small = {"sample_size": 8, "block_out_channels": (32, 32), "layers_per_block": 1}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = diffusers.UNet2DModel(**small, **blocks, norm_num_groups=8)
    root = tmp_path_factory.mktemp("shelf")
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(root / "me" / "net")
    return root, sum(p.double().sum().item() for p in unet.parameters())


@pytest.fixture
def published(hub, net):
    """The pipeline on the Hub."""
    folder = net[0] / "me" / "net"
    paths = [p for p in folder.rglob("*") if p.is_file()]
    hub.add("me/net", {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths})
    return hub


@contextmanager
def client(endpoint, monkeypatch):
    """`ask(cache, whole=..., token=...)`: what diffusers in a process of its own makes of it."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    command = [sys.executable, "-c", CLIENT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:

        def ask(cache, *, whole=False, token=None):
            case = {"cache": str(cache), "whole": whole, "token": token}
            child.stdin.write(json.dumps(case) + "\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        try:
            yield ask
        finally:
            child.stdin.close()


def test_diffusers_loads_a_net_and_a_pipeline_from_zoo_serve(hub, net, tmp_path, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="needs density-zoo[serve]")
    from zoo_core.weights.serve import application

    root, total = net
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(root), log_level="error"))
    options = {"kwargs": {"sockets": [listening]}, "daemon": True}
    thread = threading.Thread(target=server.run, **options)
    thread.start()
    try:
        with client(f"http://127.0.0.1:{listening.getsockname()[1]}", monkeypatch) as ask:
            for whole in (False, True):
                told = ask(tmp_path / str(whole), whole=whole)
                assert told == {"sum": pytest.approx(total, abs=1e-9)}
    finally:
        server.should_exit = True
        thread.join(10)


PASSING = [
    ("drop", 0.5),
    ("drop", 0.0),
    ("status", 429),
    ("hang up", None),
    ("slow", 0.5),
    ("no range", None),
]


def test_diffusers_gets_over_what_passes(published, net, tmp_path, monkeypatch):
    with client(published.url, monkeypatch) as ask:
        for i, (kind, value) in enumerate(PASSING):
            for whole in (False, True):
                published.faults.clear()
                published.fail(f"GET .*{NET}", kind, value)
                told = ask(tmp_path / f"{i}{whole}", whole=whole)
                assert told == {"sum": pytest.approx(net[1], abs=1e-9)}, (kind, whole)
                assert published.faults[0].times == 0, "the fault was met"
        published.faults.clear()
        published.cdn = True
        assert "sum" in ask(tmp_path / "cdn", token="hf_goodtoken")
        moved = [h for _, path, h in published.asked if path.startswith("/cdn")]
        assert moved and not any("authorization" in h for h in moved)


def test_what_diffusers_refuses_or_keeps_wrongly(published, net, tmp_path, monkeypatch):
    """A 5xx in a download ends it; wrong bytes of the right size are kept, and ours heals them."""
    with client(published.url, monkeypatch) as ask:
        published.fail(f"GET .*{NET}", "status", 503, times=9)
        assert ask(tmp_path / "busy")["error"] == "OSError"
        published.faults.clear()
        published.repos["me/net"].gated = True
        assert "pass a token" in ask(tmp_path / "gated")["message"]
        assert "sum" in ask(tmp_path / "gated", token="hf_goodtoken")
        published.repos["me/net"].gated = False
        published.fail(f"GET .*{NET}", "corrupt")
        assert ask(tmp_path / "bad")["sum"] != pytest.approx(net[1], abs=1e-9)
        access = Access(endpoint=published.url, cache_dir=tmp_path / "bad")
        assert NET in [file.path for file in snapshot("me/net", third_party_files, access).files]
        assert ask(tmp_path / "bad") == {"sum": pytest.approx(net[1], abs=1e-9)}
