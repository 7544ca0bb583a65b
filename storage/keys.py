"""Turn X ids and handles into keyed pseudonyms, codes into digests, and secrets into ciphertext.

All keys come from outside the database. Whoever holds the pseudonym key can enumerate all ids, so it must not lie
beside the data.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Keys64 = NDArray[np.uint64]
_Number = TypeVar("_Number", np.uint32, np.uint64)

_ID_DOMAIN: Final = 1
# A handle fills at most 15 of a block's 16 bytes; the last one tells it from an id's block.
_HANDLE_DOMAIN: Final = 2
_CODE_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no 0/O, 1/I/L, U: read aloud and typed by hand
_PSEUDONYM_BYTES: Final = 32  # AES-256
_REMEDY: Final = (
    "Put the former key back from your copy; on a new installation: reflock init --directory new, and copy its line "
    "from new/.env."
)


class BadKeyError(Exception):
    """A key cannot be used; the text says which and what to do, a line for each."""


class LostSecretError(Exception):
    """A ciphertext was made with a key that is no longer among ours."""


class Keys:
    """Everything that is done with the two secrets of an installation.

    `pseudonym` is 32 bytes in URL-safe base64; `grants` are Fernet keys, the newest first: it encrypts, all decrypt.
    """

    def __init__(self, pseudonym: str, grants: Sequence[str]) -> None:
        try:
            raw = urlsafe_b64decode(pseudonym)
        except ValueError:
            raw = b""
        wrong = [] if len(raw) == _PSEUDONYM_BYTES else ["REFLOCK_PSEUDONYM_KEY must be 32 bytes in base64"]
        if not grants:
            wrong.append("REFLOCK_GRANT_KEYS holds no key")
        fernets = []
        for number, key in enumerate(grants, 1):
            try:
                fernets.append(Fernet(key))
            except ValueError:
                wrong.append(f"REFLOCK_GRANT_KEYS: key {number} of {len(grants)} is not a Fernet key")
        if wrong:
            raise BadKeyError("\n".join(f"{each}. {_REMEDY}" for each in wrong))
        self._fernet = MultiFernet(fernets)
        self._cipher = Cipher(algorithms.AES(raw), modes.ECB())  # one block per id: nothing is chained  # noqa: S305
        self._code_key = hmac.new(raw, b"reflock code digest", hashlib.sha256).digest()

    @staticmethod
    def generate() -> tuple[str, str]:
        """Make a fresh pseudonym key and a fresh grant key."""
        return urlsafe_b64encode(secrets.token_bytes(_PSEUDONYM_BYTES)).decode(), Fernet.generate_key().decode()

    def of_ids(self, ids: NDArray[np.uint64]) -> Keys64:
        """Return the pseudonyms of X ids, in their order."""
        blocks = np.zeros((len(ids), 2), "<u8")
        blocks[:, 0] = ids
        blocks[:, 1] = _ID_DOMAIN
        return self._first_half(blocks.tobytes())

    def of_handles(self, handles: Sequence[str]) -> Keys64:
        """Return the pseudonyms of X handles (1 to 15 ASCII letters, digits and underscores, any case), in their order."""
        if any(not 0 < len(handle) <= 15 or not handle.isascii() for handle in handles):
            raise ValueError("An X handle has 1 to 15 ASCII characters.")  # a longer one would shift all that follow
        blocks = b"".join(handle.lower().encode().ljust(15, b"\0") + bytes([_HANDLE_DOMAIN]) for handle in handles)
        return self._first_half(blocks)

    def of_id(self, x_id: int) -> int:
        """Return the pseudonym of one X id as the signed number that a database column holds."""
        return int(self.of_ids(np.array([x_id], np.uint64)).view(np.int64)[0])

    def of_handle(self, handle: str) -> int:
        """Return the pseudonym of one X handle as the signed number that a database column holds."""
        return int(self.of_handles([handle]).view(np.int64)[0])

    def _first_half(self, blocks: bytes) -> Keys64:
        encryptor = self._cipher.encryptor()
        return np.frombuffer(encryptor.update(blocks) + encryptor.finalize(), "<u8")[::2].copy()

    def digest(self, code: str) -> bytes:
        """Return the digest under which a one-time code is kept; a look-up by it compares in constant time."""
        return hmac.new(self._code_key, code.encode(), hashlib.sha256).digest()

    def encrypt(self, secret: str) -> bytes:
        """Encrypt with the newest key."""
        return self._fernet.encrypt(secret.encode())

    def decrypt(self, ciphertext: bytes) -> str:
        """Decrypt with whichever key made it; raise LostSecretError when none of ours did."""
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken:
            raise LostSecretError("A stored secret was encrypted with a key that is gone.") from None

    def rotate(self, ciphertext: bytes) -> bytes:
        """Encrypt anew with the newest key; raise LostSecretError when none of ours made it."""
        try:
            return self._fernet.rotate(ciphertext)
        except InvalidToken:
            raise LostSecretError("A stored secret was encrypted with a key that is gone.") from None


def distinct(numbers: NDArray[_Number]) -> NDArray[_Number]:
    """Return numbers sorted and each once.

    numpy's own `unique` hashes them first, which takes two hundred times as long for three million (measured, 2.4).
    """
    if (numbers[1:] > numbers[:-1]).all():
        return numbers
    ordered = np.sort(numbers)
    repeated = ordered[1:] == ordered[:-1]
    return ordered[np.append(True, ~repeated)] if repeated.any() else ordered


def new_code(prefix: str = "RF") -> str:
    """Make a code a person can read and type: RF-XXXX-XXXX, 39 bits (it expires, is bound to one person, single-use)."""
    letters = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(8))
    return f"{prefix}-{letters[:4]}-{letters[4:]}"


def new_token() -> str:
    """Make an unguessable token for a link: 192 bits in URL-safe letters."""
    return secrets.token_urlsafe(24)
