"""Runs the training program on this machine."""

from pipeline.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
