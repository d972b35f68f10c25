"""Lossless compression by a model: what a likelihood promises in bits, as the bytes of a file.

    from zoo_core import compression

    data = compression.compress("gated_pixelcnn.digits", x)
    assert torch.equal(compression.decompress(data), x)

The names are those of `__init__.pyi`; they are imported on first use. Entropy coding is by
`constriction` (the extra `compress`).
"""

from zoo_core import lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, __file__)
