"""The fixtures that these tests share."""

from tests.support.clients import api, both, customers, other_process, owner, reader

__all__ = ["api", "both", "customers", "other_process", "owner", "reader"]
