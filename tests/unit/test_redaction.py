"""What is taken out before it is given to others, and what is left."""

import pytest

from flannel_sdk.redaction import REDACTED, redacted, redacted_text


@pytest.mark.parametrize(
    "key",
    ["password", "etcd-password", "PSK", "SecretKey", "api_key", "token", "privateKey",
     "ACCESS_KEY_SECRET", "authorization", "passphrase"],
)  # fmt: skip
def test_values_of_such_keys_are_taken_out(key: str) -> None:
    assert redacted({"a": [{key: "x"}]}) == {"a": [{key: REDACTED}]}


@pytest.mark.parametrize("key", ["VtepMAC", "PublicKey", "Port", "key", "passes"])
def test_values_of_others_are_left(key: str) -> None:
    assert redacted({key: "x"}) == {key: "x"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://root:pa$s@a:2379/x", f"https://{REDACTED}@a:2379/x"),
        ("Authorization: Bearer abc.def-g=", f"Authorization: Bearer {REDACTED}"),
        ("https://tok3n@a/x", f"https://{REDACTED}@a/x"),
        ("http://me:a/b@c@192.0.2.1:2379", f"http://{REDACTED}@192.0.2.1:2379"),
        ("http://a:1,http://me:x@b:1", f"http://a:1,http://{REDACTED}@b:1"),
        ("-H 'Authorization: Basic bWU6aHVzaA=='", f"-H 'Authorization: Basic {REDACTED}'"),
        ("PrivateKey = aHVzaA=", f"PrivateKey = {REDACTED}"),
        ('{"password": "hush"}', f'{{"password": "{REDACTED}"}}'),
        ("tool --vpn-token hush --up", f"tool --vpn-token {REDACTED} --up"),
        ("the token is refused", "the token is refused"),
        ("password=hush user=me", f"password={REDACTED} user=me"),
        ("eyJhbGciOi.eyJzdWIi.c2ln and more", f"{REDACTED} and more"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n", f"{REDACTED}\n"),
        ("http://192.0.2.1:2379 via 10.5.0.0/16", "http://192.0.2.1:2379 via 10.5.0.0/16"),
    ],
)
def test_texts(text: str, left: str) -> None:
    assert redacted_text(text) == left


def test_numbers_and_nothing_stay() -> None:
    assert redacted({"a": 1, "b": None, "token": None, "c": (True, 1.5)}) == {
        "a": 1,
        "b": None,
        "token": None,
        "c": [True, 1.5],
    }
