"""`python -m spacebatch`: the main job in one command."""

from .job import main

raise SystemExit(main())
