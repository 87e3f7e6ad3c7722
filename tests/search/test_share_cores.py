"""How the threads of an indexing process wait is said before torch, which reads it, is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("set_by_user", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_unless_the_user_says_otherwise(set_by_user, policy):
    program = (
        "import os, sys; from kivuko.search.decoding import share_cores; share_cores();"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    own = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    own |= {"OMP_WAIT_POLICY": set_by_user} if set_by_user else {}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=own, check=True)
    assert done.stdout.split() == [policy, "False"]
