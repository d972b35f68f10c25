"""Events and conditions, data sets with named splits, readers and writers."""

from zoo_core.data.loading import load_dataset

__all__ = ["load_dataset"]
