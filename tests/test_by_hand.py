"""The table of dear cases names tests that there are."""

from pathlib import Path

import pytest

from tests.by_hand import BY_HAND, GATE

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("test", BY_HAND | GATE)
def test_a_dear_case_is_of_a_test_that_there_is(test):
    file, _, name = test.partition("::")
    assert f"def {name.rpartition('::')[2]}(" in (ROOT / file).read_text(encoding="utf-8")
