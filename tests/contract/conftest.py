"""The fixtures that these tests share."""

from tests.support.clients import api, customers, other_process, reader

__all__ = ["api", "customers", "other_process", "reader"]
