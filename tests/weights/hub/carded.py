"""A plugin whose weights are on cards, and the cards."""

PLUGIN = """
from zoo_core.plugin import ConverterSpec, ModelSpec, hookimpl
ZOO_API = 1

@hookimpl
def zoo_models():
    return [ModelSpec(
        "mini-ar-2", "miniature", "explicit/tractable", "zoo_carded.net:MiniAR",
        "zoo_carded.net:Config", capabilities=("Density", "Conditionals"),
        default_likelihood="exact", default_sampler="sequential", paper="https://example.org/p",
    )]

@hookimpl
def zoo_converters():
    return [ConverterSpec("netlike", "zoo_carded.convert:NetLike", "mini-ar-2", "net.0, net.1")]
"""
WEIGHTS = "diffusion_pytorch_model.safetensors"
CARD = """
["mini-ar-2".{tag}]
repo = "them/{tag}"
license = "{license}"
license_class = "{license_class}"
source = "https://example.org/them"
converter = "netlike"
published = [{{ name = "bits/dim", value = 3.75, data = "their test set", relation = "lower" }}]
{more}
"""


def card(tag, license="MIT", license_class="open", more=""):
    return CARD.format(tag=tag, license=license, license_class=license_class, more=more)
