"""Measure the tables of docs/guides/compression.md: bytes and times of files that are decoded.

    python tools/compression.py [MODEL ...]

Each model codes test images of the data that it was trained on (of static MNIST, which needs
ZOO_SHARED, the 1,000 of `zoo compress --limit 1000`), and every value is compared after decoding.
Times are CPU seconds of one thread, of the same code in float64, which another machine decodes,
and in float32, which only the very same machine and batch would. Rows are kept in
docs/studies/compression.jsonl.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo_core as zoo
from zoo_core.catalog.tags import Tag
from zoo_core.compression import api, codecs
from zoo_core.compression.grid import Grid
from zoo_core.compression.report import report, verified
from zoo_core.data.batches import labelled
from zoo_core.data.shuffle import choose
from zoo_core.modes import evaluating

RECORDS = Path(__file__).parents[1] / "docs" / "studies" / "compression.jsonl"
IMAGES, SEED = {"digits": 360, "binarized_mnist": 1000, "emoji": 549}, 0
TIMED = {"conditionals": 64, "bits-back": 64, "chain": 8}
"""Images whose coding is timed, in both precisions."""
MODELS = (
    "gated_pixelcnn.digits",
    "pixelcnn_pp.digits",
    "multiscale_pixelcnn.digits",
    "made.digits",
    "vae.digits",
    "iwae.digits",
    "hvae.digits",
    "vdm.digits",
    "multiscale_pixelcnn.binarized_mnist",
    "gated_pixelcnn.binarized_mnist",
    "made.binarized_mnist",
    "vae.binarized_mnist",
    "depthwise_pixelcnn.emoji",
)


class AnyPrecision(Grid):
    """A grid that also takes logits in float32, to time what they would save."""

    def weights(self, logits: Tensor) -> Any:
        return super().weights(logits.double())


def measured(name: str) -> dict[str, Any]:
    """The row of a model."""
    tag = zoo.info(name).tag
    assert tag is not None and tag.metadata is not None
    data = zoo.load_dataset(tag.metadata["data"]["name"])
    model, held = zoo.load(name), data.split("test")
    x, cond = labelled(model, held.batch(drawn(len(held), data.name)))
    file = zoo.compress(model, x, cond=cond, name=name)
    verified(file, model, x)
    return {
        "model": name,
        "data": data.name,
        **report(file, model, x, cond).record(),
        **about(tag, len(data.split("train"))),
        "seconds": {
            "float64": seconds(api.in_float64(model), x, cond),
            "float32": seconds(model, x, cond),
        },
    }


def drawn(n: int, data: str) -> Tensor:
    """The test images that are coded."""
    return choose(SEED, n, IMAGES[data], stream="zoo compress --limit")


def about(tag: Tag, trained_on: int) -> dict[str, Any]:
    """The size of the weights' file, and of the training data."""
    assert tag.folder is not None
    return {
        "weights_bytes": sum(p.stat().st_size for p in tag.folder.glob("*.safetensors")),
        "train_images": trained_on,
    }


def seconds(model: Any, x: Tensor, cond: Tensor | None) -> dict[str, float]:
    """CPU seconds of encoding and decoding some events, an event."""
    name = api.codec_of(model)
    x, cond = x[: TIMED[name]], None if cond is None else cond[: TIMED[name]]
    codec = api.CODECS[name]
    with evaluating(model):
        code, encoding = timed(lambda: codec.encode(model, x, cond, AnyPrecision(0)))
        decoded, decoding = timed(lambda: codec.decode(model, code, len(x), cond, AnyPrecision(0)))
    assert torch.equal(decoded, x.long())
    return {"encode": encoding / len(x), "decode": decoding / len(x)}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return call(), time.process_time() - start


def of_codecs(name: str) -> dict[str, Any]:
    """The row of a data set: its images by codecs that know nothing of it."""
    data = zoo.load_dataset(name)
    held = data.split("test")
    x, _ = held.batch(drawn(len(held), name))
    return {
        "data": name,
        "n": len(x),
        "codecs": [c.record() for c in codecs.sizes(x, data.event)],
    }


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    rows = (
        [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []
    )
    for name in names or MODELS:
        row = measured(name)
        rows = [r for r in rows if r.get("model") != name] + [row]
        if not any("codecs" in r and r["data"] == row["data"] for r in rows):
            rows.append(of_codecs(row["data"]))
        RECORDS.write_text("".join(json.dumps(r) + "\n" for r in rows))
        print(told(row), flush=True)
    for row in rows:
        for codec in row.get("codecs", ()):
            print(
                row["data"], {k: round(v, 1) if type(v) is float else v for k, v in codec.items()}
            )


def told(row: dict[str, Any]) -> str:
    """The row of a model in Markdown."""
    sign = {"equal": "=", "lower": "<="}[row["relation"]]
    times = (
        row["seconds"][dtype][what]
        for what in ("encode", "decode")
        for dtype in ("float32", "float64")
    )
    cells = (
        f"`{row['model']}`",
        f"{row['n']:,}",
        f"{sign} {row['likelihood_bytes']:,.0f}",
        f"{row['payload_bytes']:,}",
        f"{row['ratio']:.4f}",
        f"{row['initial_bits']:,}" if row["initial_bits"] else "",
        f"{row['payload_bytes'] / row['n']:.1f}",
        f"{row['weights_bytes']:,}",
        f"{row['train_images']:,}",
        *(f"{1000 * t:.2f}" for t in times),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
