"""Opening somebody's store: its defects are one sentence, and never a trace."""

from pathlib import Path

import pytest

from flannel_sdk.agent import open_store
from flannel_sdk.errors import PluginError
from tests.plugin_distributions import GOOD_STORE, STORES, install

MAKE = 'return ("manager for", options)'


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("raising", GOOD_STORE.replace(MAKE, "raise ValueError('a\\nb')"), "ValueError: a b"),
        ("exiting", GOOD_STORE.replace(MAKE, "raise SystemExit(3)"), "SystemExit: 3"),
        ("untyped", GOOD_STORE.replace("path: str", "path: 'Missing'"), "name 'Missing'"),
    ],
)
def test_a_defect_of_a_store_plugin_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, said: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, f"acme-{name}", {name: "plugin"}, source=source, group=STORES)
    with pytest.raises(PluginError, match=f"^store {name} .*{said}") as caught:
        open_store(name, {"path": "x"})
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
