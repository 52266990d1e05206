"""A full disk is one sentence, whichever library meets it."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from helpers.workflow import REPOSITORY
from workflow_scripts.runtime import command

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
FULL = """
import numpy
from pathlib import Path
from safetensors.numpy import save_file
from workflow_scripts.runtime import command
def main(arguments):
    save_file({"a": numpy.zeros(100_000)}, arguments[0])
command.run(main)
"""


def test_safetensors_that_find_the_disk_full_say_so_in_one_sentence(tmp_path):
    run = ["prlimit", "--fsize=50000", sys.executable, "-c", FULL, str(tmp_path / "a.safetensors")]
    done = subprocess.run(run, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr.startswith("error: File too large while writing a result; free some space")
    assert len(done.stderr.splitlines()) == 1


def test_other_errors_of_libraries_keep_their_traceback(tmp_path):
    with pytest.raises(Exception, match="os error 2") as caught:
        save_file({"a": np.zeros(1)}, tmp_path / "none" / "a.safetensors")
    assert command.error_number(caught.value) == errno.ENOENT
    with pytest.raises(type(caught.value)):
        command.run(lambda _: save_file({"a": np.zeros(1)}, tmp_path / "none" / "a.safetensors"), [])
    assert command.error_number(ValueError("no number")) is None
