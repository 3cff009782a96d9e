"""Fathom: an inference gateway that decides how deep to think."""

__version__ = "0.1.0"
