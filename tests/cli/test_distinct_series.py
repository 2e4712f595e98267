"""Series that are called alike are told apart by what differs between them."""

from __future__ import annotations

from llmenv.catalog.texts import texts
from llmenv.fleet.v1.fleet_report_pb2 import Series
from llmenv_cli.render.fleet.distinct import names_of


def series(parameters: str, definition: str = "5f2b9c0d1e7a4863", device: str = "mps") -> Series:
    return Series(
        check_name="torch_training",
        measurement="steps_per_second",
        unit="step/s",
        device=device,
        parameters_json=parameters,
        definition_hash=definition,
    )


def named(*given: Series) -> list[str]:
    return list(names_of(given, texts("en")).values())


def test_one_alone_needs_no_parameters() -> None:
    """Nor one that is there twice, nor one on another device."""
    one, other = series('{"batch": 64}'), series('{"batch": 64}', device="cpu")
    assert named(one, one, other) == [
        "Network training: steps per second (mps)",
        "Network training: steps per second (cpu)",
    ]


def test_parameters_that_differ_are_said() -> None:
    """Those that are shared are not."""
    assert named(series('{"batch": 64, "steps": 9}'), series('{"batch": 32, "steps": 9, "seed": 1}')) == [
        "Network training: steps per second (mps) [batch=64, seed=null]",
        "Network training: steps per second (mps) [batch=32, seed=1]",
    ]


def test_definitions_that_differ_are_said() -> None:
    """By as much of them as tells them apart; parameters that are no JSON are taken as they are."""
    assert named(series("{broken"), series("{broken", definition="77aa9c0d1e7a4811")) == [
        "Network training: steps per second (mps) [5f2b9c0d]",
        "Network training: steps per second (mps) [77aa9c0d]",
    ]
