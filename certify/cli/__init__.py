"""The command ``leanmark``; each subcommand is imported when it is called."""
