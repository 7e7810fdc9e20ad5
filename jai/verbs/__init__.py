"""Cold commands: each is imported only when it is asked for."""
