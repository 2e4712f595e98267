"""`llmenv-agent status`: enrolled or not, and what the spool holds."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import click

from llmenv_agent.commands import options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("status")
@options.config_option
@options.state_dir_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print: text for people, JSON for programs.",
)
def command(config: Path | None, state_dir: Path | None, form: str) -> None:
    """Say whether this machine is enrolled, what was delivered, what runs when, and what is left out.

    The spool's totals add up: minted = stored + rejected + waiting + dropped.
    """
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.schedule_status import scheduled

    configuration = load_configuration(config, state_dir=state_dir)
    directory = configuration.state_dir
    identity = _identity(directory)
    status = {
        "state_dir": str(directory),
        "identity": identity,
        "spool": _spool(directory),
        "schedules": scheduled(configuration, machine_id=identity["machine_id"] if identity else ""),
        "quarantine": _quarantine(directory),
    }
    click.echo(json.dumps(status, indent=2) if form == "json" else _text(status))


def _identity(directory: Path) -> dict[str, Any] | None:
    from llmenv_agent.approval import waiting_since
    from llmenv_agent.doubled import doubled_since
    from llmenv_agent.identity import FILE_NAME, load_identity

    if not (directory / FILE_NAME).exists():
        return None
    identity = load_identity(directory)
    return {
        "machine_id": identity.machine_id,
        "agent_addresses": list(identity.agent_addresses),
        "not_after": identity.not_after,
        "renew_at": identity.renew_at,
        "doubled_since": doubled_since(directory),
        "waits_for_approval_since": waiting_since(directory),
    }


def _spool(directory: Path) -> dict[str, Any] | None:
    from llmenv_agent.spool import Spool

    path = directory / "spool.db"
    if not path.exists():
        return None
    spool = Spool(path)
    try:
        marks, ledger, letters = spool.marks(), spool.ledger(), spool.dead_letters()
    finally:
        spool.close()
    acknowledged = marks.acknowledged_at
    return {
        "spool_id": marks.spool_id,
        "minted": ledger.minted,
        "stored": ledger.stored,
        "rejected": ledger.rejected,
        "waiting": ledger.waiting,
        "dropped": ledger.dropped,
        "dead_letters": len(letters),
        "last_acknowledged_sequence": marks.watermark,
        "last_acknowledged_at": acknowledged and dt.datetime.fromtimestamp(acknowledged, dt.UTC).isoformat(),
    }


def _quarantine(directory: Path) -> list[dict[str, Any]]:
    """Checks that are left out of suites for now."""
    from llmenv_agent.quarantine import FILE_NAME, entries

    return [
        {
            "check": entry.subject.check,
            "target": entry.subject.target,
            "until": entry.until_text,
            "reason": entry.cause,
        }
        for entry in entries(directory / FILE_NAME)
        if entry.until
    ]


def _text(status: dict[str, Any]) -> str:
    from llmenv_agent.approval import REMEDY as APPROVAL
    from llmenv_agent.doubled import REMEDY
    from llmenv_agent.schedule_status import line

    identity, spool = status["identity"], status["spool"]
    lines = [f"state directory  {status['state_dir']}"]
    if identity is None:
        lines.append("identity         none: this machine is not enrolled")
    else:
        lines.append(f"machine          {identity['machine_id']}")
        lines.append(f"collector        {', '.join(identity['agent_addresses'])}")
        lines.append(f"certificate      until {identity['not_after']}, renewed from {identity['renew_at']}")
        if since := identity["waits_for_approval_since"]:
            lines.append(
                f"not approved     since {since}. {APPROVAL.format(machine_id=identity['machine_id'])}"
            )
        if identity["doubled_since"]:
            lines.append(f"another agent    with this identity since {identity['doubled_since']}. {REMEDY}")
    if spool is None:
        lines.append("spool            none: nothing was recorded yet")
    else:
        lines.append(
            "records          {minted} minted = {stored} stored + {rejected} rejected + {waiting} waiting"
            " + {dropped} dropped".format(**spool)
        )
        lines.append(f"acknowledged     {spool['last_acknowledged_at'] or 'never'}")
    lines += [f"schedule         {line(each)}" for each in status["schedules"]]
    left_out = "left out         {check} in {target} until {until}: {reason}"
    lines += [left_out.format(**each) for each in status["quarantine"]]
    return "\n".join(lines)
