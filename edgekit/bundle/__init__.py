"""Bundles: one file with all that a device needs of an engine, signed; the keys that sign."""

from edgekit.bundle.keys import KeyEntry, keys_folder, list_keys, new_key, own_trust, read_keys, rotate, rotations
from edgekit.bundle.manifest import Boxes, Manifest
from edgekit.bundle.pack import Packed, Wanted, pack
from edgekit.bundle.sign import HINTS, LIFE, Signed, looked_at, sign, verify

__all__ = [
    "HINTS",
    "LIFE",
    "Boxes",
    "KeyEntry",
    "Manifest",
    "Packed",
    "Signed",
    "Wanted",
    "keys_folder",
    "list_keys",
    "looked_at",
    "new_key",
    "own_trust",
    "pack",
    "read_keys",
    "rotate",
    "rotations",
    "sign",
    "verify",
]
