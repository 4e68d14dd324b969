#!/usr/bin/env python
"""Django's command line, with the database at hand: see pipeline/config/commandline.py."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pipeline.config.settings")
    from pipeline.config.commandline import run

    sys.exit(run(sys.argv))
