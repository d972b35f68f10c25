"""Energy-based models, p(x) = exp(-E(x)) / Z with unknown Z: a Density Zoo plugin."""

__version__ = "0.1.0"
