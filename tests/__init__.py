"""Tests, which mirror the tree."""

import os
import sys

# Bytecode is kept, whatever the environment says. Else each worker and each process that a test starts compiles all
# modules anew, and pytest rewrites the assertions of all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
