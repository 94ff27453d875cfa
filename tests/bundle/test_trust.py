"""Keys, statements and rotations as text."""

import pytest

from edgekit.run import trust
from edgekit.run.bundle_file import RefusedError


@pytest.fixture
def signer(bundles):
    return bundles.Signer


def trusted(*signers):
    return trust.Trust({one.key.id: one.key for one in signers}, set())


def test_keys_come_back_as_they_were_written(signer):
    known = trust.Trust({signer("a").key.id: signer("a").key}, {"0" * 32})

    assert trust.read_trust(known.text()) == known


@pytest.mark.parametrize("line", ["key x", "keys", "key " + "0" * 32 + " " + "A" * 43 + "= a", "revoked", "# nothing"])
def test_a_line_that_is_no_key_makes_the_file_none(line):
    with pytest.raises(RefusedError):
        trust.read_trust(f"edgekit-keys 1\n{line}\n")


def test_a_key_gives_way_to_another_and_is_never_trusted_again(signer):
    old, new = signer("old"), signer("new")

    after = trust.rotated(trusted(old), [old.gives_way_to(new).encode()])

    assert set(after.keys) == {new.key.id}
    assert after.revoked == {old.key.id}
    assert trust.rotated(after, [new.gives_way_to(old).encode()]) == after


def test_rotations_are_followed_in_whatever_order_they_come(signer):
    one, two, three = map(signer, ("one", "two", "three"))

    after = trust.rotated(trusted(one), [two.gives_way_to(three).encode(), one.gives_way_to(two).encode()])

    assert set(after.keys) == {three.key.id}


def test_whoever_has_the_old_key_later_leads_nowhere(signer):
    old, new, thief = map(signer, ("old", "new", "thief"))
    after = trust.rotated(trusted(old), [old.gives_way_to(new).encode()])

    assert trust.rotated(after, [old.gives_way_to(thief).encode()]) == after


@pytest.mark.parametrize("spoil", [lambda text: text.replace("to ", "to  "), lambda text: text[:-90], lambda text: "", lambda text: text[::-1]])
def test_a_rotation_that_is_spoilt_changes_nothing(signer, spoil):
    old, new = signer("old"), signer("new")

    assert trust.rotated(trusted(old), [spoil(old.gives_way_to(new)).encode()]) == trusted(old)


def test_a_rotation_that_only_the_new_key_signed_changes_nothing(signer):
    old, new = signer("old"), signer("new")
    lines = old.gives_way_to(new).splitlines(keepends=True)

    assert trust.rotated(trusted(old), ["".join(lines[:4] + lines[5:]).encode()]) == trusted(old)


def test_a_rotation_is_no_signature_of_a_bundle(signer):
    old, new = signer("old"), signer("new")

    with pytest.raises(RefusedError):
        trust.read_statement(old.gives_way_to(new).encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "edgekit-bundle 1\n",
        "edgekit-bundle 2\nmanifest sha256 " + "0" * 64 + "\n",
        "edgekit-bundle 1\nmanifest sha256 " + "0" * 64 + "\nsigned 2027-13-01T00:00:00Z\nexpires never\n",
        "edgekit-bundle 1\nmanifest sha256 " + "0" * 64 + "\nsigned 2027-01-01T00:00:00Z\n",
        "edgekit-bundle 1\nmanifest sha256 " + "0" * 64 + "\nkey x\n",
        "edgekit-bundle 1\nmanifest sha256 " + "0" * 64 + "\n\n",
        "edgekit-bundle 1\nmanifest sha256 " + "0" * 64,
    ],
)
def test_signatures_of_another_form_are_none(text):
    with pytest.raises(RefusedError):
        trust.read_statement(text.encode())


def test_the_same_signature_written_otherwise_is_none(signer):
    """Base64 has spare bits at its end: whoever changes them changes no signature, but the file."""
    text = trust.statement("0" * 64, 0, None)
    signed = signer("a").signed(text)
    other = signed[:-4] + chr(ord(signed[-4]) + 1) + signed[-3:]

    with pytest.raises(RefusedError):
        trust.signer(trust.read_statement(other.encode()), trusted(signer("a")))
