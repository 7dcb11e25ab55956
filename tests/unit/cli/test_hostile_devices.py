"""What a device says of itself is shown to the owner as it is, and does nothing to the owner's terminal."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from tests.support.fleet_contract import enrolled, heard, report
from tinymlops.cli.fleet import fleet
from tinymlops.fleet import open_fleet
from tinymlops.wire.messages import HealthReport, Phase, ReleaseHealth


def test_the_words_of_a_device_are_no_markup(tmp_path: Path) -> None:
    words = "[/red] [link=https://evil.example]here[/link] \x1b[2J"
    release = ReleaseHealth(workload="activity", version=1, assignment=1, phase=Phase.FAILED, reason=words)
    told = HealthReport(sequence=2, sent_at=report(1).sent_at, agent_version="0.1.0", releases=(release,))
    database = f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    with open_fleet(database) as record:
        device_id = enrolled(record)
        record.admit([heard(device_id, told)])
    shown = CliRunner().invoke(fleet, ["show", device_id, "--database", database], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "[/red] [link=https://evil.example]here[/link]" in " ".join(shown.output.replace("│", " ").split())
    assert "\x1b[2J" not in shown.output
