"""What this family declares to the zoo; it imports no torch. Nothing is declared yet."""

__all__ = ["ZOO_API"]

ZOO_API = 1
