"""`python -m spacebatch`: the main job in one command."""

from .command import main

raise SystemExit(main())
