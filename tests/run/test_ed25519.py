"""Ed25519 in Python alone, against the standard's vectors, Wycheproof's, and another implementation."""

import random
from pathlib import Path

import pytest

from edgekit.run.ed25519 import verify

ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")

ORDER = 2**252 + 27742317777372353535851937790883648493  # RFC 8032, section 5.1
RFC_8032 = (  # section 7.1: public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
)
WYCHEPROOF = [
    [b"" if word == "-" else bytes.fromhex(word) for word in words] + [result]
    for line in (Path(__file__).parent / "data" / "ed25519_wycheproof.txt").read_text().splitlines()
    if not line.startswith("#")
    for *words, result in [line.split()]
]


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_signatures_of_rfc_8032_hold(key, message, signature):
    assert verify(bytes.fromhex(key), bytes.fromhex(signature), bytes.fromhex(message))


def test_all_of_wycheproofs_vectors_are_answered_as_they_should_be():
    assert len(WYCHEPROOF) == 210
    wrong = [case for *case, result in WYCHEPROOF if result != "acceptable" and verify(case[0], case[2], case[1]) != (result == "valid")]

    assert not wrong


def test_what_wycheproof_leaves_open_holds_only_where_another_implementation_says_so_too():
    """Keys of a kind that nobody makes: of mixed order, which hold in OpenSSL, and of small order, which are refused here."""
    for key, message, signature, result in WYCHEPROOF:
        if result == "acceptable" and verify(key, signature, message):
            assert holds(ed25519.Ed25519PublicKey.from_public_bytes(key), signature, message)


def test_it_agrees_with_another_implementation_on_signatures_with_any_one_bit_changed():
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key, message = private.public_key(), b"a manifest"
    signature, raw = private.sign(message), key.public_bytes_raw()
    assert verify(raw, signature, message)

    for bit in range(512):
        other = bytearray(signature)
        other[bit // 8] ^= 1 << bit % 8
        assert verify(raw, bytes(other), message) == holds(key, bytes(other), message) is False


def test_it_agrees_with_another_implementation_on_random_texts():
    random.seed(3)
    for length in (0, 1, 31, 32, 33, 100, 1000):
        private = ed25519.Ed25519PrivateKey.from_private_bytes(random.randbytes(32))
        message = random.randbytes(length)
        signature = private.sign(message)
        assert verify(private.public_key().public_bytes_raw(), signature, message)
        assert not verify(private.public_key().public_bytes_raw(), signature, message + b"x")


def test_the_same_signature_written_with_a_larger_number_does_not_hold():
    key, message, signature = map(bytes.fromhex, RFC_8032[1])
    larger = int.from_bytes(signature[32:], "little") + ORDER

    assert not verify(key, signature[:32] + larger.to_bytes(32, "little"), message)


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 18], ids=["0", "1", "-1", "1 not reduced"])
def test_keys_of_small_order_are_nobodys(y):
    """With these, one signature would hold for many texts."""
    key = y.to_bytes(32, "little")

    assert not verify(key, (1).to_bytes(32, "little") + bytes(32), b"any text")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_and_signatures_of_another_length_are_none(length):
    key, message, signature = map(bytes.fromhex, RFC_8032[1])

    assert not verify(bytes(length), signature, message)
    assert not verify(key, bytes(length - 1 if length else 0), message)


def holds(key, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
