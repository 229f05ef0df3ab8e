"""The store's options on the command line: flanneld's flags, and no secret in any sentence."""

import pytest

from flannel_sdk.cli import main

FLAGS = (
    *("--etcd-endpoints", "--etcd-prefix", "--etcd-cafile", "--etcd-certfile", "--etcd-keyfile"),
    *("--etcd-username", "--etcd-password"),
)
PASSWORD = "hunter2"


@pytest.mark.parametrize("command", ["daemon", "config"])
@pytest.mark.parametrize("store", ["etcd", "etcd3"])
def test_help_lists_flannelds_flags(
    command: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--store", store, "--help"]) == 0
    out = capsys.readouterr().out
    for flag in FLAGS:
        assert f"  {flag} " in out
    for name in ("host=HOST", "port=PORT", "timeout=SECONDS", "grpc_options="):
        assert name in out


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--etcd-password", PASSWORD], "password is given without user", 2),
        (["--store-option", f"password={PASSWORD}"], "password is given without user", 2),
        (["--etcd-endpoints", f"http://root:{PASSWORD}@127.0.0.1:1"], "before an @", 2),
        (
            ["--etcd-endpoints", "ftp://x", "--etcd-username", "u", "--etcd-password", PASSWORD],
            "is not http:// or https://",
            2,
        ),
        (
            [
                *("--etcd-endpoints", "http://127.0.0.1:1", "--etcd-username", "u"),
                *("--etcd-password", PASSWORD),
            ],
            "refused the connection",
            1,
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_without_the_password(
    words: list[str], said: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "--store", "etcd", *words]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert PASSWORD not in captured.err + captured.out
