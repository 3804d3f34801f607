"""What an embedded Valkey may hold: half of what there is."""

from pathlib import Path

import pytest

from tools.embedded.memory import valkey_memory

GIB = 1024**3


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(None, 4 * GIB, id="no container"),
        pytest.param("max\n", 4 * GIB, id="a container without a bound"),
        pytest.param(f"{2 * GIB}\n", GIB, id="a container with a bound"),
        pytest.param("9223372036854771712\n", 4 * GIB, id="no bound, as the first version says it"),
    ],
)
def test_it_is_half_of_the_machine_or_of_its_container(
    tmp_path: Path, limit: str | None, expected: int
) -> None:
    """The smaller one counts."""
    path = tmp_path / "memory.max"
    if limit is not None:
        path.write_text(limit)
    assert valkey_memory(8 * GIB, [path, tmp_path / "absent"]) == expected
