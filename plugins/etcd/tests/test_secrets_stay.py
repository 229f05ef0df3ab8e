"""The password is in no log, status answer, sentence, trace or list of processes (D34)."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.agent import open_store
from flannel_sdk.agent.status_client import ask
from flannel_sdk.errors import FlannelError
from flannel_sdk.model import Secret

PASSWORD = "hunter2-and-more"


@contextmanager
def daemon(
    folder: Path, *words: str, environ: Mapping[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """A daemon that finds no etcd, and says so with all details."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "flannel_sdk.cli", "daemon", "-v=9", *words),
            *("--etcd-endpoints", "http://127.0.0.1:1", "--etcd-username", "root"),
            *("--subnet-file", str(folder / "subnet.env")),
            *("--status-socket", str(folder / "s.sock")),
        ],
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def answers(folder: Path) -> str:
    deadline = time.monotonic() + 20
    while True:
        try:
            return json.dumps([ask(folder / "s.sock", each) for each in ("status", "peers")])
        except FlannelError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("way", ["file", "variable", "flag"])
def test_d34_a_daemon_tells_it_to_nobody(tmp_path: Path, way: str, log_format: str) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    words = ["--log-format", log_format]
    environ = {name: text for name, text in os.environ.items() if "FLANNELD" not in name}
    if way == "file":
        words += ["--store-option-file", f"password={tmp_path / 'password'}"]
    elif way == "variable":
        environ["FLANNELD_ETCD_PASSWORD"] = PASSWORD
    else:
        words += ["--etcd-password", PASSWORD]
    with daemon(tmp_path, *words, environ=environ) as process:
        assert PASSWORD not in answers(tmp_path)
        shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert process.stderr is not None
        log = ""
        while "trying again" not in log:
            line = process.stderr.readline()
            assert line, log
            log += line
        process.send_signal(signal.SIGTERM)
        log += process.communicate(timeout=20)[1]
    assert process.returncode == 0, log
    assert PASSWORD not in log
    assert (PASSWORD in shown) == (way == "flag")
    advice = "--etcd-password is on the command line, where anybody can read it"
    assert (advice in log) == (way == "flag")
    if log_format == "json":
        assert all(json.loads(line)["msg"] for line in log.splitlines())
    else:
        assert all(line.startswith("time=") for line in log.splitlines())


def test_d34_no_text_of_options_store_or_trace_holds_it() -> None:
    options = EtcdOptions(user="root", password=Secret(PASSWORD))
    texts = [repr(options), str(options), f"{options}", repr(asdict(options)), repr(vars)]
    values = {"user": "root", "password": PASSWORD, "endpoints": "http://127.0.0.1:1"}
    store = open_store("etcd", values)
    texts += [store.name, repr(store), repr(vars(store))]
    try:
        open_store("etcd", {**values, "endpoints": "ftp://x"})
    except FlannelError as error:
        texts += traceback.format_exception(error)
        texts += traceback.TracebackException.from_exception(error).format()
        texts += [repr(error), repr(error.__cause__)]
    assert len(texts) > 12
    assert [text for text in texts if PASSWORD in text] == []
