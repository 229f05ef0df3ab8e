"""``flannel-sdk lab``: its flags become a spec, its findings become text."""

import argparse

import pytest

from flannel_sdk.cli import main
from flannel_sdk.cli.lab_arguments import add_lab_arguments
from flannel_sdk.cli.lab_print import duration, print_matrix, verdict
from flannel_sdk.cli.lab_up import spec_from
from flannel_sdk.errors import ConfigError
from flannel_sdk.lab import Families, LabSpec, Matrix, Pair, PairResult
from flannel_sdk.model import Family, IPAddress


def parse(line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_lab_arguments(parser)
    return parser.parse_args(line.split())


def test_flags_become_a_spec() -> None:
    line = (
        "up --nodes 4 --backend host-gw --backend-option A=1 --backend-option B=x --subnets 2"
        " --families dual --store sqlite --store-option path=/x/y.db"
    )
    assert spec_from(parse(line)) == LabSpec(
        nodes=4,
        backend="host-gw",
        backend_options={"A": 1, "B": "x"},
        subnets=2,
        families=Families.DUAL,
        store_options={"path": "/x/y.db"},
    )
    assert spec_from(parse("demo")) == LabSpec()


@pytest.mark.parametrize("flags", ["--nodes 0", "--subnets 3", "--backend-option x"])
def test_wrong_values_are_named(flags: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec_from(parse(f"up {flags}"))
    assert caught.value.key in flags


def test_a_command_for_exec_is_kept_as_it_is() -> None:
    args = parse("exec 2-pod -- ip -4 route --help")
    assert (args.node, args.argv[-4:]) == ("2-pod", ["ip", "-4", "route", "--help"])


def test_lab_without_action_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab"]) == 2
    assert "ACTION" in capsys.readouterr().err


def result(source: int, destination: int, seconds: float | None) -> PairResult:
    address = IPAddress.parse(f"10.5.{destination}.2")
    return PairResult(Pair(source, destination, Family.IPV4), address, 1, seconds, seconds)


def test_the_matrix_shows_milliseconds_and_silence(capsys: pytest.CaptureFixture[str]) -> None:
    print_matrix(Matrix((result(1, 2, 0.00025), result(2, 1, None))))
    assert capsys.readouterr().out.splitlines() == [
        "IPV4, MS    TO 1  TO 2",
        "from 1         -  0.25",
        "from 2    silent     -",
    ]


def test_a_big_matrix_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = range(1, 31)
    pairs = tuple(result(a, b, 0.001 * b) for a in nodes for b in nodes if a != b)
    print_matrix(Matrix(pairs))
    assert capsys.readouterr().out == "IPv4: 1.00 to 30.00 ms, median 16.00 ms\n"


def test_the_verdict_names_the_silent() -> None:
    assert verdict(Matrix((result(1, 2, 0.1), result(2, 1, 0.1)))) == "all 2 pairs answered"
    assert verdict(Matrix((result(1, 2, 0.1), result(2, 1, None)))) == (
        "1 of 2 pairs are silent: 2 -> 1"
    )
    many = verdict(Matrix(tuple(result(1, number, None) for number in range(2, 20))))
    assert many.startswith("18 of 18 pairs are silent: 1 -> 2, 1 -> 3,")
    assert many.endswith(" and 8 more")


def test_durations_read_naturally() -> None:
    assert [duration(0.0083), duration(0.9994), duration(1.26)] == ["8 ms", "999 ms", "1.3 s"]
