"""The ``p8s`` command: every subcommand is imported only when it is called, so that ``--help`` answers at once."""
