"""What the process that workers are forked from prints."""

from __future__ import annotations

import pytest

from jobs.runtime import workers


def test_a_worker_whose_task_was_given_up_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error, told in ((BrokenPipeError(), False), (EOFError(), False), (ValueError("it"), True)):
        try:
            raise error
        except (OSError, EOFError, ValueError):
            workers._print_exception()
        assert ("Traceback" in capsys.readouterr().err) == told
