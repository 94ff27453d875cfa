"""Keys and folders of each test's own."""

import pytest


@pytest.fixture(autouse=True)
def nobodys_keys(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("EDGEKIT_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("EDGEKIT_KEY_PASSPHRASE", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.chdir(tmp_path)
