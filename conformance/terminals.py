"""Programs that give something a terminal of its own: a user's, outside of every jail."""

# on_a_terminal(act): `act` runs in a child whose terminal it is; what the terminal has shown is printed.
ON_A_TERMINAL = """
import os, pty
def on_a_terminal(act):
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    seen = b""
    try:
        while data := os.read(terminal, 4096):
            seen += data
    except OSError:  # the last of those who had it open has ended
        pass
    os.waitpid(pid, 0)
    print(seen.decode())
"""
