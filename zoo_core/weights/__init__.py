"""Weights: model folders, checkpoints of other libraries, golden tensors, the Hub."""
