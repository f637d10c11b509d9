"""Federated training of video super-resolution models."""

from importlib.metadata import version

__version__ = version("fedvsr")
