"""`python -m sqlllm`."""

from __future__ import annotations

import sys

from sqlllm.cli import main

sys.exit(main())
