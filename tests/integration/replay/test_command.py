from pathlib import Path

import pytest

from tests.unit.cli.running import tinymlops


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["activity"], "no workload with a replay called 'activity'"),
        (["footfall", "--from", "spring"], "is no day"),
        (["footfall", "--from", "2020-03-01", "--to", "2020-03-05"], "5 days are too few"),
        (["footfall", "--keep", "FULL"], "is not empty"),
    ],
)
def test_what_can_not_be_replayed_is_said_before_anything_is_trained(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    (tmp_path / "something").touch()

    ended = tinymlops("replay", *(str(tmp_path) if one == "FULL" else one for one in arguments), timeout_s=60)

    assert ended.returncode == 2
    assert says in " ".join(ended.stderr.split())
