from tests.gateway import sqlite_url
from tests.solve.detached import site

__all__ = ["site", "sqlite_url"]
