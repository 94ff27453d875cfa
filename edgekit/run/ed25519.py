"""Ed25519 signatures, verified in Python alone: boards have no cryptography package, and not all have OpenSSL 3.

Nothing here is secret, so it need not take constant time. Stricter than RFC 8032 has to be: numbers must be written the one
way there is (S below the group's order, y below p), and keys or points of small order are refused, for which one signature
would hold for many texts. The equation is the one without the cofactor, as OpenSSL has it.

Source:
    RFC 8032, sections 5.1.3 and 5.1.7, and the sample code of its section 6.
"""

from __future__ import annotations

import hashlib
from typing import Optional, Tuple

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1

_Point = Tuple[int, int, int, int]  # extended homogeneous coordinates X, Y, Z, T: x = X / Z, y = Y / Z, x * y = T / Z
_ZERO: _Point = (0, 1, 1, 0)


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature of a message is by the owner of a public key.

    Args:
        key: 32 bytes.
        signature: 64 bytes; of another length it is no signature.
        message: what was signed.
    """
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    owner, nonce = _point(key), _point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if owner is None or nonce is None or scalar >= _ORDER or _is_small(owner) or _is_small(nonce):
        return False
    digest = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % _ORDER
    return _are_equal(_times(scalar, _BASE), _sum(nonce, _times(digest, owner)))


def _sum(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: _Point) -> _Point:
    result = _ZERO
    while scalar:
        if scalar & 1:
            result = _sum(result, point)
        point = _sum(point, point)
        scalar >>= 1
    return result


def _are_equal(one: _Point, other: _Point) -> bool:
    return (one[0] * other[2] - other[0] * one[2]) % _P == 0 and (one[1] * other[2] - other[1] * one[2]) % _P == 0


def _is_small(point: _Point) -> bool:
    """Whether eight times the point is zero."""
    return _are_equal(_times(8, point), _ZERO)


def _point(encoded: bytes) -> Optional[_Point]:
    """The point that 32 bytes stand for; None if they stand for none, or are not the one way to write it."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _base() -> _Point:
    y = 4 * pow(5, _P - 2, _P) % _P
    point = _point(y.to_bytes(32, "little"))
    assert point is not None
    return point


_BASE = _base()
