"""Text from outside on its way to a terminal, a log or a message."""


def one_line(text: str) -> str:
    """The same words in one line that no terminal takes for a command: what does not print becomes a space."""
    return "".join(c if c.isprintable() else " " for c in text)
