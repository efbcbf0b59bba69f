"""Texts that only this service can make and read: cursors and consistency tokens.

AES-256-GCM under a key derived from a master key, so that what a text holds (a position, a name
to sort by) is shown to nobody, and cannot be made up or carried into another workspace.
"""

import base64
import binascii
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from runtime.settings import MasterKeys

_NONCE_BYTES: Final = 12
_PURPOSE: Final = b"customers/1 sealed texts"


class Sealer:
    """Seals for one purpose and one workspace; opens what older master keys sealed as well."""

    def __init__(self, master_keys: MasterKeys) -> None:
        ciphers = {
            name: AESGCM(derived_key(key, _PURPOSE)) for name, key in master_keys.by_id.items()
        }
        self._current = ciphers[master_keys.current]
        self._ciphers = list(ciphers.values())

    def seal(self, purpose: str, workspace_id: str, content: bytes) -> str:
        """A text safe in a URL and in a header; no two are alike."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._current.encrypt(nonce, content, _binding(purpose, workspace_id))
        return base64.urlsafe_b64encode(nonce + sealed).decode("ascii").rstrip("=")

    def open(self, purpose: str, workspace_id: str, text: str) -> bytes | None:
        """What was sealed; None when the text is not ours, or for something or somebody else."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        bound = _binding(purpose, workspace_id)
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
            except (InvalidTag, ValueError):
                continue
        return None


def derived_key(master_key: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose, that tell nothing of the master key."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=purpose).derive(master_key)


def _binding(purpose: str, workspace_id: str) -> bytes:
    return f"customers/1/{purpose}/{workspace_id}".encode()
