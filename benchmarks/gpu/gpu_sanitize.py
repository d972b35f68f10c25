"""The sampler under compute-sanitizer: no access out of bounds, no race between its programs.

python benchmarks/gpu/gpu_sanitize.py cuda      draws a few images, as the tools run it
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKS = ("memcheck", "racecheck", "initcheck", "synccheck")
SECONDS = 140
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:errors?|hazards?)")


def tool() -> str | None:
    """compute-sanitizer on the PATH or where CUDA is."""
    places = [os.environ.get("CUDA_HOME", "/usr/local/cuda"), "/usr/local/cuda"]
    paths = os.pathsep.join([os.environ.get("PATH", ""), *(f"{p}/bin" for p in places)])
    return shutil.which("compute-sanitizer", path=paths)


def sanitized(check: str, device: str) -> dict[str, Any]:
    """What a tool counted; without the tools, the sampler alone, and that it was left out."""
    found = tool()
    command = [sys.executable, __file__, device]
    if found is not None:
        command = [found, "--tool", check, "--print-limit", "5", *command]
    variables = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    variables |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False,
                          timeout=SECONDS)  # fmt: skip
    told = done.stdout + done.stderr
    if done.returncode:
        raise RuntimeError(" ".join(told.split())[-500:])
    if found is None:
        return {"left_out": "compute-sanitizer is not installed", "sampler_ran": "drew" in told}
    counts = [int(n) for n in _SUMMARY.findall(told)]
    if not counts or any(counts):
        raise AssertionError(" ".join(told.split())[-500:])
    return {"errors": sum(counts)}


def run(results: Any) -> None:
    for check in CHECKS[:1] if results.tiny else CHECKS:
        results.each(check, lambda c=check: sanitized(c, results.device))


def main(device: str) -> None:
    import gpu_sampler
    from timing import move

    name = list(gpu_sampler.STACKS)[1]
    images = 1 if device == "cpu" else 3
    drawn = gpu_sampler.sample(move(gpu_sampler.arguments(name, images), device), "triton")
    print(f"drew {tuple(drawn.shape)}, {int(drawn.sum())} of 1")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(sys.argv[1])
