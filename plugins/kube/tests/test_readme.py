"""The plugin's README says what is so: rights, options, flags, variables, and code that runs."""

import re
import sys
from dataclasses import fields
from pathlib import Path
from subprocess import run

import pytest
from flannel_sdk_kube import KubeOptions

from flannel_sdk.agent.installed_store import find_store
from plugins.kube.tests.apiserver import NAMESPACE, ROLE, SERVICE_ACCOUNT, ApiServer
from plugins.kube.tests.node_objects import flannel_annotations

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_rights_are_those_that_the_tests_run_with() -> None:
    yaml = pytest.importorskip("yaml")
    role, binding, account = yaml.safe_load_all(blocks("yaml")[0])
    assert role == ROLE
    (subject,) = binding["subjects"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert (subject["name"], subject["namespace"]) == (SERVICE_ACCOUNT, NAMESPACE)
    assert account["metadata"] == {"name": SERVICE_ACCOUNT, "namespace": NAMESPACE}
    (variable,) = yaml.safe_load(blocks("yaml")[1])["env"]
    assert variable["name"] in {field.metadata.get("env") for field in fields(KubeOptions)}


def test_the_table_has_all_options_with_flags_variables_and_defaults() -> None:
    lines = [line.split("|") for line in README.splitlines() if line.startswith("| `")]
    rows = [tuple(cell.strip() for cell in line[1:5]) for line in lines if len(line) == 7]
    wanted = []
    for option in find_store("kube").options():
        default = option.default
        if default is None:
            shown = ""
        elif isinstance(default, bool | float):
            shown = f"{default:g}" if isinstance(default, float) else str(default).lower()
        else:
            shown = f"`{default}`"
        flag = f"`--{option.flag}`" if option.flag else ""
        variable = f"`{option.variable}`" if option.variable else ""
        wanted.append((f"`{option.name}`", flag, variable, shown))
    assert rows == wanted


@pytest.mark.server
@pytest.mark.slow
def test_the_library_works_as_shown(apiserver: ApiServer) -> None:
    apiserver.control.add_node("n1", "10.3.1.0/24", annotations=flannel_annotations("192.0.2.1"))
    (text,) = blocks("python")
    script = text.replace("/etc/kubernetes/flannel.conf", str(apiserver.kubeconfig()))
    assert script != text
    done = run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "['10.3.1.0/24']\n", done.stderr
