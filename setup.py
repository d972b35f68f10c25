"""Build metadata lives in pyproject.toml; this file exists for the compiled kernels."""

from setuptools import setup

setup()
