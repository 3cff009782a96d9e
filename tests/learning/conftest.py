from tests.gateway import sqlite_url

__all__ = ["sqlite_url"]
