"""The command ``leanmark``; each subcommand is imported only when it is called."""
