"""Energy-based models for Density Zoo: p(x) = exp(-E(x)) / Z with an unknown Z."""

__version__ = "0.1.0"
