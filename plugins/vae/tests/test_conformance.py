"""The laws that every plugin and model must keep."""

from zoo_core.testing import conformance

test_conformance = conformance("vae")
