"""What is raised when a program cannot be read, or does on the way what it must not."""


class PtxError(Exception):
    """A fault of a PTX program: it says which instruction, which thread and which address."""
