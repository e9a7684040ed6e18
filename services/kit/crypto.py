"""Every cryptographic operation of the hub, by name; the only importer of the crypto libraries.

It guards that algorithms are chosen once: AES-256-GCM with random nonces, AES-KW for keys, HKDF and
HMAC over SHA-256, Ed25519, ES384 and RS384 for partners, HS256 for our own tokens. No error here
carries a key, a plaintext or a token. Where keys live, and when they die, is left to the callers.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OctKey, RSAKey

KEY_BYTES = 32
NONCE_BYTES = 12
ASSERTION_ALGORITHMS = ("ES384", "RS384")
"""Signatures that a partner may authenticate with (SMART Backend Services)."""
MIN_RSA_BITS = 2048
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that only its owner may know."""
MAX_TOKEN_CHARS = 8192


class CryptoError(Exception):
    """A key, ciphertext, signature or token is not what it should be; `rule` says which check."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def random_bytes(count: int) -> bytes:
    """`count` bytes from the operating system."""
    return secrets.token_bytes(count)


def sha256(data: bytes) -> bytes:
    """SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def constant_equal(left: bytes, right: bytes) -> bool:
    """Whether both are equal, in time that depends on their length alone."""
    return hmac.compare_digest(left, right)


def joined(*parts: bytes) -> bytes:
    """`parts` with their lengths in front, so that no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 over the length-prefixed parts, 32 bytes."""
    return hmac.digest(key, joined(*parts), "sha256")


def mac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 over one message as it is, 32 bytes; for formats of others."""
    return hmac.digest(key, message, "sha256")


def hkdf(key: bytes, info: bytes) -> bytes:
    """A 32-byte key for the use that `info` names, from a uniformly random key (RFC 5869)."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def uuid4_from(data: bytes) -> UUID:
    """A version 4 UUID whose random bits are the first 16 bytes of `data`."""
    if len(data) < 16:
        raise CryptoError("too-few-bytes")
    return UUID(bytes=data[:16], version=4)


def seal_id(key: bytes, plain: UUID) -> UUID:
    """The id under which one reader knows `plain`: another for every key, and it can be undone."""
    return UUID(bytes=_block(key).encryptor().update(plain.bytes))


def open_id(key: bytes, sealed: UUID) -> UUID:
    """What `seal_id` was given; for any other id, one that stands for nothing."""
    return UUID(bytes=_block(key).decryptor().update(sealed.bytes))


def _block(key: bytes) -> Cipher[modes.ECB]:
    """One block of 16 random bytes: AES is the permutation itself, no mode is involved."""
    return Cipher(algorithms.AES(_key(key)), modes.ECB())  # noqa: S305 -- see above


def aead_seal(key: bytes, nonce: bytes | None, plain: bytes, aad: bytes) -> bytes:
    """`nonce ‖ ciphertext` by AES-256-GCM; a fresh random nonce when None (the usual case)."""
    nonce = random_bytes(NONCE_BYTES) if nonce is None else nonce
    return nonce + AESGCM(_key(key)).encrypt(nonce, plain, aad)


def aead_open(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The plaintext of `aead_seal`; CryptoError when key, bytes or `aad` differ in anything."""
    try:
        return AESGCM(_key(key)).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        raise CryptoError("aead") from None


def wrap(kek: bytes, key: bytes) -> bytes:
    """`key` wrapped under `kek` (AES-KW, RFC 3394), 8 bytes longer."""
    return aes_key_wrap(_key(kek), key)


def unwrap(kek: bytes, wrapped: bytes) -> bytes:
    """The key inside; CryptoError when it was wrapped under another."""
    try:
        return aes_key_unwrap(_key(kek), wrapped)
    except (InvalidUnwrap, ValueError):
        raise CryptoError("unwrap") from None


def _key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise CryptoError("key-length")
    return key


# --- Ed25519 ------------------------------------------------------------------------------------


def new_ed25519() -> tuple[bytes, bytes]:
    """A fresh pair: seed and public key, 32 raw bytes each."""
    seed = random_bytes(KEY_BYTES)
    return seed, ed25519_public(seed)


def ed25519_public(seed: bytes) -> bytes:
    """The public key of a seed, 32 raw bytes."""
    return _signer(seed).public_key().public_bytes_raw()


def sign_ed25519(seed: bytes, message: bytes) -> bytes:
    """The 64-byte signature of `message`."""
    return _signer(seed).sign(message)


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the holder's of `public` over `message`."""
    try:
        _verifier(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=8)
def _signer(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_key(seed))


@lru_cache(maxsize=8)
def _verifier(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(_key(public))


# --- JSON Web Tokens ----------------------------------------------------------------------------


def new_es384_pem() -> bytes:
    """A fresh P-384 private key, PKCS #8 PEM without password (the file is 0600)."""
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def jwk_of(pem: bytes) -> dict[str, Any]:
    """The public JWK of a P-384 private key; its `kid` is the RFC 7638 thumbprint."""
    key = _es384(pem)
    public = dict(key.as_dict(private=False))
    return {**public, "kid": key.thumbprint(), "use": "sig", "alg": "ES384"}


def make_jwt_es384(pem: bytes, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A signed token; `alg` is set here, `kid` and `typ` come from `header`."""
    return jwt.encode({**header, "alg": "ES384"}, dict(claims), _es384(pem), algorithms=["ES384"])


def verify_client_assertion(
    token: str, jwks: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token signed by the one key of `jwks` that its `kid` names.

    CryptoError (`token`, `algorithm`, `kid`, `key`, `signature`) otherwise. Audience, times and
    `jti` are the caller's to check.
    """
    header = _peek(token)
    algorithm = header.get("alg")
    if algorithm not in ASSERTION_ALGORITHMS:
        raise CryptoError("algorithm")
    key = _partner_key(jwks, header.get("kid"), algorithm)
    return header, _decode(token, key, algorithm)


def make_token(key: bytes, claims: Mapping[str, Any]) -> str:
    """One of our own HS256 tokens; `exp` (seconds) must be among the claims."""
    return jwt.encode({"alg": "HS256"}, dict(claims), _octets(key), algorithms=["HS256"])


def read_token(key: bytes, token: str, now: datetime | None = None) -> dict[str, Any]:
    """Claims of our own token; CryptoError (`token`, `signature`, `expired`) otherwise.

    `now` is the wall clock when not given; a token without `exp` counts as expired.
    """
    if _peek(token).get("alg") != "HS256":
        raise CryptoError("algorithm")
    claims = _decode(token, _octets(key), "HS256")
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        raise CryptoError("expired")
    if (now or datetime.now(UTC)).timestamp() >= expires:
        raise CryptoError("expired")
    return claims


def _peek(token: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise CryptoError("token")
    try:
        return dict(jws.extract_compact(token.encode()).protected)
    except (JoseError, ValueError, TypeError):
        raise CryptoError("token") from None


def _decode(token: str, key: ECKey | RSAKey | OctKey, algorithm: str) -> dict[str, Any]:
    try:
        claims = jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError, TypeError):
        raise CryptoError("signature") from None
    if not isinstance(claims, dict):
        raise CryptoError("token")
    return claims


def _partner_key(jwks: Mapping[str, Any], kid: object, algorithm: str) -> ECKey | RSAKey:
    keys = jwks.get("keys")
    named = [k for k in keys if isinstance(k, dict) and k.get("kid") == kid] if keys else []
    if not isinstance(kid, str) or len(named) != 1:
        raise CryptoError("kid")
    try:
        key = JWKRegistry.import_key(named[0])
    except (JoseError, ValueError, TypeError):
        raise CryptoError("key") from None
    if algorithm == "ES384" and isinstance(key, ECKey) and key.curve_name == "P-384":
        return key
    if algorithm == "RS384" and isinstance(key, RSAKey) and _rsa_bits(key) >= MIN_RSA_BITS:
        return key
    raise CryptoError("key")


def check_public_jwk(jwk: Mapping[str, Any]) -> str:
    """The algorithm (ES384 or RS384) of a public key we accept; CryptoError (`kid`, `key`)."""
    algorithm = {"EC": "ES384", "RSA": "RS384"}.get(str(jwk.get("kty")))
    if algorithm is None or PRIVATE_MEMBERS & jwk.keys():
        raise CryptoError("key")
    _partner_key({"keys": [dict(jwk)]}, jwk.get("kid"), algorithm)
    return algorithm


def _rsa_bits(key: RSAKey) -> int:
    return key.public_key.key_size


@lru_cache(maxsize=8)
def _octets(key: bytes) -> OctKey:
    return OctKey.import_key(_key(key))


@lru_cache(maxsize=8)
def _es384(pem: bytes) -> ECKey:
    key = ECKey.import_key(pem)
    if key.curve_name != "P-384" or not key.is_private:
        raise CryptoError("key")
    return key
