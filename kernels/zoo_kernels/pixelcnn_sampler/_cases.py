"""Sample arguments, costs, benchmark rows and compiled variants of the PixelCNN's sampler."""

from typing import Any

import torch

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant, positions
from zoo_kernels.pixelcnn_sampler import GatedLayer, Pair, pack
from zoo_kernels.pixelcnn_sampler.reference import SampleArguments


def random_layers(
    generator: torch.Generator, layers: int, channels: int, inputs: int, *, first: int = 7
) -> list[GatedLayer]:
    """Layers of the usual sizes with weights that keep activations near 1."""

    def conv(*size: int) -> Pair:
        fan = size[1] * size[2] * size[3]
        weight = torch.randn(size, generator=generator) * fan**-0.5
        return weight, torch.randn(size[0], generator=generator) * 0.1

    made = []
    for i in range(layers):
        c, n, k = channels, inputs if i == 0 else channels, first if i == 0 else 3
        made.append(
            GatedLayer(
                v_row=conv(c, n, 1, k),
                v_col=conv(2 * c, c, k // 2 + 1, 1),
                v_here=conv(2 * c, n, 1, 1),
                link=conv(2 * c, 2 * c, 1, 1),
                h_row=conv(2 * c, n, 1, k // 2 + 1),
                residual=conv(c, c, 1, 1),
                skip=conv(c, c, 1, 1),
            )
        )
    return made


def random_arguments(
    generator: torch.Generator,
    *,
    batch: int,
    shape: tuple[int, int, int],
    layers: int,
    channels: int,
    hidden: int,
    head: str,
    levels: int = 2,
    mixtures: int = 0,
    extra: int = 0,
    first: int = 7,
    conditional: bool = False,
    known: float = 0.0,
) -> SampleArguments:
    """Arguments of the op for tests and benchmarks."""
    image, *size = shape
    outputs = {"binary": 1, "softmax": levels}.get(head, mixtures * (3 if image == 1 else 10))
    made = random_layers(generator, layers, channels, image + extra, first=first)

    def matrix(out: int, inputs: int) -> Pair:
        w = torch.randn(out, inputs, 1, 1, generator=generator) * (3 / inputs) ** 0.5
        return w, torch.randn(out, generator=generator) * 0.3

    weights = pack(made, (matrix(hidden, channels), matrix(outputs, hidden)))
    draws = 1 + image if head == "mixture" else 1
    uniforms = torch.rand(batch, *size, draws, generator=generator)
    given = torch.rand(batch, *shape, generator=generator) < known
    values = torch.randint(levels, (batch, *shape), generator=generator)
    fixed = torch.where(given, values, -1)
    cond = torch.randn(batch, layers, 2, 2 * channels, generator=generator) * 0.5
    constants = torch.randn(extra, *size, generator=generator) if extra else None
    table = torch.linspace(-1, 1, levels)[:, None]
    return SampleArguments(
        uniforms=uniforms,
        fixed=fixed,
        cond=cond if conditional else None,
        table=table,
        extra=constants,
        weights=weights,
        head=head,
        levels=levels,
    )


def _case(name: str, **options: Any) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return tuple(random_arguments(generator, **options))

    batched = ["uniforms", "fixed"] + ["cond"] * options.get("conditional", False)
    return Case(name, make, positions(SampleArguments, *batched))


def _cost(*args: Any) -> Cost:
    """Each weight is used once per pixel."""
    a = SampleArguments(*args)
    numel = sum(w.numel() for w in a.weights)
    batch, height, width, _ = a.uniforms.shape
    pixels = batch * height * width
    moved = 4 * a.uniforms.numel() + 16 * a.fixed.numel() + 4 * numel
    return Cost(bytes=moved, flops=2 * numel * pixels)


def _bench(batch: int) -> Bench:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        arguments = random_arguments(
            generator,
            batch=batch,
            shape=(1, 28, 28),
            layers=9,
            channels=64,
            hidden=32,
            head="binary",
        )
        return tuple(arguments)

    peers = {
        "reference compiled": "cached_compiled",
        "full_forward_loop": "full_forward_loop",
        "full_forward_loop compiled": "full_forward_loop_compiled",
    }
    peers = {name: f"peers.pixelcnn_sampler:{attr}" for name, attr in peers.items()}
    return Bench(f"64ch 1+8 layers 28x28 B={batch}", make, peers)


def _variant(
    head: str,
    outputs: int,
    rows: int,
    *,
    image: int = 1,
    conditional: bool = False,
    stack: int = 0,
) -> Variant:
    """The usual stack: 64 channels, 7 x 7 then 3 x 3; `rows` is _triton.tile_rows."""
    floats = (
        "p_u",
        "p_cond",
        "p_table",
        "p_extra",
        "p_w",
        "p_vertical",
        "p_row",
        "p_v",
        "p_horizontal",
    )
    sizes = ("batch", "height", "width", "layers", "levels", "outputs", "n_table", "n_extra")
    strides = ("vertical_stride", "row_stride", "v_stride", "horizontal_stride")
    signature = {"p_x": "*i64"} | dict.fromkeys(floats, "*fp32")
    signature |= dict.fromkeys(sizes, "i32") | dict.fromkeys(strides, "i64")
    constants = {
        "CI": 16,
        "K0": 7,
        "R0": 4,
        "T0": 4,
        "C": 64,
        "K": 3,
        "R": 2,
        "T": 2,
        "D": 32,
        "P": outputs,
        "I": image,
        "HEAD": head,
        "COND": conditional,
        "EXTRA": False,
        "BT": 16,
        "BM": rows,
        "PRECISION": "tf32",
    }
    return Variant(
        "zoo_kernels.pixelcnn_sampler._triton:_sample_kernel",
        signature,
        constants,
        255,
        warps=8,
        stages=1,
        aligned=("p_x", *floats, *strides),
        stack=stack,
        tensor_cores=True,
    )


def pixelcnn_sample() -> Examples:
    return Examples(
        cases=(
            _case(
                "tiny",
                batch=2,
                shape=(1, 2, 2),
                layers=2,
                channels=16,
                hidden=8,
                head="binary",
                first=3,
                conditional=True,
            ),
            _case(
                "binary", batch=3, shape=(1, 3, 4), layers=3, channels=16, hidden=8, head="binary"
            ),
            _case(
                "row", batch=1, shape=(1, 1, 7), layers=1, channels=16, hidden=16, head="binary"
            ),
            _case(
                "softmax",
                batch=5,
                shape=(1, 3, 3),
                layers=2,
                channels=20,
                hidden=12,
                head="softmax",
                levels=17,
                extra=2,
                conditional=True,
                known=0.3,
            ),
            _case(
                "mixture",
                batch=2,
                shape=(1, 2, 3),
                layers=2,
                channels=16,
                hidden=16,
                head="mixture",
                levels=256,
                mixtures=3,
                first=3,
            ),
            _case(
                "rgb",
                batch=17,
                shape=(3, 2, 2),
                layers=2,
                channels=16,
                hidden=16,
                head="mixture",
                levels=256,
                mixtures=5,
                first=5,
                conditional=True,
                known=0.2,
            ),
        ),
        cost=_cost,
        bench=tuple(_bench(batch) for batch in (1, 2, 16)),
        # with 256 levels ptxas reserves two words for sm_90 that nothing reads or writes
        variants=(
            _variant("binary", 16, 64),
            _variant("binary", 16, 32, conditional=True),
            _variant("softmax", 64, 64),
            _variant("softmax", 256, 32, stack=8),
            _variant("mixture", 128, 32, image=3),
        ),
    )
