"""On which version of a resource a request is meant: what If-Match and If-None-Match ask for."""

from msgspec import Struct


class ETags(Struct, frozen=True, kw_only=True):
    """The versions that such a header lists."""

    any: bool
    """`*`: whatever version, as long as there is one."""
    strong: frozenset[int] = frozenset()
    weak: frozenset[int] = frozenset()
    """Weak tags; they match in If-None-Match only."""


class Conditions(Struct, frozen=True, kw_only=True):
    """On which condition a request is meant; None: none."""

    if_match: ETags | None = None
    if_none_match: ETags | None = None

    def allow_write(self, version: int | None) -> bool:
        """Whether a write may go on; `version` is None when there is nothing at this address."""
        if self.if_match is not None and not _matches(self.if_match, version, weakly=False):
            return False
        return self.if_none_match is None or not _matches(self.if_none_match, version, weakly=True)

    def is_known(self, version: int) -> bool:
        """Whether the reader has this version already, so that 304 says all."""
        return self.if_none_match is not None and _matches(self.if_none_match, version, weakly=True)


def _matches(etags: ETags, version: int | None, *, weakly: bool) -> bool:
    if version is None:
        return False
    return etags.any or version in etags.strong or (weakly and version in etags.weak)
